"""layernorm: bring every token's features to mean 0 and variance 1."""

import math
from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops._blocks import CACHED


def check_features(x: np.ndarray, weight: np.ndarray | None, bias: np.ndarray | None) -> None:
    """Raise where weight or bias is not one number a feature of x."""
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each.shape != x.shape[-1:]:
            raise ValueError(f"layernorm: {name} must have shape {x.shape[-1:]}, x's last axis, got {each.shape}")


def layernorm_forward(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    needs: Needs = (True, True, True),
) -> tuple[np.ndarray, Any]:
    """Normalise over the last axis (Ba, Kiros and Hinton 2016, arXiv:1607.06450, eq. 4).

    x (…, C), weight and bias (C,) or None. With ⟨·⟩ the mean over the C features of one token:
    r = 1 / √(⟨(x - ⟨x⟩)²⟩ + eps)                          (1)
    n = (x - ⟨x⟩) r                                        (2)
    y = n weight + bias                                    (3)
    """
    check_features(x, weight, bias)
    n = x - x.mean(axis=-1, keepdims=True)
    n -= n.mean(axis=-1, keepdims=True)  # what rounding left of the mean, where that is large against the spread
    r = 1 / np.sqrt((n * n).mean(axis=-1, keepdims=True) + eps)  # (1)
    n *= r  # (2)
    y = n if weight is None else n * weight
    y = y if bias is None else y + bias  # (3)
    return y, (n if needs[0] or needs[1] else None, r, weight)


def layernorm_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (3), (2) and (1).
    By (3), summing over all tokens where weight and bias are shared:
    dn = dy weight                                         (4)
    dweight = Σ_tokens dy n                                (5)
    dbias = Σ_tokens dy                                    (6)
    Raising one x_i of a token's C features moves that token's mean and its scale:
    d⟨x⟩/dx_i = 1/C                                        (7)
    dr/dx_i = -r² n_i / C, by (1)                          (8)
    so that, by (2), its normalised features move by
    dn_j/dx_i = r (1[i = j] - 1/C - n_j n_i / C)           (9)
    Weigh (9) by dn_j and add over j:
    dx = r (dn - ⟨dn⟩ - n ⟨dn n⟩)                          (10)
    Check: dx sums to zero over a token's features, since shifting x changes nothing.
    """
    n, r, weight = saved
    dx = dweight = dbias = None
    if needs[0]:
        dn = dy if weight is None else dy * weight  # (4)
        dx = dn - dn.mean(axis=-1, keepdims=True)
        dx -= n * (dn * n).mean(axis=-1, keepdims=True)
        dx *= r  # (10)
    tokens = tuple(range(dy.ndim - 1))
    if needs[1]:
        dweight = (dy * n).sum(axis=tokens)  # (5)
    if needs[2]:
        dbias = dy.sum(axis=tokens)  # (6)
    return dx, dweight, dbias


def layernorm_forward_fast(
    x: np.ndarray,
    weight: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    eps: float = 1e-5,
    needs: Needs = (True, True, True),
    block: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Normalise `block` tokens at a time, which stay in the second-level cache, with means that are matrix products.

    4096 tokens of 512 features, two shards side by side: 12 ms forward and backward, readable 19 ms.
    """
    check_features(x, weight, bias)
    C = x.shape[-1]
    flat = x.reshape(math.prod(x.shape[:-1]), C)
    n, y = np.empty_like(flat, order="C"), np.empty_like(flat, order="C")
    r = np.empty((len(flat), 1), x.dtype)
    block = block or max(1, CACHED // max(C, 1))
    ones = np.ones(C, x.dtype)  # a @ ones / C is ⟨a⟩, in a quarter of the time that np.mean takes
    for i in range(0, len(flat), block):
        part = slice(i, i + block)
        n_part, y_part = n[part], y[part]
        np.subtract(flat[part], (flat[part] @ ones / C)[:, None], out=n_part)
        n_part -= n_part.mean(axis=1, keepdims=True)  # to the last bit, where all features are equal
        np.multiply(n_part, n_part, out=y_part)
        r[part, 0] = 1 / np.sqrt(y_part @ ones / C + eps)  # (1)
        n_part *= r[part]  # (2)
        if weight is not None:
            np.multiply(n_part, weight, out=y_part)
        else:
            y_part[...] = n_part
        if bias is not None:
            y_part += bias  # (3)
    return y.reshape(x.shape), (n, r, weight, block)


def layernorm_backward_fast(
    dy: np.ndarray, saved: Any, needs: Needs = (True, True, True)
) -> tuple[np.ndarray | None, ...]:
    """Pull dy back `block` tokens at a time; sums over tokens and features are matrix products too."""
    n, r, weight, block = saved
    C = n.shape[1]
    dy_flat = dy.reshape(n.shape)
    dx = np.empty_like(n) if needs[0] else None
    dweight = np.zeros(C, n.dtype) if needs[1] else None
    dbias = np.zeros(C, n.dtype) if needs[2] else None
    features = np.ones(C, n.dtype)
    for i in range(0, len(n), block):
        part = slice(i, i + block)
        dy_part, n_part = dy_flat[part], n[part]
        tokens = np.ones(len(dy_part), n.dtype)
        product = dy_part * n_part
        if dweight is not None:
            dweight += tokens @ product  # (5)
        if dbias is not None:
            dbias += tokens @ dy_part  # (6)
        if dx is not None:
            along = product @ (features if weight is None else weight) / C  # ⟨dn n⟩
            dn = dy_part if weight is None else dy_part * weight  # (4)
            np.subtract(dn, (dn @ features / C)[:, None], out=dx[part])
            np.multiply(n_part, along[:, None], out=product)
            dx[part] -= product
            dx[part] *= r[part]  # (10)
    return None if dx is None else dx.reshape(dy.shape), dweight, dbias


layernorm = Op(
    layernorm_forward,
    layernorm_backward,
    fast=(layernorm_forward_fast, layernorm_backward_fast),
    promotes_to_float=True,
)
