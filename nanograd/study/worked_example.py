"""A worked example: the readable pair of an op run forward and backward on small float64 arrays, and what it saved."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.target import Target
from nanograd.inspect.saved import function_body, saved_names
from nanograd.op import OPS, Needs, Op
from nanograd.study.draw import Draw, Example, Shape
from nanograd.study.reasons import REASONS
from nanograd.tape import arrays_in

SHAPE = (2, 4)  # of the examples on pages


def example(name: str, shape: Shape | None = None, seed: int = 0) -> Example:
    """Return arrays (float64; ids and masks as they are) and options for one call of an op.

    `shape` is that of the first array, (2, 4) by default; the others follow from it. The same seed gives the same numbers.
    Raises ValueError if the op cannot take the shape.

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


MOST = 64  # the largest array of an example: nobody reads more numbers


@dataclass(frozen=True)
class WorkedExample:
    """One call of an op: its inputs, result, saved values, upstream gradient and gradients."""

    op: Op
    names: tuple[str, ...]  # of the arrays, as in the docstrings
    arrays: tuple[Any, ...]  # None where one is left out
    options: dict[str, Any]
    needs: Needs
    y: np.ndarray
    saved: Any
    dy: np.ndarray  # random, since a uniform one hides mistakes
    gradients: tuple[Any, ...]  # one for each array, None for one that has no gradient

    @property
    def differentiated(self) -> list[int]:
        """Return which arrays get a gradient."""
        return [i for i, need in enumerate(self.needs) if need]

    def target(self) -> Target:
        """Return the readable pair at these arrays, as gradcheck uses it."""
        return Target(self.op.pair, self.arrays, self.options, np.dtype(np.float64))


def run_example(name: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> WorkedExample:
    """Run the example of an op.

    Raises ValueError if there is no such op, if it cannot take that shape, or if an array would not fit on a page.
    """
    return run_on(name, *example(name, shape, seed), seed)


def run_on(name: str, arrays: list[Any], options: dict[str, Any], seed: int = 0) -> WorkedExample:
    """Run an op on these arrays, with a random dy of two decimals."""
    op = OPS[name]
    arrays = [None if a is None else np.asarray(a) for a in arrays]
    arrays += [None] * (0 if op.variadic else len(op.arrays) - len(arrays))
    for array in arrays:
        if array is not None and array.size > MOST:
            raise ValueError(
                f"study: an example is for reading, and an array of shape {array.shape} has {array.size} numbers; choose a "
                f"shape of at most {MOST}"
            )
    needs = op.differentiable(arrays)
    y, saved = op.run_forward(op.pair, arrays, needs, options)
    dy = np.asarray(np.random.default_rng((seed, 1)).standard_normal(y.shape).round(2)).astype(y.dtype)
    dy[dy == 0] = 0.5  # a 0 would hide the gradient of its y
    dxs = op.run_backward(op.pair.backward, dy.copy(), saved, needs)
    gradients = tuple(None if dx is None else np.asarray(dx) for dx in dxs)
    return WorkedExample(op, input_names(op, len(arrays)), tuple(arrays), options, needs, y, saved, dy, gradients)


def input_names(op: Op, count: int) -> tuple[str, ...]:
    """Return the names of the arrays of an op; those of a variadic one are numbered: x1, x2, …"""
    return tuple(f"x{i}" for i in range(1, count + 1)) if op.variadic else op.arrays


class Saved(NamedTuple):
    """One value that forward saved, under its name in backward, and the statements of backward that read it."""

    name: str
    value: Any
    source: str  # whose memory it is: an input, the result, or its own
    used: tuple[str, ...]

    @property
    def arrays(self) -> list[np.ndarray]:
        return arrays_in(self.value)

    @property
    def bytes(self) -> int:
        """Return its size when training, where floats have four bytes."""
        return sum(a.size * 4 if a.dtype.kind == "f" else a.nbytes for a in self.arrays)


def saved_arrays(worked: WorkedExample) -> list[Saved]:
    """List the values that the readable forward saved, by their names in the readable backward."""
    body = function_body(worked.op.pair.backward)
    statements = [(text, read) for statement in body for text, read in _statements(statement)]
    saved = []
    for name, value in saved_names(worked.op.pair.backward, worked.saved):
        used = [text for text, read in statements if name in read and not text.endswith("= saved")]
        saved.append(Saved(name, value, _source(worked, value), tuple(dict.fromkeys(used))))
    return saved


def _statements(statement: ast.stmt) -> Iterator[tuple[str, set[str]]]:
    """Yield a statement and the names that it reads; of a compound statement the first line, then those inside it."""
    inside = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt)]
    own = [node for node in ast.iter_child_nodes(statement) if not isinstance(node, ast.stmt)]
    read = {n.id for node in own for n in ast.walk(node) if isinstance(n, ast.Name)}
    yield ast.unparse(statement).splitlines()[0], read
    for node in inside:
        yield from _statements(node)


def _source(worked: WorkedExample, value: Any) -> str:
    if not isinstance(value, np.ndarray) or not value.size:
        return "arrays of its own" if arrays_in(value) else ""
    for name, array in zip(worked.names, worked.arrays, strict=True):
        if array is not None and np.may_share_memory(value, array):
            return f"the input {name} itself, no copy"
    return "the result y itself, no copy" if np.may_share_memory(value, worked.y) else "an array of its own"
