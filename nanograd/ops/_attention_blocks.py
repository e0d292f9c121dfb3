"""Attention in blocks of queries: the same numbers as attention.py, and no T×T array is kept.

A block of rows of P is made, used while it is in the cache, and forgotten; backward makes it again from the logarithm of
each row's sum (Dao et al. 2022, arXiv:2205.14135, algorithms 1 and 4). Under a causal mask the keys after a block's last
query are not touched at all, which is half of the work. Heads may be strided views of one packed array: those at work are
copied so as to lie together, and their gradients written back to where they belong. Of dropout, one bit an entry is there
for the heads at work.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nanograd.ops.dropout import KeepMasks

ROWS = 64  # queries in a block: fewer skip more of what the causal mask hides
SCORES = 2**18  # entries of P worked on at once, of several heads; see CACHED in _blocks.py

Heads = tuple[slice, slice]


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


def heads(shape: tuple[int, int, int, int], rows: int) -> Iterator[Heads]:
    """Cut scores (B, H, T, S) into batches and heads to be worked on together: the shorter the context, the more.

    They follow one another as in the flat array, so that one stream of random numbers serves parts and whole alike.
    """
    B, H, T, S = shape
    together = max(1, SCORES // max(min(rows, T) * S, 1))
    n_heads = min(H, together)
    n_batch = max(1, together // max(H, 1)) if n_heads == H else 1
    for b in range(0, B, n_batch):
        for h in range(0, H, max(n_heads, 1)):
            yield slice(b, b + n_batch), slice(h, h + n_heads)


def blocks(T: int, S: int, settings: Settings) -> Iterator[tuple[int, int, int]]:
    """Cut T queries into blocks; yield the first, the one after the last, and how many of S keys they see."""
    for i in range(0, T, settings.rows):
        j = min(i + settings.rows, T)
        yield i, j, min(S, j) if settings.causal else S


def hide(s: np.ndarray, i: int, above: np.ndarray | None, mask: np.ndarray | None) -> None:
    """Put -∞ where the queries from i on may not look, in their scores s (…, rows, keys)."""
    rows, keys = s.shape[-2:]
    if above is not None and keys > i:  # keys before the block's first query are seen by all of it
        s[..., i:] += above[:rows, : keys - i]
    if mask is not None:
        np.copyto(s, -np.inf, where=~mask[..., i : i + rows, :keys])


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
    T, S = q.shape[2], k.shape[2]
    lse = np.empty((*q.shape[:3], 1), q.dtype)
    above = strictly_above(min(settings.rows, T), q.dtype) if settings.causal else None
    keeps = settings.keeps()
    for at in heads((*q.shape[:3], S), settings.rows):
        qs, kt, vs = q[at] * settings.scale, np.swapaxes(k[at].copy(), 2, 3), v[at].copy()  # together, and in the cache
        keep = None if keeps is None else keeps((*qs.shape[:3], S))
        for i, j, keys in blocks(T, S, settings):
            s = qs[:, :, i:j] @ kt[..., :keys]
            hide(s, i, above, None if mask is None else mask[at])
            top = s.max(axis=-1, keepdims=True, initial=-np.inf)
            if mask is not None or keys == 0:
                top[np.isneginf(top)] = 0  # -∞ - (-∞) would be NaN
            s -= top
            np.exp(s, out=s)
            total = s.sum(axis=-1, keepdims=True)
            blind = total == 0
            total[blind] = 1
            if keep is not None:
                s *= keep[:, :, i:j, :keys]
            part = s @ vs[:, :, :keys]
            np.divide(part, total * (1 - settings.dropout), out=y[at][:, :, i:j])
            top += np.log(total)
            top[blind] = np.inf
            lse[at][:, :, i:j] = top
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
    T, S = q.shape[2], k.shape[2]
    above = strictly_above(min(settings.rows, T), q.dtype) if settings.causal else None
    keeps = settings.keeps()
    for at in heads((*q.shape[:3], S), settings.rows):
        qs, ks, vt, ds_out = q[at] * settings.scale, k[at].copy(), np.swapaxes(v[at].copy(), 2, 3), dy[at].copy()
        row = (ds_out * y[at]).sum(axis=-1, keepdims=True)  # Σ_keys P dP, as y = Σ_keys P z v and dP = z Σ_e dy v
        ds_out *= 1 / (1 - settings.dropout)
        dqs, dks, dvs = np.empty_like(qs), np.zeros_like(ks), np.zeros((*ks.shape[:3], v.shape[3]), v.dtype)
        keep = None if keeps is None else keeps((*qs.shape[:3], S))
        seen = 0  # keys that an earlier block saw: the others have no gradient yet to add to
        for i, j, keys in blocks(T, S, settings):
            p = qs[:, :, i:j] @ np.swapaxes(ks[:, :, :keys], 2, 3)
            hide(p, i, above, None if mask is None else mask[at])
            p -= lse[at][:, :, i:j]
            np.exp(p, out=p)
            ds = ds_out[:, :, i:j] @ vt[..., :keys]
            z = None if keep is None else keep[:, :, i:j, :keys]
            if z is not None:
                ds *= z  # (5)
            add(dvs, np.swapaxes(p if z is None else p * z, 2, 3) @ ds_out[:, :, i:j], seen)  # (4)
            ds -= row[:, :, i:j]
            ds *= p  # (6)
            add(dks, np.swapaxes(ds, 2, 3) @ qs[:, :, i:j], seen)  # (8)
            np.matmul(ds, ks[:, :, :keys], out=dqs[:, :, i:j])
            seen = keys
        np.multiply(dqs, settings.scale, out=dq[at])  # (7)
        dk[at], dv[at] = dks, dvs
