"""attention: scaled dot-product attention with masks, dropout and grouped-query heads."""

import math
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._attention_blocks import ROWS, AttentionOptions, attend, attend_backward, causal_mask, first_keys
from nanograd.ops._unbroadcast import broadcasts_to
from nanograd.ops.dropout import keep_mask
from nanograd.ops.softmax import softmax_array


def check_mask(mask: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise if `mask` is not boolean or does not broadcast to the scores' `shape` (…, T, N)."""
    if mask.dtype != np.bool_:
        raise TypeError(f"attention: mask must be boolean, True where a query may look, got {mask.dtype}")
    if not broadcasts_to(mask.shape, shape):
        raise ValueError(f"attention: mask must broadcast to the scores {shape}, got {mask.shape}")


def check_heads(q: tuple[int, ...], k: tuple[int, ...], v: tuple[int, ...]) -> int:
    """Return how many query heads share a key head; raise if the three shapes do not fit."""
    fits = len(q) >= 2 and len(k) == len(q) and q[-1] == k[-1] and k[:-1] == v[:-1] and q[:-3] == k[:-3]
    heads, shared = (q[-3], k[-3]) if fits and len(q) > 2 else (1, 1)
    if not fits or (heads != shared and (shared == 0 or heads % shared)):
        raise ValueError(
            "attention: q (…, T, D), k (…, N, D) and v (…, N, E) must agree on …, D and N, except that q may have a "
            f"multiple of their heads; got q {q}, k {k}, v {v}"
        )
    return heads // shared if shared else 1


def share_heads(a: np.ndarray, group: int) -> np.ndarray:
    """Repeat each key or value head (…, K, N, D) for the `group` query heads that share it."""
    return a if group == 1 else np.repeat(a, group, axis=-3)


def add_heads(a: np.ndarray, group: int) -> np.ndarray:
    """Sum over the query heads (…, H, N, D) that share a key or value head: the adjoint of share_heads."""
    if group == 1:
        return a
    return a.reshape(*a.shape[:-3], a.shape[-3] // group, group, *a.shape[-2:]).sum(axis=-3)


def four_axes(a: np.ndarray) -> np.ndarray:
    """Reshape (…, T, D) to (B, H, T, D): add axes of size 1, or join the leading ones."""
    if a.ndim == 4:
        return a
    return a.reshape(math.prod(a.shape[:-3]), a.shape[-3] if a.ndim > 2 else 1, *a.shape[-2:])


def check_segments(segments: np.ndarray, q: tuple[int, ...], k: tuple[int, ...], causal: bool) -> None:
    """Raise unless the segments are integers (…, T) that never fall, for as many keys as queries, and with `causal`."""
    shape = (*q[:-3], q[-2])
    if segments.shape != shape or k[-2] != q[-2] or not causal:
        rule = f"segments must be {shape}, one for each token, and need causal=True and as many keys as queries"
        raise ValueError(f"attention: {rule}; got {segments.shape}, causal={causal}, q {q} and k {k}")
    if segments.dtype.kind not in "iu":
        raise TypeError(f"attention: segments must be integers, got {segments.dtype}")
    if (segments[..., 1:] < segments[..., :-1]).any():
        raise ValueError("attention: segments must not fall from a token to the next: number them from left to right")


def attention_options(
    q: np.ndarray, k: np.ndarray, causal: bool = False, window: int | None = None, segments: Any = None,
    scale: float | None = None, dropout: float = 0.0, seed: int | None = None, rows: int = ROWS,
) -> AttentionOptions:  # fmt: skip
    """Return the options of attention, with their defaults for queries q (…, T, D) and keys k (…, N, D).

    Raises ValueError for a window of no token or without `causal`, for segments that do not fit, and for dropout without a
    seed.
    """
    if window is not None and (not causal or window < 1):
        raise ValueError(
            f"attention: window must be at least 1 and needs causal=True, got {window} and causal={causal}"
        )
    if dropout and seed is None:
        raise ValueError(f"attention: dropout={dropout} needs a seed, so that backward sees the same mask")
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    if segments is not None:
        segments = np.asarray(segments)
        check_segments(segments, q.shape, k.shape, causal)
        segments = segments if q.ndim == 2 else segments[..., None, :]  # an axis of heads
    first = first_keys(q.shape[-2], window, segments)
    return AttentionOptions(causal, scale, dropout, 0 if seed is None else seed, rows, first)


def attention_forward(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    segments: np.ndarray | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Attend (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    q (…, T, D), k (…, N, D), v (…, N, E) → (…, T, E). mask is boolean, broadcast to (…, T, N), True where a query may
    look at a key. causal lets query t see keys s ≤ t; with `window` only the last of them, t - window < s ≤ t
    (sliding-window attention, Jiang et al. 2023, arXiv:2310.06825, section 2); with `segments`, integers (…, T) that never
    fall, only those of its own segment (documents packed into one sequence, Krell et al. 2021, arXiv:2107.02027). They are
    the same for all heads: (B, T) for q (B, H, T, D). scale is 1/√D by default. dropout, drawn by `seed`, multiplies P by
    z, which is 0 or 1/(1 - dropout).
    q may have more heads than k and v: q (…, H, T, D) and k (…, K, N, D) share each key head among H/K neighbouring
    query heads (grouped-query attention, Ainslie et al. 2023, arXiv:2305.13245).

    With M (…, T, N), which is -∞ where a query may not look at a key:
    S = scale q kᵀ + M,  M = 0 elsewhere                    (1)
    P = softmax(S), and 0 in rows that see nothing          (2)
    y = (P ⊙ z) v,  z = 1 without dropout                   (3)
    Why scale is 1/√D: without it, scores would spread by √D, as (4) shows, and softmax would put nearly all weight on one
    key, where its derivative is nearly 0. With it their variance is scale² D = 1, for every D. Assume that the entries of a
    query and a key are independent, with mean 0 and variance 1. Then each product q_i k_i has mean 0 and variance 1 · 1,
    and the variances of independent terms add:
    Var(Σ_i q_i k_i) = Σ_i Var(q_i) Var(k_i) = D            (4)

    Raises ValueError where shapes disagree, TypeError for a mask that is not boolean.
    """
    group = check_heads(q.shape, k.shape, v.shape)
    k, v = share_heads(k, group), share_heads(v, group)
    if mask is not None:
        check_mask(mask, (*q.shape[:-1], k.shape[-2]))
    options = attention_options(q, k, causal, window, segments, scale, dropout, seed)
    scores = q @ np.swapaxes(k, -1, -2)  # (…, T, N)
    scores *= options.scale
    if options.causal:
        np.copyto(scores, -np.inf, where=~causal_mask(options.first, k.shape[-2]))
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)  # (1)
    p = softmax_array(scores)  # (2)
    z = keep_mask(p.shape, dropout, options.seed, p.dtype) if dropout else None
    y = (p if z is None else p * z) @ v  # (3)
    return y, (q, k, v, p, z, options.scale, group)


def attention_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True, False)) -> Gradients:
    """Pull dy back through (3), (2) and (1).
    (3) is a matrix product of P ⊙ z and v, and `matmul` has the gradients of both factors:
    dv = (P ⊙ z)ᵀ dy                                       (5)
    dP = (dy vᵀ) ⊙ z                                       (6)
    (2) is `softmax` over each row; P is 0 where a query may not look, and so is dS:
    dS = P ⊙ (dP - Σ_keys P ⊙ dP)                          (7)
    (1) is a product of matrices again, as in `matmul`, and M is constant:
    dq = scale dS k                                        (8)
    dk = scale dSᵀ q                                       (9)
    A key or value head that a group of query heads shares gets the sum over the group. If q, k and v are three slices of
    one product x w_qkv, then dq, dk and dv are the same slices of its gradient, and `matmul` gets dx and dw_qkv from it.

    The sum in (7) can be had without P. For query t it is, by (6), Σ_s P_ts z_ts Σ_e dy_te v_se. Exchange the two sums: the
    sum of P_ts z_ts v_se over the keys s is y_te by (3). So
    Σ_keys P ⊙ dP = Σ_features dy ⊙ y                      (10)
    The fast pair uses it: it computes P in blocks, and never has a whole row (Dao et al. 2022, arXiv:2205.14135).
    Check: each row of dS sums to zero, since shifting all scores of a query changes nothing.
    """
    q, k, v, p, z, scale, group = saved
    dq = dk = dv = None
    if needs[2]:
        dv = add_heads(np.swapaxes(p if z is None else p * z, -1, -2) @ dy, group)  # (5)
    if needs[0] or needs[1]:
        ds = dy @ np.swapaxes(v, -1, -2)
        if z is not None:
            ds *= z  # (6)
        ds -= (ds * p).sum(axis=-1, keepdims=True)  # the left side of (10)
        ds *= p  # (7)
        ds *= scale
        dq = ds @ k if needs[0] else None  # (8)
        dk = add_heads(np.swapaxes(ds, -1, -2) @ q, group) if needs[1] else None  # (9)
    return dq, dk, dv, None


def attention_forward_fast(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    block: int = ROWS,
    out: np.ndarray | None = None,
    **options: Any,
) -> tuple[np.ndarray, Any]:
    """Attend in blocks of queries; save y and one number per query instead of P: see _attention_blocks.py.

    16 × 256 tokens, 8 heads of 64, two shards in parallel (shape `seed` of examples/bench.py): 158 ms forward and backward,
    readable 224 ms.
    """
    shapes = q.shape, k.shape, v.shape
    group = check_heads(*shapes)
    k, v = share_heads(k, group), share_heads(v, group)
    if mask is not None:
        check_mask(mask, (*q.shape[:-1], k.shape[-2]))
        mask = four_axes(np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2])))
    resolved = attention_options(q, k, rows=block, **options)
    y = np.empty((*q.shape[:-1], v.shape[-1]), q.dtype) if out is None else out
    arrays = four_axes(q), four_axes(k), four_axes(v), mask, four_axes(y)
    log_sums = attend(*arrays, resolved)
    return y, (*arrays, log_sums, resolved, group, shapes)


def attention_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True, True, False)) -> Gradients:
    """Pull dy back block by block, computing each block of P again."""
    dq, dk, dv = (np.empty(shape, dy.dtype) for shape in saved[-1])
    write_gradients(four_axes(dy), saved, four_axes(dq), four_axes(dk), four_axes(dv))
    return dq if needs[0] else None, dk if needs[1] else None, dv if needs[2] else None, None


def write_gradients(dy: np.ndarray, saved: Any, dq: np.ndarray, dk: np.ndarray, dv: np.ndarray) -> None:
    """Write the gradients of attention into dq, dk and dv; all arrays have four axes."""
    q, k, v, mask, y, log_sums, options, group, _ = saved
    if group == 1:
        attend_backward(dy, q, k, v, mask, y, log_sums, dq, dk, dv, options)
        return
    dk_shared, dv_shared = np.empty_like(k), np.empty_like(v)  # of each query head, as k and v were repeated
    attend_backward(dy, q, k, v, mask, y, log_sums, dq, dk_shared, dv_shared, options)
    dk[...], dv[...] = add_heads(dk_shared, group), add_heads(dv_shared, group)


attention = Op(
    attention_forward, attention_backward, fast=(attention_forward_fast, attention_backward_fast),
    nondifferentiable=("mask",), promotes_to_float=True,
)  # fmt: skip
