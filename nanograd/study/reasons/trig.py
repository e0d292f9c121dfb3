"""Reasons of cos, sigmoid, sin and tanh."""

from nanograd.study.reasons.reason import Reasons

CHAPTER = 3

REASONS: dict[str, Reasons] = {
    "cos": Reasons(
        lines=(
            "The horizontal coordinate of the point at angle x on the unit circle.",
            "The horizontal coordinate falls as fast as the point is high, hence the minus.",
        )
    ),
    "sigmoid": Reasons(
        lines=(
            "For very negative x, exp(-x) is huge and y near 0; for large x it vanishes and y is near 1.",
            "The derivative of 1/u is -1/u² and that of u = 1 + e is -e; the second factor is 1 - y.",
            "Multiply (2) by dy, in the form that needs only y.",
        ),
        definitions={"e": "np.exp(-x)"},
    ),
    "sin": Reasons(
        lines=(
            "The vertical coordinate of the point at angle x on the unit circle.",
            "The vertical coordinate grows at the rate of the horizontal one, cos x.",
        )
    ),
    "tanh": Reasons(
        lines=(
            "Numerator and denominator are each other's derivative, which makes the quotient rule easy.",
            "The quotient rule; then divide term by term.",
            "Multiply (2) by dy, in the form that needs only y.",
        )
    ),
}
