"""Reasons of max, mean, min, sum and var."""

from nanograd.study import draw
from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 5


def _extremum(d: Draw) -> Example:
    return [d.apart(*d.axes(1, "an axis"))], {"axis": -1}


REASONS: dict[str, Reasons] = {
    "max": Reasons(
        lines=(
            "The largest entry along the axis.",
            "Only the largest entry changes y, with derivative 1; where m entries tie, each gets the m-th part.",
        ),
        definitions={"m": "(x == y).sum(axis=axis, keepdims=True)", "dy": "spread(dy, x.shape, axis)"},
        example=_extremum,
    ),
    "mean": Reasons(
        lines=("The sum divided by the number n of entries.", "∂y/∂x_i is 1/n for the mean that x_i belongs to."),
        definitions={"n": "count(x, axis)", "dy": "np.ones(x.shape) * spread(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "min": Reasons(
        lines=(
            "The smallest entry along the axis.",
            "Only the smallest entry changes y, with derivative 1; where m entries tie, each gets the m-th part.",
        ),
        definitions={"m": "(x == y).sum(axis=axis, keepdims=True)", "dy": "spread(dy, x.shape, axis)"},
        example=_extremum,
    ),
    "sum": Reasons(
        lines=(
            "Every entry belongs to exactly one sum.",
            "∂y/∂x_i is 1 for the sum that x_i belongs to and 0 for every other.",
        ),
        definitions={"dy": "np.ones(x.shape) * spread(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "var": Reasons(
        lines=(
            Reason(
                "The deviation of every entry from its mean.",
                reference="x - spread(x.sum(axis=axis), x.shape, axis) / n",
            ),
            "The mean of the squared deviations.",
            "In (2) the derivative of c² is 2 c, and each square is divided by n - ddof.",
            "x_i changes its own c_i by 1 and, through the mean, every c by -1/n; the second part sums to the "
            "mean of dc, which is 0 because Σ c is.",
        ),
        definitions={"n": "count(x, axis)", "dy": "spread(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
}
