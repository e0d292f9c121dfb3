"""Attention in blocks of queries: the same numbers as attention.py, but no T×T array is kept.

A block of rows of P is computed, used while it is in the cache, and discarded. Backward computes it again from the
logarithm of each row's sum (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4). With a causal mask,
the keys after a block's last query are skipped: little more than half of the work of a long context. So are, with a
window or segments, the keys that are too old for all queries of a block. Heads may be
strided views of one packed array: a group of heads is copied to contiguous memory, and its gradients are written back
into the views. Dropout masks are kept as booleans, for one group of heads at a time.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nanograd.ops.dropout import KeepMasks

ROWS = 64  # queries in a block: with fewer, the causal mask skips more
SCORES = 2**18  # entries of P computed at once, of several heads; see CACHED in _blocks.py


class AttentionOptions(NamedTuple):
    """The options of attention, the number of queries in a block, and the first key of each query: see first_keys."""

    causal: bool
    scale: float
    dropout: float
    seed: int
    rows: int
    first: np.ndarray  # (T,), or (…, 1, T): the same for all heads

    def keep_masks(self) -> KeepMasks | None:
        """Return a new stream of the masks of dropout, or None without dropout."""
        return KeepMasks(self.dropout, self.seed) if self.dropout else None

    def first_of(self, rows: slice) -> np.ndarray:
        """Return the first keys of these rows of the batch, (b, T), or once for all rows, (1, T)."""
        first = self.first.reshape(math.prod(self.first.shape[:-1]), self.first.shape[-1])
        return first if len(first) == 1 else first[rows]


def head_groups(shape: tuple[int, int, int, int], rows: int) -> Iterator[tuple[slice, slice]]:
    """Yield the batches and heads of scores (B, H, T, N) to compute together: the shorter the context, the more heads.

    The groups are consecutive in the flat array, so one stream of random numbers gives the same masks in groups as at once.
    """
    B, H, T, N = shape
    together = max(1, SCORES // max(min(rows, T) * N, 1))
    n_heads = min(H, together)
    n_batch = max(1, together // max(H, 1)) if n_heads == H else 1
    for b in range(0, B, n_batch):
        for h in range(0, H, max(n_heads, 1)):
            yield slice(b, b + n_batch), slice(h, h + n_heads)


def first_keys(T: int, window: int | None = None, segments: np.ndarray | None = None) -> np.ndarray:
    """Return the first key that each of T causal queries sees: (T,), or (…, T) with segments (…, T).

    It is key 0, or the oldest one in the query's window, or the first one of its segment: the later of the two. It never
    falls from query to query; blocks of queries rely on it.

    >>> first_keys(5, window=2).tolist(), first_keys(5, segments=np.array([0, 0, 0, 1, 1])).tolist()
    ([0, 0, 1, 2, 3], [0, 0, 0, 3, 3])
    """
    t = np.arange(T)
    first = np.zeros(T, np.intp) if window is None else np.maximum(t + 1 - window, 0)
    if segments is None:
        return first
    begins = np.diff(segments, axis=-1, prepend=segments[..., :1]) != 0
    return np.maximum(first, np.maximum.accumulate(np.where(begins, t, 0), axis=-1))


def causal_mask(first: np.ndarray, N: int) -> np.ndarray:
    """Return which of N keys each causal query sees, boolean (…, T, N), from the first key of each, (…, T)."""
    return np.tri(first.shape[-1], N, dtype=np.bool_) & (np.arange(N) >= first[..., None])


def query_blocks(T: int, N: int, first: np.ndarray, options: AttentionOptions) -> Iterator[tuple[int, int, int, int]]:
    """Yield for each block of the T queries its first query and its end, and the first and the end of the keys it sees.

    first (b, T) are the first keys of some rows of the batch, or of all of them, (1, T).
    """
    oldest = first.min(axis=0)
    for i in range(0, T, options.rows):
        j = min(i + options.rows, T)
        end = min(N, j) if options.causal else N
        yield i, j, min(int(oldest[i]), end), end


def mask_scores(
    s: np.ndarray, i: int, begin: int, first: np.ndarray, triangle: np.ndarray | None, mask: np.ndarray | None
) -> None:
    """Write -∞ into the scores s (b, h, rows, keys) where a query, from i on, may not look at a key, from `begin` on."""
    rows, keys = s.shape[-2:]
    end = begin + keys
    if triangle is not None and end > i:  # the whole block comes after the keys before its first query
        s[..., i - begin :] += triangle[:rows, : end - i]
    oldest = first[:, i : i + rows]
    if rows and oldest[:, -1].max() > begin:  # the last query's window or segment begins later than that of the first
        np.copyto(s, -np.inf, where=np.arange(begin, end) < oldest[:, None, :, None])
    if mask is not None:
        np.copyto(s, -np.inf, where=~mask[..., i : i + rows, begin:end])


def causal_triangle(T: int, dtype: np.dtype, options: AttentionOptions) -> np.ndarray | None:
    """Return what a causal block adds to its last scores: -∞ above the diagonal and 0 elsewhere."""
    rows = min(options.rows, T)
    return np.triu(np.full((rows, rows), -np.inf, dtype), 1) if options.causal else None


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, y: np.ndarray, options: AttentionOptions
) -> np.ndarray:
    """Write the result of attention into y (B, H, T, E); return ln Σ exp of each row of scores, (B, H, T, 1).

    q (B, H, T, D), k (B, H, N, D), v (B, H, N, E); mask broadcast to (B, H, T, N). A query that sees nothing gets 0, and
    the logarithm +∞, from which backward computes P = 0.
    """
    T, N = q.shape[2], k.shape[2]
    log_sums = np.empty((*q.shape[:3], 1), q.dtype)
    triangle = causal_triangle(T, q.dtype, options)
    keep_masks = options.keep_masks()
    for heads in head_groups((*q.shape[:3], N), options.rows):
        qs, kt = q[heads] * options.scale, np.swapaxes(k[heads].copy(), 2, 3)  # contiguous, in cache
        vs = v[heads].copy()
        keep = None if keep_masks is None else keep_masks((*qs.shape[:3], N))
        first = options.first_of(heads[0])
        for i, j, begin, end in query_blocks(T, N, first, options):
            s = qs[:, :, i:j] @ kt[..., begin:end]
            mask_scores(s, i, begin, first, triangle, None if mask is None else mask[heads])
            top = s.max(axis=-1, keepdims=True, initial=-np.inf)
            top[np.isneginf(top)] = 0  # -∞ - (-∞) would be NaN
            s -= top
            np.exp(s, out=s)
            total = s.sum(axis=-1, keepdims=True)
            sees_nothing = total == 0
            total[sees_nothing] = 1
            if keep is not None:
                s *= keep[:, :, i:j, begin:end]
            np.divide(s @ vs[:, :, begin:end], total * (1 - options.dropout), out=y[heads][:, :, i:j])
            top += np.log(total)
            top[sees_nothing] = np.inf
            log_sums[heads][:, :, i:j] = top
    return log_sums


def add_block(gradient: np.ndarray, contribution: np.ndarray, begin: int, n_seen: int) -> None:
    """Add a block's contribution, of keys or values from `begin` on, to a gradient that has `n_seen` rows already."""
    gradient[:, :, begin:n_seen] += contribution[:, :, : n_seen - begin]
    gradient[:, :, n_seen : begin + contribution.shape[2]] = contribution[:, :, n_seen - begin :]


def attend_backward(
    dy: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, y: np.ndarray,
    log_sums: np.ndarray, dq: np.ndarray, dk: np.ndarray, dv: np.ndarray, options: AttentionOptions,
) -> None:  # fmt: skip
    """Write the gradients into dq, dk and dv, which have the shapes of q, k and v.

    The numbers are those of attention_backward: (5), (6), (8) and (9) block by block, and (7) with its sum by (10), which
    needs no whole row of P.
    """
    T, N = q.shape[2], k.shape[2]
    triangle = causal_triangle(T, q.dtype, options)
    keep_masks = options.keep_masks()
    for heads in head_groups((*q.shape[:3], N), options.rows):
        qs, ks, vt = q[heads] * options.scale, k[heads].copy(), np.swapaxes(v[heads].copy(), 2, 3)
        dys = dy[heads].copy()
        row = (dys * y[heads]).sum(axis=-1, keepdims=True)  # (10)
        dys *= 1 / (1 - options.dropout)
        dqs, dks, dvs = np.empty_like(qs), np.zeros_like(ks), np.zeros((*ks.shape[:3], v.shape[3]), v.dtype)
        keep = None if keep_masks is None else keep_masks((*qs.shape[:3], N))
        n_seen = 0  # keys that an earlier block saw: only these have a gradient to add to
        first = options.first_of(heads[0])
        for i, j, begin, end in query_blocks(T, N, first, options):
            p = qs[:, :, i:j] @ np.swapaxes(ks[:, :, begin:end], 2, 3)
            mask_scores(p, i, begin, first, triangle, None if mask is None else mask[heads])
            p -= log_sums[heads][:, :, i:j]
            np.exp(p, out=p)
            ds = dys[:, :, i:j] @ vt[..., begin:end]
            z = None if keep is None else keep[:, :, i:j, begin:end]
            if z is not None:
                ds *= z  # (6)
            add_block(dvs, np.swapaxes(p if z is None else p * z, 2, 3) @ dys[:, :, i:j], begin, n_seen)  # (5)
            ds -= row[:, :, i:j]
            ds *= p  # (7)
            add_block(dks, np.swapaxes(ds, 2, 3) @ qs[:, :, i:j], begin, n_seen)  # (9)
            np.matmul(ds, ks[:, :, begin:end], out=dqs[:, :, i:j])
            n_seen = end
        np.multiply(dqs, options.scale, out=dq[heads])  # (8)
        dk[heads], dv[heads] = dks, dvs
