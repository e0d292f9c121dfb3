"""Write one token after another without reading the text again: the keys and values of all earlier tokens are kept.

The model's own forward, on plain arrays, for tokens that come one at a time. Of an earlier token a later one needs
nothing but its key and its value, in each block, so a step reads every weight once, however long the text: how fast the
memory gives them is how fast text can be written. A product of one row and a matrix comes to 95 % of that by itself, on
all threads of the BLAS (28 of 29.4 GB/s on two cores), as long as no copy of a matrix is made.
"""

import contextlib
import math

import numpy as np

from gpt.generation.layers import linear, normalise, place, product, rope_cos_sin, rotate, think
from gpt.lora import check_merged
from gpt.model import GPT, MultiHeadAttention
from nanograd import ops
from nanograd.ops.packed_attention import split_heads
from nanograd.runtime.blas import one_thread
from nanograd.runtime.threads import PARALLEL_THRESHOLD

Hidden = np.ndarray | None  # (B, 1, 1, S), added to scores: -∞ where a row may not look; None where it may everywhere


class Decoder:
    """Continue `batch_size` texts of a model, side by side. It reads the model's own arrays and copies none.

    keys[i] and values[i] (B, K, capacity, D) belong to block i. All rows write the same column of them: a row whose prompt
    is shorter is padded on the left, and looks at columns from starts[b] on only. Past context_length tokens

    learned positions  have run out: the older half of the text is dropped, and the younger read again from position 0;
    RoPE               slides: a new token's column takes the place of the oldest. Keys keep the angle they were rotated
                       by, since only differences of angles matter; for the same reason padding need not be subtracted.

    capacity, context_length unless given, is how many columns there are: less memory for texts known to be short.
    """

    def __init__(self, model: GPT, batch_size: int = 1, capacity: int | None = None) -> None:
        config, dtype = model.config, model.tok_emb.weight.dtype
        check_merged(model, "Decoder")
        if batch_size < 1 or (capacity is not None and capacity < 1):
            raise ValueError(f"Decoder: batch_size and capacity must be at least 1, got {batch_size} and {capacity}")
        self.model, self.batch_size, self.context_length = model, batch_size, config.context_length
        self.capacity = min(capacity or config.context_length, config.context_length)
        shape = batch_size, config.n_kv_heads, self.capacity, config.head_dim
        self.keys = [np.zeros(shape, dtype) for _ in model.blocks]
        self.values = [np.zeros(shape, dtype) for _ in model.blocks]
        self.window = np.zeros((batch_size, self.capacity), np.intp)  # the ids in the columns
        self.starts = np.zeros(batch_size, np.intp)  # the first column that is a row's own
        self.length = 0  # columns written, those whose place was taken included
        self.small = config.d_model * config.d_ff < PARALLEL_THRESHOLD  # a product on several threads gains nothing

    def prefill(self, ids: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Forget all, read prompts ids (B, T) and return the logits (B, V) of the token after each.

        Row b's prompt is its last lengths[b] ids; what is before them may be anything. Of a prompt longer than the
        context only the end is read.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != self.batch_size or ids.shape[1] == 0:
            raise ValueError(f"prefill: ids must be ({self.batch_size}, T) with T at least 1, got shape {ids.shape}")
        T = ids.shape[1]
        lengths = np.full(len(ids), T) if lengths is None else np.asarray(lengths)
        if lengths.shape != (len(ids),) or lengths.min() < 1 or lengths.max() > T:
            raise ValueError(f"prefill: lengths must be one from 1 to {T} for each row, got {lengths.tolist()}")
        kept = min(int(lengths.max()), self.context_length)  # columns that are padding in every row are cut off
        if kept > self.capacity:
            raise ValueError(f"prefill: {kept} tokens are more than the Decoder's capacity={self.capacity}")
        if kept == 1:  # a text begins: in a small model a step takes a third of the time that the ops take
            self.starts, self.length = np.zeros(len(ids), np.intp), 0
            return self.step(ids[:, -1])
        starts = kept - np.minimum(lengths, kept)
        padding = np.arange(kept) < starts[:, None]  # (B, T)
        ids = np.where(padding, 0, ids[:, T - kept :])
        logits = self._read(ids, starts, ~padding[:, None, None] if padding.any() else None)
        self.window[:, :kept] = ids
        self.starts, self.length = starts, kept
        return logits

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each row, ids (B,), and return the logits (B, V) of the token after it."""
        ids = np.asarray(ids)
        if ids.shape != (self.batch_size,):
            raise ValueError(f"step: ids must be ({self.batch_size},), one for each row, got shape {ids.shape}")
        if self.length == self.capacity < self.context_length:
            raise ValueError(f"step: the cache is full; make the Decoder with more than capacity={self.capacity}")
        if self.length == self.context_length and self.model.pos_emb is not None:
            return self._begin_again(ids)
        if not all(0 <= id < self.model.config.vocab_size for id in ids.tolist()):
            raise ValueError(f"step: ids must lie in [0, {self.model.config.vocab_size}), got {ids.tolist()}")
        with one_thread() if self.small else contextlib.nullcontext():
            logits = self._step(ids, self.length % self.capacity, min(self.length + 1, self.capacity))
        self.window[:, self.length % self.capacity] = ids
        self.length += 1
        return logits

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the text of row rows[i], as a beam search does."""
        rows = np.asarray(rows)
        if rows.shape != (self.batch_size,):
            raise ValueError(f"reorder: rows must be ({self.batch_size},), one for each row, got shape {rows.shape}")
        self.window, self.starts = self.window[rows], self.starts[rows]
        for cache in (*self.keys, *self.values):
            cache[:, :, : self.length] = cache[rows, :, : self.length]

    def _begin_again(self, ids: np.ndarray) -> np.ndarray:
        """Drop the older half of every row that has context_length tokens, and read what remains and ids (B,) anew."""
        lengths = self.length - self.starts
        lengths[lengths == self.context_length] = self.context_length // 2
        return self.prefill(np.concatenate((self.window, ids[:, None]), axis=1), lengths + 1)

    def _read(self, ids: np.ndarray, starts: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Run the model on prompts ids (B, T), keep their keys and values, and return the last logits (B, V).

        Of the last block, only keys and values are needed of tokens before the last: 6 % fewer operations with 12 blocks.
        512 tokens of GPT-2 take 440 ms. Cut among threads of our own, by tokens and by heads, they take 500: products of
        half the tokens are slower; and heads alone on our threads meet the BLAS's, which wait by spinning.
        """
        T, model = ids.shape[1], self.model
        x = ops.embedding(model.tok_emb.weight.data, ids)  # (B, T, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[np.maximum(np.arange(T) - starts[:, None], 0)]
        for block, keys, values in zip(model.blocks, self.keys, self.values, strict=True):
            attn = block.attn
            qkv = place(attn, linear(attn.w_qkv, normalise(block.norm1, x)))  # (B, T, (H + 2 K) D)
            q, k, v = split_heads(qkv, attn.n_heads, attn.n_kv_heads)  # (B, H, T, D), (B, K, T, D) twice
            keys[:, :, :T], values[:, :, :T] = k, v
            if block is model.blocks[-1]:
                y, x = ops.attention(q[:, :, -1:], k, v, mask).reshape(len(x), 1, -1), x[:, -1:]  # T is 1 from here on
            else:
                y = ops.packed_attention(qkv, mask, n_heads=attn.n_heads, n_kv_heads=attn.n_kv_heads, causal=True)
            x = x + linear(attn.out_proj, y)  # (B, T, C)
            x += think(block.mlp, normalise(block.norm2, x).reshape(-1, x.shape[-1])).reshape(x.shape)
        return ops.linear(normalise(model.norm, x[:, -1]), model.lm_head_weight.data)

    def _step(self, ids: np.ndarray, column: int, seen: int) -> np.ndarray:
        """Run the model on one token of each row, ids (B,), that looks at `seen` columns; write its own into `column`."""
        model, hidden, cos_sin = self.model, self._hidden(seen), None
        x = model.tok_emb.weight.data[ids]  # (B, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[self.length - self.starts]
        else:
            cos_sin = rope_cos_sin(self.length, model.config.head_dim, model.config.rope_theta, x.dtype)
        for block, keys, values in zip(model.blocks, self.keys, self.values, strict=True):
            q, k, v = heads_of(block.attn, normalise(block.norm1, x), cos_sin)  # (B, K, G, D), (B, K, D) twice
            keys[:, :, column], values[:, :, column] = k, v
            y = look(q, keys[:, :, :seen], values[:, :, :seen], hidden)  # (B, H D)
            x += product(block.attn.out_proj, y)
            x += think(block.mlp, normalise(block.norm2, x))
        return normalise(model.norm, x) @ model.lm_head_weight.data.T

    def _hidden(self, seen: int) -> Hidden:
        """Say where a row may not look: at columns before its first, unless a later token has taken their place."""
        if self.starts.max() <= self.length + 1 - seen:  # the oldest column that is left
            return None
        columns = self.length - (self.length - np.arange(seen)) % self.capacity  # of each place, what is written there
        before = columns < self.starts[:, None]
        return np.where(before, -np.inf, 0).astype(self.keys[0].dtype)[:, None, None]


def heads_of(
    attn: MultiHeadAttention, x: np.ndarray, cos_sin: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a token's scaled queries (B, K, G, D), G of them to a key, and its keys and values (B, K, D)."""
    H, K, D = attn.n_heads, attn.n_kv_heads, attn.head_dim
    heads = product(attn.w_qkv, x).reshape(-1, H + 2 * K, D)
    q, k, v = heads[:, :H], heads[:, H : H + K], heads[:, H + K :]
    if attn.q_norm is not None and attn.k_norm is not None:
        q[...], k[...] = normalise(attn.q_norm, q), normalise(attn.k_norm, k)
    if cos_sin is not None:
        rotate(heads[:, : H + K], *cos_sin)
    q *= 1 / math.sqrt(D)
    return q.reshape(-1, K, H // K, D), k, v


def look(q: np.ndarray, keys: np.ndarray, values: np.ndarray, hidden: Hidden) -> np.ndarray:
    """Let one token of each row look at S columns: q (B, K, G, D), keys and values (B, K, S, D) → (B, H D)."""
    p = q @ keys.swapaxes(2, 3)  # (B, K, G, S)
    if hidden is not None:
        p += hidden
    p -= np.maximum.reduce(p, axis=-1, keepdims=True)
    np.exp(p, out=p)
    y = p @ values  # (B, K, G, D)
    y /= np.add.reduce(p, axis=-1, keepdims=True)  # D numbers are divided instead of S
    return y.reshape(len(q), -1)
