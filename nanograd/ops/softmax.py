"""softmax and log_softmax: from scores to probabilities and their logarithms."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._sums import reduced_axes, sum_over
from nanograd.ops._unbroadcast import broadcasts_to


def softmax_array(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return softmax along `axis`; a row whose scores are all -∞ gives zeros, not NaN."""
    top = x.max(axis=reduced_axes(axis, x.ndim), keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top)  # -∞ - (-∞) would be NaN
    y = np.exp(x - top)  # the shift cancels in the quotient and keeps exp finite
    total = sum_over(y, axis, keepdims=True)
    y /= np.where(total == 0, 1, total)
    return y


def softmax_forward(x: np.ndarray, mask: np.ndarray | None = None, *, axis: int = -1) -> tuple[np.ndarray, Any]:
    """Turn scores into probabilities; mask is boolean, broadcasts to x, and is True where a score counts.
    y_j = exp(x_j) / Σ_k exp(x_k), over the scores that count   (1)
    A score that does not count gets 0. So does a whole row in which no score counts, or all are -∞.
    """
    if mask is not None:
        if mask.dtype != np.bool_ or not broadcasts_to(mask.shape, x.shape):
            raise ValueError(
                f"softmax: mask must be boolean, True where a score counts, and broadcast to x {x.shape}, got {mask.dtype} "
                f"{mask.shape}"
            )
        x = np.where(mask, x, -np.inf)
    y = softmax_array(x, axis)
    return y, (y, axis)  # y is all that backward needs; x is not kept


def softmax_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Pull dy back through (1).
    Raising x_i raises y_i, and lowers every other y_j through the sum S = Σ_k exp(x_k). By x_i, S has the derivative
    exp(x_i), and exp(x_j) has the same if i = j and else 0. The quotient rule, (u/v)' = u'/v - u v'/v², gives
    ∂y_j/∂x_i = exp(x_j) 1[i = j] / S - exp(x_j) exp(x_i) / S²   (2)
    In terms of y, the two cases are:
    ∂y_j/∂x_i = y_i (1 - y_i) 1[i = j] - y_j y_i 1[i ≠ j]   (3)
    Both at once:
    ∂y_j/∂x_i = y_j (1[i = j] - y_i)                       (4)
    By the chain rule (*), multiply (4) by the upstream dy_j and sum over j:
    dx_i = y_i (dy_i - Σ_j dy_j y_j)                       (5)
    Where y is 0, so is dx: masked scores need no special case.
    Check: dx sums to zero along `axis`: a number added to all scores of a row cancels in (1), and changes no y.
    """
    if not needs[0]:
        return None, None
    y, axis = saved
    row = sum_over(dy * y, axis, keepdims=True)  # the sum in (5), one number per row
    return y * (dy - row), None  # (5)


softmax = Op(softmax_forward, softmax_backward, nondifferentiable=("mask",), promotes_to_float=True)


def log_softmax_forward(x: np.ndarray, *, axis: int = -1) -> tuple[np.ndarray, Any]:
    """Turn scores into log-probabilities.
    y_j = x_j - ln Σ_k exp(x_k)                            (1)
    A row whose scores are all -∞ gives -∞.
    """
    top = x.max(axis=reduced_axes(axis, x.ndim), keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top)
    y = x - top
    total = sum_over(np.exp(y), axis, keepdims=True)
    empty = total == 0  # rows whose scores are all -∞
    y -= np.log(np.where(empty, 1, total))
    return y, (y, empty, axis)


def log_softmax_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    Raising x_i raises y_i itself, and lowers every y_j through the shared sum:
    ∂y_j/∂x_i = 1[i = j] - p_i,  p = exp(y)                (2)
    By the chain rule (*), multiply (2) by the upstream dy_j and sum over j:
    dx_i = dy_i - p_i Σ_j dy_j                             (3)
    A row whose scores are all -∞ has no gradient.
    Check: dx sums to zero along `axis`, since the p_i sum to one.
    """
    y, empty, axis = saved
    p = np.exp(y)
    dx = dy - p * sum_over(dy, axis, keepdims=True)
    return (np.where(empty, 0, dx),)  # (3)


log_softmax = Op(log_softmax_forward, log_softmax_backward, promotes_to_float=True)
