"""What gradcheck looks at: an op, a pair of functions or a function of Tensors, as one thing."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nanograd._tensor import Tensor
from nanograd.functional import grad
from nanograd.op import Op

Back = Callable[[np.ndarray], list[Any]]


class Subject:
    """What is checked, as one thing: arrays in, an array and the way back out."""

    def __init__(self, function: Any, inputs: Sequence[Any], options: dict[str, Any], dtype: np.dtype) -> None:
        if isinstance(function, Op):
            inputs = function._bind(tuple(inputs), options)  # which refuses what a call of the op would
        self.options = options
        self.function = function
        self.pair: Any = (
            function.pair if isinstance(function, Op) else function if isinstance(function, tuple) else None
        )
        discrete: frozenset[int] = function.nondifferentiable if isinstance(function, Op) else frozenset()
        self.inputs = [as_input(x, i in discrete, dtype) for i, x in enumerate(inputs)]
        if isinstance(function, Op):
            self.name = function.name
        else:
            name = getattr(self.pair[0] if self.pair else function, "__name__", "function")
            self.name = name.removesuffix("_forward")
        self.needs = tuple(
            isinstance(x, np.ndarray) and x.dtype.kind == "f" and i not in discrete for i, x in enumerate(self.inputs)
        )
        if self.pair:
            self.forward_accepts_needs = "needs" in inspect.signature(self.pair[0]).parameters
            self.backward_accepts_needs = len(inspect.signature(self.pair[1]).parameters) > 2

    def save(self, inputs: Sequence[Any], needs: tuple[bool, ...]) -> tuple[np.ndarray, Any]:
        """Run the forward of a pair."""
        told = {"needs": needs} if self.forward_accepts_needs else {}
        y, saved = self.pair[0](*inputs, **self.options, **told)
        return np.asarray(y), saved

    def pull(self, dy: np.ndarray, saved: Any, needs: tuple[bool, ...]) -> list[Any]:
        """Run the backward of a pair."""
        dxs = self.pair[1](dy, saved, needs) if self.backward_accepts_needs else self.pair[1](dy, saved)
        return list(dxs) if isinstance(dxs, (tuple, list)) else [dxs]

    def run(self, inputs: Sequence[Any], needs: tuple[bool, ...] | None = None) -> tuple[np.ndarray, Back]:
        """Return y, and the way back from dy to one gradient an input."""
        wanted = self.needs if needs is None else needs
        if self.pair:
            y, saved = self.save(inputs, wanted)
            return y, lambda dy: self.pull(dy, saved, wanted)
        tensors = [Tensor(x, requires_grad=True) if need else x for x, need in zip(inputs, wanted, strict=True)]
        out = self.function(*tensors, **self.options)
        leaves = [t for t, need in zip(tensors, wanted, strict=True) if need]

        def back(dy: np.ndarray) -> list[Any]:
            found = iter(
                grad([out], leaves, [dy], retain_graph=True) if out.requires_grad else map(np.zeros_like, inputs)
            )
            return [next(found) if need else None for need in wanted]

        return out.data, back

    def value(self, inputs: Sequence[Any]) -> np.ndarray:
        return self.run(inputs)[0]


def as_input(x: Any, discrete: bool, dtype: np.dtype) -> Any:
    """Return floating values as a new array of the dtype, anything else as it is."""
    x = x.data if isinstance(x, Tensor) else x
    if discrete or x is None or isinstance(x, (bool, int, str)):
        return np.asarray(x) if discrete and x is not None else x
    array = np.asarray(x)
    return np.array(array, dtype) if array.dtype.kind == "f" else x
