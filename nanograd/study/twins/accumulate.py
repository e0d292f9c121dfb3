"""Twins of std, norm, prod, logsumexp and cumsum."""

from nanograd.study.twins.line import Twin

GIVEN = {"std": {"n": "count(x, axis)"}}

TWINS: dict[str, dict[int, Twin]] = {
    "std": {
        1: Twin(
            "c",
            "x - x.mean(axis=axis, keepdims=True)",
            "Measure every entry from the mean of those it is averaged with.",
            "x - spread(x.sum(axis=axis), x.shape, axis) / n",
        ),
        2: Twin(
            "y",
            "np.sqrt((c**2).sum(axis=axis, keepdims=keepdims) / (n - ddof))",
            "The root of the mean square distance: a spread in the unit of x.",
        ),
        3: Twin(
            "varied",
            "2 * y * (n - ddof) * δy",
            "Square (2) to be rid of the root, and let both sides change: slopes of squares.",
            "2 * (c * δc).sum(axis=axis, keepdims=keepdims)",
        ),
        4: Twin(
            "dc",
            "c * spread(dy, x.shape, axis) / ((n - ddof) * spread(y, x.shape, axis))",
            "Solve (3) for δy: each δc moves y by c / ((n - ddof) y); weigh that by dy.",
        ),
        5: Twin(
            "dx",
            "dc",
            "x_i moves its own c_i and, through the mean, all of them by -1/n; those parts add to a mean of dc, "
            "which is 0 as Σ c is.",
        ),
    },
    "norm": {
        1: Twin(
            "y",
            "np.sqrt((x**2).sum(axis=axis, keepdims=keepdims))",
            "Pythagoras, in as many directions as there are entries.",
        ),
        2: Twin(
            "varied",
            "2 * y * δy",
            "Square (1) to be rid of the root, and let both sides change: slopes of squares.",
            "2 * (x * δx).sum(axis=axis, keepdims=keepdims)",
        ),
        3: Twin(
            "dx",
            "spread(dy, x.shape, axis) * x / spread(y, x.shape, axis)",
            "Solve (2) for δy: each δx moves y by x / y; weigh that by dy.",
        ),
    },
    "prod": {
        1: Twin("y", "x.prod(axis=axis, keepdims=keepdims)", "Every entry is a factor of exactly one product."),
        2: Twin(
            "dy_dx",
            "others(x, axis)",
            "With the other factors held still, y is a straight line in x_i, and their product its slope.",
            "slope_of_sum('y', 'x')",
        ),
        3: Twin(
            "dx",
            "spread(dy, x.shape, axis) * others(x, axis)",
            "Weigh (2) by the dy of the product that x_i went into.",
        ),
    },
    "logsumexp": {
        1: Twin(
            "y",
            "np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))",
            "Leave the logarithms by exp, add, and come back by ln.",
        ),
        2: Twin(
            "p",
            "np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)",
            "The slope of ln is one over the sum, and that of the sum in x_i is exp(x_i).",
            "slope_of_sum('y', 'x')",
        ),
        3: Twin("dx", "spread(dy, x.shape, axis) * p", "Weigh (2) by the dy of the sum that x_i went into."),
    },
    "cumsum": {
        1: Twin("y", "np.cumsum(x, axis=axis)", "Each entry is the sum of all x so far, its own included."),
        2: Twin(
            "dx",
            "np.flip(np.cumsum(np.flip(dy, axis), axis=axis), axis)",
            "x_s is part of y_s and of every later sum, one for one, so add up from the end.",
        ),
    },
}
