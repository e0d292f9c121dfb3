"""The adjoint of broadcasting."""

import numpy as np


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `g` back to `shape`: over the axes that broadcasting added in front, and over those it stretched from size 1.

    Broadcasting copies one value to many places; a change of that value changes all the copies, so their gradients add.

    >>> unbroadcast(np.ones((4, 2, 3)), (2, 1))
    array([[12.],
           [12.]])
    """
    if g.shape == shape:
        return g
    added = g.ndim - len(shape)
    stretched = tuple(i for i, n in enumerate(shape, start=added) if n == 1 and g.shape[i] != 1)
    return g.sum(axis=(*range(added), *stretched), keepdims=True).reshape(shape)
