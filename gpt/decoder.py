"""Write one token after another without reading the text again: the keys and values of all earlier tokens are kept.

The model's own forward, on plain arrays and for tokens that come one at a time. Of an earlier token a later one needs
nothing but its key and its value, in each block, so a step costs one pass over the weights, however long the text.
"""

import math

import numpy as np

from gpt.block import Block
from gpt.model import GPT
from nanograd import ops
from nanograd.nn import LayerNorm, Linear
from nanograd.ops.activation import CUBIC, SLOPE
from nanograd.ops.packed_attention import split_heads


class Decoder:
    """Continue `batch_size` texts of a model, side by side. It reads the model's own arrays and copies none.

    keys[i] and values[i] (B, H, capacity, D) belong to block i. All rows write into the same column of them, so that a
    row with a shorter prompt is padded on the left and looks at columns from starts[b] on only.
    """

    def __init__(self, model: GPT, batch_size: int = 1, capacity: int | None = None) -> None:
        config, dtype = model.config, model.tok_emb.weight.dtype
        self.context_length = config.context_length
        self.capacity = config.context_length if capacity is None else min(capacity, config.context_length)
        if batch_size < 1 or self.capacity < 1:
            raise ValueError(f"Decoder: batch_size and capacity must be at least 1, got {batch_size} and {capacity}")
        self.batch_size = batch_size
        self.n_heads = config.n_heads
        self.model = model
        shape = (batch_size, config.n_heads, self.capacity, config.d_model // config.n_heads)
        self.keys = [np.zeros(shape, dtype) for _ in model.blocks]
        self.values = [np.zeros(shape, dtype) for _ in model.blocks]
        self.ids = np.zeros((batch_size, self.capacity), np.intp)
        self.starts = np.zeros(batch_size, np.intp)  # the first column that is a row's own
        self.length = 0  # columns written: the tokens so far of the longest row

    def prefill(self, ids: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """Forget all, read prompts ids (B, T) and return the logits (B, V) of the token after each.

        Row b's prompt is its last lengths[b] ids; what is before them may be anything. Of prompts longer than the
        context only the end is read.
        """
        ids = np.asarray(ids)
        if ids.ndim != 2 or len(ids) != self.batch_size or ids.shape[1] == 0:
            raise ValueError(f"prefill: ids must be ({self.batch_size}, T) with T at least 1, got shape {ids.shape}")
        T = ids.shape[1]
        lengths = np.full(len(ids), T) if lengths is None else np.asarray(lengths)
        if lengths.shape != (len(ids),) or lengths.min() < 1 or lengths.max() > T:
            raise ValueError(f"prefill: lengths must be one from 1 to {T} for each row, got {lengths.tolist()}")
        keep = min(int(lengths.max()), self.context_length)  # columns that are padding in every row are not read
        if keep > self.capacity:
            raise ValueError(f"prefill: {keep} tokens are more than the cache's capacity of {self.capacity}")
        self.starts = keep - np.minimum(lengths, keep)
        padding = np.arange(keep) < self.starts[:, None]  # (B, T)
        self.ids[:, :keep] = np.where(padding, 0, ids[:, T - keep :])
        self.length = keep
        return self._read(self.ids[:, :keep], padding if padding.any() else None)

    def step(self, ids: np.ndarray) -> np.ndarray:
        """Read one more token of each row, ids (B,), and return the logits (B, V) of the token after it.

        Where a row has context_length tokens already, its older half is dropped, and the younger one read again from
        position 0.
        """
        ids = np.asarray(ids)
        if ids.shape != (self.batch_size,):
            raise ValueError(f"step: ids must be ({self.batch_size},), one for each row, got shape {ids.shape}")
        if self.length == self.context_length:
            lengths = self.length - self.starts
            lengths[lengths == self.context_length] = self.context_length // 2
            return self.prefill(np.concatenate((self.ids, ids[:, None]), axis=1), lengths + 1)
        if self.length == self.capacity:
            raise ValueError(f"step: the cache is full; make the Decoder with a capacity above {self.capacity}")
        self.ids[:, self.length] = ids
        self.length += 1
        return self._step(ids)

    def reorder(self, rows: np.ndarray) -> None:
        """Let row i go on from the text of row rows[i], as a beam search does."""
        rows = np.asarray(rows)
        if rows.shape != (self.batch_size,):
            raise ValueError(f"reorder: rows must be ({self.batch_size},), one for each row, got shape {rows.shape}")
        self.ids, self.starts = self.ids[rows], self.starts[rows]
        for cache in (*self.keys, *self.values):
            cache[:, :, : self.length] = cache[rows, :, : self.length]

    def _read(self, ids: np.ndarray, padding: np.ndarray | None) -> np.ndarray:
        """Run the model on ids (B, T), keep keys and values, and return the last logits (B, V)."""
        T, model = ids.shape[1], self.model
        mask = None if padding is None else ~padding[:, None, None, :]  # (B, 1, 1, T): no token looks at padding
        x = model.tok_emb.weight.data[ids]  # (B, T, C)
        x += model.pos_emb.weight.data[np.maximum(np.arange(T) - self.starts[:, None], 0)]
        for block, keys, values in zip(model.blocks, self.keys, self.values, strict=True):
            qkv = linear(block.attn.w_qkv, layernorm(block.norm1, x))  # (B, T, 3 C)
            _, keys[:, :, :T], values[:, :, :T] = split_heads(qkv, self.n_heads, self.n_heads)
            y = ops.packed_attention(qkv, mask, n_heads=self.n_heads, causal=True)  # (B, T, C)
            x += linear(block.attn.out_proj, y)
            x += linear(block.mlp.down, ops.gelu_tanh(linear(block.mlp.up, layernorm(block.norm2, x))))
        return ops.linear(layernorm(model.norm, x[:, -1]), model.tok_emb.weight.data)

    def _step(self, ids: np.ndarray) -> np.ndarray:
        """Run the model on one token of each row, ids (B,), whose column is the last."""
        model, seen = self.model, self.length
        hidden = np.arange(seen) < self.starts[:, None] if self.starts.any() else None  # (B, S)
        x = model.tok_emb.weight.data[ids]  # (B, C)
        x += model.pos_emb.weight.data[seen - 1 - self.starts]
        for block, keys, values in zip(model.blocks, self.keys, self.values, strict=True):
            x += self._attend(block, normalise(block.norm1, x), keys, values, hidden)
            x += product(block.mlp.down, bend(product(block.mlp.up, normalise(block.norm2, x))))
        return normalise(model.norm, x) @ model.tok_emb.weight.data.T

    def _attend(
        self, block: Block, x: np.ndarray, keys: np.ndarray, values: np.ndarray, hidden: np.ndarray | None
    ) -> np.ndarray:
        """Write the token's key and value into the last column, and let it look at all columns that are its row's."""
        B, H, seen = self.batch_size, self.n_heads, self.length
        heads = product(block.attn.w_qkv, x).reshape(B, 3 * H, -1)  # (B, 3 H, D)
        q = heads[:, :H, None]  # (B, H, 1, D)
        q *= 1 / math.sqrt(q.shape[-1])
        keys[:, :, seen - 1] = heads[:, H : 2 * H]
        values[:, :, seen - 1] = heads[:, 2 * H :]
        p = q @ keys[:, :, :seen].swapaxes(2, 3)  # (B, H, 1, S)
        if hidden is not None:
            p[hidden[:, None, None, :].repeat(H, 1)] = -np.inf
        p -= np.maximum.reduce(p, axis=-1, keepdims=True)
        np.exp(p, out=p)
        y = p @ values[:, :, :seen]  # (B, H, 1, D)
        y /= np.add.reduce(p, axis=-1, keepdims=True)
        return product(block.attn.out_proj, y.reshape(B, -1))


def linear(layer: Linear, x: np.ndarray) -> np.ndarray:
    """Apply a Linear's arrays."""
    return ops.linear(x, layer.weight.data, None if layer.bias is None else layer.bias.data)


def layernorm(layer: LayerNorm, x: np.ndarray) -> np.ndarray:
    """Apply a LayerNorm's arrays."""
    return ops.layernorm(x, layer.weight.data, None if layer.bias is None else layer.bias.data, eps=layer.eps)


def product(layer: Linear, x: np.ndarray) -> np.ndarray:
    """Apply a Linear to a few rows x (B, in)."""
    y = x @ layer.weight.data.T
    if layer.bias is not None:
        y += layer.bias.data
    return y


def normalise(layer: LayerNorm, x: np.ndarray) -> np.ndarray:
    """Apply a LayerNorm to a few rows x (B, C)."""
    C = x.shape[-1]
    n = x - np.add.reduce(x, axis=-1, keepdims=True) / C
    n /= np.sqrt(np.add.reduce(n * n, axis=-1, keepdims=True) / C + layer.eps)
    n *= layer.weight.data
    if layer.bias is not None:
        n += layer.bias.data
    return n


def bend(x: np.ndarray) -> np.ndarray:
    """Compute gelu_tanh of a few rows."""
    u = x * x
    u += 1 / CUBIC
    u *= x
    u *= SLOPE * CUBIC
    np.tanh(u, out=u)
    u += 1
    u *= x
    u *= 0.5
    return u
