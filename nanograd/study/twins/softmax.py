"""Twins of softmax and log_softmax."""

from nanograd.study.twins.line import Twin

_ROWS = {  # j and i count along `axis`: the pairs of a row lie on two axes of their own, (…, j, i)
    "same": "np.eye(x.shape[axis])",
    "y_i": "np.moveaxis(y, axis, -1)[..., None, :]",
    "dy_j": "np.moveaxis(dy, axis, -1)[..., :, None]",
}
GIVEN = {
    "softmax": {
        **_ROWS,
        "y_j": "np.moveaxis(y, axis, -1)[..., :, None]",
        "counts": "np.True_ if mask is None else mask",
    },
    "log_softmax": {**_ROWS, "p": "np.exp(y)", "p_i": "np.exp(y_i)"},
}

TWINS: dict[str, dict[int, Twin]] = {
    "softmax": {
        1: Twin(
            "y",
            "counts * np.exp(x) / (counts * np.exp(x)).sum(axis=axis, keepdims=True)",
            "exp makes every score positive, and dividing by the sum of the row makes the row add up to one.",
        ),
        2: Twin(
            "dy_dx",
            "y_j * (same - y_i)",
            "The quotient rule: the top exp(x_j) moves only with its own x_j, the sum below with every x_i by exp(x_i).",
            "jacobian('y', 'x', axis)",
        ),
        3: Twin(
            "dx",
            "y * (dy - (dy * y).sum(axis=axis, keepdims=True))",
            "Of 1[i = j] only the term j = i is left, y_i dy_i; from the rest y_i comes out in front of the sum.",
            also=("np.moveaxis((dy_j * dy_dx).sum(axis=-2), -1, axis)",),
        ),
    },
    "log_softmax": {
        1: Twin(
            "y",
            "x - np.log(np.exp(x).sum(axis=axis, keepdims=True))",
            "The logarithm of a quotient is a difference, and ln exp(x_j) is x_j.",
        ),
        2: Twin(
            "dy_dx",
            "same - p_i",
            "x_j itself has slope 1; the slope of the log of the sum is exp(x_i) over the sum, p_i.",
            "jacobian('y', 'x', axis)",
        ),
        3: Twin(
            "dx",
            "dy - p * dy.sum(axis=axis, keepdims=True)",
            "Of 1[i = j] only dy_i is left; p_i does not depend on j and comes out in front of the sum.",
            also=("np.moveaxis((dy_j * dy_dx).sum(axis=-2), -1, axis)",),
        ),
    },
}
