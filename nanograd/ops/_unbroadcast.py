"""The adjoint of broadcasting, and what can be broadcast."""

import numpy as np

from nanograd.ops._sums import sum_over


def unbroadcast(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `g` back to `shape`: over the axes that broadcasting added in front, and over those it stretched from size 1.

    Broadcasting copies a value; a change of the value changes all its copies, so their gradients are summed.

    >>> unbroadcast(np.ones((4, 2, 3)), (2, 1))
    array([[12.],
           [12.]])
    """
    if g.shape == shape:
        return g
    added = g.ndim - len(shape)
    stretched = tuple(i for i, n in enumerate(shape, start=added) if n == 1 and g.shape[i] != 1)
    return sum_over(g, (*range(added), *stretched)).reshape(shape)


def broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Tell whether an array of this shape broadcasts to the target without stretching the target.

    >>> broadcasts_to((3,), (2, 3)), broadcasts_to((2, 3), (3,))
    (True, False)
    """
    return len(shape) <= len(target) and all(m in (1, n) for m, n in zip(shape[::-1], target[::-1], strict=False))
