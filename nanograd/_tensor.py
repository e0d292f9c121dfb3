"""Tensor: an array that records the ops it was computed by; and the functions that create one."""

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nanograd.methods import REFLECTED, UFUNC_OPS, Methods
from nanograd.op import CONTEXT, OPS, Op
from nanograd.ops.reduce import Axis
from nanograd.runtime.pytorch_names import missing_name
from nanograd.tape import Node, accumulate_grad, backpropagate


class Tensor(Methods["Tensor"]):
    """Wrap an array; ops on a Tensor that requires grad are recorded, and `backward()` computes gradients through them.

    data is any real array. Python floats and lists of them become float32; arrays keep their dtype.
    grad is None or a NumPy array of the same shape and dtype; calls of `backward` add to it.
    node is the Node of the op that computed this Tensor, or None: it is a leaf, or was not recorded.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")
    if TYPE_CHECKING:
        __array_ufunc__: None  # to a type checker, `ndarray + Tensor` is what __radd__ returns
    grad_buffer: np.ndarray | None = None  # an optimizer sets it on a Parameter: the array that becomes `grad`

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        from_numpy = isinstance(data, (np.ndarray, np.generic))
        data = np.asarray(data)
        if data.dtype.kind not in "biuf":
            raise TypeError(f"Tensor: expected real numbers, got dtype {data.dtype}")
        if data.dtype == np.float64 and not from_numpy:
            data = data.astype(np.float32)
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"Tensor: only floats can require grad, got {data.dtype}; use .astype('float32') first")
        self.data: np.ndarray = data
        self.requires_grad = requires_grad
        self.grad: np.ndarray | None = None
        self.node: Node | None = None

    @staticmethod
    def _record(op: Op, args: tuple[Any, ...], options: dict[str, Any]) -> "Tensor":
        """Run `op` on the arrays of its arguments, and record a Node if any of them needs a gradient."""
        args = op.promote(args)
        context = CONTEXT.get()
        if op.name in context.compositions:
            return context.compositions[op.name](*args, **options)
        needs = tuple(
            context.grad and isinstance(a, Tensor) and a.requires_grad and i not in op.nondifferentiable
            for i, a in enumerate(args)
        )
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        for observer in context.observers:
            observer.before_forward(op)
        pair = op.selected_pair()
        y, saved = op.run_forward(pair, arrays, needs, options)
        out = Tensor(y)
        if any(needs) and y.dtype.kind == "f":  # an integer result has derivative 0
            parents = tuple((a.node or a) if need else None for a, need in zip(args, needs, strict=True))
            out.requires_grad = True
            out.node = Node(op, pair.backward, saved, parents, needs)
        for observer in context.observers:
            observer.after_forward(op, arrays, options, y, saved, out.node)
        return out

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to `.grad` of every leaf that it was computed from.

        gradient is ∂L/∂self, in the shape of this tensor; a scalar may leave it out, and it is 1. The graph is freed
        unless retain_graph; a second backward through a freed graph raises RuntimeError.
        """
        dy = self.cotangent(gradient)
        if self.node is None:
            accumulate_grad(self, dy, False)
        else:
            backpropagate([(self.node, dy)], accumulate_grad, retain_graph=retain_graph)

    def cotangent(self, gradient: Any = None) -> np.ndarray:
        """Return the initial dy of backward: `gradient` as an array of this shape and dtype, or 1 for a scalar."""
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor does not require grad; nor does anything that it was computed from"
            )
        if gradient is None:
            if self.data.size != 1:
                raise ValueError(f"backward: only a scalar may leave out its gradient, this has shape {self.shape}")
            return np.ones_like(self.data)
        gradient = np.asarray(gradient.data if isinstance(gradient, Tensor) else gradient, dtype=self.dtype)
        if gradient.shape != self.shape:
            raise ValueError(f"backward: gradient must have the tensor's shape {self.shape}, got {gradient.shape}")
        return gradient

    # Properties and conversions
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

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        name = type(self).__name__
        body = np.array2string(self.data, separator=", ", prefix=f"{name}(")
        body += f", shape={self.shape}" if self.size == 0 else ""
        return f"{name}({body}, dtype={self.dtype}{', requires_grad=True' if self.requires_grad else ''})"

    def item(self) -> float | int | bool:
        """Return the only entry as a Python number."""
        return self.data.item()

    def __float__(self) -> float:
        return float(self.data)

    def __int__(self) -> int:
        return int(self.data)

    def __index__(self) -> int:
        return operator.index(self.data.item()) if self.size == 1 else operator.index(self.data)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec and self.size == 1 else format(str(self), spec)

    def tolist(self) -> Any:
        """Return the entries as nested lists of Python numbers."""
        return self.data.tolist()

    def numpy(self) -> np.ndarray:
        """Return the array itself, not a copy."""
        return self.data

    def detach(self) -> "Tensor":
        """Return the same array without its history."""
        return Tensor(self.data)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("Tensor: entries cannot be assigned (the tape would miss it); use where, concat or stack")

    def __iter__(self) -> Iterator["Tensor"]:
        if self.ndim == 0:
            raise TypeError("Tensor: a scalar cannot be iterated over")
        return (self[i] for i in range(len(self)))

    # Not differentiated: comparisons, logic, and reductions to indices or truth
    def __eq__(self, other: Any) -> "Tensor":  # type: ignore[override]
        return Tensor(self.data == _array(other, self.dtype))

    def __ne__(self, other: Any) -> "Tensor":  # type: ignore[override]
        return Tensor(self.data != _array(other, self.dtype))

    def __lt__(self, other: Any) -> "Tensor":
        return Tensor(self.data < _array(other, self.dtype))

    def __le__(self, other: Any) -> "Tensor":
        return Tensor(self.data <= _array(other, self.dtype))

    def __gt__(self, other: Any) -> "Tensor":
        return Tensor(self.data > _array(other, self.dtype))

    def __ge__(self, other: Any) -> "Tensor":
        return Tensor(self.data >= _array(other, self.dtype))

    __hash__ = object.__hash__

    def any(self, axis: Axis = None, *, dim: Axis = None) -> "Tensor":
        return Tensor(np.any(self.data, axis=axis if dim is None else dim))

    def all(self, axis: Axis = None, *, dim: Axis = None) -> "Tensor":
        return Tensor(np.all(self.data, axis=axis if dim is None else dim))

    def argmax(
        self, axis: int | None = None, keepdims: bool = False, *, dim: int | None = None, keepdim: bool = False
    ) -> "Tensor":
        return Tensor(np.argmax(self.data, axis=axis if dim is None else dim, keepdims=keepdims or keepdim))

    def argmin(
        self, axis: int | None = None, keepdims: bool = False, *, dim: int | None = None, keepdim: bool = False
    ) -> "Tensor":
        return Tensor(np.argmin(self.data, axis=axis if dim is None else dim, keepdims=keepdims or keepdim))

    def __mod__(self, other: Any) -> "Tensor":
        """Return the remainder of a division, as NumPy's; only of a Tensor that does not require grad."""
        if self.requires_grad or getattr(other, "requires_grad", False):
            raise TypeError("Tensor: % is not differentiated; take the remainder of x.detach()")
        return Tensor(self.data % _array(other, self.dtype))

    def __invert__(self) -> "Tensor":
        return Tensor(~self.data)

    def __and__(self, other: Any) -> "Tensor":
        return Tensor(self.data & np.asarray(other))

    def __or__(self, other: Any) -> "Tensor":
        return Tensor(self.data | np.asarray(other))

    def __xor__(self, other: Any) -> "Tensor":
        return Tensor(self.data ^ np.asarray(other))

    def __getstate__(self) -> dict[str, Any]:
        """Return what deepcopy and pickle keep: the array, the gradient, and whether it requires one."""
        if self.node is not None:
            raise RuntimeError(
                f"copy: this tensor is the result of {self.node.op.name}, and a recorded graph is not copied or pickled; "
                "use .detach() first"
            )
        own = {"data": self.data, "grad": self.grad, "requires_grad": self.requires_grad}
        return {**getattr(self, "__dict__", {}), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.node = None
        for name, value in state.items():
            setattr(self, name, value)

    def __copy__(self) -> Self:
        """Return a leaf that shares the array and has no gradient."""
        tensor = type(self).__new__(type(self))
        tensor.__setstate__({**self.__getstate__(), "grad": None})
        return tensor

    if not TYPE_CHECKING:

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            """Let `array + tensor` call __radd__; of np.exp and the others, name the op of nanograd."""
            reflected = REFLECTED.get(ufunc.__name__)
            if reflected and method == "__call__" and not kwargs and inputs[1] is self:
                return getattr(self, reflected)(inputs[0])
            name = UFUNC_OPS.get(ufunc.__name__, ufunc.__name__)
            use = f"use nanograd.{name}(tensor), or pass" if name in OPS else "pass"
            raise TypeError(f"np.{ufunc.__name__} takes no Tensor: {use} tensor.detach().numpy()")

        def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
            """Let NumPy read this Tensor as an array; where it cannot, name the op of nanograd that can."""
            try:
                return function._implementation(*args, **kwargs)
            except TypeError as error:
                name = {"amax": "max", "amin": "min"}.get(function.__name__, function.__name__)
                if name not in OPS and name not in ("any", "all"):
                    raise
                use = f"nanograd.{name}(tensor)" if name in OPS else f"tensor.{name}()"
                raise TypeError(f"np.{name} takes no Tensor: use {use}, or pass tensor.detach().numpy()") from error

        # Hidden from type checkers, to which `array + tensor` would else be an array
        def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
            if self.requires_grad:
                use = "use .detach().numpy() or a nanograd op"
                raise TypeError(f"a Tensor that requires grad is not a plain array: {use}")
            return np.array(self.data, dtype=dtype, copy=copy)

        def __getattr__(self, name: str) -> Any:  # else no unknown name is reported
            raise missing_name(f"{type(self).__name__!r} object", name)

    def bind_buffer(self, owner: Any, array: np.ndarray, grad_buffer: np.ndarray) -> None:
        """Move the values into `array`, which belongs to `owner`. Only a Parameter uses grad_buffer."""
        array[...] = self.data
        self.data = array

    def copy_(self, values: Any) -> Self:
        """Overwrite the array in place, to load or initialise parameters; never inside a recorded computation.

        A read-only array is replaced by a new one.
        """
        array = self.data if self.data.flags.writeable else np.empty(self.shape, self.dtype)
        array[...] = values
        if array is not self.data:
            self.data = array
        return self


def _array(value: Any, dtype: np.dtype) -> Any:
    """Return the right operand of a comparison with an array of this dtype, which NumPy scalars and lists do not upcast."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        array = np.asarray(value)
        return array.astype(dtype if dtype.kind == "f" else np.float32) if array.dtype == np.float64 else array
    return value


# Functions that create a Tensor. A shape is given as ints or as one tuple: zeros(2, 3) or zeros((2, 3)). The dtype is
# float32 unless `dtype` says otherwise.


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor with a copy of `data`: a number, nested lists of numbers, an array or a Tensor.

    Without a dtype, Python floats become float32, and arrays keep their dtype. (`Tensor(array)` does not copy.)

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32)
    """
    if dtype is None:
        return Tensor(Tensor(data).data.copy(), requires_grad)
    return Tensor(np.array(data.data if isinstance(data, Tensor) else data, dtype), requires_grad)


def zeros(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Return a Tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return Tensor(np.zeros(_shape(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: Any = np.float32, requires_grad: bool = False) -> Tensor:
    """Return a Tensor of ones.

    >>> ones(3)
    Tensor([1., 1., 1.], dtype=float32)
    """
    return Tensor(np.ones(_shape(shape), dtype), requires_grad)


def full(shape: int | tuple[int, ...], value: float, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Return a Tensor whose entries are all `value`; without a dtype, an int gives int64 and a float float32.

    >>> full((2, 2), 0.5)
    Tensor([[0.5, 0.5],
            [0.5, 0.5]], dtype=float32)
    """
    return Tensor(np.full(shape, value, _float32(value) if dtype is None else dtype), requires_grad)


def arange(
    start: float, stop: float | None = None, step: float = 1, *, dtype: Any = None, requires_grad: bool = False
) -> Tensor:
    """Return start, start + step, … up to but without stop; `arange(n)` counts from 0 to n - 1.

    Without a dtype, ints give int64, and floats float32.

    >>> arange(2, 8, 2)
    Tensor([2, 4, 6], dtype=int64)
    """
    first, end = (0, start) if stop is None else (start, stop)
    values = np.arange(first, end, step)
    return Tensor(values.astype(_float32(values) if dtype is None else dtype), requires_grad)


def randn(
    *shape: Any, rng: np.random.Generator | int | None = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Return random numbers with mean 0 and variance 1 (normal distribution), of float32 or float64.

    rng is a NumPy Generator, a seed, or None for an unpredictable seed: there is no global generator.

    >>> bool((randn(2, 3, rng=0) == randn(2, 3, rng=0)).all())
    True
    """
    return Tensor(np.random.default_rng(rng).standard_normal(_shape(shape), dtype), requires_grad)


def rand(
    *shape: Any, rng: np.random.Generator | int | None = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Return random numbers from [0, 1) (uniform distribution), of float32 or float64; rng as in `randn`.

    >>> rand(1000, rng=0).max() < 1
    Tensor(True, dtype=bool)
    """
    return Tensor(np.random.default_rng(rng).random(_shape(shape), dtype), requires_grad)


def _shape(shape: tuple[Any, ...]) -> Any:
    """Return the shape from the arguments: ints, or one tuple or list."""
    return shape[0] if len(shape) == 1 else shape


def _float32(values: Any) -> Any:
    """Return the dtype of the values, but float32 in place of NumPy's default float64."""
    dtype = np.asarray(values).dtype
    return np.float32 if dtype == np.float64 else dtype
