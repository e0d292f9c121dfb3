"""The methods of Tensor that are ops.

A `Method` turns an op whose arguments are all arrays into a method; a plain function is one as it is. An op with options
has a typed line, so that editors and mypy see the options, and callers may pass them by position.
"""

from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar

import numpy as np

from nanograd import ops as typed_ops
from nanograd.op import Op
from nanograd.ops.reduce import Axis

ops: Any = typed_ops  # its types name Tensor, which is defined by means of this file
Result = TypeVar("Result")  # the class of the results: Tensor
Axes = int | tuple[int, ...]

REFLECTED = {  # what NumPy calls for `array + tensor` and the like, and the method of Tensor that answers
    "add": "__radd__", "subtract": "__rsub__", "multiply": "__rmul__", "divide": "__rtruediv__", "power": "__rpow__",
    "matmul": "__rmatmul__", "equal": "__eq__", "not_equal": "__ne__", "less": "__gt__", "less_equal": "__ge__",
    "greater": "__lt__", "greater_equal": "__le__",
}  # fmt: skip
UFUNC_OPS = {
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "negative": "neg",
    "power": "pow",
    "absolute": "abs",
}


class Method:
    """An op as a method. An Op itself does not bind: in the body of another class, `activation = ops.gelu` stays an op."""

    def __init__(self, op: Op) -> None:
        self.op = op

    def __get__(self, instance: "Methods[Result] | None", owner: Any = None) -> Callable[..., Result]:
        return self.op if instance is None else MethodType(self.op, instance)


class Methods(Generic[Result]):
    """Each method calls the op of its name on `self`; names and arguments are those of NumPy and PyTorch."""

    __slots__ = ()
    data: np.ndarray

    # Arithmetic
    __add__ = Method(ops.add)
    __sub__ = Method(ops.sub)
    __mul__ = Method(ops.mul)
    __truediv__ = Method(ops.div)
    __matmul__ = Method(ops.matmul)
    __neg__ = Method(ops.neg)
    __abs__ = Method(ops.abs)

    def __pow__(self, exponent: Any) -> Result:
        is_number = isinstance(exponent, int) or (isinstance(exponent, float) and self.data.dtype.kind == "f")
        return ops.square(self) if is_number and exponent == 2 else ops.pow(self, exponent)

    pow = __pow__

    def __radd__(self, other: Any) -> Result:
        return ops.add(other, self)

    def __rsub__(self, other: Any) -> Result:
        return ops.sub(other, self)

    def __rmul__(self, other: Any) -> Result:
        return ops.mul(other, self)

    def __rtruediv__(self, other: Any) -> Result:
        return ops.div(other, self)

    def __rmatmul__(self, other: Any) -> Result:
        return ops.matmul(other, self)

    def __rpow__(self, other: Any) -> Result:
        return ops.pow(other, self)

    # Elementwise functions
    matmul = Method(ops.matmul)
    exp = Method(ops.exp)
    log = Method(ops.log)
    sqrt = Method(ops.sqrt)
    rsqrt = Method(ops.rsqrt)
    square = Method(ops.square)
    reciprocal = Method(ops.reciprocal)
    abs = Method(ops.abs)
    sin = Method(ops.sin)
    cos = Method(ops.cos)
    tanh = Method(ops.tanh)
    sigmoid = Method(ops.sigmoid)
    erf = Method(ops.erf)
    relu = Method(ops.relu)
    silu = Method(ops.silu)

    def gelu(self, approximate: str = "none") -> Result:
        """Compute the exact form, or with approximate="tanh" the one of GPT-2."""
        if approximate not in ("none", "tanh"):
            raise ValueError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
        return ops.gelu_tanh(self) if approximate == "tanh" else ops.gelu(self)

    def maximum(self, other: Any) -> Result:
        return ops.maximum(self, other)

    def minimum(self, other: Any) -> Result:
        return ops.minimum(self, other)

    def clip(self, low: float | None = None, high: float | None = None) -> Result:
        return ops.clip(self, low=low, high=high)

    def astype(self, dtype: Any) -> Result:
        return ops.astype(self, dtype=dtype)

    def masked_fill(self, mask: Any, value: float) -> Result:
        return ops.masked_fill(self, mask, value=value)

    def tril(self, k: int = 0) -> Result:
        return ops.tril(self, k=k)

    def triu(self, k: int = 0) -> Result:
        return ops.triu(self, k=k)

    def softmax(self, axis: int = -1, *, dim: int | None = None) -> Result:
        return ops.softmax(self, axis=axis if dim is None else dim)

    def log_softmax(self, axis: int = -1, *, dim: int | None = None) -> Result:
        return ops.log_softmax(self, axis=axis if dim is None else dim)

    # Reductions: `dim` and `keepdim` are PyTorch's names of `axis` and `keepdims`
    def sum(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.sum(self, **_reduction(axis, keepdims, dim, keepdim))

    def mean(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.mean(self, **_reduction(axis, keepdims, dim, keepdim))

    def max(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.max(self, **_reduction(axis, keepdims, dim, keepdim))

    def min(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.min(self, **_reduction(axis, keepdims, dim, keepdim))

    def prod(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.prod(self, **_reduction(axis, keepdims, dim, keepdim))

    def norm(self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False) -> Result:
        return ops.norm(self, **_reduction(axis, keepdims, dim, keepdim))

    def logsumexp(
        self, axis: Axis = None, keepdims: bool = False, *, dim: Axis = None, keepdim: bool = False
    ) -> Result:
        return ops.logsumexp(self, **_reduction(axis, keepdims, dim, keepdim))

    def var(
        self, axis: Axis = None, keepdims: bool = False, ddof: int = 0, *, dim: Axis = None, keepdim: bool = False
    ) -> Result:
        return ops.var(self, ddof=ddof, **_reduction(axis, keepdims, dim, keepdim))

    def std(
        self, axis: Axis = None, keepdims: bool = False, ddof: int = 0, *, dim: Axis = None, keepdim: bool = False
    ) -> Result:
        return ops.std(self, ddof=ddof, **_reduction(axis, keepdims, dim, keepdim))

    def cumsum(self, axis: int | None = None, *, dim: int | None = None) -> Result:
        return ops.cumsum(self, axis=axis if dim is None else dim)

    # Shape
    def flatten(self) -> Result:
        return ops.flatten(self)

    def swapaxes(self, axis1: int, axis2: int) -> Result:
        return ops.swapaxes(self, axis1, axis2)

    def split(self, sections: int | Sequence[int], axis: int = 0) -> list[Result]:
        return ops.split(self, sections, axis)

    def chunk(self, chunks: int, axis: int = 0, *, dim: int | None = None) -> list[Result]:
        return ops.chunk(self, chunks, axis, dim=dim)

    @property
    def T(self) -> Result:
        """The tensor with its axes reversed."""
        return ops.transpose(self)

    def reshape(self, *shape: Any) -> Result:
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    def view(self, *shape: Any) -> Result:
        """Call reshape under PyTorch's name."""
        return self.reshape(*shape)

    def transpose(self, *axes: Any) -> Result:
        """Reverse the axes, swap two (`transpose(1, 2)`), or order them all (`transpose(0, 2, 1)`)."""
        if len(axes) == 2:
            return ops.swapaxes(self, *axes)
        return ops.transpose(self, axes=(axes[0] if isinstance(axes[0], (tuple, list)) else axes) if axes else None)

    def permute(self, *axes: Any) -> Result:
        """Order the axes: transpose under PyTorch's name."""
        return ops.transpose(self, axes=axes[0] if isinstance(axes[0], (tuple, list)) else axes)

    def expand_dims(self, axis: Axes) -> Result:
        return ops.expand_dims(self, axis=axis)

    def unsqueeze(self, dim: int) -> Result:
        """Call expand_dims under PyTorch's name."""
        return ops.expand_dims(self, axis=dim)

    def squeeze(self, axis: Axis = None) -> Result:
        return ops.squeeze(self, axis=axis)

    def broadcast_to(self, shape: tuple[int, ...]) -> Result:
        return ops.broadcast_to(self, shape=shape)

    def repeat(self, repeats: int, axis: int) -> Result:
        return ops.repeat(self, repeats=repeats, axis=axis)

    def flip(self, axis: Axis = None) -> Result:
        return ops.flip(self, axis=axis)

    def roll(self, shift: Any, axis: Any = None) -> Result:
        return ops.roll(self, shift=shift, axis=axis)

    def pad(self, width: Any, value: float = 0.0) -> Result:
        return ops.pad(self, width=width, value=value)

    def take_along_axis(self, indices: Any, axis: int) -> Result:
        return ops.take_along_axis(self, indices, axis=axis)

    def gather(self, dim: int, index: Any) -> Result:
        """Call take_along_axis under PyTorch's name."""
        return ops.take_along_axis(self, index, axis=dim)

    def __getitem__(self, index: Any) -> Result:
        return ops.getitem(self, index=_plain(index))


def _reduction(axis: Axis, keepdims: bool, dim: Axis, keepdim: bool) -> dict[str, Any]:
    """Return axis and keepdims, from NumPy's or PyTorch's names."""
    if axis is not None and dim is not None:
        raise TypeError(f"axis and dim are one option under two names, got axis={axis} and dim={dim}")
    axes = axis if dim is None else dim
    return {"axis": tuple(axes) if isinstance(axes, list) else axes, "keepdims": keepdims or keepdim}


def _plain(index: Any) -> Any:
    """Return an index with arrays in place of Tensors and lists."""
    if isinstance(index, tuple):
        return tuple(_plain(item) for item in index)
    if isinstance(index, Methods):
        return index.data
    if isinstance(index, list):
        return np.asarray(index) if index else np.empty(0, np.intp)  # [] alone would be an array of floats
    return index


for _name, _method in vars(Methods).items():  # what help shows
    if isinstance(_method, FunctionType):
        _method.__doc__ = _method.__doc__ or getattr(ops, _name.strip("_"), _method).__doc__
        if _method.__annotations__.get("return") is Result:
            _method.__annotations__["return"] = "Tensor"
