"""Twins of pad, repeat, flip, roll, take_along_axis, scatter and scatter_add."""

from nanograd.study.twins.line import Twin

_SIZE = {"n": "x.shape[axis]"}
GIVEN = {
    "pad": {
        "before": "np.broadcast_to(width, (x.ndim, 2))[:, 0]",
        "inside": "tuple(slice(b, b + n) for b, n in zip(before, x.shape))",
    },
    "repeat": {"r": "repeats"},
    "flip": {"n": "x.size"},
    "roll": {"n": "x.size"},
    "take_along_axis": _SIZE,
    "scatter_add": _SIZE,
    "scatter": {
        **_SIZE,
        "last": "stays(indices, n, axis)",
        "written": "collect(np.ones(indices.shape), indices, n, axis) > 0",
    },
}

TWINS: dict[str, dict[int, Twin]] = {
    "pad": {
        1: Twin(
            "y", "np.pad(x, width, constant_values=value)", "Lay x on a larger sheet of which every entry is `value`."
        ),
        2: Twin(
            "dx", "dy[inside]", "Inside y is x itself, of slope 1; the border is a constant, and its dy goes nowhere."
        ),
    },
    "repeat": {
        1: Twin("y", "np.repeat(x, repeats, axis=axis)", "Entry i of x fills the r places from r i on."),
        2: Twin(
            "dx",
            "sum(along(dy, slice(k, None, repeats), axis) for k in range(repeats))",
            "All r copies move with x[i] one for one: add the dy of the first copies, of the second ones, and so on.",
        ),
    },
    "flip": {
        1: Twin("y", "np.flip(x, axis)", "The first entry becomes the last."),
        2: Twin("dx", "np.flip(dy, axis)", "x[i] went to place n - 1 - i, and its dy waits there."),
    },
    "roll": {
        1: Twin("y", "np.roll(x, shift, axis)", "Each entry moves on by `shift` places, round the corner if it must."),
        2: Twin("dx", "np.roll(dy, np.negative(shift), axis)", "x[i] went `shift` places on, and its dy waits there."),
    },
    "take_along_axis": {
        1: Twin(
            "y", "np.take_along_axis(x, indices, axis)", "Place j of y shows the entry of x that indices names there."
        ),
        2: Twin(
            "dx",
            "collect(dy, indices, n, axis)",
            "x at place i was shown at every j that names i, each time with slope 1: add the dy of all of them.",
        ),
    },
    "scatter_add": {
        1: Twin(
            "y", "x + collect(values, indices, n, axis)", "Each value is dropped on the entry that its position names."
        ),
        2: Twin("dx", "dy", "In the sum (1) x moves y one for one, whatever was added to it."),
        3: Twin(
            "dvalues",
            "np.take_along_axis(dy, indices, axis)",
            "Value j went to place indices[j] of y and nowhere else, one for one: fetch the dy of that place.",
        ),
    },
    "scatter": {
        1: Twin(
            "y",
            "np.where(written, collect(values * last, indices, n, axis), x)",
            "Written places show the value that came last, all others still show x.",
        ),
        2: Twin(
            "dx",
            "np.where(written, 0, dy)",
            "Where x still shows it moves y one for one; what is covered moves nothing.",
        ),
        3: Twin(
            "dvalues",
            "np.where(last, np.take_along_axis(dy, indices, axis), 0)",
            "A value that stayed moves its place of y one for one; one that was covered by a later value moves nothing.",
        ),
    },
}
