"""The few words beside NumPy that a twin may use: sums back to a shape, transposes, rows, what lies along an axis."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.ops import attention, cross_entropy
from nanograd.ops._unbroadcast import unbroadcast
from nanograd.ops.attention import add_heads, attention_backward, attention_forward, share_heads
from nanograd.ops.dropout import keep_mask
from nanograd.ops.einsum import _parse
from nanograd.ops.packed_attention import side_by_side
from nanograd.ops.reduce import Axis, spread


def transposed(a: np.ndarray) -> np.ndarray:
    """Swap the last two axes: aᵀ."""
    return np.swapaxes(a, -1, -2)


def rows(a: np.ndarray) -> np.ndarray:
    """Lay all tokens out in one matrix: (…, C) → (tokens, C)."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])


def count(x: np.ndarray, axis: Axis) -> int:
    """Return how many entries of x go into one entry of what is left when `axis` is reduced."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return math.prod(x.shape[i] for i in axes)


def softmax(x: np.ndarray) -> np.ndarray:
    """Return exp(x_j) / Σ_k exp(x_k) along the last axis, and 0 in a row that is -∞ throughout."""
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function, as Python's `math` has it."""
    return np.asarray(np.vectorize(math.erf, otypes=[float])(x))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_PANELS = 40


def integral(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Integrate f from 0 to each entry of x: 40 panels, of 12 nodes each (Gauss and Legendre)."""
    places = (np.arange(_PANELS)[:, None] + (_NODES + 1) / 2).reshape(-1) / _PANELS  # in (0, 1)
    weights = np.tile(_WEIGHTS, _PANELS) / (2 * _PANELS)
    return np.asarray(x * (f(np.multiply.outer(x, places)) @ weights))


def others(x: np.ndarray, axis: Axis) -> np.ndarray:
    """Return for each entry the product of all the other entries along `axis`."""
    product = np.empty_like(x)
    for place in np.ndindex(x.shape):
        without = x.copy()
        without[place] = 1
        product[place] = np.broadcast_to(without.prod(axis=axis, keepdims=True), x.shape)[place]
    return product


def collect(values: np.ndarray, indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Add over every j with indices[…, j, …] = i the values[…, j, …], for each i < n."""
    v, at = np.moveaxis(values, axis, -1), np.moveaxis(indices, axis, -1)
    hits = at[..., :, None] % n == np.arange(n)  # 1[indices_j = i], (…, j, i)
    return np.moveaxis((v[..., :, None] * hits).sum(axis=-2), -1, axis)


def stays(indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Tell of each position j whether no later one along `axis` is the same: of two values for one place the last stays."""
    at = np.moveaxis(indices, axis, -1) % n
    later = np.tri(at.shape[-1], k=-1, dtype=bool).T  # [j, l]: l comes after j
    again = ((at[..., :, None] == at[..., None, :]) & later).any(axis=-1)
    return np.moveaxis(~again, -1, axis)


def along(a: np.ndarray, index: Any, axis: int) -> np.ndarray:
    """Take a[…, index, …] on one axis."""
    return np.moveaxis(np.moveaxis(a, axis, 0)[index], 0, axis)


def pairs(a: np.ndarray, b: np.ndarray, interleaved: bool) -> np.ndarray:
    """Put the two halves of every pair back into one array of features."""
    if not interleaved:
        return np.concatenate([a, b], axis=-1)
    return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], 2 * a.shape[-1])


def attention_gradients(dy: np.ndarray, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Return what attention pulls back from dy: dq, dk, dv."""
    _, saved = attention_forward(*arrays, **options)
    return attention_backward(dy, saved)[:3]


def explicit(spec: str, xs: tuple[np.ndarray, ...]) -> str:
    """Write an einsum's spec with a letter for every axis that `...` stands for, and with its output."""
    inputs, output = _parse(spec, xs)
    return f"{','.join(inputs)}->{output}"


def lettered(spec: str, dy: np.ndarray, xs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Give dy and every operand of an einsum one axis for each letter, of size 1 where it lacks the letter."""
    inputs, output = _parse(spec, xs)
    letters = sorted(set("".join(inputs)))

    def spread_out(a: np.ndarray, names: str) -> np.ndarray:
        present = [each for each in letters if each in names]
        a = a.transpose([names.index(each) for each in present])
        return a.reshape([a.shape[present.index(each)] if each in present else 1 for each in letters])

    return spread_out(dy, output), [spread_out(x, names) for x, names in zip(xs, inputs, strict=True)]


def product(xs: list[np.ndarray], without: int) -> Any:
    """Multiply all arrays but one."""
    return math.prod(x for i, x in enumerate(xs) if i != without)


def onto(spec: str, k: int, slopes: np.ndarray, xs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Add slopes, an axis a letter, over the letters that operand k lacks; along one that it alone has all are the same."""
    inputs, _ = _parse(spec, xs)
    letters = sorted(set("".join(inputs)))
    present = [each for each in letters if each in inputs[k]]
    summed = slopes.sum(axis=tuple(i for i, each in enumerate(letters) if each not in inputs[k]))
    in_order = summed.transpose([present.index(each) for each in inputs[k]])
    stretched = [1 if n == 1 else m for n, m in zip(xs[k].shape, in_order.shape, strict=True)]
    return np.broadcast_to(unbroadcast(in_order, tuple(stretched)), xs[k].shape)


WORDS: dict[str, Any] = {
    "np": np,
    "U": unbroadcast,
    "T": transposed,
    "add_over": add_heads,
    "along": along,
    "attention": attention,
    "attention_gradients": attention_gradients,
    "collect": collect,
    "count": count,
    "cross_entropy": cross_entropy,
    "erf": erf,
    "explicit": explicit,
    "integral": integral,
    "keep_mask": keep_mask,
    "lettered": lettered,
    "onto": onto,
    "others": others,
    "pairs": pairs,
    "product": product,
    "rows": rows,
    "share": share_heads,
    "side_by_side": side_by_side,
    "softmax": softmax,
    "spread": spread,
    "stays": stays,
}
