"""rmsnorm: scale every token's features to length √C, without centring them."""

import math
from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops._blocks import CACHED
from nanograd.ops.layernorm import check_features


def rmsnorm_forward(
    x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-5, needs: Needs = (True, True)
) -> tuple[np.ndarray, Any]:
    """Normalise over the last axis by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).

    x (…, C), weight (C,) or None. With ⟨·⟩ the mean over the C features of one token:
    r = 1 / √(⟨x²⟩ + eps)                                  (1)
    n = x r                                                (2)
    y = n weight                                           (3)
    """
    check_features("rmsnorm", x, weight=weight)
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)  # (1)
    n = x * r  # (2)
    y = n if weight is None else n * weight  # (3)
    return y, (n if needs[0] or needs[1] else None, r, weight)


def rmsnorm_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (3), (2) and (1).
    From (3), summing over all tokens, which share weight:
    dn = dy weight                                         (4)
    dweight = Σ_tokens dy n                                (5)
    Raising one x_i of a token's C features changes its scale:
    dr/dx_i = -r² n_i / C, by (1)                          (6)
    so, by (2), its normalised features change by
    dn_j/dx_i = r (1[i = j] - n_j n_i / C)                 (7)
    By the chain rule, multiply (7) by dn_j and sum over j:
    dx = r (dn - n ⟨dn n⟩)                                 (8)
    Layernorm has one more term, -⟨dn⟩, from the mean that it subtracts.
    Check: with eps = 0, Σ x dx = 0, since scaling x changes nothing.
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
    """Normalise in blocks of tokens that stay in the second-level cache, as layernorm's fast pair does.

    4096 tokens of 512 features, two shards at once: 8.5 ms forward and backward, readable 15 ms.
    """
    check_features("rmsnorm", x, weight=weight)
    C = x.shape[-1]
    flat = x.reshape(math.prod(x.shape[:-1]), C)
    n, y = np.empty_like(flat, order="C"), np.empty_like(flat, order="C")
    r = np.empty((len(flat), 1), x.dtype)
    block = block or max(1, CACHED // max(C, 1))
    ones = np.ones(C, x.dtype)  # a @ ones / C is ⟨a⟩
    for i in range(0, len(flat), block):
        rows = slice(i, i + block)
        n_block, y_block = n[rows], y[rows]
        np.multiply(flat[rows], flat[rows], out=n_block)
        r[rows, 0] = 1 / np.sqrt(n_block @ ones / C + eps)  # (1)
        np.multiply(flat[rows], r[rows], out=n_block)  # (2)
        np.multiply(n_block, 1 if weight is None else weight, out=y_block)  # (3)
    return y.reshape(x.shape), (n, r, weight, block)


def rmsnorm_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back in blocks of tokens; sums over tokens and features are matrix products."""
    n, r, weight, block = saved
    C = n.shape[1]
    dy_flat = dy.reshape(n.shape)
    dx = np.empty_like(n) if needs[0] else None
    dweight = np.zeros(C, n.dtype) if needs[1] else None
    features = np.ones(C, n.dtype)
    for i in range(0, len(n), block):
        rows = slice(i, i + block)
        dy_block, n_block = dy_flat[rows], n[rows]
        product = dy_block * n_block
        if dweight is not None:
            dweight += np.ones(len(dy_block), n.dtype) @ product  # (5)
        if dx is not None:
            mean_product = product @ (features if weight is None else weight) / C  # ⟨dn n⟩
            np.multiply(n_block, mean_product[:, None], out=product)
            dn = dy_block if weight is None else dy_block * weight  # (4)
            np.subtract(dn, product, out=dx[rows])
            dx[rows] *= r[rows]  # (8)
    return None if dx is None else dx.reshape(dy.shape), dweight


rmsnorm = Op(
    rmsnorm_forward, rmsnorm_backward, fast=(rmsnorm_forward_fast, rmsnorm_backward_fast), promotes_to_float=True
)
