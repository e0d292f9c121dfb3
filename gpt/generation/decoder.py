"""Incremental decoding with a key–value cache.

A later token needs only the keys and values of the earlier ones, in each block. The decoder keeps these, so a step reads
every weight once, however long the text is: the bandwidth of the memory limits the speed. A product of one row and a
matrix reaches 95 % of that limit by itself, on all threads of the BLAS (28 of 29.4 GB/s on two cores), as long as no
matrix is copied.

The forward pass is written a second time here, on plain arrays: nothing is recorded, and nothing is saved for a backward
pass. It runs 1.2 to 1.4 times as fast as the modules of gpt/model.py under no_grad. Rows are tokens: one of each text, or
all tokens of a prompt. A change of gpt/model.py must be made here too; `python -m gpt doctor` compares the two.
"""

import contextlib
import math

import numpy as np

from gpt.config import ModelConfig
from gpt.lora import check_merged
from gpt.model import GPT, MLP, MultiHeadAttention
from nanograd import ops
from nanograd.nn import LayerNorm, Linear, RMSNorm
from nanograd.ops.activation import CUBIC, SCALE
from nanograd.ops.packed_attention import split_heads
from nanograd.ops.rope import rope_tables
from nanograd.runtime.blas import one_thread
from nanograd.runtime.threads import PARALLEL_THRESHOLD, available_threads

GELU_BLOCK = 2**16  # features at a time: 256 kB, and as much for a temporary array, stay in the CPU's cache


class KVCache:
    """The keys and values of all tokens that a batch of texts has read, in every block.

    keys[i] and values[i] (B, K, capacity, D) belong to block i. The t-th token of every row is stored in slot
    t % capacity, so a token past the capacity overwrites the oldest one. A row with a shorter prompt is padded on the
    left: its own tokens begin at t = starts[b].
    """

    def __init__(self, config: ModelConfig, batch_size: int, capacity: int, dtype: np.dtype) -> None:
        shape = batch_size, config.n_kv_heads, capacity, config.head_dim
        self.capacity, self.window = capacity, config.window
        self.keys = [np.zeros(shape, dtype) for _ in range(config.n_layers)]
        self.values = [np.zeros(shape, dtype) for _ in range(config.n_layers)]
        self.token_ids = np.zeros((batch_size, capacity), np.intp)  # the token in each slot
        self.starts = np.zeros(batch_size, np.intp)
        self.length = 0  # tokens of a row that were read, with padding and those overwritten since

    @property
    def next_slot(self) -> int:
        """The slot of the next token."""
        return self.length % self.capacity

    def attn_mask(self, n_slots: int) -> np.ndarray | None:
        """Return the mask (B, 1, 1, n_slots) to add to the next token's scores, or None if it attends to all slots.

        It is -∞ at padding that no later token has overwritten, and at tokens before the window.
        """
        first = self.starts if self.window is None else np.maximum(self.starts, self.length + 1 - self.window)
        if first.max() <= self.length + 1 - n_slots:  # the oldest token still stored
            return None
        t = self.length - (self.length - np.arange(n_slots)) % self.capacity  # the token in each slot
        is_hidden = t < first[:, None]
        return np.where(is_hidden, -np.inf, 0).astype(self.keys[0].dtype)[:, None, None]


class Decoder:
    """Continue `batch_size` texts side by side. It uses the model's own arrays and copies none.

    After context_length tokens, the behaviour depends on `config.position`:

    learned            no positions are left: the older half of the text is dropped, and the newer half is read again from
                       position 0;
    rope               sliding window: a new token overwrites the oldest. Cached keys keep their rotation angle, since
                       attention depends only on differences of angles; hence padding need not be subtracted either.

    capacity (default: context_length) is the number of slots: fewer take less memory if texts are known to be short.
    """

    def __init__(self, model: GPT, batch_size: int = 1, capacity: int | None = None) -> None:
        config = model.config
        check_merged(model, "Decoder")
        if batch_size < 1 or (capacity is not None and capacity < 1):
            raise ValueError(f"Decoder: batch_size and capacity must be at least 1, got {batch_size} and {capacity}")
        self.model, self.batch_size, self.context_length = model, batch_size, config.context_length
        capacity = min(capacity or config.context_length, config.context_length)
        self.cache = KVCache(config, batch_size, capacity, model.tok_emb.weight.dtype)
        self.is_small = config.d_model * config.d_ff < PARALLEL_THRESHOLD  # several threads would gain nothing

    def prefill(self, ids: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Clear the cache, read prompts ids (B, T) and return the logits (B, V) of the token after each.

        Row b's prompt is its last lengths[b] ids; the ids before it may be anything. If a prompt is longer than the
        context, only its end is read.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != self.batch_size or ids.shape[1] == 0:
            raise ValueError(f"prefill: ids must be ({self.batch_size}, T) with T at least 1, got shape {ids.shape}")
        T = ids.shape[1]
        lengths = np.full(len(ids), T) if lengths is None else np.asarray(lengths)
        if lengths.shape != (len(ids),) or lengths.min() < 1 or lengths.max() > T:
            raise ValueError(f"prefill: lengths must be one from 1 to {T} for each row, got {lengths.tolist()}")
        n, cache = min(int(lengths.max()), self.context_length), self.cache  # columns of padding alone are cut off
        if n > cache.capacity:
            raise ValueError(f"prefill: {n} tokens are more than the Decoder's capacity={cache.capacity}")
        if n == 1:  # in a small model, a step takes a third of the time of the ops in _prefill
            cache.starts, cache.length = np.zeros(len(ids), np.intp), 0
            return self.step(ids[:, -1])
        starts = n - np.minimum(lengths, n)
        is_padding = np.arange(n) < starts[:, None]  # (B, n)
        ids = np.where(is_padding, 0, ids[:, T - n :])
        with self._threads():
            logits = self._prefill(ids, starts, ~is_padding[:, None, None] if is_padding.any() else None)
        cache.token_ids[:, :n] = ids
        cache.starts, cache.length = starts, n
        return logits

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each row, ids (B,), and return the logits (B, V) of the token after it."""
        ids, cache = np.asarray(ids), self.cache
        if ids.shape != (self.batch_size,):
            raise ValueError(f"step: ids must be ({self.batch_size},), one for each row, got shape {ids.shape}")
        if cache.length == cache.capacity < self.context_length:
            raise ValueError(f"step: the cache is full; make the Decoder with more than capacity={cache.capacity}")
        if cache.length == self.context_length and self.model.pos_emb is not None:
            return self._refill(ids)
        if not all(0 <= id < self.model.config.vocab_size for id in ids.tolist()):
            raise ValueError(f"step: ids must lie in [0, {self.model.config.vocab_size}), got {ids.tolist()}")
        with self._threads():
            logits = self._decode_step(ids)
        cache.token_ids[:, cache.next_slot] = ids
        cache.length += 1
        return logits

    def _threads(self) -> contextlib.AbstractContextManager[None]:
        """Return a context with one thread where more would only wait for each other, and lose time on a busy machine."""
        return one_thread() if self.is_small or available_threads() == 1 else contextlib.nullcontext()

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i continue the text of row rows[i], as a beam search does."""
        rows, cache = np.asarray(rows), self.cache
        if rows.shape != (self.batch_size,):
            raise ValueError(f"reorder: rows must be ({self.batch_size},), one for each row, got shape {rows.shape}")
        cache.token_ids, cache.starts = cache.token_ids[rows], cache.starts[rows]
        for array in (*cache.keys, *cache.values):
            array[:, :, : cache.length] = array[rows, :, : cache.length]

    def _refill(self, ids: np.ndarray) -> np.ndarray:
        """Drop the older half of every row that has context_length tokens, and read the rest and ids (B,) again."""
        lengths = self.cache.length - self.cache.starts
        lengths[lengths == self.context_length] = self.context_length // 2
        return self.prefill(np.concatenate((self.cache.token_ids, ids[:, None]), axis=1), lengths + 1)

    def _prefill(self, ids: np.ndarray, starts: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        """Run the model on prompts ids (B, T), store their keys and values, and return the last logits (B, V).

        In the last block, tokens before the last need only keys and values: 6 % fewer operations with 12 blocks.
        512 tokens of GPT-2 take 440 ms. Divided among threads of our own, by tokens and by heads, they take 500: products
        of half the tokens are slower. Dividing heads alone makes our threads compete with the BLAS's, which spin while
        they wait.
        """
        (B, T), model = ids.shape, self.model
        x = ops.embedding(model.tok_emb.weight.data, ids)  # (B, T, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[np.maximum(np.arange(T) - starts[:, None], 0)]
        x = x.reshape(B * T, -1)
        for block, keys, values in zip(model.blocks, self.cache.keys, self.cache.values, strict=True):
            attn, is_last = block.attn, block is model.blocks[-1]
            qkv = linear(attn.w_qkv, normalise(block.norm1, x)).reshape(B, T, -1)  # (B, T, (H + 2 K) D)
            qkv = apply_qk_norm_and_rope(attn, qkv)
            q, k, v = split_heads(qkv, attn.n_heads, attn.n_kv_heads)  # (B, H, T, D), (B, K, T, D) twice
            keys[:, :, :T], values[:, :, :T] = k, v
            if is_last:
                seen = slice(-(attn.window or T), None)
                last_mask = None if mask is None else mask[..., seen]
                y = ops.attention(q[:, :, -1:], k[:, :, seen], v[:, :, seen], last_mask)
                x = x.reshape(B, T, -1)[:, -1]  # from here on, B rows
            else:
                y = ops.packed_attention(
                    qkv, mask, n_heads=attn.n_heads, n_kv_heads=attn.n_kv_heads, causal=True, window=attn.window
                )
            x = x + linear(attn.out_proj, y.reshape(len(x), -1))
            x += mlp_forward(block.mlp, normalise(block.norm2, x))
        return ops.linear(normalise(model.norm, x), model.lm_head_weight.data)

    def _decode_step(self, ids: np.ndarray) -> np.ndarray:
        """Run the model on the next token of each row, ids (B,), store its keys and values, and return logits (B, V)."""
        model, cache, cos_sin = self.model, self.cache, None
        slot, n_slots = cache.next_slot, min(cache.length + 1, cache.capacity)
        attn_mask = cache.attn_mask(n_slots)
        x = model.tok_emb.weight.data[ids]  # (B, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[cache.length - cache.starts]
        else:
            frequencies = model.blocks[0].attn.rope_frequencies
            assert frequencies is not None
            cos_sin = rope_tables(np.array([cache.length]), frequencies, x.dtype)
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            q, k, v = project_qkv(block.attn, normalise(block.norm1, x), cos_sin)  # (B, K, G, D), (B, K, D) twice
            keys[:, :, slot], values[:, :, slot] = k, v
            y = attend_cached(q, keys[:, :, :n_slots], values[:, :, :n_slots], attn_mask)  # (B, H D)
            x += linear(block.attn.out_proj, y)
            x += mlp_forward(block.mlp, normalise(block.norm2, x))
        return normalise(model.norm, x) @ model.lm_head_weight.data.T


def project_qkv(
    attn: MultiHeadAttention, x: np.ndarray, cos_sin: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scaled queries (B, K, G, D), G of them per key, and the keys and values (B, K, D) of tokens x (B, C)."""
    H, K, D = attn.n_heads, attn.n_kv_heads, attn.head_dim
    heads = linear(attn.w_qkv, x).reshape(-1, H + 2 * K, D)
    q, k, v = heads[:, :H], heads[:, H : H + K], heads[:, H + K :]
    if attn.q_norm is not None and attn.k_norm is not None:
        q[...], k[...] = normalise(attn.q_norm, q), normalise(attn.k_norm, k)
    if cos_sin is not None:
        rotate(heads[:, : H + K], *cos_sin)
    q *= 1 / math.sqrt(D)
    return q.reshape(-1, K, H // K, D), k, v


def attend_cached(q: np.ndarray, keys: np.ndarray, values: np.ndarray, attn_mask: np.ndarray | None) -> np.ndarray:
    """Let one token of each row attend to S slots: q (B, K, G, D), keys and values (B, K, S, D) → (B, H D)."""
    p = q @ keys.swapaxes(2, 3)  # (B, K, G, S)
    if attn_mask is not None:
        p += attn_mask
    p -= np.maximum.reduce(p, axis=-1, keepdims=True)
    np.exp(p, out=p)
    y = p @ values  # (B, K, G, D)
    y /= np.add.reduce(p, axis=-1, keepdims=True)  # after the product: D divisions instead of S
    return y.reshape(len(q), -1)


def apply_qk_norm_and_rope(attn: MultiHeadAttention, qkv: np.ndarray) -> np.ndarray:
    """Normalise the queries and keys of each head of qkv (B, T, (H + 2 K) D), and rotate them by their position."""
    H, K = attn.n_heads, attn.n_kv_heads
    heads = qkv.reshape(*qkv.shape[:-1], H + 2 * K, attn.head_dim).swapaxes(-3, -2)  # (B, H + 2 K, T, D)
    if attn.q_norm is not None and attn.k_norm is not None:
        heads[:, :H] = normalise(attn.q_norm, heads[:, :H])
        heads[:, H : H + K] = normalise(attn.k_norm, heads[:, H : H + K])
    if attn.rope_frequencies is not None:
        heads = ops.rope(heads, frequencies=attn.rope_frequencies, rotated=H + K)
    return heads.swapaxes(-3, -2).reshape(qkv.shape)


def rotate(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotate heads (…, D) in place as the op rope does: (a, b) becomes (a cos - b sin, a sin + b cos)."""
    half = cos.shape[-1]
    a, b = heads[..., :half], heads[..., half:]
    a_sin = a * sin
    a *= cos
    a -= b * sin
    b *= cos
    b += a_sin


def linear(layer: Linear, x: np.ndarray) -> np.ndarray:
    """Map rows x (B, in) to (B, out)."""
    y = x @ layer.weight.data.T
    if layer.bias is not None:
        y += layer.bias.data
    return y


def normalise(layer: LayerNorm | RMSNorm, x: np.ndarray) -> np.ndarray:
    """Normalise features x (…, C)."""
    C = x.shape[-1]
    n = x - np.add.reduce(x, axis=-1, keepdims=True) / C if isinstance(layer, LayerNorm) else x
    n = n / np.sqrt(np.vecdot(n, n)[..., None] / C + layer.eps)
    n *= layer.weight.data
    if isinstance(layer, LayerNorm) and layer.bias is not None:
        n += layer.bias.data
    return n


def mlp_forward(mlp: MLP, x: np.ndarray) -> np.ndarray:
    """Run the MLP on rows x (B, C)."""
    h = linear(mlp.up, x)  # (B, d_ff)
    if mlp.gate is not None:
        gate = linear(mlp.gate, x)
        h = ops.swiglu(gate, h) if mlp.activation is ops.silu else mlp.activation(gate) * h
    else:
        h = gelu_tanh(h) if mlp.activation is ops.gelu_tanh else mlp.activation(h)
    return linear(mlp.down, h)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Apply the activation to x in place, and keep nothing for a backward pass."""
    flat = x.reshape(-1)
    for i in range(0, flat.size, GELU_BLOCK):
        block = flat[i : i + GELU_BLOCK]
        u = block * block
        u += 1 / CUBIC
        u *= block
        u *= SCALE * CUBIC
        np.tanh(u, out=u)
        u += 1
        block *= u
        block *= 0.5
    return x
