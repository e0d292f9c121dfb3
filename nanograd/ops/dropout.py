"""dropout: set features to zero at random during training."""

import math
from typing import Any

import numpy as np

from nanograd.op import Op


class KeepMasks:
    """Draw boolean masks one after another, False with probability p: together the same as one large mask drawn at once.

    p is rounded to a multiple of 1/65536, so that 16 random bits per entry suffice: a quarter of the cost of a float.
    """

    def __init__(self, p: float, seed: int) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"dropout: p is the share of entries to drop, it must lie in [0, 1), got {p}")
        self.threshold = round(p * 65536)
        self.generator = np.random.Generator(np.random.SFC64(seed))
        self.unused = np.empty(0, np.uint16)  # bits already drawn: one draw gives four entries

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return the next mask, of this shape."""
        size = math.prod(shape)
        words = self.generator.integers(0, 2**64, max(0, -(-(size - len(self.unused)) // 4)), dtype=np.uint64)
        bits = np.concatenate((self.unused, words.view(np.uint16))) if len(self.unused) else words.view(np.uint16)
        self.unused = bits[size:].copy()
        return (bits[:size] >= self.threshold).reshape(shape)


def keep_mask(shape: tuple[int, ...], p: float, seed: int, dtype: np.dtype) -> np.ndarray:
    """Draw z: 0 with probability p, else 1/(1 - p), so that its mean is 1. The same seed draws the same z."""
    z = KeepMasks(p, seed)(shape).astype(dtype)
    z /= 1 - p
    return z


def dropout_forward(x: np.ndarray, *, p: float, seed: int) -> tuple[np.ndarray, Any]:
    """Drop each entry with probability p (Srivastava et al. 2014, JMLR 15).

    With z drawn from `seed`, 0 with probability p and else 1/(1 - p):
    y = x z                                                (1)
    The mean of y is x, so nothing needs to be scaled at evaluation.
    """
    z = keep_mask(x.shape, p, seed, x.dtype)
    return x * z, z


def dropout_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), where z is a constant: dropped entries do not affect the loss.
    dx = dy z                                              (2)
    Check: dx is zero wherever an entry was dropped, and dy / (1 - p) elsewhere.
    """
    z = saved
    return (dy * z,)  # (2)


dropout = Op(dropout_forward, dropout_backward, promotes_to_float=True)
