"""A Case is one call of one op on which its backward must be right; tests run them all, study pages show them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Make = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Case:
    """Name an input for an op: how to draw its arrays, in float64, and its options."""

    label: str
    makes: tuple[Make, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def arrays(self, seed: int = 0) -> list[Any]:
        """Draw the arrays; the same seed draws the same."""
        rng = np.random.default_rng(seed)
        return [make(rng) for make in self.makes]


def case(label: str, *makes: Make, **options: Any) -> Case:
    return Case(label, makes, options)


def normal(*shape: int) -> Make:
    """Draw from the standard normal distribution."""
    return lambda rng: rng.standard_normal(shape)


def positive(*shape: int) -> Make:
    """Draw from [0.5, 2), where roots, logarithms and quotients are smooth."""
    return lambda rng: rng.uniform(0.5, 2, shape)


def apart(*shape: int) -> Make:
    """Draw distinct numbers at least 0.1 apart and at least 0.05 from zero: no ties, no kinks near."""
    return lambda rng: (rng.permutation(int(np.prod(shape))) - np.prod(shape) // 2 + 0.5).reshape(shape) * 0.1


def integers(low: int, high: int, *shape: int) -> Make:
    """Draw integers from [low, high)."""
    return lambda rng: rng.integers(low, high, shape)


def booleans(*shape: int) -> Make:
    return lambda rng: rng.random(shape) < 0.5


def exactly(values: Any) -> Make:
    """Use these numbers; fractions become float64."""
    return lambda rng: np.array(values)


def none() -> Make:
    """Leave an optional array out."""
    return lambda rng: None


def transposed(make: Make) -> Make:
    """Lay the same numbers out in column order."""
    return lambda rng: np.asfortranarray(make(rng))


def strided(make: Make) -> Make:
    """Lay the same numbers out as every second entry, backwards, of a larger array."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        a = make(rng)
        wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 7.0).astype(a.dtype)
        view = wide[..., ::-2]
        view[...] = a
        return view

    return draw
