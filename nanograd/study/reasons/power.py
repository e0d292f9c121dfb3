"""Reasons of exp, log, pow, reciprocal, rsqrt, sqrt and square."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 2

REASONS: dict[str, Reasons] = {
    "exp": Reasons(
        lines=(
            "The function that is 1 at 0 and equals its own derivative.",
            "The derivative of exp is exp itself, and its value y is already computed.",
        )
    ),
    "log": Reasons(
        lines=(
            "The power to which e must be raised to give x.",
            "exp(y) equals x, so both change equally; exp is its own derivative.",
            "Solve (2) for δy/δx = 1/exp(y), write x for exp(y), and multiply by dy.",
        ),
        example=draw.positive(),
    ),
    "pow": Reasons(
        lines=(
            "a is the base and b the exponent; both are arrays and are broadcast.",
            Reason(
                "The power rule: multiply by the exponent and lower it by one; for b = 0, y is 1 whatever a is.",
                words="np.where(b == 0, 0, {})",
            ),
            "y is exp(b ln a), whose derivative by b ln a is y itself, and b ln a has the derivative ln a by b.",
            "Multiply (2) by dy and sum over the copies of each a.",
            "Multiply (3) by dy and sum over the copies of each b.",
        ),
        example=lambda d: ([d.positive(*d.shape), d.normal(*d.shape[-1:])], {}),
    ),
    "reciprocal": Reasons(
        lines=(
            "The number that gives 1 when x is multiplied by it.",
            "The product x y is constantly 1, so by the product rule its change is 0.",
            "Solve (2) for δy/δx = -y/x, write y for 1/x, and multiply by dy.",
        ),
        example=draw.positive(),
    ),
    "rsqrt": Reasons(
        lines=(
            "The factor that scales numbers with the mean square x to the mean square 1.",
            "The power rule for the exponent -½; x^(-3/2) is y³.",
            "Multiply (2) by dy, in the form that needs only y.",
        ),
        example=draw.positive(),
    ),
    "sqrt": Reasons(
        lines=(
            "The side of a square whose area is x.",
            "y² equals x, so both change equally: on the left the derivative of a square, on the right δx.",
            "Solve (2) for δy/δx = 1/(2 y) and multiply by dy.",
        ),
        example=draw.positive(),
    ),
    "square": Reasons(
        lines=("The area of a square with side x.", "By the product rule on x times x, each factor contributes x.")
    ),
}
