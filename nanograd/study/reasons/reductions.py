"""Reasons of reductions: sum to min, and std to cumsum."""

from nanograd.study import draw
from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"reduce": 5, "accumulate": 6}


def _extremum(which: str) -> Reasons:
    """Return the reasons of max or min: of the largest or smallest entry."""
    return Reasons(
        f"The {which} entry along the axis.",
        f"Only the {which} entry changes y, with derivative 1; where m entries tie, each gets the m-th part.",
        definitions={"m": "(x == y).sum(axis=axis, keepdims=True)", "dy": "restore_axes(dy, x.shape, axis)"},
        example=lambda d: ([d.apart(*d.axes(1, "an axis"))], {"axis": -1}),
    )


def _std(d: Draw) -> Example:
    d.axes(1, "an axis")
    d.fits(d.shape[-1] > 1, "two entries a row, or there is no spread")
    return [d.normal(*d.shape)], {"axis": -1}


_DEVIATION = Reason(
    "The deviation of every entry from its mean.", reference="x - restore_axes(x.sum(axis=axis), x.shape, axis) / n"
)
_DEVIATION_CHANGES = (
    "x_i changes its own c_i by 1 and, through the mean, every c by -1/n; the second part sums to the mean of dc, which is "
    "0 because Σ c is."
)

REASONS: dict[str, Reasons] = {
    "max": _extremum("largest"),
    "mean": Reasons(
        "The sum divided by the number n of entries.",
        "∂y/∂x_i is 1/n for the mean that x_i belongs to.",
        definitions={"n": "count(x, axis)", "dy": "np.ones(x.shape) * restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "min": _extremum("smallest"),
    "sum": Reasons(
        "Every entry belongs to exactly one sum.",
        "∂y/∂x_i is 1 for the sum that x_i belongs to and 0 for every other.",
        definitions={"dy": "np.ones(x.shape) * restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "var": Reasons(
        _DEVIATION,
        "The mean of the squared deviations.",
        "In (2) the derivative of c² is 2 c, and each square is divided by n - ddof.",
        _DEVIATION_CHANGES,
        definitions={"n": "count(x, axis)", "dy": "restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "cumsum": Reasons(
        "Each entry is the sum of all x up to and including its own.",
        "x_s is a term of y_s and of every later sum, so dx_s is the sum of their dy.",
        example=draw.along_axis(),
    ),
    "logsumexp": Reasons(
        "The logarithm of the sum of the exponentials.",
        "The derivative of ln is one over the sum, and that of the sum by x_i is exp(x_i).",
        "Multiply (2) by the dy of the sum that x_i belongs to.",
        definitions={"dy": "restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "norm": Reasons(
        "The Euclidean length, by Pythagoras.",
        "Of the sum of squares, only x_i² depends on x_i, with derivative 2 x_i.",
        "Multiply (2) by the dy of the norm that x_i belongs to.",
        definitions={"dy": "restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "prod": Reasons(
        "Every entry is a factor of exactly one product.",
        "With the other factors constant, y is linear in x_i, and their product is its coefficient.",
        "Multiply (2) by the dy of the product that x_i belongs to.",
        definitions={"dy": "np.ones(x.shape) * restore_axes(dy, x.shape, axis)"},
        example=draw.along_axis(),
    ),
    "std": Reasons(
        _DEVIATION,
        "The root of the mean squared deviation, which has the unit of x.",
        "Of the sum of squares, only c_i² depends on c_i, with derivative 2 c_i.",
        "Multiply (3) by the dy of the deviation that c_i belongs to.",
        _DEVIATION_CHANGES,
        definitions={"n": "count(x, axis)", "dy": "restore_axes(dy, x.shape, axis)"},
        example=_std,
    ),
}
