"""Twins of sum, mean, var, max and min."""

from nanograd.study.twins.line import Twin

_N = {"n": "count(x, axis)"}
_TIES = {"m": "(x == spread(y, x.shape, axis)).sum(axis=axis, keepdims=True)"}
GIVEN = {"mean": _N, "var": _N, "max": _TIES, "min": _TIES}

TWINS: dict[str, dict[int, Twin]] = {
    "sum": {
        1: Twin("y", "x.sum(axis=axis, keepdims=keepdims)", "Every entry goes into exactly one sum."),
        2: Twin(
            "dx",
            "np.ones(x.shape) * spread(dy, x.shape, axis)",
            "Raising x_i raises its own sum one for one and no other, so x_i gets the dy of that sum.",
        ),
    },
    "mean": {
        1: Twin(
            "y",
            "x.sum(axis=axis, keepdims=keepdims) / n",
            "The sum is shared out evenly among the n entries that made it.",
        ),
        2: Twin(
            "dx",
            "np.ones(x.shape) * spread(dy, x.shape, axis) / n",
            "Raising x_i raises its own mean by one n-th of that, so x_i gets one n-th of the mean's dy.",
        ),
    },
    "var": {
        1: Twin(
            "c",
            "x - x.mean(axis=axis, keepdims=True)",
            "Measure every entry from the mean of those it is averaged with.",
            "x - spread(x.sum(axis=axis), x.shape, axis) / n",
        ),
        2: Twin(
            "y",
            "(c**2).sum(axis=axis, keepdims=keepdims) / (n - ddof)",
            "The mean of the squared distances: far ones count most, and the sign is gone.",
        ),
        3: Twin(
            "dc",
            "2 * c * spread(dy, x.shape, axis) / (n - ddof)",
            "In (2) the slope of c² is 2 c, and each square counts one (n - ddof)-th.",
        ),
        4: Twin(
            "dx",
            "dc",
            "x_i moves its own c_i and, through the mean, all of them by -1/n; those parts add to a mean of dc, "
            "which is 0 as Σ c is.",
        ),
    },
    "max": {
        1: Twin("y", "x.max(axis=axis, keepdims=keepdims)", "Of all entries along the axis only the largest is seen."),
        2: Twin(
            "dx",
            "spread(dy, x.shape, axis) * (x == spread(y, x.shape, axis)) / m",
            "Only the largest entry moves y, and one for one; a small change of any other leaves y where it is.",
        ),
    },
    "min": {
        1: Twin("y", "x.min(axis=axis, keepdims=keepdims)", "Of all entries along the axis only the smallest is seen."),
        2: Twin(
            "dx",
            "spread(dy, x.shape, axis) * (x == spread(y, x.shape, axis)) / m",
            "Only the smallest entry moves y, and one for one; a small change of any other leaves y where it is.",
        ),
    },
}
