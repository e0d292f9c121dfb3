"""maximum, minimum, clip, abs: elementwise choices, each with a kink."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import unbroadcast


def maximum_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the larger of two, elementwise.
    y = max(a, b)                                          (1)
    """
    return np.maximum(a, b), (_shares(a, b), a.shape, b.shape)


def maximum_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Send dy to the larger operand of (1).
    da = U(dy 1[a > b])                                    (2)
    db = U(dy 1[b > a])                                    (3)
    At a tie, a = b, there is a kink, and each gets half; if one is NaN, both get dy. PyTorch does the same.
    Check: without broadcasting, da + db is dy.
    """
    (larger_a, larger_b), a_shape, b_shape = saved
    da = unbroadcast(dy * larger_a, a_shape) if needs[0] else None  # (2)
    db = unbroadcast(dy * larger_b, b_shape) if needs[1] else None  # (3)
    return da, db


maximum = Op(maximum_forward, maximum_backward)


def minimum_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the smaller of two, elementwise.
    y = min(a, b)                                          (1)
    """
    return np.minimum(a, b), (_shares(b, a), a.shape, b.shape)


def minimum_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Send dy to the smaller operand of (1).
    da = U(dy 1[a < b])                                    (2)
    db = U(dy 1[b < a])                                    (3)
    At a tie, a = b, there is a kink, and each gets half; if one is NaN, both get dy. PyTorch does the same.
    Check: without broadcasting, da + db is dy.
    """
    (smaller_a, smaller_b), a_shape, b_shape = saved
    da = unbroadcast(dy * smaller_a, a_shape) if needs[0] else None  # (2)
    db = unbroadcast(dy * smaller_b, b_shape) if needs[1] else None  # (3)
    return da, db


minimum = Op(minimum_forward, minimum_backward)


def _shares(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of dy for each operand: 1 for the larger and 0 for the other, ½ each at a tie, 1 each with a NaN."""
    ties = a == b
    larger_a, larger_b = (np.where(ties, 0.5, ~loses).astype(a.dtype) for loses in (a < b, b < a))
    return larger_a, larger_b


def clip_forward(x: np.ndarray, *, low: float | None = None, high: float | None = None) -> tuple[np.ndarray, Any]:
    """Limit x to [low, high]; None leaves a side open.
    y = min(max(x, low), high)                             (1)
    """
    if low is None and high is None:
        raise ValueError("clip: give low, high or both")
    if x.dtype.kind != "f" and (isinstance(low, float) or isinstance(high, float)):
        x = x.astype(np.float32)  # integers limited by fractions
    inside = np.ones(x.shape, bool)
    if low is not None:
        inside &= x >= low
    if high is not None:
        inside &= x <= high
    return np.clip(x, low, high), inside


def clip_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), whose derivative is 1 inside and 0 outside.
    dx = dy 1[low ≤ x ≤ high]                              (2)
    The ends are kinks; they count as inside, as in PyTorch.
    Check: clipped entries get no gradient.
    """
    inside = saved
    return (dy * inside,)  # (2)


clip = Op(clip_forward, clip_backward)


def abs_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the absolute value.
    y = |x|                                                (1)
    """
    return np.abs(x), x


def abs_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), whose derivative is 1 to the right of zero and -1 to the left.
    dx = dy sign(x)                                        (2)
    At the kink x = 0 it is 0, the mean of both sides.
    Check: |dx| is |dy| wherever x is not zero.
    """
    x = saved
    return (dy * np.sign(x),)  # (2)


abs = Op(abs_forward, abs_backward)
