"""Reasons of log_softmax and softmax."""

from nanograd.study import draw
from nanograd.study.reasons.reason import Reasons

CHAPTER = 15

REASONS: dict[str, Reasons] = {
    "log_softmax": Reasons(
        lines=(
            "The logarithm of a quotient is a difference, and ln exp(x_j) is x_j.",
            "x_j has the derivative 1 by itself; the logarithm of the sum has the derivative exp(x_i) over the "
            "sum, p_i.",
            "The sum over j of dy_j 1[i = j] is dy_i; p_i does not depend on j and comes out of the sum.",
        ),
        example=draw.along_axis(),
    ),
    "softmax": Reasons(
        lines=(
            "exp makes every score positive, and dividing by the sum of the row makes the row sum to one.",
            "The quotient rule: the numerator exp(x_j) depends only on x_j, the denominator on every x_i.",
            "The sum over j of y_j dy_j 1[i = j] is y_i dy_i; in the rest y_i comes out of the sum.",
        ),
        definitions={"x": "x if mask is None else np.where(mask, x, -np.inf)"},
        example=draw.along_axis(),
    ),
}
