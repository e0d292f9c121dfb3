"""A worked example: an op run forward and backward on small arrays, in float64, by its readable pair."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nanograd.check.target import Target
from nanograd.op import OPS, Needs, Op
from nanograd.study.examples import example

MOST = 64  # numbers in one array that a page shows; more are not read


@dataclass(frozen=True)
class Worked:
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
    def wanted(self) -> list[int]:
        """Return which arrays get a gradient."""
        return [i for i, need in enumerate(self.needs) if need]

    def subject(self) -> Target:
        """Return the readable pair at these arrays, as gradcheck looks at it."""
        return Target(self.op.pair, self.arrays, self.options, np.dtype(np.float64))


def work(name: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> Worked:
    """Run the example of an op.

    Raises ValueError where there is no such op, it cannot take that shape, or an array would not fit on a page.
    """
    if name not in OPS:
        raise ValueError(f"study: there is no op {name}; ops are {', '.join(sorted(OPS))}")
    return work_on(name, *example(name, shape, seed), seed)


def work_on(name: str, arrays: list[Any], options: dict[str, Any], seed: int = 0) -> Worked:
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
    return Worked(op, input_names(op, len(arrays)), tuple(arrays), options, needs, y, saved, dy, gradients)


def input_names(op: Op, count: int) -> tuple[str, ...]:
    """Return what the arrays of an op are called; those of a variadic one are counted: x1, x2, …"""
    return tuple(f"x{i}" for i in range(1, count + 1)) if op.variadic else op.arrays
