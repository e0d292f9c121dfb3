"""rmsnorm: bring every token's features to length √C, without centring them."""

import math
from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops._blocks import CACHED


def check_features(x: np.ndarray, weight: np.ndarray | None) -> None:
    """Raise where weight is not one number a feature of x."""
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ValueError(f"rmsnorm: weight must have shape {x.shape[-1:]}, x's last axis, got {weight.shape}")


def rmsnorm_forward(
    x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-5, needs: Needs = (True, True)
) -> tuple[np.ndarray, Any]:
    """Normalise over the last axis by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).

    x (…, C), weight (C,) or None. With ⟨·⟩ the mean over the C features of one token:
    r = 1 / √(⟨x²⟩ + eps)                                  (1)
    n = x r                                                (2)
    y = n weight                                           (3)
    """
    check_features(x, weight)
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)  # (1)
    n = x * r  # (2)
    y = n if weight is None else n * weight  # (3)
    return y, (n if needs[0] or needs[1] else None, r, weight)


def rmsnorm_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (3), (2) and (1).
    By (3), summing over all tokens where weight is shared:
    dn = dy weight                                         (4)
    dweight = Σ_tokens dy n                                (5)
    Raising one x_i of a token's C features moves its scale:
    dr/dx_i = -r² n_i / C, by (1)                          (6)
    so that, by (2), its normalised features move by
    dn_j/dx_i = r (1[i = j] - n_j n_i / C)                 (7)
    Weigh (7) by dn_j and add over j:
    dx = r (dn - n ⟨dn n⟩)                                 (8)
    Layernorm has one term more, -⟨dn⟩, for the mean it takes away.
    Check: with eps = 0, Σ x dx = 0, since stretching x changes nothing.
    """
    n, r, weight = saved
    dx = dweight = None
    if needs[0]:
        dn = dy if weight is None else dy * weight  # (4)
        dx = dn - n * (dn * n).mean(axis=-1, keepdims=True)
        dx *= r  # (8)
    if needs[1]:
        dweight = (dy * n).sum(axis=tuple(range(dy.ndim - 1)))  # (5)
    return dx, dweight


def rmsnorm_forward_fast(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    needs: Needs = (True, True),
    block: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Normalise `block` tokens at a time, which stay in the second-level cache, as layernorm's fast pair does.

    4096 tokens of 512 features, two shards side by side: 8.5 ms forward and backward, readable 15 ms.
    """
    check_features(x, weight)
    C = x.shape[-1]
    flat = x.reshape(math.prod(x.shape[:-1]), C)
    n, y = np.empty_like(flat, order="C"), np.empty_like(flat, order="C")
    r = np.empty((len(flat), 1), x.dtype)
    block = block or max(1, CACHED // max(C, 1))
    ones = np.ones(C, x.dtype)  # a @ ones / C is ⟨a⟩
    for i in range(0, len(flat), block):
        part = slice(i, i + block)
        n_part, y_part = n[part], y[part]
        np.multiply(flat[part], flat[part], out=n_part)
        r[part, 0] = 1 / np.sqrt(n_part @ ones / C + eps)  # (1)
        np.multiply(flat[part], r[part], out=n_part)  # (2)
        np.multiply(n_part, 1 if weight is None else weight, out=y_part)  # (3)
    return y.reshape(x.shape), (n, r, weight, block)


def rmsnorm_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back `block` tokens at a time; sums over tokens and features are matrix products too."""
    n, r, weight, block = saved
    C = n.shape[1]
    dy_flat = dy.reshape(n.shape)
    dx = np.empty_like(n) if needs[0] else None
    dweight = np.zeros(C, n.dtype) if needs[1] else None
    features = np.ones(C, n.dtype)
    for i in range(0, len(n), block):
        part = slice(i, i + block)
        dy_part, n_part = dy_flat[part], n[part]
        product = dy_part * n_part
        if dweight is not None:
            dweight += np.ones(len(dy_part), n.dtype) @ product  # (5)
        if dx is not None:
            along = product @ (features if weight is None else weight) / C  # ⟨dn n⟩
            np.multiply(n_part, along[:, None], out=product)
            dn = dy_part if weight is None else dy_part * weight  # (4)
            np.subtract(dn, product, out=dx[part])
            dx[part] *= r[part]  # (8)
    return None if dx is None else dx.reshape(dy.shape), dweight


rmsnorm = Op(
    rmsnorm_forward, rmsnorm_backward, fast=(rmsnorm_forward_fast, rmsnorm_backward_fast), promotes_to_float=True
)
