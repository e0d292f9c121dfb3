"""A sheet holds one op's lines on one input, and works out each value when it is asked for, as a pencil would.

A value may be replaced by another, and what depends on it follows: so slopes in a value that stands in the middle of a
derivation, dn or dP, are as easy to measure as slopes in an input.
"""

import ast
import builtins
import inspect
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from nanograd.check.numeric import directional_derivative, finite_differences
from nanograd.op import OPS
from nanograd.study.twins import GIVEN, TWINS, Twin
from nanograd.study.words import WORDS


class NoSlope(Exception):
    """An input that has no gradient, None or of integers, was to be varied."""


@cache
def parse(code: str) -> tuple[CodeType, frozenset[str]]:
    """Return a twin's code, compiled, and the names that it reads."""
    tree = ast.parse(code, mode="eval")
    bound = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    names = [n for n in ast.walk(tree) if isinstance(n, ast.Name)]
    bound |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
    return compile(tree, f"<twin: {code}>", "eval"), frozenset({n.id for n in names} - bound)


class Sheet:
    """The values of one op's lines on one input, by name; all in float64.

    arrays and options are the op's own, dy the gradient that arrives (None where only the forward is asked for).
    `replaced` sets names to other values than their lines give them; `twins` are other lines than those of TWINS; `seed`
    draws δx.
    """

    def __init__(
        self,
        name: str,
        arrays: list[Any],
        options: Mapping[str, Any],
        dy: np.ndarray | None = None,
        *,
        twins: Mapping[int, Twin] | None = None,
        replaced: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.op = OPS[name]
        self.twins = TWINS[name] if twins is None else twins
        self.given = GIVEN.get(name, {})
        self.options = dict(options)
        arrays = [*arrays, *([] if self.op.variadic else [None] * (len(self.op.arrays) - len(arrays)))]
        self.needs = self.op.differentiable(arrays)
        self.arrays = [a if i in self.op.nondifferentiable else _float64(a) for i, a in enumerate(arrays)]
        self.seed = seed
        self.lines = {each: number for number, twin in self.twins.items() for each in split(twin.name)}
        self.raw = dict(self._raw(), dy=dy)  # what was handed in
        self.values: dict[str, Any] = dict(replaced or {})  # what has been worked out

    def _raw(self) -> dict[str, Any]:
        """Return the inputs and options by name, and the ways to measure a slope."""
        parameters = inspect.signature(self.op.pair.forward).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "needs"}
        arrays: dict[str, Any] = {"xs": tuple(self.arrays)}
        if not self.op.variadic:
            arrays = dict(zip(self.op.arrays, self.arrays, strict=True))
        measures = {
            name: getattr(self, name)
            for name in ("result", "slope", "slope_of_sum", "jacobian", "by", "gradient", "backward")
        }
        return {**WORDS, **measures, **defaults, **self.options, **arrays}

    def moved(self, **replaced: Any) -> "Sheet":
        """Return a sheet on which these names have other values."""
        dy = self.raw["dy"]
        return Sheet(self.op.name, self.arrays, self.options, dy, twins=self.twins, replaced=replaced, seed=self.seed)

    def __getitem__(self, name: str) -> Any:
        """Return the value of a name: a line's, one that the prose gives, an input, an option or a word."""
        if name not in self.values:
            self.values[name] = self._find(name)
        return self.values[name]

    def _find(self, name: str) -> Any:
        if name in self.lines:
            twin = self.twins[self.lines[name]]
            value, names = self.compute(twin.code), split(twin.name)
            return value[names.index(name)] if len(names) > 1 else value
        if name in self.given:
            return self.compute(self.given[name], inside=name)
        if name in self.raw:
            return self.raw[name]
        if name.startswith("δ"):
            return self.vary(name[1:])
        raise NameError(f"{self.op.name}: no line, input, option or word is called {name!r}")

    def compute(self, code: str, inside: str = "") -> Any:
        """Evaluate an expression; `inside` is the name it gives, which in it means the op's own option or array."""
        compiled, names = parse(code)
        known = {n: self.raw[n] if n == inside else self[n] for n in names if n not in vars(builtins) or n in self.raw}
        return eval(compiled, known)

    # Measures: what the lines are held against

    def result(self) -> np.ndarray:
        """Return what the op computes."""
        return self.op.run_forward(self.op.pair, self.arrays, self.needs, self.options)[0]

    def backward(self, name: str | int) -> Any:
        """Return what the op's own backward gives an input, by its name or, of many operands, its place."""
        _, saved = self.op.run_forward(self.op.pair, self.arrays, self.needs, self.options)
        return self.op.run_backward(self.op.pair.backward, self.raw["dy"], saved, self.needs)[self._input(name)]

    def gradient(self, name: str | int) -> np.ndarray:
        """Return the slopes of Σ dy y in an input, by finite differences of the op itself."""
        i, arrays = self._input(name), list(self.arrays)
        x = arrays[i] = np.array(arrays[i])
        forward = self.op.pair.forward
        told = {**self.options, "needs": self.needs} if self.op.forward_accepts_needs else self.options
        return finite_differences(lambda: np.sum(self.raw["dy"] * forward(*arrays, **told)[0]), x)

    def by(self, name: str) -> np.ndarray:
        """Return the slopes of Σ dy y in a value of an earlier line, by finite differences of the lines after it."""
        x = np.array(self[name])
        last = "y" if "y" in self.given or "y" in self.lines else "loss"
        return finite_differences(lambda: np.sum(self.raw["dy"] * self.moved(**{name: x})[last]), x)

    def slope(self, y: str, x: str) -> np.ndarray:
        """Return dy/dx of an elementwise y, in the shape of y: all entries of x move together."""
        return self._along(y, x, None)

    def slope_of_sum(self, y: str, x: str) -> np.ndarray:
        """Return dy/dx_i where each x_i goes into one y only, in the shape of x."""
        moving = self._vary(x)
        return finite_differences(lambda: np.sum(self.moved(**{x: moving})[y]), moving)

    def jacobian(self, y: str, x: str, axis: int = -1) -> np.ndarray:
        """Return dy_j/dx_i within each row along `axis`: of shape (…, j, i). All rows move together."""
        n = self[x].shape[axis]
        columns = []
        for i in range(n):
            basis = np.zeros_like(self[x])
            np.moveaxis(basis, axis, -1)[..., i] = 1
            columns.append(np.moveaxis(self._along(y, x, basis), axis, -1))
        shape = np.moveaxis(self[y], axis, -1).shape
        return np.stack(columns, axis=-1) if columns else np.zeros((*shape, 0))

    def vary(self, name: str) -> np.ndarray:
        """Return δ of a name: how fast it changes as x goes in the random direction δx."""
        direction = np.random.default_rng(self.seed + 1).standard_normal(self["x"].shape)
        return direction if name == "x" else self._along(name, "x", direction)

    def _along(self, y: str, x: str, direction: np.ndarray | None) -> np.ndarray:
        moving = self._vary(x)
        return directional_derivative(
            lambda: self.moved(**{x: moving})[y], moving, np.ones_like(moving) if direction is None else direction
        )

    def _vary(self, name: str) -> np.ndarray:
        if name in self.op.arrays and not self.needs[self._input(name)]:
            raise NoSlope(f"{self.op.name}: {name} is not differentiated")
        return np.array(self[name], np.float64)

    def _input(self, name: str | int) -> int:
        i = name if isinstance(name, int) else self.op.arrays.index(name)
        if not self.needs[i]:
            raise NoSlope(f"{self.op.name}: {name} is not differentiated")
        return i


def _float64(a: Any) -> Any:
    return None if a is None else np.asarray(a, np.float64)


def split(name: str) -> list[str]:
    """Return the names that a line makes: "q, k, v" are three."""
    return name.split(", ")
