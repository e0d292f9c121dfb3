"""The layers of a model on plain arrays: nothing is recorded, and what only training needs is left out.

By hand where an op spends more on asking what it was given than on computing, or keeps what only backward needs. Rows are
tokens, one of each text or all of a prompt.
"""

import numpy as np

from gpt.model import MLP, MultiHeadAttention
from nanograd import ops
from nanograd.nn import LayerNorm, Linear, RMSNorm
from nanograd.ops.activation import CUBIC, SLOPE
from nanograd.ops.rope import rope_tables

BLOCK = 2**16  # features bent at a time: 256 kB, and as much for what lies between


def linear(layer: Linear, x: np.ndarray) -> np.ndarray:
    """Map features (…, in) to (…, out), in one product."""
    return product(layer, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


def place(layer: MultiHeadAttention, qkv: np.ndarray) -> np.ndarray:
    """Normalise the queries and keys of each head of qkv (B, T, (H + 2 K) D), and turn them by their position."""
    H, K = layer.n_heads, layer.n_kv_heads
    heads = qkv.reshape(*qkv.shape[:-1], H + 2 * K, layer.head_dim).swapaxes(-3, -2)  # (B, H + 2 K, T, D)
    if layer.q_norm is not None and layer.k_norm is not None:
        heads[:, :H] = normalise(layer.q_norm, heads[:, :H])
        heads[:, H : H + K] = normalise(layer.k_norm, heads[:, H : H + K])
    if layer.rope_theta is not None:
        heads = ops.rope(heads, base=layer.rope_theta, rotated=H + K)
    return heads.swapaxes(-3, -2).reshape(qkv.shape)


def product(layer: Linear, x: np.ndarray) -> np.ndarray:
    """Map the features of rows, x (B, in)."""
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


def think(layer: MLP, x: np.ndarray) -> np.ndarray:
    """Run the MLP on rows x (B, C)."""
    u = product(layer.up, x)  # (B, d_ff)
    if layer.gate is not None:
        gate = product(layer.gate, x)
        u = ops.swiglu(gate, u) if layer.activation is ops.silu else layer.activation(gate) * u
    else:
        u = gelu_tanh(u) if layer.activation is ops.gelu_tanh else layer.activation(u)
    return product(layer.down, u)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """Bend the features x in place, as nanograd.ops.activation does, without what its backward would need.

    512 features take 10 µs less; of many tokens a block at a time stays in the cache.
    """
    flat = x.reshape(-1)
    for i in range(0, flat.size, BLOCK):
        part = flat[i : i + BLOCK]
        u = part * part
        u += 1 / CUBIC
        u *= part
        u *= SLOPE * CUBIC
        np.tanh(u, out=u)
        u += 1
        part *= u
        part *= 0.5
    return x


def rope_cos_sin(position: int, d: int, base: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines and sines (D/2,) by which rope rotates a head of d features at one position."""
    cos, sin = rope_tables(np.array([position]), d, base, dtype)
    return cos[0], sin[0]


def rotate(heads: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotate heads (…, D) in place, as rope does: (a, b) becomes (a cos - b sin, a sin + b cos)."""
    half = len(cos)
    a, b = heads[..., :half], heads[..., half:]
    a_sin = a * sin
    a *= cos
    a -= b * sin
    b *= cos
    b += a_sin
