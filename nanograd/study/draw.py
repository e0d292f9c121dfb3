"""Numbers for worked examples: with two decimals, so that a person can write them down, and away from kinks."""

import math

import numpy as np

Shape = tuple[int, ...]


class Draw:
    """The numbers of one example, and complaints about its shape."""

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
        """Draw distinct numbers, of both signs, each at least 0.25 from zero: no ties and no kinks near."""
        n = math.prod(shape)
        return (0.5 * (self.rng.permutation(n) - n // 2) + 0.25).reshape(shape)

    def classes(self, n: int, shape: Shape) -> np.ndarray:
        """Draw a class below n for each token; neighbours differ where they can."""
        return np.resize(self.rng.permutation(n), shape)

    def mask(self, *shape: int) -> np.ndarray:
        """Draw a mask of which every second entry, in a random order, is True."""
        n = math.prod(shape)
        return (self.rng.permutation(n) % 2 == 0).reshape(shape)

    def axes(self, least: int, meaning: str) -> Shape:
        """Return the shape if it has so many axes."""
        if len(self.shape) < least:
            raise ValueError(f"example: {self.name} needs {meaning}, got shape {self.shape}")
        return self.shape

    def fits(self, holds: bool, meaning: str) -> None:
        """Raise unless something holds of the shape."""
        if not holds:
            raise ValueError(f"example: {self.name} needs {meaning}, got shape {self.shape}")
