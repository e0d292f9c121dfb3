"""add, sub, mul, div, neg: arithmetic with broadcasting, and astype.

U(·) is `unbroadcast`: the gradient of an operand that was stretched to the shape of the result is the sum over all its
copies.
"""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import unbroadcast


def add_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Add elementwise.
    y = a + b                                              (1)
    """
    return a + b, (a.shape, b.shape)


def add_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pass dy on to both: the derivative of (1) by either operand is 1.
    da = U(dy)                                             (2)
    db = U(dy)                                             (3)
    Check: for a of shape (1,) and b of shape (n,), da is the sum of the n entries of dy.
    """
    a_shape, b_shape = saved
    da = unbroadcast(dy, a_shape) if needs[0] else None  # (2)
    db = unbroadcast(dy, b_shape) if needs[1] else None  # (3)
    return da, db


add = Op(add_forward, add_backward)


def sub_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Subtract elementwise.
    y = a - b                                              (1)
    """
    return a - b, (a.shape, b.shape)


def sub_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pass dy on to a, and its negative to b: the derivative of (1) by b is -1.
    da = U(dy)                                             (2)
    db = -U(dy)                                            (3)
    Check: for x - x, the two add to zero.
    """
    a_shape, b_shape = saved
    da = unbroadcast(dy, a_shape) if needs[0] else None  # (2)
    db = -unbroadcast(dy, b_shape) if needs[1] else None  # (3)
    return da, db


sub = Op(sub_forward, sub_backward)


def mul_forward(a: np.ndarray, b: np.ndarray, *, needs: Needs = (True, True)) -> tuple[np.ndarray, Any]:
    """Multiply elementwise.
    y = a b                                                (1)
    """
    return a * b, (a if needs[1] else None, b if needs[0] else None, a.shape, b.shape)


def mul_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Multiply dy by the other factor: the derivative of (1) by a is b, and by b it is a.
    da = U(dy b)                                           (2)
    db = U(dy a)                                           (3)
    Check: for x * x both are dy x, and they add to 2 x dy.
    """
    a, b, a_shape, b_shape = saved
    da = unbroadcast(dy * b, a_shape) if needs[0] else None  # (2)
    db = unbroadcast(dy * a, b_shape) if needs[1] else None  # (3)
    return da, db


mul = Op(mul_forward, mul_backward)


def div_forward(a: np.ndarray, b: np.ndarray, *, needs: Needs = (True, True)) -> tuple[np.ndarray, Any]:
    """Divide elementwise.
    y = a / b                                              (1)
    """
    y = a / b
    return y, (b, y if needs[1] else None, a.shape)


def div_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (1).
    The derivative by a:
    ∂y/∂a = 1/b                                            (2)
    The derivative by b, with (1):
    ∂y/∂b = -a/b² = -y/b                                   (3)
    By the chain rule (*), multiply each by dy, and sum over the copies of each operand:
    da = U(dy/b)                                           (4)
    db = -U(y dy/b)                                        (5)
    Check: for x / x, where y = 1, the two add to zero.
    """
    b, y, a_shape = saved
    quotient = dy / b
    da = unbroadcast(quotient, a_shape) if needs[0] else None  # (4)
    db = -unbroadcast(y * quotient, b.shape) if needs[1] else None  # (5)
    return da, db


div = Op(div_forward, div_backward, promotes_to_float=True)


def neg_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Change the sign.
    y = -x                                                 (1)
    """
    return -x, None


def neg_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Change the sign of dy: the derivative of (1) is -1 everywhere.
    dx = -dy                                               (2)
    Check: neg applied twice gives dy back.
    """
    return (-dy,)  # (2)


neg = Op(neg_forward, neg_backward)


def astype_forward(x: np.ndarray, *, dtype: Any) -> tuple[np.ndarray, Any]:
    """Copy to another dtype.
    y = x, rounded to dtype                                (1)
    """
    return x.astype(dtype), x.dtype


def astype_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Cast dy to the dtype of x: rounding counts as the identity, whose derivative is 1.
    dx = dy, rounded to the dtype of x                     (2)
    Check: float32 → float64 → float32 gives dy back to the bit.
    """
    return (dy.astype(saved),)  # (2)


astype = Op(astype_forward, astype_backward)
