"""Attention in blocks of queries: the same numbers as attention.py, and no T×T array is ever whole.

A block of rows of P is made, used while it is in the cache, and forgotten; backward makes it again from the logarithm of
each row's sum (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4). Under a causal mask the keys after a block's last
query are not touched at all, which is half of the work. Queries, keys and values are read, and gradients written, where
they lie: heads may be strided views of one packed array.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nanograd.ops.dropout import KeepMasks

ROWS = 128  # queries in a block: with contexts of 256 to 1024, 64 to 256 are equally quick
SCORES = 2**16  # entries of P worked on at once: 256 kB in float32, which the second-level cache holds

Head = tuple[slice, slice]


class Settings(NamedTuple):
    """The options of attention, and how many queries make a block."""

    causal: bool
    scale: float
    dropout: float
    seed: int | None
    rows: int

    def keeps(self) -> KeepMasks | None:
        """Return the stream that draws what dropout keeps, from its beginning."""
        if not self.dropout:
            return None
        if self.seed is None:
            raise ValueError(f"attention: dropout={self.dropout} needs a seed, so that backward sees the same mask")
        return KeepMasks(self.dropout, self.seed)


def blocks(shape: tuple[int, int, int, int], rows: int, causal: bool) -> Iterator[tuple[Head, slice, int]]:
    """Cut scores (B, H, T, S) into blocks; yield which batches and heads, which queries, and how many keys they see.

    Short contexts are taken several heads at a time, long ones head by head: in the order of the flat array, so that one
    stream of random numbers serves blocks and whole alike.
    """
    B, H, T, S = shape
    whole = T <= rows  # one block holds all queries of a head
    together = max(1, SCORES // max(T * S, 1)) if whole else 1
    n_heads = min(H, together)
    n_batch = max(1, together // max(H, 1)) if n_heads == H else 1
    for b in range(0, B, n_batch):
        for h in range(0, H, max(n_heads, 1)):
            for i in range(0, T, rows):
                j = min(i + rows, T)
                yield (slice(b, b + n_batch), slice(h, h + n_heads)), slice(i, j), min(S, j) if causal else S


def hide(s: np.ndarray, queries: slice, above: np.ndarray | None, mask: np.ndarray | None) -> None:
    """Put -∞ where the queries of a block of scores s (…, rows, keys) may not look."""
    i, keys = queries.start, s.shape[-1]
    if above is not None and keys > i:  # keys before the block's first query are seen by all of it
        s[..., i:] += above[: s.shape[-2], : keys - i]
    if mask is not None:
        np.copyto(s, -np.inf, where=~mask[..., queries, :keys])


def strictly_above(rows: int, dtype: np.dtype) -> np.ndarray:
    """Return (rows, rows) with -∞ above the diagonal and 0 elsewhere: what a causal block adds to its last scores."""
    return np.triu(np.full((rows, rows), -np.inf, dtype), 1)


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, y: np.ndarray, settings: Settings
) -> np.ndarray:
    """Write attention's result into y (B, H, T, E), and return ln Σ exp of each row of scores, (B, H, T, 1).

    q (B, H, T, D), k (B, H, S, D), v (B, H, S, E); mask broadcast to (B, H, T, S). A query that sees nothing gets 0, and +∞
    as its logarithm, from which backward finds P = 0.
    """
    causal, scale, dropout, _, rows = settings
    shape = (*q.shape[:3], k.shape[2])
    lse = np.empty((*q.shape[:3], 1), q.dtype)
    above = strictly_above(min(rows, shape[2]), q.dtype) if causal else None
    keeps = settings.keeps()
    for at, queries, keys in blocks(shape, rows, causal):
        s = (q[at][:, :, queries] * scale) @ np.swapaxes(k[at][:, :, :keys], 2, 3)
        hide(s, queries, above, None if mask is None else mask[at])
        top = s.max(axis=-1, keepdims=True, initial=-np.inf)
        if mask is not None or keys == 0:
            top[np.isneginf(top)] = 0  # -∞ - (-∞) would be NaN
        s -= top
        np.exp(s, out=s)
        total = s.sum(axis=-1, keepdims=True)
        blind = total == 0
        total[blind] = 1
        part = y[at][:, :, queries]
        if keeps is not None:
            s *= keeps((*s.shape[:3], shape[3]))[..., :keys]
        np.matmul(s, v[at][:, :, :keys], out=part)
        part /= total * (1 - dropout)
        top += np.log(total)
        top[blind] = np.inf
        lse[at][:, :, queries] = top
    return lse


def add(d: np.ndarray, part: np.ndarray, seen: int) -> None:
    """Add a block's part to the gradient d of keys or values: the first `seen` of them have one, the others get theirs."""
    d[:, :, :seen] += part[:, :, :seen]
    d[:, :, seen : part.shape[2]] = part[:, :, seen:]


def attend_backward(
    dy: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray | None, y: np.ndarray, lse: np.ndarray,
    dq: np.ndarray, dk: np.ndarray, dv: np.ndarray, settings: Settings,
) -> None:  # fmt: skip
    """Write the gradients into dq, dk and dv, which have the shapes of q, k and v.

    In the numbers of attention_backward: (4), (5), (7) and (8) block by block, and (6) with Σ_keys P dP = Σ_e dy y, which
    needs no row of P whole.
    """
    causal, scale, dropout, _, rows = settings
    shape = (*q.shape[:3], k.shape[2])
    above = strictly_above(min(rows, shape[2]), q.dtype) if causal else None
    keeps = settings.keeps()
    reached = (min(shape[2], shape[3]) if causal else shape[3]) if shape[2] else 0
    dk[:, :, reached:], dv[:, :, reached:] = 0, 0  # keys that no query sees
    for at, queries, keys in blocks(shape, rows, causal):
        q_part, k_part, v_part = q[at][:, :, queries] * scale, k[at][:, :, :keys], v[at][:, :, :keys]
        p = q_part @ np.swapaxes(k_part, 2, 3)
        hide(p, queries, above, None if mask is None else mask[at])
        p -= lse[at][:, :, queries]
        np.exp(p, out=p)
        dy_part = dy[at][:, :, queries]
        row = (dy_part * y[at][:, :, queries]).sum(axis=-1, keepdims=True)  # as y = Σ_keys P z v and dP = z Σ_e dy v
        seen = min(queries.start, keys) if causal or queries.start == 0 else keys  # keys that an earlier block saw
        if keeps is None:
            ds = dy_part @ np.swapaxes(v_part, 2, 3)
            add(dv[at], np.swapaxes(p, 2, 3) @ dy_part, seen)  # (4)
        else:
            keep = keeps((*p.shape[:3], shape[3]))[..., :keys]
            dy_part = dy_part * (1 / (1 - dropout))
            ds = dy_part @ np.swapaxes(v_part, 2, 3)
            ds *= keep  # (5)
            add(dv[at], np.swapaxes(p * keep, 2, 3) @ dy_part, seen)  # (4)
        ds -= row
        ds *= p  # (6)
        add(dk[at], np.swapaxes(ds, 2, 3) @ q_part, seen)  # (8)
        dq_part = dq[at][:, :, queries]
        np.matmul(ds, k_part, out=dq_part)
        dq_part *= scale  # (7)
