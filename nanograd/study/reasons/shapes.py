"""Reasons of reshape, transpose, expand_dims, squeeze, broadcast_to, getitem, concat and stack."""

import numpy as np

from nanograd.study import draw
from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"shape": 9}


def _getitem(d: Draw) -> Example:
    n = d.axes(1, "an axis")[0]
    return [d.normal(*d.shape)], {"index": np.array([n - 1, 0, n - 1])}


def _concat(d: Draw) -> Example:
    shape = d.axes(1, "an axis")
    return [d.normal(*shape), d.normal(1, *shape[1:])], {"axis": 0}


REASONS: dict[str, Reasons] = {
    "broadcast_to": Reasons(
        Reason(
            "Each entry is repeated along the axes that are new or had size 1.",
            code="np.broadcast_to(x, shape)",
            name="y",
        ),
        "∂y/∂x is 1 for every copy, so dx is the sum of their dy.",
        example=lambda d: ([d.normal(*d.shape)], {"shape": (3, *d.shape)}),
    ),
    "concat": Reasons(
        Reason(
            "The operands follow one another along the axis, unchanged.", code="np.concatenate(xs, axis=axis)", name="y"
        ),
        Reason(
            "Every entry of y is one entry of one operand, so dy is split at the same positions.",
            code="tuple(np.split(dy, splits, axis=axis))",
            name="dxs",
        ),
        definitions={"splits": "np.cumsum([x.shape[axis] for x in xs])[:-1]"},
        example=_concat,
    ),
    "expand_dims": Reasons(
        "The new axis has the single index 0, so it adds no entries and moves none.",
        Reason("The i-th entry of y is the i-th entry of x.", words="{}.reshape(x.shape)"),
        example=draw.normal(axis=0),
    ),
    "getitem": Reasons(
        "Each entry of y is the entry of x that the index names.",
        "x[j] appears in every y whose index is j, with derivative 1: sum the dy of all of them, 0 if there is none.",
        definitions={
            "index": "np.ravel(np.arange(x.size).reshape(x.shape)[index])",  # where in x each y comes from
            "x": "np.ravel(x)",
            "dy": "np.ravel(dy)",
        },
        example=_getitem,
    ),
    "reshape": Reasons(
        Reason(
            "The entries keep their order, row after row; only the rows are divided differently.",
            words="{}.reshape(shape)",
        ),
        Reason("The entries keep their order, so the i-th dy is the i-th dx.", words="{}.reshape(x.shape)"),
        example=draw.normal(shape=-1),
    ),
    "squeeze": Reasons(
        "An axis of size 1 has the single index 0, so without it all entries remain.",
        Reason("The i-th entry of y is the i-th entry of x.", words="{}.reshape(x.shape)"),
        example=lambda d: ([d.normal(*(d.shape if 1 in d.shape else (1, *d.shape)))], {}),
    ),
    "stack": Reasons(
        Reason("Operand k becomes slice k of a new axis.", words="np.moveaxis({}, 0, axis)"),
        Reason("Slice k of y is operand k and nothing else, so slice k of dy is its gradient.", name="dxs"),
        definitions={"dy": "np.moveaxis(dy, axis, 0)"},
        example=lambda d: ([d.normal(*d.shape), d.normal(*d.shape)], {"axis": 0}),
    ),
    "transpose": Reasons(
        Reason(
            "The entries stay the same; only the order of their indices changes.",
            code="np.transpose(x, axes)",
            name="y",
        ),
        Reason(
            "The inverse permutation: argsort of `axes` gives the new position of every old axis.",
            code="np.transpose(dy, np.argsort(axes))",
            name="dx",
        ),
        definitions={"axes": "tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)"},
    ),
}
