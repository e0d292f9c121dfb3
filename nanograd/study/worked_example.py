"""A worked example: an op run forward and backward on small arrays, in float64, by its readable pair, and what it saved."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.target import Target
from nanograd.op import OPS, Needs, Op
from nanograd.study.draw import Draw, Example, Shape
from nanograd.study.reasons import REASONS
from nanograd.tape import arrays_in

SHAPE = (2, 4)  # what the pages show


def example(name: str, shape: Shape | None = None, seed: int = 0) -> Example:
    """Return arrays (float64; ids and masks as they are) and options for one call of an op.

    `shape` is that of the first array, (2, 4) unless given, and the others follow; where the op needs another axis it is
    put in front. The same seed gives the same numbers. Raises ValueError where the op cannot take the shape.

    >>> example("relu", (3,))
    ([array([ 0.75, -0.25,  0.25])], {})
    """
    if name not in OPS:
        raise ValueError(f"example: there is no op called {name!r}")
    shape = SHAPE if shape is None else tuple(shape)
    if any(n < 1 for n in shape):
        raise ValueError(f"example: {name}: every axis needs an entry, got shape {shape}")
    draw = Draw(name, shape, seed)
    if builder := REASONS[name].example:
        return builder(draw)
    return [draw.normal(*shape) for _ in OPS[name].arrays], {}


MOST = 64  # numbers in one array that a page shows; more are not read


@dataclass(frozen=True)
class WorkedExample:
    """What one call of an op was given, made, saved, and sent back."""

    op: Op
    names: tuple[str, ...]  # of the arrays, as the docstrings and the twins call them
    arrays: tuple[Any, ...]  # None where one is left out
    options: dict[str, Any]
    needs: Needs
    y: np.ndarray
    saved: Any
    dy: np.ndarray  # random, for a uniform one hides mistakes
    gradients: tuple[Any, ...]  # one an array, None where none is wanted

    @property
    def differentiated(self) -> list[int]:
        """Return which arrays get a gradient."""
        return [i for i, need in enumerate(self.needs) if need]

    def target(self) -> Target:
        """Return the readable pair at these arrays, as gradcheck looks at it."""
        return Target(self.op.pair, self.arrays, self.options, np.dtype(np.float64))


def run_example(name: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> WorkedExample:
    """Run the example of an op.

    Raises ValueError where there is no such op, it cannot take that shape, or an array would not fit on a page.
    """
    if name not in OPS:
        raise ValueError(f"study: there is no op {name}; ops are {', '.join(sorted(OPS))}")
    return run_on(name, *example(name, shape, seed), seed)


def run_on(name: str, arrays: list[Any], options: dict[str, Any], seed: int = 0) -> WorkedExample:
    """Run an op on these arrays, with a random cotangent of two decimals, which is short to read."""
    op = OPS[name]
    arrays = [None if a is None else np.asarray(a) for a in arrays]
    arrays += [None] * (0 if op.variadic else len(op.arrays) - len(arrays))
    for each in arrays:
        if each is not None and each.size > MOST:
            raise ValueError(
                f"study: an example is for reading, and an array of shape {each.shape} has {each.size} numbers; choose a "
                f"shape of at most {MOST}"
            )
    needs = op.differentiable(arrays)
    y, saved = op.run_forward(op.pair, arrays, needs, options)
    dy = np.asarray(np.random.default_rng((seed, 1)).standard_normal(y.shape).round(2)).astype(y.dtype)
    dy[dy == 0] = 0.5  # a 0 would hide what its y is worth
    dxs = op.run_backward(op.pair.backward, dy.copy(), saved, needs)
    gradients = tuple(None if dx is None else np.asarray(dx) for dx in dxs)
    return WorkedExample(op, input_names(op, len(arrays)), tuple(arrays), options, needs, y, saved, dy, gradients)


def input_names(op: Op, count: int) -> tuple[str, ...]:
    """Return what the arrays of an op are called; those of a variadic one are counted: x1, x2, …"""
    return tuple(f"x{i}" for i in range(1, count + 1)) if op.variadic else op.arrays


class Saved(NamedTuple):
    """One thing that forward saved: what backward calls it, and the statements of backward that need it."""

    name: str
    value: Any
    source: str  # the input or result that it is, without a copy
    used: tuple[str, ...]

    @property
    def arrays(self) -> list[np.ndarray]:
        return arrays_in(self.value)

    @property
    def bytes(self) -> int:
        """Return its size when training, where floats have four bytes."""
        return sum(a.size * 4 if a.dtype.kind == "f" else a.nbytes for a in self.arrays)


def saved_arrays(worked: WorkedExample) -> list[Saved]:
    """List what the readable forward saved, as the readable backward takes it apart."""
    body = _function(worked.op.pair.backward).body
    statements = [(text, read) for each in body for text, read in _statements(each)]
    found = []
    for name, value in _taken_apart(body, worked.saved):
        used = [text for text, read in statements if name in read and not text.endswith("= saved")]
        found.append(Saved(name, value, _source(worked, value), tuple(dict.fromkeys(used))))
    return found


def _taken_apart(body: list[ast.stmt], saved: Any) -> list[tuple[str, Any]]:
    """Return the parts of `saved` under the names that backward gives them: by its line `y, axis = saved`."""
    for each in body:
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id == "saved":
            return _matched(each.targets[0], saved)
    return [] if saved is None else [("saved", saved)]


def _matched(target: ast.expr, value: Any) -> list[tuple[str, Any]]:
    if isinstance(target, ast.Tuple) and isinstance(value, tuple) and len(target.elts) == len(value):
        return [pair for part, each in zip(target.elts, value, strict=True) for pair in _matched(part, each)]
    return [(ast.unparse(target), value)]


def _statements(statement: ast.stmt) -> Iterator[tuple[str, set[str]]]:
    """Yield a statement and the names that it reads; a compound one by its first line, then those inside it."""
    inside = [each for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt)]
    own = [each for each in ast.iter_child_nodes(statement) if not isinstance(each, ast.stmt)]
    yield (
        ast.unparse(statement).splitlines()[0],
        {n.id for each in own for n in ast.walk(each) if isinstance(n, ast.Name)},
    )
    for each in inside:
        yield from _statements(each)


def _source(worked: WorkedExample, value: Any) -> str:
    if not isinstance(value, np.ndarray) or not value.size:
        return "arrays of its own" if arrays_in(value) else ""
    for name, array in zip(worked.names, worked.arrays, strict=True):
        if array is not None and np.may_share_memory(value, array):
            return f"the input {name} itself, no copy"
    return "the result y itself, no copy" if np.may_share_memory(value, worked.y) else "an array of its own"


def _function(function: Callable[..., Any]) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node
