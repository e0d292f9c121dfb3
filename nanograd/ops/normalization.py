"""rmsnorm and layernorm: normalise the features of every token."""

import math
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._blocks import CACHED
from nanograd.ops._sums import sum_over


def check_features(op: str, x: np.ndarray, **parameters: np.ndarray | None) -> None:
    """Raise if weight or bias does not hold one number per feature of x."""
    for name, array in parameters.items():
        if array is not None and array.shape != x.shape[-1:]:
            raise ValueError(f"{op}: {name} must have shape {x.shape[-1:]}, x's last axis, got {array.shape}")


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


def rmsnorm_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (3), (2) and (1).
    From (3), summing over all tokens, which share weight:
    dn = dy weight                                         (4)
    dweight = Σ_tokens dy n                                (5)
    Raising one x_i of a token's C features changes its mean square by 2 x_i / C, and r is the power -½ of that, plus eps:
    ∂r/∂x_i = -½ r³ 2 x_i / C = -r² n_i / C                (6)
    so, by (2), its normalised features change by
    ∂n_j/∂x_i = r (1[i = j] - n_j n_i / C)                 (7)
    By the chain rule (*), multiply (7) by dn_j and sum over j:
    dx = r (dn - n ⟨dn n⟩)                                 (8)
    Line (8) is r times dn without its part along n, as n has the squared length C (but for eps): scaling x changes nothing,
    so dx has no part along n. Layernorm has one more term, -⟨dn⟩, from the mean that it subtracts.
    Check: with eps = 0, Σ x dx = 0, since scaling x changes nothing.
    """
    n, r, weight = saved
    dx = dweight = None
    if needs[0]:
        dn = dy if weight is None else dy * weight  # (4)
        dx = dn - n * (dn * n).mean(axis=-1, keepdims=True)
        dx *= r  # (8)
    if needs[1]:
        dweight = sum_over(dy * n, range(dy.ndim - 1))  # (5)
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


def rmsnorm_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back in blocks of tokens; sums over tokens and features are matrix products."""
    n, r, weight, block = saved
    C = n.shape[1]
    dy_flat = dy.reshape(n.shape)
    dx = np.empty_like(n) if needs[0] else None
    dweight = np.zeros(C) if needs[1] else None  # float64: rounding would pile up over many blocks
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
    return (None if dx is None else dx.reshape(dy.shape), None if dweight is None else dweight.astype(n.dtype))


rmsnorm = Op(
    rmsnorm_forward, rmsnorm_backward, fast=(rmsnorm_forward_fast, rmsnorm_backward_fast), promotes_to_float=True
)


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
    v = ⟨(x - ⟨x⟩)²⟩                                       (1)
    r = 1 / √(v + eps)                                     (2)
    n = (x - ⟨x⟩) r                                        (3)
    y = n weight + bias                                    (4)
    """
    check_features("layernorm", x, weight=weight, bias=bias)
    n = x - x.mean(axis=-1, keepdims=True)
    n -= n.mean(axis=-1, keepdims=True)  # the rounding error of a mean that is large compared with the spread
    v = (n * n).mean(axis=-1, keepdims=True)  # (1)
    r = 1 / np.sqrt(v + eps)  # (2)
    n *= r  # (3)
    y = n if weight is None else n * weight
    y = y if bias is None else y + bias  # (4)
    return y, (n if needs[0] or needs[1] else None, r, weight)


def layernorm_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True)) -> Gradients:
    """Pull dy back through (4), (3), (2) and (1).
    From (4), summing over all tokens, which share weight and bias:
    dn = dy weight                                         (5)
    dweight = Σ_tokens dy n                                (6)
    dbias = Σ_tokens dy                                    (7)
    Raising one x_i of a token's C features changes that token's mean, variance and scale. The mean:
    ∂⟨x⟩/∂x_i = 1/C                                        (8)
    The variance (1) contains x_i in two ways: in the square of its own deviation, and in the mean ⟨x⟩ of every square. The
    second adds -2/C Σ_j (x_j - ⟨x⟩) ∂⟨x⟩/∂x_i. It vanishes, because the deviations from a mean sum to zero:
    Σ_j (x_j - ⟨x⟩) = 0                                    (9)
    so only the first is left:
    ∂v/∂x_i = 2 (x_i - ⟨x⟩) / C                            (10)
    ∂r/∂x_i = -½ r³ ∂v/∂x_i = -r² n_i / C                  (11)
    By (3) and the product rule, the token's normalised features change by
    ∂n_j/∂x_i = r (1[i = j] - 1/C - n_j n_i / C)           (12)
    By the chain rule (*), multiply (12) by dn_j and sum over j:
    dx = r (dn - ⟨dn⟩ - n ⟨dn n⟩)                          (13)
    Line (13) is r times dn without two of its parts: ⟨dn⟩ in every feature is its part along the vector of ones, and
    n ⟨dn n⟩ its part along n, whose squared length is C (but for eps). Moving x along the first shifts all features, and
    along n scales their deviations: neither changes y, so dx has no part in these two directions.
    Check: dx sums to zero over a token's features, since shifting x changes nothing.
    """
    n, r, weight = saved
    dx = dweight = dbias = None
    if needs[0]:
        dn = dy if weight is None else dy * weight  # (5)
        dx = dn - dn.mean(axis=-1, keepdims=True)
        dx -= n * (dn * n).mean(axis=-1, keepdims=True)
        dx *= r  # (13)
    tokens = range(dy.ndim - 1)
    if needs[1]:
        dweight = sum_over(dy * n, tokens)  # (6)
    if needs[2]:
        dbias = sum_over(dy, tokens)  # (7)
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
    """Normalise in blocks of tokens that stay in the second-level cache; means are matrix products.

    4096 tokens of 512 features, two shards at once: 12 ms forward and backward, readable 19 ms.
    """
    check_features("layernorm", x, weight=weight, bias=bias)
    C = x.shape[-1]
    flat = x.reshape(math.prod(x.shape[:-1]), C)
    n, y = np.empty_like(flat, order="C"), np.empty_like(flat, order="C")
    r = np.empty((len(flat), 1), x.dtype)
    block = block or max(1, CACHED // max(C, 1))
    ones = np.ones(C, x.dtype)  # a @ ones / C is ⟨a⟩, four times as fast as np.mean
    for i in range(0, len(flat), block):
        rows = slice(i, i + block)
        n_block, y_block = n[rows], y[rows]
        np.subtract(flat[rows], (flat[rows] @ ones / C)[:, None], out=n_block)
        n_block -= n_block.mean(axis=1, keepdims=True)  # exactly 0 if all features are equal
        np.multiply(n_block, n_block, out=y_block)
        r[rows, 0] = 1 / np.sqrt(y_block @ ones / C + eps)  # (2)
        n_block *= r[rows]  # (3)
        if weight is not None:
            np.multiply(n_block, weight, out=y_block)
        else:
            y_block[...] = n_block
        if bias is not None:
            y_block += bias  # (4)
    return y.reshape(x.shape), (n, r, weight, block)


def layernorm_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True)) -> Gradients:
    """Pull dy back in blocks of tokens; sums over tokens and features are matrix products."""
    n, r, weight, block = saved
    C = n.shape[1]
    dy_flat = dy.reshape(n.shape)
    dx = np.empty_like(n) if needs[0] else None
    dweight = np.zeros(C) if needs[1] else None  # float64: rounding would pile up over many blocks
    dbias = np.zeros(C) if needs[2] else None
    features = np.ones(C, n.dtype)
    for i in range(0, len(n), block):
        rows = slice(i, i + block)
        dy_block, n_block = dy_flat[rows], n[rows]
        tokens = np.ones(len(dy_block), n.dtype)
        product = dy_block * n_block
        if dweight is not None:
            dweight += tokens @ product  # (6)
        if dbias is not None:
            dbias += tokens @ dy_block  # (7)
        if dx is not None:
            mean_product = product @ (features if weight is None else weight) / C  # ⟨dn n⟩
            dn = dy_block if weight is None else dy_block * weight  # (5)
            np.subtract(dn, (dn @ features / C)[:, None], out=dx[rows])
            np.multiply(n_block, mean_product[:, None], out=product)
            dx[rows] -= product
            dx[rows] *= r[rows]  # (13)
    return (
        None if dx is None else dx.reshape(dy.shape),
        None if dweight is None else dweight.astype(n.dtype),
        None if dbias is None else dbias.astype(n.dtype),
    )


layernorm = Op(
    layernorm_forward,
    layernorm_backward,
    fast=(layernorm_forward_fast, layernorm_backward_fast),
    promotes_to_float=True,
)
