"""linear and matmul: sums of products."""

import math
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._sums import sum_over
from nanograd.ops._unbroadcast import unbroadcast


def linear_forward(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, *, needs: Needs = (True, True, True)
) -> tuple[np.ndarray, Any]:
    """Map each row of features to new ones: x (…, in), weight (out, in), bias (out,) or None → (…, out).
    y_to = Σ_i x_ti weight_oi + bias_o,  y = x weightᵀ + bias   (1)
    """
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: x and weight (out, in) must have one inner size, got {x.shape} and {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias must have shape {weight.shape[:1]}, the rows of weight, got {bias.shape}")
    flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # (tokens, in): one large product is faster than many
    y = flat @ weight.T
    if bias is not None:
        y += bias  # (1)
    return y.reshape(*x.shape[:-1], len(weight)), (flat if needs[1] else None, weight if needs[0] else None, x.shape)


def linear_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True)) -> Gradients:
    """Pull dy back through (1).
    x_ti enters the outputs y_to of its own token with factor weight_oi. By the chain rule (*), sum over o:
    dx_ti = Σ_o dy_to weight_oi,  dx = dy weight           (2)
    weight_oi enters the output y_to of every token t with factor x_ti; sum over t:
    dweight_oi = Σ_t dy_to x_ti,  dweight = dyᵀ x          (3)
    dbias_o = Σ_t dy_to                                    (4)
    Check: if in ≠ out, shapes alone determine (2) and (3); with square weights a wrong transpose goes unnoticed.
    """
    x, weight, x_shape = saved
    dy = dy.reshape(math.prod(x_shape[:-1]), dy.shape[-1])  # (tokens, out)
    dx = (dy @ weight).reshape(x_shape) if needs[0] else None  # (2)
    dweight = dy.T @ x if needs[1] else None  # (3)
    dbias = sum_over(dy, 0) if needs[2] else None  # (4)
    return dx, dweight, dbias


linear = Op(linear_forward, linear_backward, promotes_to_float=True)


def matmul_forward(a: np.ndarray, b: np.ndarray, *, needs: Needs = (True, True)) -> tuple[np.ndarray, Any]:
    """Multiply matrices over the last two axes, as NumPy's `@`: (…, I, K) and (…, K, J) → (…, I, J).
    y_ij = Σ_k a_ik b_kj,  y = a b                         (1)
    The leading axes broadcast. A vector stands for one row on the left and for one column on the right.
    """
    if a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(f"matmul: the last axis of a and last but one of b must agree, got {a.shape} and {b.shape}")
    return a @ b, (a if needs[1] else None, b if needs[0] else None, a.shape, b.shape)


def matmul_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (1).
    a_ik enters the outputs y_ij of its own row with factor b_kj. By the chain rule (*), sum over j:
    da_ik = Σ_j dy_ij b_kj,  da = U(dy bᵀ)                 (2)
    b_kj enters the outputs y_ij of its own column with factor a_ik; sum over i:
    db_kj = Σ_i a_ik dy_ij,  db = U(aᵀ dy)                 (3)
    ᵀ swaps the last two axes; U sums over the batch axes along which an operand was broadcast. A vector counts as
    the matrix it stands for.
    Check: for two vectors, da is dy times b.
    """
    a, b, a_shape, b_shape = saved
    if len(a_shape) == 1:
        dy = np.expand_dims(dy, -2 if len(b_shape) > 1 else -1)  # the row that a stood for
    if len(b_shape) == 1:
        dy = np.expand_dims(dy, -1)  # the column that b stood for
    a_matrix = (1, *a_shape) if len(a_shape) == 1 else a_shape
    b_matrix = (*b_shape, 1) if len(b_shape) == 1 else b_shape
    da = db = None
    if needs[0]:
        da = unbroadcast(dy @ np.swapaxes(b.reshape(b_matrix), -1, -2), a_matrix).reshape(a_shape)  # (2)
    if needs[1]:
        db = unbroadcast(np.swapaxes(a.reshape(a_matrix), -1, -2) @ dy, b_matrix).reshape(b_shape)  # (3)
    return da, db


matmul = Op(matmul_forward, matmul_backward)
