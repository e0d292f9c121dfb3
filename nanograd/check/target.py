"""Target: the function under test with its inputs, whether it is an Op, a plain pair or a function of Tensors."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.functional import grad
from nanograd.op import Needs, Op, Pair

VJP = Callable[[np.ndarray], list[Any]]  # from dy to one gradient per input, None where none is needed


class Target:
    """A function with its inputs and options, run forward and backward.

    function is an Op, a pair (forward, backward) or a function of Tensors. pair selects one of the pairs of an Op, by
    default the readable one. dtype replaces the dtype of floating inputs; the inputs are copied. An Op's inputs are
    promoted as in a call.

    `op` and `pair` are None for a function of Tensors. `needs` tells which inputs are differentiated: floating arrays,
    unless the Op declares them nondifferentiable.
    """

    def __init__(
        self,
        function: Any,
        inputs: Sequence[Any],
        options: dict[str, Any] | None = None,
        dtype: Any = np.float64,
        *,
        pair: Pair | None = None,
    ) -> None:
        self.function = function
        self.options = dict(options or {})
        self.op: Op | None = None
        self.pair: Pair | None = None
        if isinstance(function, Op):
            self.op, self.pair = function, pair or function.pair
            inputs = function.bind(tuple(inputs), self.options)  # raises what a call of the op would
        elif isinstance(function, tuple):
            self.op = as_op(*function)
            self.pair = self.op.pair
        self.name: str = self.op.name if self.op else getattr(function, "__name__", "function")
        nondifferentiable = self.op.nondifferentiable if self.op else ()
        self.inputs = [as_input(x, dtype if i not in nondifferentiable else None) for i, x in enumerate(inputs)]
        self.needs = tuple(
            isinstance(x, np.ndarray) and x.dtype.kind == "f" and i not in nondifferentiable
            for i, x in enumerate(self.inputs)
        )
        if isinstance(function, Op):
            self.inputs = list(function.promote(self.inputs))
        if self.pair and self.op and self.pair is self.op.fast:
            self.options |= small_blocks(self.pair)

    @property
    def needed(self) -> list[int]:
        """The indices of the differentiated inputs."""
        return [i for i, need in enumerate(self.needs) if need]

    def run_forward(self, inputs: Sequence[Any] | None = None, needs: Needs | None = None) -> tuple[np.ndarray, Any]:
        """Run the forward of a pair; return y and what it saved."""
        assert self.op is not None
        assert self.pair is not None
        return self.op.run_forward(self.pair, inputs or self.inputs, needs or self.needs, self.options)

    def run_backward(self, dy: np.ndarray, saved: Any, needs: Needs | None = None) -> list[Any]:
        """Run the backward of a pair; return one gradient per input."""
        assert self.op is not None
        assert self.pair is not None
        return list(self.op.run_backward(self.pair.backward, dy, saved, needs or self.needs))

    def run(self, inputs: Sequence[Any] | None = None) -> tuple[np.ndarray, VJP]:
        """Return y, and the function from dy to one gradient per input."""
        inputs = inputs or self.inputs
        if self.pair:
            y, saved = self.run_forward(inputs)
            return y, lambda dy: self.run_backward(dy, saved)
        args = [Tensor(x, requires_grad=True) if need else x for x, need in zip(inputs, self.needs, strict=True)]
        out = self.function(*args, **self.options)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{self.name}: a function of Tensors must return a Tensor, got {type(out).__name__}; functions on arrays "
                "are checked as a pair (forward, backward), by the command as FILE.py:NAME without _forward"
            )
        leaves = [arg for arg, need in zip(args, self.needs, strict=True) if need]

        def vjp(dy: np.ndarray) -> list[Any]:
            if not out.requires_grad:
                return [np.zeros_like(x) if need else None for x, need in zip(inputs, self.needs, strict=True)]
            gradients = iter(grad([out], leaves, [dy], retain_graph=True))
            return [next(gradients) if need else None for need in self.needs]

        return out.data, vjp

    def value(self, inputs: Sequence[Any] | None = None) -> np.ndarray:
        return self.run(inputs)[0]

    def gradients(self, dy: np.ndarray) -> list[Any]:
        """Run forward and backward once; dy is copied."""
        return self.run()[1](np.array(dy))

    def cotangent(self, seed: int = 0) -> np.ndarray:
        """Draw a random dy, since a uniform one hides most mistakes; it is 0 where y is infinite."""
        y = self.value()
        u = np.asarray(np.random.default_rng(seed).standard_normal(y.shape)).astype(y.dtype)
        return np.where(np.isfinite(y), u, 0)


def as_op(forward: Callable[..., Any], backward: Callable[..., Any]) -> Op:
    """Make an Op of two functions of any name; backward may omit `needs`, and may return a single gradient."""
    name = getattr(forward, "__name__", "function").removesuffix("_forward")
    accepts_needs = len(inspect.signature(backward).parameters) > 2

    @functools.wraps(forward)
    def named_forward(*arrays: Any, **options: Any) -> Any:
        return forward(*arrays, **options)

    def named_backward(dy: np.ndarray, saved: Any, needs: Needs = ()) -> tuple[Any, ...]:
        dxs = backward(dy, saved, needs) if accepts_needs else backward(dy, saved)
        return tuple(dxs) if isinstance(dxs, (tuple, list)) else (dxs,)

    named_forward.__name__, named_backward.__name__ = f"{name}_forward", f"{name}_backward"
    named_forward.__module__ = __name__  # not registered in OPS, wherever the functions come from
    return Op(named_forward, named_backward)


def as_input(x: Any, dtype: Any) -> Any:
    """Return floating values as a new array of the dtype (None: of their own), and anything else as it is."""
    if isinstance(x, (tuple, list)) and any(isinstance(item, (Tensor, np.ndarray)) for item in x):
        raise TypeError(f"inputs are given one by one, as in gradcheck(f, x, y); got a {type(x).__name__} of arrays")
    x = x.data if isinstance(x, Tensor) else x
    if x is None or dtype is None:
        return x if x is None else np.asarray(x)
    if isinstance(x, (bool, int, str)):
        return x
    array = np.asarray(x)
    return np.array(array, dtype) if array.dtype.kind == "f" else x


def small_blocks(pair: Pair) -> dict[str, int]:
    """Return the option that makes a fast pair work in blocks of two, so that small inputs span several blocks."""
    return {"block": 2} if "block" in inspect.signature(pair.forward).parameters else {}
