"""An op is a pair of plain functions on arrays: a forward, its hand-written backward, and the name they share.

    def square_forward(x):                    returns (y, saved): the result, and what backward needs of the inputs
    def square_backward(dy, saved):           returns (dx,): dy pulled back through the op, one entry per array input
    square = Op(square_forward, square_backward)

An Op called on arrays runs its forward. An Op called on anything that has a `_record` method (a Tensor) passes itself
and its arguments to that method. So ops never import Tensor, and Tensor lists no op.

The file reads from top to bottom: the context in which ops run, their observers, the Op itself, and the promotion of
its operands to one dtype.
"""

import contextlib
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Forward = Callable[..., tuple[Any, Any]]
Backward = Callable[..., tuple[Any, ...]]
Needs = tuple[bool, ...]  # for each array input, whether its gradient is needed
Gradients = tuple[np.ndarray | None, ...]  # for each array input, its gradient, or None


# The context in which ops run


class Context(NamedTuple):
    """How ops run. A new thread starts with the defaults, unless it runs in `copy_context()`."""

    grad: bool = True  # record a Node if an input requires grad
    readable: bool = False  # run the readable pair of every op, even if it has a fast one
    compositions: Mapping[str, Callable[..., Any]] = MappingProxyType({})  # called instead of the op of that name
    initialise: bool = True  # draw the initial weights of new modules; inside `nn.no_init()` they are zeros
    observers: "tuple[Observer, ...]" = ()  # called at every op, forward and backward
    scope: tuple[str, ...] = ()  # the names of the running modules, outermost first; empty if nobody observes
    module: Any = None  # the innermost running module; None if nobody observes


CONTEXT: ContextVar[Context] = ContextVar("nanograd.context", default=Context())  # noqa: B039 - a Context is immutable


@contextlib.contextmanager
def context(**changes: Any) -> Iterator[None]:
    """Run the block in the current Context with some fields replaced."""
    token = CONTEXT.set(CONTEXT.get()._replace(**changes))
    try:
        yield
    finally:
        CONTEXT.reset(token)


@contextlib.contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing in the block: `with no_grad():`, or `@no_grad()` above a function."""
    with context(grad=False):
        yield


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Run the readable pair of every op in the block. It is slower, and it is the specification of the fast pair."""
    with context(readable=True):
        yield


# Observers


class Observer:
    """Observe a computation, as the debugging tools and the profiler do. Override the hooks you need.

    With shards (`nanograd.parallel.shards`), several threads call the same observer at once.
    """

    def before_forward(self, op: "Op") -> None:
        """Called before the forward of `op`. If the forward raises, `after_forward` is not called."""

    def after_forward(
        self, op: "Op", arrays: Sequence[Any], options: dict[str, Any], y: np.ndarray, saved: Any, node: Any
    ) -> None:
        """Called after the forward; node is the recorded Node, or None if no gradient is needed."""

    def backward_begins(self) -> None:
        """Called when a backward begins, but not for the inner backward of `checkpoint`."""

    def before_backward(self, node: Any, dy: np.ndarray, saved: Any) -> None:
        """Called before the backward of `node`."""

    def after_backward(self, node: Any, dy: np.ndarray, saved: Any, dxs: tuple[Any, ...]) -> None:
        """Called after the backward of `node`, which returned dxs."""

    def before_region(self, name: str) -> None:
        """Called before a named region: a stage of a training step that is not an op, such as the optimizer."""

    def after_region(self, name: str) -> None:
        """Called after a named region, even if it raised."""


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Call the observer at every op in the block."""
    with context(observers=(*CONTEXT.get().observers, observer)):
        yield


@contextlib.contextmanager
def region(name: str) -> Iterator[None]:
    """Report the block to all observers as a region of this name."""
    observers = CONTEXT.get().observers
    for observer in observers:
        observer.before_region(name)
    try:
        yield
    finally:
        for observer in observers:
            observer.after_region(name)


# Ops


class Pair(NamedTuple):
    """A forward and its backward."""

    forward: Forward
    backward: Backward


OPS: dict[str, "Op"] = {}


class Op:
    """Bind `<name>_forward` and `<name>_backward` into one differentiable function called `<name>`.

    forward(*arrays, **options) -> (y, saved). Arrays are positional and may be None, options are keyword-only. A
        forward that declares the keyword `needs` gets one bool per array (is its gradient needed?) and saves accordingly.
    backward(dy, saved[, needs]) -> one gradient per array. An op of several arrays passes `needs`; then backward
        computes only the gradients that are needed, and returns None for the others.
    fast is a second pair with the same signature and, up to rounding, the same values; it takes less time or memory.
    nondifferentiable names the arrays that have no gradient (ids, masks); they keep their integer or boolean dtype.
    promotes_to_float: integer inputs are promoted to float32 first (exp, softmax, mean).

    Neither function writes into its arguments, and no gradient shares memory with `saved`.

    >>> def cube_forward(x):
    ...     return x * x * x, x
    >>> def cube_backward(dy, saved):
    ...     return (dy * 3 * saved * saved,)
    >>> cube = Op(cube_forward, cube_backward)
    >>> cube(np.array([2.0]))
    array([8.])
    """

    def __init__(
        self,
        forward: Forward,
        backward: Backward,
        *,
        fast: tuple[Forward, Backward] | None = None,
        nondifferentiable: Sequence[str] = (),
        promotes_to_float: bool = False,
    ) -> None:
        name = forward.__name__.removesuffix("_forward")
        if forward.__name__ != f"{name}_forward" or backward.__name__ != f"{name}_backward":
            raise ValueError(
                f"Op: the pair must be called <op>_forward and <op>_backward, got {forward.__name__} and "
                f"{backward.__name__}"
            )
        self.name = self.__name__ = name
        self.__qualname__ = name
        self.__module__ = forward.__module__
        self.pair = Pair(forward, backward)
        self.fast = Pair(*fast) if fast else None
        parameters = inspect.signature(forward).parameters.values()
        self.arrays = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.required = sum(p.default is p.empty for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"needs"}
        self.required_options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
        self.forward_accepts_needs = any(p.name == "needs" for p in parameters)
        self.backward_accepts_needs = self.variadic or len(self.arrays) > 1
        self.promotes_to_float = promotes_to_float
        self.nondifferentiable = frozenset(self.arrays.index(name) for name in nondifferentiable)
        self.__signature__ = _signature([p for p in parameters if p.name != "needs"])
        self.__doc__ = self._documentation()
        if forward.__module__.startswith("nanograd.ops."):  # a user's op may be redefined: notebooks re-run cells
            if name in OPS:
                raise ValueError(f"Op: {name} is already defined in {OPS[name].__module__}")
            OPS[name] = self

    def __repr__(self) -> str:
        return f"<Op {self.name}>"

    def __reduce__(self) -> str:
        return self.name  # deepcopy returns the op itself and pickle stores its name, as with functions

    def _documentation(self) -> str:
        """Return what `help` shows: how the op is called, the docstring of the forward, and where the derivation is."""
        doc = inspect.cleandoc(self.pair.forward.__doc__ or "")
        package = self.__module__.startswith("nanograd.ops.")
        page = f" or python -m nanograd study {self.name}" if package else ""
        return f"{self.name}{self.__signature__}\n\n{doc}\n\nBackward: help({self.name}.pair.backward){page}"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Compute the op: on arrays it returns an array, on at least one Tensor a Tensor."""
        if options or len(args) != len(self.arrays) or self.required_options:
            args = self.bind(args, options)
        for arg in args:
            if hasattr(arg, "_record"):
                return arg._record(self, args, options)
        return self.run_forward(self.selected_pair(), self.promote(args), (False,) * len(args), options)[0]

    def selected_pair(self) -> Pair:
        """Return the pair to run in this context: the fast one if there is one, unless inside `readable()`."""
        return self.fast if self.fast is not None and not CONTEXT.get().readable else self.pair

    def run_forward(
        self, pair: Pair, arrays: Sequence[Any], needs: Needs, options: dict[str, Any]
    ) -> tuple[np.ndarray, Any]:
        """Run the forward of one of this op's pairs, with `needs` if it declares them; return y and saved."""
        keywords = {**options, "needs": needs} if self.forward_accepts_needs else options
        result = pair.forward(*arrays, **keywords)
        if not isinstance(result, tuple) or len(result) != 2:  # an array of two rows would pass for y and saved
            raise TypeError(
                f"{self.name}: a forward returns (y, saved), got {type(result).__name__}; saved may be None"
            )
        return np.asarray(result[0]), result[1]

    def run_backward(self, backward: Backward, dy: np.ndarray, saved: Any, needs: Needs) -> tuple[Any, ...]:
        """Run a backward of this op, with `needs` if the op has several arrays; return one gradient per array."""
        return backward(dy, saved, needs) if self.backward_accepts_needs else backward(dy, saved)

    def differentiable(self, arrays: Sequence[Any]) -> Needs:
        """Return which of these arrays can have a gradient."""
        return tuple(
            a is not None and a.dtype.kind == "f" and i not in self.nondifferentiable for i, a in enumerate(arrays)
        )

    def bind(self, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """Move arrays from keywords into args, and check all arguments; what remains in `options` are options.

        Raises TypeError for a missing, unknown, repeated or excess argument.
        """
        if self.variadic:
            if not args:
                raise TypeError(f"{self.name}: needs at least one array")
        else:
            if len(args) > len(self.arrays):
                raise TypeError(
                    f"{self.name}: takes {len(self.arrays)} arrays ({', '.join(self.arrays)}), got {len(args)}; "
                    f"options go by keyword: {', '.join(sorted(self.options)) or 'there are none'}"
                )
            bound = list(args)
            for i, array in enumerate(self.arrays[len(args) :], start=len(args)):
                if i < self.required and array not in options:
                    raise TypeError(f"{self.name}: {array} is missing; it takes {', '.join(self.arrays)}")
                bound.append(options.pop(array, None))
            args = tuple(bound)
        for pytorch_name, option in (("dim", "axis"), ("keepdim", "keepdims")):
            if pytorch_name in options and option in self.options and option not in options:
                options[option] = options.pop(pytorch_name)
        for option, value in options.items():
            if option in self.arrays:
                raise TypeError(f"{self.name}: got {option} twice, by position and by keyword")
            if option not in self.options:
                near = difflib.get_close_matches(option, [*self.options, *self.arrays], 1)
                hint = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(sorted(self.options)) or 'none'}"
                raise TypeError(f"{self.name}: unknown option {option}{hint}")
            if hasattr(value, "item") and value.ndim == 0:
                options[option] = value.item()  # a NumPy scalar would upcast a float32 array
            elif hasattr(value, "_record"):
                raise TypeError(f"{self.name}: the option {option} takes no Tensor; options are not differentiated")
        if missing := [name for name in self.required_options if name not in options]:
            values = ", ".join(f"{name}=…" for name in missing)
            verb = "is" if len(missing) == 1 else "are"
            raise TypeError(
                f"{self.name}: {' and '.join(map(repr, missing))} {verb} missing; write {self.name}(…, {values})"
            )
        return args

    def promote(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Convert the operands of one call to one dtype, so that no op handles mixtures.

        Arrays of different float dtypes follow NumPy's promotion. Python numbers, NumPy scalars and lists never upcast an
        array. Integers become floats if any operand is a float; if no array is, the result is float32. float16 is for
        storage: all ops compute in float32.
        """
        if self._is_uniform(args):
            return tuple(args)  # nearly every call of a training step: saves 2 µs
        values = [a if a is None or hasattr(a, "astype") else _from_python(a, self.name) for a in args]
        for i in self.nondifferentiable:
            if _is_number(values[i]):
                values[i] = np.asarray(values[i])
        for name, value in zip(self.arrays[: self.required], values, strict=False):
            if value is None:
                raise TypeError(f"{self.name}: {name} is None, and only optional arrays may be")
        operands = []  # they decide the dtype
        for i, v in enumerate(values):
            if v is not None and i not in self.nondifferentiable:
                is_list_of_fractions = isinstance(v, np.ndarray) and v.dtype == np.float64 and v is not args[i]
                operands.append(np.float32(0) if is_list_of_fractions else v)  # a list upcasts no array
        target = _common_dtype(operands, self.promotes_to_float)
        if target == np.float16 and "dtype" not in self.options:  # astype is the way out of float16, and into it
            target = np.dtype(np.float32)
        for i, v in enumerate(values):
            if v is None or i in self.nondifferentiable:
                continue
            if _is_number(v):
                values[i] = np.asarray(v, dtype=target)
            elif v.dtype != target and target.kind in "fc":
                values[i] = v.astype(target)  # a Tensor records this as the op `astype`
        return tuple(values)

    def _is_uniform(self, args: Sequence[Any]) -> bool:
        """Return whether these are arrays and Tensors of one float dtype, which need no promotion."""
        dtype = None
        for i, a in enumerate(args):
            if a is None and i >= self.required:
                continue
            if not isinstance(a, np.ndarray) and not hasattr(a, "_record"):
                return False
            if i in self.nondifferentiable:
                continue
            if dtype is None:
                dtype = a.dtype
            elif a.dtype != dtype:
                return False
        return dtype is not None and dtype.kind == "f" and dtype.itemsize > 2


# The signature that users see


class _Annotation(str):
    """The text of an annotation, which a signature shows without quotes."""

    __repr__ = str.__str__


def _signature(parameters: Sequence[inspect.Parameter]) -> inspect.Signature:
    """Return the signature of an op: its array inputs are Tensors, and so is its result."""
    tensor, optional = _Annotation("Tensor"), _Annotation("Tensor | None")
    shown = [
        p if p.kind is p.KEYWORD_ONLY else p.replace(annotation=tensor if p.default is p.empty else optional)
        for p in parameters
    ]
    return inspect.Signature(shown, return_annotation=tensor)


# Promotion of operands


def _is_number(value: Any) -> bool:
    """Return whether the value is a Python number or a NumPy scalar: these do not upcast an array."""
    return isinstance(value, (float, int, np.generic))


def _common_dtype(operands: Sequence[Any], to_float: bool) -> np.dtype:
    """Return the dtype to which these operands are promoted; `to_float` excludes integers."""
    dtypes = {v.dtype for v in operands if not _is_number(v)}
    if floats := [dtype for dtype in dtypes if dtype.kind in "fc"]:
        return np.result_type(*floats)
    if to_float or any(isinstance(v, (float, np.floating)) for v in operands):
        return np.dtype(np.float32)
    if not dtypes:  # only Python numbers and NumPy scalars
        return np.result_type(*(np.asarray(v).dtype for v in operands)) if operands else np.dtype(np.float32)
    integers = [int(v) for v in operands if isinstance(v, (int, np.integer)) and not isinstance(v, bool)]
    return np.result_type(*dtypes, *integers)


def _from_python(value: Any, name: str) -> Any:
    """Return a Python number as it is and a list as an array, of float64 if it has fractions."""
    if isinstance(value, (bool, int, float)):
        return np.bool_(value) if isinstance(value, bool) else value
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name}: expected numbers, got {type(value).__name__} (dtype {array.dtype})")
    return array
