"""Incremental decoding with a key–value cache.

A later token needs only the keys and values of the earlier ones, in each block. The decoder keeps these, so a step reads
every weight once, however long the text is: the bandwidth of the memory limits the speed. A product of one row and a
matrix reaches 95 % of that limit by itself, on all threads of the BLAS (28 of 29.4 GB/s on two cores), as long as no
matrix is copied. With SmolLM2's short rows of 576 numbers it reaches 80 % (19 of 24 GB/s, on other cores).

The forward pass is written a second time here, on plain arrays: nothing is recorded, and nothing is saved for a backward
pass. It runs 1.2 to 1.4 times as fast as the modules of gpt/model.py under no_grad. Rows are tokens: one of each text, or
all tokens of a prompt. A change of gpt/model.py must be made here too; `python -m gpt doctor` compares the two.
"""

import contextlib
import itertools
import math
from collections.abc import Sequence

import numpy as np

from gpt.generation.kv_cache import KVCache
from gpt.lora import check_merged
from gpt.model import GPT, MLP, MultiHeadAttention
from nanograd import ops
from nanograd.nn import LayerNorm, Linear, RMSNorm
from nanograd.ops.activation import CUBIC, SCALE
from nanograd.ops.packed_attention import side_by_side
from nanograd.ops.rope import rope_tables
from nanograd.runtime.blas import one_thread
from nanograd.runtime.threads import PARALLEL_THRESHOLD, available_threads

CHUNK = 1024  # tokens of a prompt that are read at once
GELU_BLOCK = 2**16  # features at a time: 256 kB, and as much for a temporary array, stay in the CPU's cache


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many ids two texts have in common at their beginnings.

    >>> common_prefix([5, 6, 7], [5, 6, 8, 9])
    2
    """
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


class Decoder:
    """Continue `batch_size` texts side by side. It uses the model's own arrays and copies none.

    After context_length tokens, the behaviour depends on `config.position`:

    learned            no positions are left: the older half of the text is dropped, and the newer half is read again from
                       position 0;
    rope               sliding window: a new token overwrites the oldest. Cached keys keep their rotation angle, since
                       attention depends only on differences of angles; hence padding need not be subtracted either.

    capacity (default: context_length) is the number of tokens that a text may have. A prompt is read in chunks, and takes
    memory for one besides the cache: for its features, its attention mask and the scores of 64 queries.
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
        cache.length = cache.begun = 0
        cache.starts = n - np.minimum(lengths, n)
        if n == 1:  # in a small model, a step takes a third of the time of the ops in _read
            return self.step(ids[:, -1])
        is_padding = np.arange(n) < cache.starts[:, None]  # (B, n)
        return self.extend(np.where(is_padding, 0, ids[:, T - n :]))

    def extend(self, ids: np.ndarray) -> np.ndarray:
        """Read T more tokens of each row, ids (B, T), and return the logits (B, V) of the token after the last.

        It is `step` for several tokens at once. There is no room for more than `capacity` tokens; with RoPE, a text may go
        beyond context_length.
        """
        with self._threads():
            return ops.linear(self.hidden_states(ids, every=False)[:, -1], self.model.lm_head_weight.data)

    def hidden_states(self, ids: np.ndarray, *, every: bool = True) -> np.ndarray:
        """Read T more tokens of each row, ids (B, T), as `extend` does, and return x (B, T, C) after the last norm.

        Times the output projection, they are the logits of the token after each. Without `every`, only those of the last
        tokens are computed, (B, 1, C).
        """
        ids, cache, model = np.asarray(ids), self.cache, self.model
        if ids.ndim != 2 or len(ids) != self.batch_size or ids.shape[1] == 0:
            raise ValueError(f"extend: ids must be ({self.batch_size}, T) with T at least 1, got shape {ids.shape}")
        slides = cache.capacity == self.context_length and model.pos_emb is None
        if cache.length + ids.shape[1] > cache.capacity and not slides:
            raise ValueError(
                f"extend: {cache.length} + {ids.shape[1]} tokens are more than the Decoder's capacity={cache.capacity}"
            )
        if ids.min() < 0 or ids.max() >= model.config.vocab_size:
            raise ValueError(f"extend: ids must lie in [0, {model.config.vocab_size}), got {ids.min()} to {ids.max()}")
        cache.reserve(ids.shape[1])
        with self._threads():
            size = max(1, CHUNK // len(ids))
            x = [self._read(ids[:, i : i + size], every) for i in range(0, ids.shape[1], size)]
            return normalise(model.norm, np.concatenate(x, axis=1) if every else x[-1])

    def read(self, ids: Sequence[int]) -> np.ndarray:
        """Read a text ids (T,), of which the cache keeps the tokens with which it begins already; return the logits (1, V).

        A conversation that grows is read once: the earlier turns stay in the cache. The result is that of `prefill`, up to
        rounding. If the text does not fit into the cache, or its beginning is no longer there, all is read.
        """
        cache = self.cache
        if self.batch_size != 1:
            raise ValueError(f"read: needs a Decoder of one text, got batch_size={self.batch_size}; use prefill")
        n = min(common_prefix(cache.token_ids[0, : cache.length].tolist(), ids), len(ids) - 1)
        if n < 1 or cache.starts[0] or len(ids) > cache.capacity or not cache.cut(n):
            return self.prefill(np.asarray(ids)[None])
        return self.extend(np.asarray(ids)[None, n:])

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
        cache.token_ids[:, cache.length % cache.capacity] = ids
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

    def _read(self, ids: np.ndarray, every: bool) -> np.ndarray:
        """Run the blocks on the next tokens, ids (B, T), store their keys and values, and return x (B, T, C).

        Without `every`, it is that of the last tokens, (B, 1, C). In the last block, the tokens before them then need only
        keys and values: 6 % fewer operations with 12 blocks.
        512 tokens of GPT-2 take 440 ms. Divided among threads of our own, by tokens and by heads, they take 500: products
        of half the tokens are slower. Dividing heads alone makes our threads compete with the BLAS's, which spin while
        they wait.
        """
        (B, T), model, cache = ids.shape, self.model, self.cache
        positions, mask, is_first = np.arange(cache.length, cache.length + T), cache.may_see(T), cache.length == 0
        x = model.tok_emb.weight.data[ids]  # (B, T, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[np.maximum(positions - cache.starts[:, None], 0)]
        x, cos_sin = x.reshape(B * T, -1), self._cos_sin(np.tile(positions, B))
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            attn = block.attn
            heads = project_heads(attn, normalise(block.norm1, x), cos_sin).reshape(B, T, -1, attn.head_dim)
            q, k, v = np.split(heads.swapaxes(1, 2), (attn.n_heads, attn.n_heads + attn.n_kv_heads), axis=1)
            k, v = cache.append(keys, k), cache.append(values, v)  # (B, K, N, D), with earlier tokens
            if every or block is not model.blocks[-1]:
                y = ops.attention(q, k, v, mask, causal=is_first, window=cache.slots if is_first else None)
            else:
                seen = slice(-cache.slots, None)
                last_mask = None if mask is None else mask[..., -1:, seen]
                y = ops.attention(q[:, :, -1:], k[:, :, seen], v[:, :, seen], last_mask)
                x = x.reshape(B, T, -1)[:, -1]  # from here on, B rows
            x = x + linear(attn.out_proj, side_by_side(y).reshape(len(x), -1))
            x += mlp_forward(block.mlp, normalise(block.norm2, x))
        for t in positions:
            cache.token_ids[:, t % cache.capacity] = ids[:, t - cache.length]
        cache.length += T
        return x.reshape(B, -1, x.shape[-1])

    def _decode_step(self, ids: np.ndarray) -> np.ndarray:
        """Run the model on the next token of each row, ids (B,), store its keys and values, and return logits (B, V)."""
        model, cache = self.model, self.cache
        cache.reserve(1)
        slot, n_slots = cache.length % cache.slots, min(cache.length + 1, cache.slots)
        attn_mask, cos_sin = cache.attn_mask(n_slots), self._cos_sin(np.array([cache.length]))
        x = model.tok_emb.weight.data[ids]  # (B, C)
        if model.pos_emb is not None:
            x += model.pos_emb.weight.data[cache.length - cache.starts]
        for block, keys, values in zip(model.blocks, cache.keys, cache.values, strict=True):
            H, K = block.attn.n_heads, block.attn.n_kv_heads
            heads = project_heads(block.attn, normalise(block.norm1, x), cos_sin)  # (B, H + 2 K, D)
            q = heads[:, :H].reshape(len(x), K, H // K, -1)  # the queries of one key head side by side
            keys[:, :, slot], values[:, :, slot] = heads[:, H : H + K], heads[:, H + K :]
            y = attend_cached(q, keys[:, :, :n_slots], values[:, :, :n_slots], attn_mask)  # (B, H D)
            x += linear(block.attn.out_proj, y)
            x += mlp_forward(block.mlp, normalise(block.norm2, x))
        return normalise(model.norm, x) @ model.lm_head_weight.data.T

    def _cos_sin(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return what `rotate` needs at positions (n,): cosines (n, 1, 1, D/2), and sines with both signs (n, 1, 2, D/2).

        None without RoPE.
        """
        frequencies = self.model.blocks[0].attn.rope_frequencies
        if frequencies is None:
            return None
        cos, sin = rope_tables(positions, frequencies, self.model.tok_emb.weight.dtype)
        return cos[:, None, None], np.stack((-sin, sin), axis=1)[:, None]


def project_heads(attn: MultiHeadAttention, x: np.ndarray, cos_sin: tuple[np.ndarray, np.ndarray] | None) -> np.ndarray:
    """Return the heads (rows, H + 2 K, D) of tokens x (rows, C): queries, keys and values, rotated by their position."""
    H, K = attn.n_heads, attn.n_kv_heads
    heads = linear(attn.w_qkv, x).reshape(len(x), H + 2 * K, -1)
    if attn.q_norm is not None and attn.k_norm is not None:
        heads[:, :H] = normalise(attn.q_norm, heads[:, :H])
        heads[:, H : H + K] = normalise(attn.k_norm, heads[:, H : H + K])
    if cos_sin is not None:
        rotate(heads[:, : H + K], *cos_sin)
    return heads


def attend_cached(q: np.ndarray, keys: np.ndarray, values: np.ndarray, attn_mask: np.ndarray | None) -> np.ndarray:
    """Let one token of each row attend to S slots: q (B, K, G, D), keys and values (B, K, S, D) → (B, H D).

    A product of a matrix and one query's vector takes half the time of that with the G queries of a key head together.
    """
    q, keys, values = q[..., None], keys[:, :, None], values[:, :, None]
    p = (keys @ q)[..., 0]  # (B, K, G, S)
    p *= 1 / math.sqrt(q.shape[-2])
    if attn_mask is not None:
        p += attn_mask
    p -= np.maximum.reduce(p, axis=-1, keepdims=True)
    np.exp(p, out=p)
    y = (p[..., None, :] @ values)[..., 0, :]  # (B, K, G, D)
    y /= np.add.reduce(p, axis=-1, keepdims=True)  # after the product: D divisions instead of S
    return y.reshape(len(q), -1)


def rotate(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotate heads (…, D) in place as the op rope does: (a, b) becomes (a cos - b sin, b cos + a sin)."""
    halves = heads.reshape(*heads.shape[:-1], 2, -1)  # a and b, each (…, D/2)
    crossed = halves[..., ::-1, :] * sin  # (-b sin, a sin)
    halves *= cos
    halves += crossed


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
        h *= silu(gate) if mlp.activation is ops.silu else mlp.activation(gate)
    else:
        h = gelu_tanh(h) if mlp.activation is ops.gelu_tanh else mlp.activation(h)
    return linear(mlp.down, h)


def silu(x: np.ndarray) -> np.ndarray:
    """Apply the activation, and keep nothing for a backward pass: so the MLP takes 0.4 times the time of the op swiglu."""
    with np.errstate(over="ignore"):  # where exp(-x) is infinite, the result is 0
        u = np.exp(-x)
    u += 1
    return np.divide(x, u, out=u)


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
