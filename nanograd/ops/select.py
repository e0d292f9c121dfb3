"""where, masked_fill, tril, triu: choose between entries."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import broadcasts_to, unbroadcast


def where_forward(condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take a where the condition holds and b elsewhere; the three broadcast.
    y = a if condition else b                              (1)
    """
    condition = condition.astype(bool, copy=False)
    return np.where(condition, a, b), (condition, a.shape, b.shape)


def where_backward(dy: np.ndarray, saved: Any, needs: Needs = (False, True, True)) -> Gradients:
    """Send each dy to the operand it was taken from.
    da = U(dy if condition else 0)                         (2)
    db = U(0 if condition else dy)                         (3)
    An operand that was not taken gets 0 here, but its own backward may turn that into NaN (0 · ∞). So
    where(x > 0, log x, 0) is safe only as where(x > 0, log(where(x > 0, x, 1)), 0).
    Check: without broadcasting, da + db is dy.
    """
    condition, a_shape, b_shape = saved
    da = unbroadcast(np.where(condition, dy, 0), a_shape) if needs[1] else None  # (2)
    db = unbroadcast(np.where(condition, 0, dy), b_shape) if needs[2] else None  # (3)
    return None, da, db


where = Op(where_forward, where_backward, nondifferentiable=("condition",))


def masked_fill_forward(x: np.ndarray, mask: np.ndarray, *, value: float) -> tuple[np.ndarray, Any]:
    """Overwrite with one value where the mask holds; the mask broadcasts to x.
    y = value if mask else x                               (1)
    """
    mask = mask.astype(bool, copy=False)
    if not broadcasts_to(mask.shape, x.shape):
        raise ValueError(f"masked_fill: mask must broadcast to x {x.shape}, got {mask.shape}")
    value = value.item() if isinstance(value, np.generic) else value  # a NumPy scalar would widen a float32 x
    if x.dtype.kind != "f" and isinstance(value, float):
        x = x.astype(np.float32)  # a fraction among whole numbers
    return np.where(mask, value, x), mask


def masked_fill_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Stop dy where x was overwritten, as y does not depend on x there.
    dx = 0 if mask else dy                                 (2)
    Check: with nothing masked, dx is dy.
    """
    mask = saved
    return (np.where(mask, 0, dy) if needs[0] else None), None  # (2)


masked_fill = Op(masked_fill_forward, masked_fill_backward, nondifferentiable=("mask",))


def _check_matrix(name: str, x: np.ndarray) -> None:
    """Raise unless x has two axes: NumPy makes a matrix of a vector, and the gradient would have another shape than x."""
    if x.ndim < 2:
        raise ValueError(f"{name}: x must have at least two axes, got shape {x.shape}")


def tril_forward(x: np.ndarray, *, k: int = 0) -> tuple[np.ndarray, Any]:
    """Keep the lower triangle of the last two axes, up to the k-th diagonal; 0 above.
    y_ij = x_ij 1[j ≤ i + k]                               (1)
    """
    _check_matrix("tril", x)
    return np.tril(x, k), k


def tril_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): cleared entries do not affect the loss.
    dx_ij = dy_ij 1[j ≤ i + k]                             (2)
    Check: tril of dx changes nothing.
    """
    k = saved
    return (np.tril(dy, k),)  # (2)


tril = Op(tril_forward, tril_backward)


def triu_forward(x: np.ndarray, *, k: int = 0) -> tuple[np.ndarray, Any]:
    """Keep the upper triangle of the last two axes, from the k-th diagonal on; 0 below.
    y_ij = x_ij 1[j ≥ i + k]                               (1)
    """
    _check_matrix("triu", x)
    return np.triu(x, k), k


def triu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): cleared entries do not affect the loss.
    dx_ij = dy_ij 1[j ≥ i + k]                             (2)
    Check: triu of dx changes nothing.
    """
    k = saved
    return (np.triu(dy, k),)  # (2)


triu = Op(triu_forward, triu_backward)
