"""A Case is one call of an op on which its backward must be right. Tests run all Cases, and study pages show them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Make = Callable[[np.random.Generator], Any]


@dataclass(frozen=True)
class Case:
    """A label, the functions that draw the arrays in float64, and the options."""

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
    size = math.prod(shape)
    return lambda rng: (0.1 * (rng.permutation(size) - size // 2 + 0.5)).reshape(shape)


def integers(low: int, high: int, *shape: int) -> Make:
    """Draw integers from [low, high)."""
    return lambda rng: rng.integers(low, high, shape)


def booleans(*shape: int) -> Make:
    return lambda rng: rng.random(shape) < 0.5


def exactly(values: Any) -> Make:
    """Use these values; fractions become float64."""
    return lambda rng: np.array(values)


def none() -> Make:
    """Leave an optional array out."""
    return lambda rng: None


def transposed(make: Make) -> Make:
    """Store the same numbers in column order."""
    return lambda rng: np.asfortranarray(make(rng))


def strided(make: Make) -> Make:
    """Store the same numbers as every second entry, backwards, of a larger array."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        a = make(rng)
        larger = np.full((*a.shape[:-1], 2 * a.shape[-1]), 7.0).astype(a.dtype)
        view = larger[..., ::-2]
        view[...] = a
        return view

    return draw


def on_shapes(draw: Callable[..., Make], **options: Any) -> list[Case]:
    """List the shapes and layouts that every elementwise op of one array must handle; draw(*shape) makes the array."""
    return [
        case("a matrix", draw(2, 3), **options),
        case("a vector", draw(4), **options),
        case("a number", draw(), **options),
        case("one entry", draw(1, 1), **options),
        case("no entries", draw(0, 3), **options),
        case("column order", transposed(draw(3, 2)), **options),
        case("strided", strided(draw(2, 3)), **options),
    ]


def on_pairs(a: Callable[..., Make], b: Callable[..., Make]) -> list[Case]:
    """List the ways in which two operands broadcast; a(*shape) and b(*shape) make them."""
    return [
        case("one shape", a(2, 3), b(2, 3)),
        case("a gets an axis", a(3), b(2, 3)),
        case("b gets an axis", a(2, 3), b(3)),
        case("a is stretched", a(2, 1), b(2, 3)),
        case("b is stretched", a(2, 3), b(1, 3)),
        case("both are stretched", a(3, 1), b(1, 2)),
        case("a gets an axis and is stretched", a(3, 1), b(2, 3, 2)),
        case("b gets two axes and is stretched", a(2, 2, 3), b(1)),
        case("a is a number", a(), b(2, 3)),
        case("b is a number", a(2, 3), b()),
        case("two numbers", a(), b()),
        case("no entries", a(0, 3), b(0, 3)),
        case("a stretched to no entries", a(1, 3), b(0, 3)),
        case("b stretched to no entries", a(2, 0), b(2, 1)),
        case("column order", transposed(a(3, 2)), transposed(b(3, 2))),
        case("strided", strided(a(2, 3)), strided(b(3))),
    ]
