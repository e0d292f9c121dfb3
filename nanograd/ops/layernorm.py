"""layernorm: bring every token's features to mean 0 and variance 1."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op


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
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each.shape != x.shape[-1:]:
            raise ValueError(f"layernorm: {name} must have shape {x.shape[-1:]}, x's last axis, got {each.shape}")
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


layernorm = Op(layernorm_forward, layernorm_backward, floating=True)
