"""rmsnorm: bring every token's features to length √C, without centring them."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op


def rmsnorm_forward(
    x: np.ndarray, weight: np.ndarray | None = None, *, eps: float = 1e-5, needs: Needs = (True, True)
) -> tuple[np.ndarray, Any]:
    """Normalise over the last axis by the root of the mean square (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).

    x (…, C), weight (C,) or None. With ⟨·⟩ the mean over the C features of one token:
    r = 1 / √(⟨x²⟩ + eps)                                  (1)
    n = x r                                                (2)
    y = n weight                                           (3)
    """
    if weight is not None and weight.shape != x.shape[-1:]:
        raise ValueError(f"rmsnorm: weight must have shape {x.shape[-1:]}, x's last axis, got {weight.shape}")
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


rmsnorm = Op(rmsnorm_forward, rmsnorm_backward, floating=True)
