"""Twins of reshape, transpose, expand_dims, squeeze, broadcast_to, getitem, concat and stack."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "transpose": {"axes": "tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)"},
    "getitem": {"taken": "np.ravel(np.arange(x.size).reshape(x.shape)[index])"},  # where in x each y was taken from
    "concat": {"cuts": "np.cumsum([each.shape[axis] for each in xs])[:-1]"},
}
_EACH = "tuple(gradient(k) for k in range(len(xs)))"  # of every operand
_OWN = ("tuple(backward(k) for k in range(len(xs)))",)

TWINS: dict[str, dict[int, Twin]] = {
    "reshape": {
        1: Twin(
            "y", "np.ravel(x).reshape(shape)", "Write all entries in one line, row after row, and break the line anew."
        ),
        2: Twin(
            "dx",
            "np.ravel(dy).reshape(x.shape)",
            "No number was changed, so each dy belongs to the x of the same place in line.",
        ),
    },
    "transpose": {
        1: Twin(
            "y", "np.transpose(x, axes)", "Entries stay what they are, only their indices are read in another order."
        ),
        2: Twin(
            "dx",
            "np.transpose(dy, np.argsort(axes))",
            "Each dy sits at the new order of its indices; sorting `axes` says where every old axis has gone.",
        ),
    },
    "expand_dims": {
        1: Twin(
            "y", "np.expand_dims(x, axis)", "An axis of size 1 has the index 0 only: it adds no entries and moves none."
        ),
        2: Twin("dx", "np.ravel(dy).reshape(x.shape)", "The i-th y is the i-th x, so its dy is the i-th dx."),
    },
    "squeeze": {
        1: Twin(
            "y",
            "np.squeeze(x, axis)",
            "An axis of size 1 has the index 0 only: without it all entries are still there.",
        ),
        2: Twin("dx", "np.ravel(dy).reshape(x.shape)", "The i-th y is the i-th x, so its dy is the i-th dx."),
    },
    "broadcast_to": {
        1: Twin("y", "np.broadcast_to(x, shape)", "Each entry stands in for a whole run of entries."),
        2: Twin("dx", "U(dy, x.shape)", "Raising x raises all its copies one for one, so add up the dy of the copies."),
    },
    "getitem": {
        1: Twin("y", "x[index]", "Each entry of y is one of x, named by the index."),
        2: Twin(
            "dx",
            "np.bincount(taken, np.ravel(dy), x.size).reshape(x.shape)",
            "x at place j moves every y that was taken from j, one for one: add the dy of all of them, 0 if there is none.",
        ),
    },
    "concat": {
        1: Twin("y", "np.concatenate(xs, axis=axis)", "One operand after the other, nothing changed."),
        2: Twin(
            "dxs",
            "tuple(np.split(dy, cuts, axis=axis))",
            "Every entry of y is one entry of one operand, so its dy goes there: cut where the operands met.",
            _EACH,
            _OWN,
        ),
    },
    "stack": {
        1: Twin("y", "np.stack(xs, axis=axis)", "Operand k becomes slice k of a new axis."),
        2: Twin(
            "dxs",
            "tuple(np.moveaxis(dy, axis, 0))",
            "Slice k of y is operand k and nothing else, so slice k of dy is its gradient.",
            _EACH,
            _OWN,
        ),
    },
}
