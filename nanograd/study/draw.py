"""Numbers for worked examples: with two decimals, so that a person can write them down, and away from kinks."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Example = tuple[list[Any], dict[str, Any]]  # the arrays and options of one call


class Draw:
    """Draws the numbers of one example, and refuses a shape that its op cannot take."""

    def __init__(self, name: str, shape: Shape, seed: int) -> None:
        self.name, self.shape, self.seed = name, shape, seed
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int) -> np.ndarray:
        """Draw from the standard normal distribution, rounded to two decimals."""
        return np.round(np.asarray(self.rng.standard_normal(shape)), 2)

    def positive(self, *shape: int) -> np.ndarray:
        """Draw from [0.5, 2), where roots, logarithms and quotients are smooth."""
        return np.round(np.asarray(self.rng.uniform(0.5, 2, shape)), 2)

    def apart(self, *shape: int) -> np.ndarray:
        """Draw distinct numbers of both signs, each at least 0.25 from zero, so that no ties or kinks are near."""
        n = math.prod(shape)
        return (0.5 * (self.rng.permutation(n) - n // 2) + 0.25).reshape(shape)

    def classes(self, n: int, shape: Shape) -> np.ndarray:
        """Draw a class below n for each token; consecutive tokens differ if n > 1."""
        return np.resize(self.rng.permutation(n), shape)

    def mask(self, *shape: int) -> np.ndarray:
        """Draw a mask of which half the entries, at random, are True."""
        n = math.prod(shape)
        return (self.rng.permutation(n) % 2 == 0).reshape(shape)

    def axes(self, least: int, meaning: str) -> Shape:
        """Return the shape; raise ValueError if it has fewer axes than `least`."""
        if len(self.shape) < least:
            raise ValueError(f"example: {self.name} needs {meaning}, got shape {self.shape}")
        return self.shape

    def fits(self, holds: bool, meaning: str) -> None:
        """Raise ValueError unless the shape has the property named `meaning`."""
        if not holds:
            raise ValueError(f"example: {self.name} needs {meaning}, got shape {self.shape}")


def normal(**options: Any) -> Callable[[Draw], Example]:
    """One array of normal numbers."""
    return lambda d: ([d.normal(*d.shape)], dict(options))


def positive() -> Callable[[Draw], Example]:
    """One array of positive numbers."""
    return lambda d: ([d.positive(*d.shape)], {})


def apart(**options: Any) -> Callable[[Draw], Example]:
    """One array without ties, whose entries are away from zero."""
    return lambda d: ([d.apart(*d.shape)], dict(options))


def row_operand(d: Draw) -> Example:
    """Two operands, the second of which is broadcast to every row of the first."""
    return [d.normal(*d.shape), d.normal(*d.shape[-1:])], {}


def along_axis(**options: Any) -> Callable[[Draw], Example]:
    """One array and an axis, the last."""
    return lambda d: ([d.normal(*d.axes(1, "an axis"))], {"axis": -1, **options})


def features(parameters: int) -> Callable[[Draw], Example]:
    """One array of tokens, and for each parameter a vector with one number a feature."""

    def draw(d: Draw) -> Example:
        d.axes(1, "an axis, the features")
        return [d.normal(*d.shape), *(d.normal(d.shape[-1]) for _ in range(parameters))], {}

    return draw


def picked(*, values: bool) -> Callable[[Draw], Example]:
    """One array, three indices a row of which two are the same, and for a scatter the values for them."""

    def draw(d: Draw) -> Example:
        shape = (*d.axes(1, "an axis")[:-1], 3)
        order = np.argsort(d.rng.random(d.shape), axis=-1)  # in each row all positions differ
        indices = np.take(order, (0, 1 % d.shape[-1], 0), axis=-1)
        return [d.normal(*d.shape), indices, *([d.normal(*shape)] if values else [])], {"axis": -1}

    return draw
