"""Tensor: an array that remembers where it came from."""

from typing import Any, Self

import numpy as np

from nanograd import ops
from nanograd.op import MODE, Op
from nanograd.ops.reduce import Axis
from nanograd.tape import Node, accumulate, pull

Index = Any


class Tensor:
    """Wrap an array; ops on a Tensor that requires grad are recorded, and `backward()` goes back through them.

    data is any real array. Fractions given as Python numbers or lists become float32, arrays keep their dtype.
    grad is None or a NumPy array of the same shape and dtype; it accumulates over calls of `backward`.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_node", "data", "grad", "requires_grad")
    __array_ufunc__ = None  # so that `ndarray + Tensor` comes here, and np.exp(tensor) is a clear TypeError

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        given = isinstance(data, (np.ndarray, np.generic))
        data = np.asarray(data)
        if data.dtype.kind not in "biuf":
            raise TypeError(f"Tensor: expected real numbers, got dtype {data.dtype}")
        if data.dtype == np.float64 and not given:
            data = data.astype(np.float32)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only floats can require grad, got {data.dtype}; use .astype('float32') first")
        self.data: np.ndarray = data
        self.requires_grad = requires_grad
        self.grad: np.ndarray | None = None
        self._node: Node | None = None

    @staticmethod
    def _record(op: Op, args: tuple[Any, ...], options: dict[str, Any]) -> "Tensor":
        """Run `op` on the arrays inside, and leave a Node behind if any of them wants a gradient."""
        args = op.conform(args)
        grad = MODE.get().grad
        needs = tuple(
            grad and isinstance(a, Tensor) and a.requires_grad and i not in op.discrete for i, a in enumerate(args)
        )
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        y, saved, backward = op.run(arrays, needs, options)
        out = Tensor(y)
        if any(needs) and y.dtype.kind == "f":  # rounding to integers has slope 0: nothing comes back through it
            parents = tuple((a._node or a) if wanted else None for a, wanted in zip(args, needs, strict=True))
            out.requires_grad = True
            out._node = Node(op, backward, saved, parents, needs)
        return out

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that it was computed from.

        gradient is dL/d(self), of this shape; a scalar may leave it out, and it is 1. The graph is let go unless
        retain_graph, and a second backward then says so.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: this tensor does not require grad; nothing that it was computed from does")
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(f"backward: only a scalar may leave out its gradient, this has shape {self.shape}")
            gradient = np.ones_like(self.data)
        gradient = np.asarray(gradient.data if isinstance(gradient, Tensor) else gradient, dtype=self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(f"backward: gradient must have the tensor's shape {self.shape}, got {gradient.shape}")
        if self._node is None:
            accumulate(self, gradient, False)
        else:
            pull(self._node, gradient, accumulate, retain_graph=retain_graph)

    # What it is
    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def T(self) -> "Tensor":
        return ops.transpose(self)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        body = np.array2string(self.data, separator=", ", prefix="Tensor(")
        return f"Tensor({body}, dtype={self.dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def item(self) -> float | int | bool:
        """Return the one number inside, as Python's own."""
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """Return the array inside, not a copy."""
        return self.data

    def detach(self) -> "Tensor":
        """Return the same array without its history."""
        return Tensor(self.data)

    def astype(self, dtype: Any) -> "Tensor":
        return ops.astype(self, dtype=dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError("a Tensor that requires grad is no plain array: use .detach().numpy() or an op of nanograd")
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __setitem__(self, index: Index, value: Any) -> None:
        raise TypeError("Tensor: entries cannot be assigned, the tape would not see it; use where, concat or stack")

    def __iter__(self) -> Any:
        if self.ndim == 0:
            raise TypeError("Tensor: a scalar cannot be iterated over")
        return (self[i] for i in range(len(self)))

    # Arithmetic
    def __add__(self, other: Any) -> "Tensor":
        return ops.add(self, other)

    def __radd__(self, other: Any) -> "Tensor":
        return ops.add(other, self)

    def __sub__(self, other: Any) -> "Tensor":
        return ops.sub(self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return ops.sub(other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return ops.mul(self, other)

    def __rmul__(self, other: Any) -> "Tensor":
        return ops.mul(other, self)

    def __truediv__(self, other: Any) -> "Tensor":
        return ops.div(self, other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return ops.div(other, self)

    def __matmul__(self, other: Any) -> "Tensor":
        return ops.matmul(self, other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return ops.matmul(other, self)

    def __pow__(self, other: Any) -> "Tensor":
        whole = isinstance(other, int) or (isinstance(other, float) and self.dtype.kind == "f")
        return ops.square(self) if whole and other == 2 else ops.pow(self, other)

    def __rpow__(self, other: Any) -> "Tensor":
        return ops.pow(other, self)

    def __neg__(self) -> "Tensor":
        return ops.neg(self)

    # Elementwise functions
    def exp(self) -> "Tensor":
        return ops.exp(self)

    def log(self) -> "Tensor":
        return ops.log(self)

    def sqrt(self) -> "Tensor":
        return ops.sqrt(self)

    def square(self) -> "Tensor":
        return ops.square(self)

    def tanh(self) -> "Tensor":
        return ops.tanh(self)

    def sigmoid(self) -> "Tensor":
        return ops.sigmoid(self)

    def relu(self) -> "Tensor":
        return ops.relu(self)

    def masked_fill(self, mask: Any, value: float) -> "Tensor":
        return ops.masked_fill(self, mask, value=value)

    def tril(self, k: int = 0) -> "Tensor":
        return ops.tril(self, k=k)

    def softmax(self, axis: int = -1) -> "Tensor":
        return ops.softmax(self, axis=axis)

    def log_softmax(self, axis: int = -1) -> "Tensor":
        return ops.log_softmax(self, axis=axis)

    # Reductions
    def sum(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return ops.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return ops.mean(self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> "Tensor":
        return ops.var(self, axis=axis, keepdims=keepdims, ddof=ddof)

    def max(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return ops.max(self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axis = None, keepdims: bool = False) -> "Tensor":
        return ops.min(self, axis=axis, keepdims=keepdims)

    # Shape
    def reshape(self, *shape: Any) -> "Tensor":
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> "Tensor":
        """Reverse the axes, swap two (`transpose(1, 2)`), or order them all (`transpose(0, 2, 1)`)."""
        if len(axes) == 2:
            return ops.swapaxes(self, *axes)
        return ops.transpose(self, axes=(axes[0] if isinstance(axes[0], (tuple, list)) else axes) if axes else None)

    def swapaxes(self, axis1: int, axis2: int) -> "Tensor":
        return ops.swapaxes(self, axis1, axis2)

    def expand_dims(self, axis: int | tuple[int, ...]) -> "Tensor":
        return ops.expand_dims(self, axis=axis)

    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> "Tensor":
        return ops.squeeze(self, axis=axis)

    def broadcast_to(self, shape: tuple[int, ...]) -> "Tensor":
        return ops.broadcast_to(self, shape=shape)

    def split(self, sections: Any, axis: int = 0) -> "list[Tensor]":
        return ops.split(self, sections, axis)

    def __getitem__(self, index: Index) -> "Tensor":
        return ops.getitem(self, index=_plain(index))

    def copy_(self, values: Any) -> Self:
        """Overwrite the array in place: to load and initialise parameters, never inside a recorded computation."""
        self.data[...] = values
        return self


def _plain(index: Index) -> Index:
    """Replace Tensors and lists in an index by arrays."""
    if isinstance(index, tuple):
        return tuple(_plain(part) for part in index)
    if isinstance(index, Tensor):
        return index.data
    if isinstance(index, list):
        return np.asarray(index) if index else np.empty(0, np.intp)  # [] alone would be an array of floats
    return index
