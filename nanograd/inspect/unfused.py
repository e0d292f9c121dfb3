"""unfused: compute the fused ops from their parts, so that a trace shows each part as a step of its own.

    with nanograd.trace(unfused=True):
        loss = model.loss(ids, targets)

A fused op is faster and saves less than its parts, and has the same value and gradients. The functions here compose it
from ops: they say what the fused op computes, and the tests hold both to the same numbers.
"""

import contextlib
import math
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.op import context
from nanograd.ops._attention_blocks import causal_mask
from nanograd.ops.attention import attention_options
from nanograd.ops.packed_attention import check_packed


def attention(
    q: Any, k: Any, v: Any, mask: Any = None, *, causal: bool = False, window: int | None = None, segments: Any = None,
    scale: float | None = None, dropout: float = 0.0, seed: int | None = None,
) -> Tensor:  # fmt: skip
    """Compose `attention`: q (…, T, D), k (…, S, D) and v (…, S, E) → (…, T, E); masks and heads as the op has them."""
    options = attention_options(q, k, causal, window, segments, scale, dropout, seed)
    if q.ndim > 2 and q.shape[-3] != k.shape[-3]:  # each key and value head is shared by a group of query heads
        heads = np.repeat(np.arange(k.shape[-3]), q.shape[-3] // k.shape[-3])
        k, v = (ops.getitem(a, index=(..., heads, slice(None), slice(None))) for a in (k, v))
    scores = ops.matmul(q, ops.transpose(k, axes=swapped(k.ndim, -2, -1)))  # (…, T, S)
    scores = ops.mul(scores, options.scale)
    hidden = ~causal_mask(options.first, k.shape[-2]) if causal else np.zeros(scores.shape[-2:], bool)
    if mask is not None:
        hidden = hidden | ~np.asarray(mask)
    if causal or mask is not None:
        scores = ops.masked_fill(scores, hidden, value=-math.inf)
    p = ops.softmax(scores)
    if dropout:
        p = ops.dropout(p, p=dropout, seed=options.seed)
    return ops.matmul(p, v)


def packed_attention(
    qkv: Any, mask: Any = None, *, n_heads: int, n_kv_heads: int | None = None, **options: Any
) -> Tensor:
    """Compose `packed_attention`: qkv (…, T, (H + 2 K) D) → (…, T, H D). One head alone needs no axis of heads."""
    n_kv = check_packed(qkv, n_heads, n_kv_heads)
    size = qkv.shape[-1] // (n_heads + 2 * n_kv)  # D
    ends = n_heads * size, (n_heads + n_kv) * size
    parts = (slice(ends[0]), slice(*ends), slice(ends[1], None))
    q, k, v = (ops.getitem(qkv, index=(..., part)) for part in parts)
    axes = swapped(qkv.ndim + 1, -3, -2)
    if n_heads == 1 and options.get("segments") is None:
        if mask is not None and mask.ndim > 2:
            mask = mask[..., 0, :, :]  # its axis of heads
        return attention(q, k, v, mask, **options)
    heads = [ops.reshape(a, shape=(*a.shape[:-1], a.shape[-1] // size, size)) for a in (q, k, v)]  # (…, T, H, D)
    q, k, v = (ops.transpose(a, axes=axes) for a in heads)
    y = attention(q, k, v, mask, **options)  # (…, H, T, D)
    return ops.reshape(ops.transpose(y, axes=axes), shape=(*qkv.shape[:-1], n_heads * size))


def linear_cross_entropy(x: Any, weight: Any, targets: Any, **options: Any) -> Tensor:
    """Compose `linear_cross_entropy`: the logits, and their loss."""
    return ops.cross_entropy(ops.linear(x, weight), targets, **options)


def swiglu(a: Any, b: Any) -> Tensor:
    """Compose `swiglu`: silu(a) b."""
    return ops.mul(ops.silu(a), b)


COMPOSITIONS = MappingProxyType({f.__name__: f for f in (attention, packed_attention, linear_cross_entropy, swiglu)})


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Compute the fused ops from their parts in the block, and every op by its readable pair."""
    with context(compositions=COMPOSITIONS, readable=True):
        yield


def swapped(ndim: int, i: int, j: int) -> tuple[int, ...]:
    """Return the order of the axes that swaps the axes i and j."""
    axes = list(range(ndim))
    axes[i], axes[j] = axes[j], axes[i]
    return tuple(axes)
