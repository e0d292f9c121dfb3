"""sum, mean, var, max, min: many numbers into one. `axis` is None for all axes, an int or a tuple, as in NumPy."""

from typing import Any

import numpy as np

from nanograd.op import Op
from nanograd.ops._sums import Axis, reduced_axes, sum_over


def spread(a: np.ndarray, shape: tuple[int, ...], axis: Axis) -> np.ndarray:
    """Restore the reduced axes with size 1, so that the array broadcasts against the original `shape`.

    >>> spread(np.zeros(2), (2, 5), axis=1).shape
    (2, 1)
    """
    axes = reduced_axes(axis, len(shape))
    return a.reshape([1 if i in axes else n for i, n in enumerate(shape)])


def count(x: np.ndarray, y: Any, ddof: int = 0) -> int:
    """Return how many entries of x went into each entry of y, less ddof, but at least 0."""
    n = (x.size // np.size(y) if np.size(y) else 1) - ddof
    return n if n > 0 else 0


def deviations(x: np.ndarray, axis: Axis) -> np.ndarray:
    """Return x - ⟨x⟩, and remove the rounding error of the mean, which may be large compared with the deviations."""
    for _ in range(2):
        total = sum_over(x, axis, keepdims=True)
        x = x - total / count(x, total)
    return x


def sum_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Sum the entries.
    y = Σ x over `axis`                                    (1)
    """
    return sum_over(x, axis, keepdims), (x.shape, axis)


def sum_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): the derivative of a sum by each of its terms is 1.
    dx_i = dy of the sum that x_i went into                (2)
    Check: the gradient of x.sum() is an array of ones.
    """
    shape, axis = saved
    return (np.broadcast_to(spread(dy, shape, axis), shape),)  # (2)


sum = Op(sum_forward, sum_backward)


def mean_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Average, over the n entries that `axis` reduces.
    y = Σ x / n                                            (1)
    """
    total = sum_over(x, axis, keepdims)
    n = count(x, total)
    return total / n, (x.shape, axis, n)  # (1)


def mean_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): the derivative of a mean by each of its entries is 1/n.
    dx_i = dy / n of the mean that x_i went into           (2)
    Check: dx adds up to dy.
    """
    shape, axis, n = saved
    return (np.broadcast_to(spread(dy / n, shape, axis), shape),)  # (2)


mean = Op(mean_forward, mean_backward, promotes_to_float=True)


def var_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> tuple[np.ndarray, Any]:
    """Return the variance around the mean ⟨x⟩ of the n entries that `axis` reduces; ddof=1 divides by n - 1 (Bessel).
    c = x - ⟨x⟩                                            (1)
    y = Σ c² / (n - ddof)                                  (2)
    """
    c = deviations(x, axis)  # (1)
    squares = sum_over(c * c, axis, keepdims)
    n = count(x, squares, ddof)
    return squares / n, (c, axis, n)  # (2)


def var_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2) and (1).
    By (2):
    dc = 2 c dy / (n - ddof)                               (3)
    Through the mean in (1) x also gets -⟨dc⟩, which is 0, since Σ c = 0:
    dx = dc                                                (4)
    Check: dx sums to zero, since shifting x does not change the variance.
    """
    c, axis, n = saved
    return (c * spread(dy * 2 / n, c.shape, axis),)  # (3), (4)


var = Op(var_forward, var_backward, promotes_to_float=True)


def max_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Take the largest.
    y = max x over `axis`                                  (1)
    """
    y = x.max(axis=reduced_axes(axis, x.ndim), keepdims=keepdims)
    return y, _ties(x, y, axis)


def max_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Send dy to the entry that was largest; m entries that tie share it equally.
    dx_i = dy 1[x_i = y] / m                               (2)
    Ties are a kink; equal shares are a choice, the same as in PyTorch's amax.
    Check: dx adds up to dy.
    """
    return (_share_among_ties(dy, *saved),)  # (2)


max = Op(max_forward, max_backward)


def min_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Take the smallest.
    y = min x over `axis`                                  (1)
    """
    y = x.min(axis=reduced_axes(axis, x.ndim), keepdims=keepdims)
    return y, _ties(x, y, axis)


def min_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Send dy to the entry that was smallest; m entries that tie share it equally.
    dx_i = dy 1[x_i = y] / m                               (2)
    Ties are a kink; equal shares are a choice, the same as in PyTorch's amin.
    Check: dx adds up to dy.
    """
    return (_share_among_ties(dy, *saved),)  # (2)


min = Op(min_forward, min_backward)


def _ties(x: np.ndarray, y: np.ndarray, axis: Axis) -> tuple[np.ndarray, np.ndarray, Axis]:
    """Return where x equals its extremum y, and how many entries m do."""
    is_extremum = x == spread(np.asarray(y), x.shape, axis)
    return is_extremum, is_extremum.sum(axis=reduced_axes(axis, x.ndim), keepdims=True), axis


def _share_among_ties(dy: np.ndarray, is_extremum: np.ndarray, m: np.ndarray, axis: Axis) -> np.ndarray:
    """Send dy in equal shares to the m entries that are the extremum."""
    return is_extremum * (spread(dy, is_extremum.shape, axis) / m.astype(dy.dtype))
