"""std, norm, prod, logsumexp, cumsum: reductions whose backward is more than a copy."""

import math
from typing import Any

import numpy as np

from nanograd.op import Op
from nanograd.ops._sums import Axis, reduced_axes, sum_over
from nanograd.ops.reduce import count, deviations, spread


def std_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> tuple[np.ndarray, Any]:
    """Measure the spread around the mean ⟨x⟩ of n entries, in the unit of x; ddof=1 divides by n - 1 (Bessel).
    c = x - ⟨x⟩                                            (1)
    y = √(Σ c² / (n - ddof))                               (2)
    """
    c = deviations(x, axis)  # (1)
    squares = sum_over(c * c, axis, keepdims)
    n = count(x, squares, ddof)
    y = np.sqrt(squares / n)  # (2)
    return y, (c, np.asarray(y), axis, n)


def std_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2) and (1).
    Differentiate y² (n - ddof) = Σ c² by c_i: 2 y (n - ddof) ∂y/∂c_i = 2 c_i. So
    ∂y/∂c_i = c_i / ((n - ddof) y)                         (3)
    dc = c dy / ((n - ddof) y)                             (4)
    Through the mean in (1) x also gets -⟨dc⟩, which is 0, since Σ c = 0:
    dx = dc                                                (5)
    If all entries are equal, y = 0 is a kink; dx is 0 there.
    Check: dx sums to zero, since shifting x changes no spread.
    """
    c, y, axis, n = saved
    scale = dy / np.where(y == 0, 1, y) / n  # y = 0 only where c = 0
    return (c * spread(scale, c.shape, axis),)  # (4), (5)


std = Op(std_forward, std_backward, promotes_to_float=True)


def norm_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Measure the Euclidean length.
    y = √(Σ x²)                                            (1)
    """
    top = np.abs(x).max(axis=reduced_axes(axis, x.ndim), keepdims=True, initial=0)
    unit = np.where((top == 0) | np.isinf(top), 1, top)  # squares of x/unit neither overflow nor vanish
    y = np.sqrt(sum_over(x / unit * (x / unit), axis, keepdims=True)) * unit
    y = y if keepdims else np.squeeze(y, reduced_axes(axis, x.ndim))
    return y, (x, np.asarray(y), axis)


def norm_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    Differentiate y² = Σ x² by x_i: 2 y ∂y/∂x_i = 2 x_i. So
    ∂y/∂x_i = x_i / y                                      (2)
    dx = dy x / y                                          (3)
    At x = 0 there is a kink; dx is 0 there.
    Check: for dy = 1, dx is the unit vector along x.
    """
    x, y, axis = saved
    return (x * spread(dy / np.where(y == 0, 1, y), x.shape, axis),)  # (3)


norm = Op(norm_forward, norm_backward, promotes_to_float=True)


def prod_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Multiply all entries.
    y = Π x over `axis`                                    (1)
    """
    return x.prod(axis=reduced_axes(axis, x.ndim), keepdims=keepdims), (x, axis)


def prod_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    The derivative by x_i is the product of all the others:
    ∂y/∂x_i = Π_{j≠i} x_j                                  (2)
    dx_i = dy Π_{j≠i} x_j                                  (3)
    This is y / x_i, except where x_i = 0. So the code multiplies the others: those before i, and those after it.
    Check: if exactly one factor is zero, only that entry has a gradient.
    """
    x, axis = saved
    axes = reduced_axes(axis, x.ndim)
    remaining = tuple(a for a in range(x.ndim) if a not in axes)
    order = (*remaining, *axes)
    rows = x.transpose(order).reshape(*(x.shape[a] for a in remaining), math.prod(x.shape[a] for a in axes))
    before, after = np.ones_like(rows), np.ones_like(rows)
    np.cumprod(rows[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumprod(rows[..., :0:-1], axis=-1)[..., ::-1]
    others = (before * after).reshape([x.shape[a] for a in order]).transpose(np.argsort(order))  # (2)
    return (others * spread(dy, x.shape, axis),)  # (3)


prod = Op(prod_forward, prod_backward)


def logsumexp_forward(x: np.ndarray, *, axis: Axis = None, keepdims: bool = False) -> tuple[np.ndarray, Any]:
    """Take the logarithm of the sum of exponentials.
    y = ln Σ_k exp(x_k)                                    (1)
    If all x are -∞, so is y.
    """
    axes = reduced_axes(axis, x.ndim)
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    top = np.where(np.isinf(top), 0, top)  # the shift cancels in (1); an infinite one would give NaN
    p = np.exp(x - top)
    total = sum_over(p, axis, keepdims=True)
    with np.errstate(divide="ignore"):
        y = np.log(total) + top
    p /= np.where(total == 0, 1, total)
    return (y if keepdims else np.squeeze(y, axes)), (p, axis)


def logsumexp_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    The derivative is softmax:
    ∂y/∂x_i = exp(x_i) / Σ_k exp(x_k) = p_i                (2)
    dx = dy p                                              (3)
    Check: dx adds up to dy.
    """
    p, axis = saved
    return (p * spread(dy, p.shape, axis),)  # (3)


logsumexp = Op(logsumexp_forward, logsumexp_backward, promotes_to_float=True)


def running_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """Return np.cumsum in the dtype of x; floats are added in float64, as rounding would pile up in one float32 sum."""
    return np.cumsum(x, axis=axis, dtype=np.float64).astype(x.dtype) if x.dtype == np.float32 else np.cumsum(x, axis)


def cumsum_forward(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Return the running sum.
    y_t = Σ_{s≤t} x_s along `axis`                         (1)
    """
    if axis is None or x.ndim == 0:
        raise ValueError(f"cumsum: name an axis of x, such as axis=-1; got axis={axis} and x of shape {x.shape}")
    return running_sum(x, axis), axis


def cumsum_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): x_s is a term of y_s and of all later sums.
    dx_s = Σ_{t≥s} dy_t                                    (2)
    Check: the first x gets the whole sum of dy, the last only its own.
    """
    axis = saved
    return (np.flip(running_sum(np.flip(dy, axis), axis), axis),)  # (2)


cumsum = Op(cumsum_forward, cumsum_backward)
