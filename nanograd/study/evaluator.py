"""Evaluate the lines of one op on one input; every value is computed when it is asked for.

A value may be replaced by another, and what depends on it follows: so finite differences by a value in the middle of a
derivation, dn or dP, are as easy as finite differences by an input.
"""

import ast
import builtins
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from nanograd.check.numeric import directional_derivative, finite_differences
from nanograd.op import OPS
from nanograd.study.helpers import HELPERS, unbroadcast
from nanograd.study.line_code import OpCode, op_code
from nanograd.study.reasons import REASONS

Options = Mapping[str, Any]
MEASURES = ("derivative", "derivative_of_sum", "jacobian", "by", "gradient")  # by finite differences


class NoGradient(Exception):
    """A finite difference by an input that has no gradient, since it is None or of integers, was asked for."""


@cache
def parse_code(code: str) -> tuple[CodeType, frozenset[str]]:
    """Return an expression, compiled, and the names that it reads."""
    tree = ast.parse(code, mode="eval")
    bound = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    bound |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
    return compile(tree, f"<line: {code}>", "eval"), frozenset({n.id for n in names} - bound)


class Evaluator:
    """The values of one op's lines on one input, by name; all in float64.

    arrays and options are the op's own; dy is the upstream gradient, None for the forward alone. `code` holds other lines
    than those of the op's docstrings. `replaced` gives names other values than their lines compute;
    `inputs` gives arrays and dy other values, which the op's definitions then prepare.
    """

    def __init__(
        self,
        name: str,
        arrays: list[Any],
        options: Options,
        dy: np.ndarray | None = None,
        *,
        code: OpCode | None = None,
        replaced: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> None:
        self.op = OPS[name]
        self.code = code or op_code(name)
        self.definitions = self.code.definitions
        self.order = {name: i for i, name in enumerate(self.definitions)}
        self.stacks = REASONS[name].matrices
        self.options = dict(options)
        arrays = [*arrays, *([] if self.op.variadic else [None] * (len(self.op.arrays) - len(arrays)))]
        self.needs = self.op.differentiable(arrays)
        self.arrays = [a if i in self.op.nondifferentiable else _float64(a) for i, a in enumerate(arrays)]
        self.lines = {name: number for number, line in self.code.lines.items() for name in line.names}
        self.raw = dict(self._raw(), dy=dy) | dict(inputs or {})
        self.values: dict[str, Any] = dict(replaced or {})  # what has been computed
        self._result: np.ndarray | None = None

    def _raw(self) -> dict[str, Any]:
        """Return the inputs, options, helpers and measurements by name."""
        parameters = self.op.__signature__.parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        arrays: dict[str, Any] = {"xs": tuple(self.arrays)}
        if not self.op.variadic:
            arrays = dict(zip(self.op.arrays, self.arrays, strict=True))
        measures = {name: getattr(self, name) for name in (*MEASURES, "result", "backward")}
        return {"np": np, **HELPERS, **measures, **defaults, **self.options, **arrays}

    def moved(self, replaced: Mapping[str, Any], inputs: Mapping[str, Any] | None = None) -> "Evaluator":
        """Return an evaluator in which these names have other values."""
        own = {"dy": self.raw["dy"], "code": self.code}
        moved = Evaluator(self.op.name, self.arrays, self.options, **own, replaced=replaced, inputs=inputs)
        moved._result = self._result  # of the same arrays
        return moved

    def __getitem__(self, name: str) -> Any:
        """Return the value of a name: a line's, one that a definition gives, an input, an option or a helper."""
        if name not in self.values:
            self.values[name] = self._compute(name)
        return self.values[name]

    def _compute(self, name: str) -> Any:
        if name in self.lines:
            line = self.code.lines[self.lines[name]]
            value = self.compute(line.code)
            return value[line.names.index(name)] if len(line.names) > 1 else value
        if name in self.definitions:
            return self.compute(self.definitions[name], inside=name)
        if name in self.raw:
            return self.raw[name]
        raise NameError(f"{self.op.name}: no line, input, option or helper is called {name!r}")

    def compute(self, code: str, inside: str = "") -> Any:
        """Evaluate an expression; `inside` is the name that it defines.

        As in a program, an input or option is the op's own until it is defined anew: no definition sees those after it.
        """
        compiled, names = parse_code(code)
        own = {n for n in names if n in self.raw and inside and self.order.get(n, -1) >= self.order[inside]}
        known = {
            n: self.raw[n] if n in own else self[n] for n in sorted(names) if n not in vars(builtins) or n in self.raw
        }
        return eval(compiled, known)

    def native(self, name: str, value: Any) -> Any:
        """Return the value of a line in the shape that the op gives it: that of y, or of the input x for dx.

        On paper, axes of size 1 and the axes of a stack of matrices go without saying.
        """
        if isinstance(value, tuple):
            return value
        of = name.removeprefix("d")
        if name in ("y", "loss"):
            shape = lifted = np.shape(self.result())
        elif of in self.op.arrays and of != name and self.raw[of] is not None:
            shape, lifted = np.shape(self.raw[of]), np.shape(self[of])
        else:
            return _array(value)
        value = _array(value)
        if self.stacks and value.size != np.prod(shape, dtype=int):
            value = unbroadcast(value, lifted)
        return value.reshape(shape) if value.size == np.prod(shape, dtype=int) else value

    # What lines are compared with

    def result(self) -> np.ndarray:
        """Return what the op computes from its arrays, whatever values have been replaced."""
        if self._result is None:
            self._result = self.op.run_forward(self.op.pair, self.arrays, self.needs, self.options)[0]
        return self._result

    def backward(self, name: str | int) -> Any:
        """Return the gradient that the op's own backward gives an input, by its name or, of many operands, its index."""
        _, saved = self.op.run_forward(self.op.pair, self.arrays, self.needs, self.options)
        return self.op.run_backward(self.op.pair.backward, self.raw["dy"], saved, self.needs)[self._input(name)]

    def gradient(self, name: str | int) -> np.ndarray:
        """Return the gradient of Σ dy y by an input, by finite differences of the op itself."""
        i, arrays = self._input(name), list(self.arrays)
        x = arrays[i] = np.array(arrays[i])
        forward = self.op.pair.forward
        options = {**self.options, "needs": self.needs} if self.op.forward_accepts_needs else self.options
        return finite_differences(lambda: np.sum(self.raw["dy"] * forward(*arrays, **options)[0]), x)

    def by(self, name: str) -> np.ndarray:
        """Return the gradient of Σ dy y by the value of an earlier line, by finite differences of the lines after it."""
        x = np.array(self[name])
        last = "y" if "y" in self.definitions or "y" in self.lines else "loss"
        return finite_differences(lambda: np.sum(self.raw["dy"] * self.native(last, self.moved({name: x})[last])), x)

    def derivative(self, y: str, x: str) -> np.ndarray:
        """Return ∂y/∂x of an elementwise y, in the shape of y: all entries of x move together."""
        return self._along(y, x, np.ones_like(self._vary(x)))

    def derivative_of_sum(self, y: str, x: str) -> np.ndarray:
        """Return ∂y/∂x_i where each x_i goes into one y only, in the shape of x."""
        moving = self._vary(x)
        return finite_differences(lambda: np.sum(self.moved({x: moving})[y]), moving)

    def jacobian(self, y: str, x: str, axis: int = -1) -> np.ndarray:
        """Return ∂y_j/∂x_i within each row along `axis`: of shape (…, j, i). All rows move together."""
        n = self[x].shape[axis]
        columns = []
        for i in range(n):
            basis = np.zeros_like(self[x])
            np.moveaxis(basis, axis, -1)[..., i] = 1
            columns.append(np.moveaxis(self._along(y, x, basis), axis, -1))
        shape = np.moveaxis(self[y], axis, -1).shape
        return np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))

    def _along(self, y: str, x: str, direction: np.ndarray) -> np.ndarray:
        moving = self._vary(x)
        return directional_derivative(lambda: self.moved({x: moving})[y], moving, direction)

    def _vary(self, name: str) -> np.ndarray:
        if name in self.op.arrays:
            self._input(name)
        return np.array(self[name], np.float64)

    def _input(self, name: str | int) -> int:
        i = name if isinstance(name, int) else self.op.arrays.index(name)
        if not self.needs[i]:
            raise NoGradient(f"{self.op.name}: {name} is not differentiated")
        return i


def _array(value: Any) -> Any:
    return value if hasattr(value, "shape") else np.asarray(value)


def _float64(a: Any) -> Any:
    return None if a is None else np.asarray(a, np.float64)
