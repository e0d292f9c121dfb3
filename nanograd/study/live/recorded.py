"""NumPy code that records itself: arrays that follow NumPy's own protocols and leave a graph of what was computed."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from nanograd.study.live.graph import OPERATIONS, Graph

MOVING = {
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.concatenate, np.stack, np.split,
    np.atleast_1d, np.atleast_2d, np.expand_dims, np.squeeze, np.repeat, np.tile, np.flip, np.roll, np.matrix_transpose,
    np.take_along_axis, np.copy, np.array_split, np.diagonal,
}  # fmt: skip
JOINING = {np.concatenate, np.stack}  # they take lists of arrays


class NotLive(Exception):
    """The code does what a page cannot do again: it looks at a number to decide how to go on, or uses another function."""


class Recorded(NDArrayOperatorsMixin):
    """An array whose computation is recorded: a node of the graph, and its present value."""

    def __init__(self, graph: Graph, node: int, value: Any) -> None:
        self.graph, self.node, self.value = graph, node, np.asarray(value)

    shape = property(lambda self: self.value.shape)
    ndim = property(lambda self: self.value.ndim)
    size = property(lambda self: self.value.size)
    dtype = property(lambda self: self.value.dtype)
    strides = property(lambda self: self.value.strides)
    itemsize = property(lambda self: self.value.itemsize)
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotLive("an array of plain numbers is wanted")

    def __bool__(self) -> bool:
        raise NotLive("the code looks at a number to decide how to go on")

    __int__ = __float__ = __index__ = __bool__

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator["Recorded"]:
        return (self[i] for i in range(len(self)))

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.pop("out", None)
        if method == "outer" and ufunc is np.multiply:
            a, b = inputs
            return np.reshape(a, (*np.shape(a), *(1,) * np.ndim(b))) * b
        if method != "__call__" or set(options) - {"dtype", "casting"}:
            raise NotLive(f"np.{ufunc.__name__}.{method}")
        if ufunc is np.matmul:
            result = matmul(self.graph, *inputs)
        elif ufunc in (np.square, np.reciprocal):
            result = self**2 if ufunc is np.square else 1 / self
        elif ufunc is np.logaddexp:
            top = np.maximum(*inputs)
            result = top + np.log(np.exp(inputs[0] - top) + np.exp(inputs[1] - top))
        elif ufunc.__name__ in OPERATIONS:
            result = elementwise(self.graph, ufunc.__name__, ufunc, *inputs)
        else:
            raise NotLive(f"np.{ufunc.__name__}")
        if out is not None:  # x += y
            if not isinstance(out[0], Recorded) or out[0].shape != result.shape:
                raise NotLive("plain numbers are overwritten")
            out[0].node, out[0].value = result.node, result.value
            return out[0]
        return result

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        if function in MOVING and not (function is np.take_along_axis and isinstance(args[1], Recorded)):
            return rearranged(self.graph, function, args, options)
        handler = HANDLERS.get(function)
        if handler is None:
            raise NotLive(f"np.{function.__name__}")
        return handler(self.graph, *args, **options)

    def __getitem__(self, key: Any) -> "Recorded":
        if isinstance(key, Recorded) and key.dtype.kind in "iu":  # rows that a number chooses
            rest = np.arange(self.size // len(self)).reshape(self.shape[1:])
            at = (key % len(self)).reshape(*key.shape, *(1,) * rest.ndim) * rest.size + rest
            return Recorded(self.graph, self.graph.add("at", self.node, at.node), self.value[key.value])
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, Recorded) for part in parts):
            raise NotLive("an index that is computed")
        return rearranged(self.graph, lambda ids: ids[key], (self,), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        value = as_recorded(self.graph, value)
        value = np.broadcast_to(value, self.value[key].shape)

        def put(ids: np.ndarray, new: np.ndarray) -> np.ndarray:
            ids = ids.copy()
            ids[key] = new
            return ids

        result = rearranged(self.graph, put, (self, value), {})
        self.node, self.value = result.node, result.value

    # Methods of arrays

    def sum(self, axis: Any = None, keepdims: bool = False, **_: Any) -> "Recorded":
        return reduced(self.graph, "sum", self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> "Recorded":
        return reduced(self.graph, "mean", self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False, initial: Any = None) -> "Recorded":
        return reduced(self.graph, "max", self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False, initial: Any = None) -> "Recorded":
        return reduced(self.graph, "min", self, axis, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> "Recorded":
        return reduced(self.graph, "prod", self, axis, keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> "Recorded":
        return reduced(self.graph, "any", self, axis, keepdims)

    def reshape(self, *shape: Any) -> "Recorded":
        return rearranged(self.graph, np.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def ravel(self, order: str = "C") -> "Recorded":
        return rearranged(self.graph, np.ravel, (self,), {})

    def transpose(self, *axes: Any) -> "Recorded":
        return rearranged(self.graph, np.transpose, (self, axes or None), {})

    def swapaxes(self, a: int, b: int) -> "Recorded":
        return rearranged(self.graph, np.swapaxes, (self, a, b), {})

    def astype(self, dtype: Any, copy: bool = True) -> "Recorded":
        if np.dtype(dtype) not in (np.dtype(np.float64), self.dtype) and self.dtype.kind == "f":
            raise NotLive(f"numbers of type {dtype}")
        return Recorded(self.graph, self.node, self.value.astype(dtype))

    def copy(self) -> "Recorded":
        return Recorded(self.graph, self.node, self.value.copy())


def as_recorded(graph: Graph, value: Any) -> Recorded:
    """Return a value as a recorded array: a constant, unless it is one already."""
    if isinstance(value, Recorded):
        return value
    value = np.asarray(value)
    if value.dtype.kind not in "fiub":
        raise NotLive(f"values of type {value.dtype}")
    return Recorded(graph, graph.constant(value), value)


def elementwise(graph: Graph, name: str, function: Callable[..., Any], *inputs: Any) -> Recorded:
    """Record an elementwise operation, whose operands are broadcast."""
    operands = [as_recorded(graph, a) for a in inputs]
    with np.errstate(all="ignore"):
        value = function(*(a.value if isinstance(a, Recorded) else a for a in inputs))
    return Recorded(graph, graph.add(OPERATIONS[name], *(a.node for a in operands)), value)


def reduced(graph: Graph, kind: str, a: Any, axis: Any = None, keepdims: bool = False) -> Recorded:
    """Record a sum, mean, product, max, min or `any` over axes."""
    a = as_recorded(graph, a)
    axes = range(a.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    with np.errstate(all="ignore"):
        value = getattr(np, kind)(a.value, axis=None if axis is None else tuple(axes), keepdims=keepdims)
    axes = sorted(i % a.ndim for i in axes)
    return Recorded(graph, graph.add("fold", kind, a.node, axes, int(keepdims)), value)


def rearranged(graph: Graph, function: Callable[..., Any], args: Any, options: Any) -> Any:
    """Record a function that only moves entries: run on the entries' flat indices, it tells where each came from."""
    sources: list[Recorded] = []

    def indices(a: Any) -> Any:
        if isinstance(a, Recorded):
            start = sum(s.size for s in sources)
            sources.append(a)
            return np.arange(start, start + a.size).reshape(a.shape)
        if isinstance(a, (list, tuple)) and any(isinstance(part, Recorded) for part in a):
            return type(a)(indices(as_recorded(graph, part)) for part in a)
        return a

    found = function(*map(indices, args), **{key: indices(a) for key, a in options.items()})
    values = np.concatenate([s.value.ravel() for s in sources])

    def picked(at: np.ndarray) -> Recorded:
        at = np.asarray(at, int)
        return Recorded(graph, graph.pick([(s.node, s.size) for s in sources], at), values[at])

    return type(found)(map(picked, found)) if isinstance(found, (list, tuple)) else picked(found)


def matmul(graph: Graph, a: Any, b: Any) -> Recorded:
    """Record a matrix product, as products and their sum."""
    a, b = as_recorded(graph, a), as_recorded(graph, b)
    with np.errstate(all="ignore"):
        value = a.value @ b.value  # raises where the shapes do not match
    rows = a[None, :] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    y = (rows[..., :, :, None] * columns[..., None, :, :]).sum(axis=-2)
    return Recorded(graph, y.reshape(value.shape).node, value)


def einsum(graph: Graph, spec: str, *xs: Any, **options: Any) -> Recorded:
    """Record an einsum that names every axis or writes `...`: each operand gets an axis for every letter."""
    xs = tuple(as_recorded(graph, x) for x in xs)
    left, _, output = spec.partition("->")
    words = left.split(",")
    extra = [x.ndim - len(word.replace("...", "")) for word, x in zip(words, xs, strict=True)]
    spare = [letter for letter in "ABCDEFGHIJ" if letter not in spec][: max(extra)]
    words = [w.replace("...", "".join(spare[len(spare) - n :])) for w, n in zip(words, extra, strict=True)]
    output = output.replace("...", "".join(spare))
    letters = [*output, *sorted(set("".join(words)) - set(output))]
    product: Any = 1
    for word, x in zip(words, xs, strict=True):
        own = [letter for letter in letters if letter in word]
        view = rearranged(graph, lambda ids, word=word, own=own: np.einsum(f"{word}->{''.join(own)}", ids), (x,), {})
        view = view.reshape([dict(zip(own, view.shape, strict=True)).get(letter, 1) for letter in letters])
        product = view if isinstance(product, int) else product * view
    return product.sum(axis=tuple(range(len(output), len(letters))))


def where(graph: Graph, condition: Any, a: Any, b: Any) -> Recorded:
    """Record a choice."""
    operands = [as_recorded(graph, v) for v in (condition, a, b)]
    value = np.where(*(v.value for v in operands))
    return Recorded(graph, graph.add("where", *(v.node for v in operands)), value)


def along(graph: Graph, a: Any, indices: Any, axis: int) -> Recorded:
    """Return the flat indices of the entries that take_along_axis takes."""
    shape = np.shape(a)
    axis %= len(shape)
    ids = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    first = np.broadcast_to(np.take(ids, [0], axis), [*shape[:axis], indices.shape[axis], *shape[axis + 1 :]])
    base = first[tuple(slice(n) for n in indices.shape)]
    return as_recorded(graph, indices) % shape[axis] * int(np.prod(shape[axis + 1 :], dtype=int)) + base


def take_along_axis(graph: Graph, a: Any, indices: Any, axis: int) -> Recorded:
    """Record entries that computed indices choose."""
    a, at = as_recorded(graph, a), along(graph, a, indices, axis)
    return Recorded(graph, graph.add("at", a.node, at.node), a.value.ravel()[at.value])


def put_along(graph: Graph, x: Any, indices: Any, values: Any, axis: int) -> Recorded:
    """Record a copy of x with values put in at computed indices; of two values for one entry the last stays."""
    x, at = as_recorded(graph, x), along(graph, x, indices, axis)
    values = np.broadcast_to(as_recorded(graph, values), at.shape)
    value = np.array(x.value, np.float64)
    for i, v in zip(at.value.ravel(), values.value.ravel(), strict=True):
        value.flat[i] = v
    return Recorded(graph, graph.add("put", x.node, at.node, values.node), value)


def pad(graph: Graph, x: Recorded, width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Recorded:
    """Record a frame of one number."""
    edge = as_recorded(graph, np.float64(constant_values))

    def padded(ids: np.ndarray, one: np.ndarray) -> np.ndarray:
        return np.pad(ids, width, constant_values=int(one))

    return rearranged(graph, padded, (x, edge), {})


def cumsum(graph: Graph, a: Recorded, axis: int) -> Recorded:
    """Record running sums."""
    rows = rearranged(graph, np.moveaxis, (a, axis, -1), {})
    sums = np.where(np.tri(a.shape[axis], dtype=bool), rows[..., None, :], 0).sum(axis=-1)
    return rearranged(graph, np.moveaxis, (sums, -1, axis), {})


def _filled(number: float) -> Callable[..., Recorded]:
    return lambda graph, a, dtype=None: as_recorded(graph, np.full(np.shape(a), number, dtype or a.dtype))


def _method(name: str) -> Callable[..., Any]:
    return lambda graph, a, *args, **options: getattr(a, name)(*args, **options)


HANDLERS: dict[Any, Callable[..., Any]] = {
    **{getattr(np, name): _method(name) for name in ("sum", "mean", "max", "min", "prod", "any")},
    np.shape: lambda graph, a: a.shape,
    np.ndim: lambda graph, a: a.ndim,
    np.size: lambda graph, a: a.size,
    np.where: where,
    np.einsum: einsum,
    np.take_along_axis: take_along_axis,
    np.pad: pad,
    np.cumsum: cumsum,
    np.tril: lambda graph, a, k=0: np.where(np.tri(a.shape[-2], a.shape[-1], k, dtype=bool), a, 0),
    np.triu: lambda graph, a, k=0: np.where(np.tri(a.shape[-2], a.shape[-1], k - 1, dtype=bool), 0, a),
    np.isneginf: lambda graph, a: a == -np.inf,
    np.zeros_like: _filled(0),
    np.empty_like: _filled(0),
    np.ones_like: _filled(1),
    np.full_like: lambda graph, a, value, dtype=None: np.broadcast_to(as_recorded(graph, value) * 1.0, a.shape),
}
