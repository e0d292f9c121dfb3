"""Reasons of ops that choose, copy and move entries: where to triu, pad to scatter_add, and embedding."""

import numpy as np

from nanograd.study import draw
from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"select": 8, "arrange": 10, "embedding": 17}


def _triangle(side: str) -> Reasons:
    """Return the reasons of tril or triu: of the entries below or above a diagonal."""
    return Reasons(
        f"Keep the entries on the k-th diagonal and {side} it.",
        "∂y/∂x is 1 for an entry that is kept and 0 for one that is cleared.",
        example=lambda d: ([d.normal(*d.axes(2, "two axes, rows and columns"))], {}),
    )


def _embedding(d: Draw) -> Example:
    d.fits(len(d.shape) == 2, "a table (V, C)")
    last = d.shape[0] - 1
    return [d.normal(*d.shape), np.array([last, 0, last])], {}  # two tokens share a row


REASONS: dict[str, Reasons] = {
    "masked_fill": Reasons(
        "One value replaces all masked entries.",
        "Where mask is True, y is a constant; elsewhere y is x with derivative 1.",
        example=lambda d: ([d.normal(*d.shape), d.mask(*d.shape)], {"value": -9.0}),
    ),
    "tril": _triangle("below"),
    "triu": _triangle("above"),
    "where": Reasons(
        "Each entry comes from a or from b, after broadcasting.",
        "Where the condition is True, y is a with derivative 1, elsewhere y does not depend on a; then sum "
        "over the copies of each a.",
        "y depends on b exactly where it does not depend on a; then sum over the copies of each b.",
        example=lambda d: ([d.mask(*d.shape), d.normal(*d.shape), d.normal(*d.shape[-1:])], {}),
    ),
    "flip": Reasons(
        "The first entry becomes the last.",
        "x[i] is y[n - 1 - i], so its gradient is the dy there.",
        definitions={"n": "to_rows(x, axis).shape[-1]", "i": "np.arange(n)"},
        example=draw.along_axis(),
    ),
    "pad": Reasons(
        Reason(
            "x is placed in the middle of a larger array that is filled with `value`.",
            code="np.pad(x, width, constant_values=value)",
            name="y",
        ),
        Reason("Inside, y is x with derivative 1; the border is constant.", code="dy[inside]", name="dx"),
        definitions={
            "before": "np.broadcast_to(width, (x.ndim, 2))[:, 0]",
            "inside": "tuple(slice(b, b + n) for b, n in zip(before, x.shape))",
        },
        example=lambda d: ([d.normal(*d.axes(1, "an axis"))], {"width": 1}),
    ),
    "repeat": Reasons(
        "Entry i of x fills the r positions from r i on.",
        "All r copies are x[i], with derivative 1: sum the dy of the first copies, of the second ones, and so on.",
        definitions={
            "r": "repeats",
            "n": "to_rows(x, axis).shape[-1]",
            "i": "np.arange(n)[:, None]",
            "k": "np.arange(r)",
        },
        example=draw.along_axis(repeats=2),
    ),
    "roll": Reasons(
        "Each entry moves on by `shift` positions, cyclically.",
        "x[i] moved on by `shift` positions, so its gradient is the dy there.",
        definitions={"n": "to_rows(x, axis).shape[-1]", "i": "np.arange(n)"},
        example=draw.along_axis(shift=1),
    ),
    "scatter": Reasons(
        Reason(
            "A position that was written holds the value written last; all others hold x.",
            words="put_along_axis(x, indices, {}, axis)",
        ),
        Reason(
            "Where y is x the derivative is 1; where a value was written y does not depend on x.",
            words="np.where(written, 0, {})",
        ),
        Reason(
            "A value that remains is y at its position, with derivative 1; one that a later value replaced "
            "does not enter y.",
            words="np.where(last, {}, 0)",
        ),
        definitions={
            "last": "last_writes(indices, x.shape[axis], axis)",
            "written": "put_along_axis(np.zeros(x.shape), indices, 1, axis) > 0",
        },
        example=draw.picked(values=True),
    ),
    "scatter_add": Reasons(
        "Each value is added to the entry that its index names.",
        "In (1) y is x plus other terms, so the derivative is 1.",
        "Value j was added to y at indices[j] and nowhere else, so its gradient is the dy there.",
        definitions={"n": "x.shape[axis]"},
        example=draw.picked(values=True),
    ),
    "take_along_axis": Reasons(
        "Entry j of y is the entry of x that indices names there.",
        "x at index i appears in y at every j that names i, with derivative 1: sum the dy of all of them.",
        definitions={"n": "x.shape[axis]"},
        example=draw.picked(values=False),
    ),
    "embedding": Reasons(
        "Every token gets a copy of the row of its id.",
        "Row v is the y of every token whose id is v, with derivative 1: sum the dy of these tokens.",
        definitions={
            "ids": "np.ravel(ids)",
            "v": "np.arange(len(weight))[:, None]",
            "dy": "dy.reshape(ids.size, weight.shape[1])",
        },
        example=_embedding,
    ),
}
