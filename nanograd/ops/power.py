"""pow, square, reciprocal, sqrt, rsqrt, exp, log: powers and their inverses."""

from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._unbroadcast import unbroadcast


def pow_forward(a: np.ndarray, b: np.ndarray, *, needs: Needs = (True, True)) -> tuple[np.ndarray, Any]:
    """Raise to a power.
    y = a^b                                                (1)
    """
    y = np.power(a, b)
    return y, (a, b, y if needs[1] else None)


def pow_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (1).
    As a function of a, (1) is a power:
    ∂y/∂a = b a^(b-1), and 0 where b = 0                   (2)
    As a function of b, it is an exponential, a^b = exp(b ln a):
    ∂y/∂b = y ln a, for a > 0                              (3)
    da = U(dy b a^(b-1))                                   (4)
    db = U(dy y ln a)                                      (5)
    At a = 0 ≤ b, y does not change with b, and (5) is 0. For a < 0 there is no real derivative, and (5) is NaN.
    Check: for b = 1, (4) is dy.
    """
    a, b, y = saved
    da = db = None
    if needs[0]:
        with np.errstate(divide="ignore", invalid="ignore"):  # at a = 0 < b < 1 it is infinite
            derivative = np.where(b == 0, 0, b * np.power(a, b - 1))  # (2)
        da = unbroadcast(dy * derivative, a.shape)  # (4)
    if needs[1]:
        with np.errstate(divide="ignore", invalid="ignore"):  # ln of a negative number: NaN, as promised
            log = np.log(np.where((a == 0) & (b >= 0), 1, a))
            db = unbroadcast(dy * y * log, b.shape)  # (5)
    return da, db


pow = Op(pow_forward, pow_backward)


def square_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Square.
    y = x²                                                 (1)
    """
    return x * x, x


def square_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), which is x times x: each factor gets dy x.
    dx = 2 x dy                                            (2)
    Check: zero at x = 0, where the parabola is flat.
    """
    x = saved
    return (dy * x * 2,)  # (2)


square = Op(square_forward, square_backward)


def reciprocal_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the reciprocal.
    y = 1/x                                                (1)
    """
    y = 1 / x
    return y, y


def reciprocal_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    Differentiate x y = 1 by x, with the product rule: y + x ∂y/∂x = 0. So
    ∂y/∂x = -y/x = -y²                                     (2)
    dx = -dy y²                                            (3)
    Check: dx and dy have opposite signs, since 1/x decreases everywhere.
    """
    y = saved
    return (-dy * y * y,)  # (3)


reciprocal = Op(reciprocal_forward, reciprocal_backward, promotes_to_float=True)


def sqrt_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the square root.
    y = √x                                                 (1)
    """
    y = np.sqrt(x)
    return y, y


def sqrt_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    Differentiate y² = x by x: 2 y ∂y/∂x = 1. So
    ∂y/∂x = 1 / (2 y)                                      (2)
    dx = dy / (2 y)                                        (3)
    At x = 0 the derivative is infinite, and so is (3): add an epsilon under the root if x may be 0.
    Check: at x = 4 the derivative is 1/4.
    """
    y = saved
    with np.errstate(divide="ignore", invalid="ignore"):
        return (dy / (2 * y),)  # (3)


sqrt = Op(sqrt_forward, sqrt_backward, promotes_to_float=True)


def rsqrt_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the reciprocal of the square root, as normalisation layers do.
    y = 1/√x                                               (1)
    """
    y = 1 / np.sqrt(x)
    return y, y


def rsqrt_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), the power -1/2.
    ∂y/∂x = -½ x^(-3/2) = -½ y³                            (2)
    dx = -½ dy y³                                          (3)
    Check: at x = 1 the derivative is -1/2.
    """
    y = saved
    return (-0.5 * dy * (y * y * y),)  # (3)


rsqrt = Op(rsqrt_forward, rsqrt_backward, promotes_to_float=True)


def exp_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Exponentiate.
    y = exp(x)                                             (1)
    """
    y = np.exp(x)
    return y, y


def exp_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), which is its own derivative.
    dx = dy y                                              (2)
    Check: at x = 0 the derivative is 1.
    """
    y = saved
    return (dy * y,)  # (2)


exp = Op(exp_forward, exp_backward, promotes_to_float=True)


def log_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the natural logarithm.
    y = ln x                                               (1)
    """
    return np.log(x), x


def log_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    Differentiate exp(y) = x by x: exp(y) ∂y/∂x = 1. So
    ∂y/∂x = 1 / exp(y) = 1/x                               (2)
    dx = dy / x                                            (3)
    Check: at x = 1 the derivative is 1.
    """
    x = saved
    with np.errstate(divide="ignore", invalid="ignore"):
        return (dy / x,)  # (3)


log = Op(log_forward, log_backward, promotes_to_float=True)
