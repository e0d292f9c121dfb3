"""packed_attention: self-attention on queries, keys and values in one array; the heads are returned side by side."""

import math
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._attention_blocks import ROWS
from nanograd.ops.attention import (
    attention_backward,
    attention_forward,
    attention_forward_fast,
    check_mask,
    four_axes,
    write_gradients,
)

SHORT = 64  # tokens up to which P is saved: it is no larger than qkv, and reading it is faster than computing it again


def split_heads(qkv: np.ndarray, n_heads: int, n_kv_heads: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """View qkv (…, T, (H + 2 K) D) as q (…, H, T, D), and k and v (…, K, T, D): first all q heads, then k, then v."""
    size = qkv.shape[-1] // (n_heads + 2 * n_kv_heads)  # D
    heads = np.swapaxes(qkv.reshape(*qkv.shape[:-1], n_heads + 2 * n_kv_heads, size), -3, -2)  # (…, H + 2 K, T, D)
    ends = n_heads, n_heads + n_kv_heads
    return heads[..., : ends[0], :, :], heads[..., ends[0] : ends[1], :, :], heads[..., ends[1] :, :, :]


def side_by_side(y: np.ndarray) -> np.ndarray:
    """Place heads (…, H, T, D) side by side: (…, T, H D)."""
    y = np.swapaxes(y, -3, -2)
    return y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])


def check_packed(qkv: np.ndarray, n_heads: int, n_kv_heads: int | None) -> int:
    """Return the number of key heads; raise if qkv cannot be split into these heads."""
    n_kv = n_heads if n_kv_heads is None else n_kv_heads
    if n_heads < 1 or n_kv < 1 or n_heads % n_kv:
        raise ValueError(f"packed_attention: n_heads must be a multiple of n_kv_heads, got {n_heads} and {n_kv}")
    if qkv.ndim < 2 or qkv.shape[-1] % (n_heads + 2 * n_kv):
        raise ValueError(
            f"packed_attention: qkv must be (…, T, (n_heads + 2 n_kv_heads) D), got {qkv.shape} for {n_heads} heads and "
            f"{n_kv} key heads"
        )
    return n_kv


def packed_attention_forward(
    qkv: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    n_heads: int,
    n_kv_heads: int | None = None,
    causal: bool = False,
    window: int | None = None,
    segments: np.ndarray | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    seed: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Attend within each sequence: qkv (…, T, (H + 2 K) D) → (…, T, H D), with H = n_heads and K = n_kv_heads, or H.

    A row of qkv holds a token's queries of all heads, then its keys, then its values: the output of one matrix.

    q | k | v = qkv                                        (1)
    y = attention(q, k, v) of each head, side by side      (2)

    mask, causal, window, segments (…, T), scale, dropout and seed are those of `attention`; the mask broadcasts to
    (…, H, T, T).
    """
    n_kv = check_packed(qkv, n_heads, n_kv_heads)
    q, k, v = split_heads(qkv, n_heads, n_kv)  # (1)
    options: dict[str, Any] = {"window": window, "segments": segments, "scale": scale, "dropout": dropout, "seed": seed}
    y, saved = attention_forward(q, k, v, mask, causal=causal, **options)
    return side_by_side(y), (saved, qkv.shape, n_heads, n_kv)  # (2)


def packed_attention_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Pull dy back through (2) and (1), which only rearrange numbers.
    Each head's dy lies in the columns of its y; `attention` derives its backward:
    dq, dk, dv = attention_backward(dy) of each head       (3)
    dqkv = dq | dk | dv                                    (4)
    Check: with one token P = 1, so that dv = dy, and dq = dk = 0.
    """
    if not needs[0]:
        return None, None
    inner, shape, n_heads, n_kv = saved
    heads = split_heads(dy, n_heads)[0]  # (…, H, T, D)
    dqkv = np.empty(shape, dy.dtype)
    gradients = attention_backward(heads, inner)[:3]  # (3)
    for view, gradient in zip(split_heads(dqkv, n_heads, n_kv), gradients, strict=True):
        view[...] = gradient  # (4)
    return dqkv, None


def packed_attention_forward_fast(
    qkv: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    n_heads: int,
    n_kv_heads: int | None = None,
    block: int | None = None,
    **options: Any,
) -> tuple[np.ndarray, Any]:
    """Attend in blocks of queries, reading heads from views of qkv and writing them into views of y: nothing is transposed.

    One shard of the step `seed` (16 × 256 tokens, 8 heads of 64), with a second shard running: 151 ms forward and backward,
    readable 192 ms; of `long` (4 × 1024 tokens) 323 ms, readable 864 ms.
    """
    n_kv = check_packed(qkv, n_heads, n_kv_heads)
    *lead, T, C = qkv.shape
    if block is None and T <= SHORT:
        y, saved = packed_attention_forward(qkv, mask, n_heads=n_heads, n_kv_heads=n_kv_heads, **options)
        return y, (*saved, True)
    flat = qkv.reshape(math.prod(lead), T, C)
    q, k, v = split_heads(flat, n_heads, n_kv)
    if mask is not None:
        check_mask(mask, (*lead, n_heads, T, T))
        mask = four_axes(np.broadcast_to(mask, (*lead, n_heads, T, T)))
    if options.get("segments") is not None and np.shape(options["segments"]) == (*lead, T):
        options["segments"] = np.reshape(options["segments"], (len(flat), T))
    y = np.empty((len(flat), T, n_heads * q.shape[-1]), qkv.dtype)
    heads = split_heads(y, n_heads)[0]
    _, saved = attention_forward_fast(q, k, v, mask, block=block or ROWS, out=heads, **options)
    return y.reshape(*lead, T, y.shape[-1]), (saved, qkv.shape, n_heads, n_kv, False)


def packed_attention_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, False)) -> Gradients:
    """Pull dy back block by block, writing dq, dk and dv into views of dqkv."""
    if not needs[0]:
        return None, None
    inner, shape, n_heads, n_kv, short = saved
    if short:
        return packed_attention_backward(dy, saved[:-1])
    flat = (math.prod(shape[:-2]), shape[-2])
    dqkv = np.empty((*flat, shape[-1]), dy.dtype)
    heads = split_heads(dy.reshape(*flat, dy.shape[-1]), n_heads)[0]
    write_gradients(heads, inner, *split_heads(dqkv, n_heads, n_kv))
    return dqkv.reshape(shape), None


packed_attention = Op(
    packed_attention_forward,
    packed_attention_backward,
    fast=(packed_attention_forward_fast, packed_attention_backward_fast),
    nondifferentiable=("mask",),
    promotes_to_float=True,
)
