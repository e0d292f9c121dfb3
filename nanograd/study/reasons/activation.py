"""Reasons of gelu, gelu_tanh and relu."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 13

REASONS: dict[str, Reasons] = {
    "gelu": Reasons(
        lines=(
            Reason(
                "The normal distribution function: ½ for the half below 0, and erf for the part between 0 and x.",
                reference="0.5 + integral(lambda s: np.exp(-s * s / 2), x) / np.sqrt(2 * np.pi)",
            ),
            "x weighted by the probability that a normal number is smaller.",
            "Φ is the area under the bell curve up to x, so its derivative is the height of the curve.",
            "The product rule on (2): x has the derivative 1, and Φ has the derivative φ by (3).",
        )
    ),
    "gelu_tanh": Reasons(
        lines=(
            Reason(
                "A cubic whose tanh approximates erf(x/√2).",
                reference="np.polyval([0.044715 * np.sqrt(2 / np.pi), 0, np.sqrt(2 / np.pi), 0], x)",
            ),
            "gelu, with tanh u in place of erf(x/√2).",
            "The derivative of x is 1 and that of x³ is 3 x².",
            "The derivative of tanh in terms of its value, as tanh_backward derives it.",
            "The product rule on (2): the derivative of ½ x times 1 + t, plus ½ x times that of t, which by the "
            "chain rule is (4) times (3).",
            "Multiply (5) by dy.",
        ),
        definitions={"t": "np.tanh(u)"},
    ),
    "relu": Reasons(
        lines=(
            "Negative numbers become 0, positive ones stay.",
            "For positive x, y is x with derivative 1; for negative x, y is constantly 0.",
        ),
        example=draw.apart(),
    ),
}
