"""The functions besides NumPy that the code of a line may use."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from nanograd.ops import attention, cross_entropy
from nanograd.ops._unbroadcast import unbroadcast
from nanograd.ops.attention import add_heads, attention_backward, attention_forward, share_heads
from nanograd.ops.dropout import keep_mask
from nanograd.ops.einsum import _parse
from nanograd.ops.packed_attention import side_by_side
from nanograd.ops.reduce import Axis, spread


def count(x: np.ndarray, axis: Axis) -> int:
    """Return how many entries of x each entry of a reduction over `axis` is computed from."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    return math.prod(x.shape[i] for i in axes)


def softmax(x: np.ndarray) -> np.ndarray:
    """Return exp(x_j) / Σ_k exp(x_k) along the last axis, and 0 in a row whose entries are all -∞."""
    e = np.exp(x)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def erf(x: np.ndarray) -> np.ndarray:
    """Return the error function of Python's `math`."""
    return np.asarray(np.vectorize(math.erf, otypes=[float])(x))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_PANELS = 40


def integral(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """Integrate f from 0 to each entry of x: 40 panels, of 12 nodes each (Gauss and Legendre)."""
    nodes = (np.arange(_PANELS)[:, None] + (_NODES + 1) / 2).reshape(-1) / _PANELS  # in (0, 1)
    weights = np.tile(_WEIGHTS, _PANELS) / (2 * _PANELS)
    return np.asarray(x * (f(np.multiply.outer(x, nodes)) @ weights))


def rows(a: np.ndarray, axis: Axis) -> np.ndarray:
    """Move the axes that `axis` names to the end and flatten them, so that every entry of a row has one index."""
    if axis is None:
        return a.ravel()
    axes = normalize_axis_tuple(axis, a.ndim)
    moved = np.moveaxis(a, axes, range(-len(axes), 0))
    lead = a.ndim - len(axes)
    return moved.reshape(*moved.shape[:lead], math.prod(moved.shape[lead:]))


def unrows(a: np.ndarray, shape: tuple[int, ...], axis: Axis) -> np.ndarray:
    """Undo `rows` of an array of this shape; the length of a single axis may have changed."""
    if axis is None:
        return a.reshape(shape) if a.size == math.prod(shape) else a
    axes = normalize_axis_tuple(axis, len(shape))
    last = a.shape[-1:] if len(axes) == 1 else tuple(shape[i] for i in axes)
    return np.moveaxis(a.reshape(*a.shape[:-1], *last), range(-len(axes), 0), axes)


def put(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the array whose entries at these positions of the last axis are the values."""
    lead = values.shape[: values.ndim - positions.ndim]
    y = np.zeros((*lead, positions.size))
    y[..., positions] = values
    return y


def put_along(x: np.ndarray, indices: np.ndarray, values: Any, axis: int) -> np.ndarray:
    """Return a copy of x with y[…, indices[…, j, …], …] = values[…, j, …]; of two values for one entry the last stays."""
    y = np.array(x, np.float64)
    np.put_along_axis(y, indices % y.shape[axis], values, axis)
    return y


def collect(values: np.ndarray, indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Return Σ values[…, j, …] over all j with indices[…, j, …] = i, for each i < n."""
    v, at = np.moveaxis(values, axis, -1), np.moveaxis(indices, axis, -1)
    hits = at[..., :, None] % n == np.arange(n)  # 1[indices_j = i], (…, j, i)
    return np.moveaxis((v[..., :, None] * hits).sum(axis=-2), -1, axis)


def sum_where(condition: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return Σ_t a_t over all t for which condition[v, t] holds, for each v."""
    return np.array([a[row].sum(axis=0) for row in condition]).reshape(len(condition), *a.shape[1:])


def last_writes(indices: np.ndarray, n: int, axis: int) -> np.ndarray:
    """Tell for each j whether no later index along `axis` is the same: of two values for one entry the last stays."""
    at = np.moveaxis(indices, axis, -1) % n
    later = np.tri(at.shape[-1], k=-1, dtype=bool).T  # [j, l]: l comes after j
    again = ((at[..., :, None] == at[..., None, :]) & later).any(axis=-1)
    return np.moveaxis(~again, -1, axis)


def pairs(a: np.ndarray, b: np.ndarray, interleaved: bool) -> np.ndarray:
    """Join the two halves of every pair to one array of features."""
    if not interleaved:
        return np.concatenate([a, b], axis=-1)
    return np.stack([a, b], axis=-1).reshape(*a.shape[:-1], 2 * a.shape[-1])


def attention_gradients(dy: np.ndarray, *arrays: Any, **options: Any) -> tuple[Any, ...]:
    """Return dq, dk and dv of attention."""
    _, saved = attention_forward(*arrays, **options)
    return attention_backward(dy, saved)[:3]


def explicit(spec: str, xs: tuple[np.ndarray, ...]) -> str:
    """Write an einsum's spec with a letter for every axis that `...` stands for, and with its output."""
    inputs, output = _parse(spec, xs)
    return f"{','.join(inputs)}->{output}"


def einsum_gradient(spec: str, k: int, dy: np.ndarray, xs: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return Σ dy Π_{l≠k} x_l over the letters that operand k lacks; it is constant along a letter that k alone has."""
    inputs, output = _parse(spec, xs)
    others = [i for i in range(len(xs)) if i != k]
    operands = ",".join([output, *(inputs[i] for i in others)])
    shared = "".join(letter for letter in inputs[k] if letter in operands)
    summed = np.einsum(f"{operands}->{shared}", dy, *(xs[i] for i in others))
    of_x = dict(zip(inputs[k], xs[k].shape, strict=True))
    sizes = {letter: 1 if of_x[letter] == 1 else n for letter, n in zip(shared, summed.shape, strict=True)}
    summed = unbroadcast(summed, tuple(sizes.values()))
    return np.broadcast_to(summed.reshape([sizes.get(letter, 1) for letter in inputs[k]]), xs[k].shape)


HELPERS: dict[str, Any] = {
    "np": np,
    "U": unbroadcast,
    "add_over": add_heads,
    "attention": attention,
    "cross_entropy": cross_entropy,
    "keep_mask": keep_mask,
    "share": share_heads,
    "side_by_side": side_by_side,
    "spread": spread,
} | {
    function.__name__: function
    for function in (
        attention_gradients, collect, count, einsum_gradient, erf, explicit, integral, last_writes, pairs, put,
        put_along, rows, softmax, sum_where, unrows,
    )
}  # fmt: skip
