"""sin, cos, tanh, sigmoid: waves and steps."""

from typing import Any

import numpy as np

from nanograd.op import Op


def sin_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the sine, x in radians.
    y = sin x                                              (1)
    """
    return np.sin(x), x


def sin_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): the derivative of a sine is the cosine, a quarter period ahead.
    dx = dy cos x                                          (2)
    Check: at x = 0 the derivative is 1.
    """
    x = saved
    return (dy * np.cos(x),)  # (2)


sin = Op(sin_forward, sin_backward, promotes_to_float=True)


def cos_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the cosine, x in radians.
    y = cos x                                              (1)
    """
    return np.cos(x), x


def cos_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1): the derivative of a cosine is -sin, a quarter period ahead.
    dx = -dy sin x                                         (2)
    Check: at x = 0 the cosine has its maximum, and the derivative is 0.
    """
    x = saved
    return (-dy * np.sin(x),)  # (2)


cos = Op(cos_forward, cos_backward, promotes_to_float=True)


def tanh_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Squash to (-1, 1).
    y = tanh x = sinh x / cosh x                           (1)
    """
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    By the quotient rule, with sinh' = cosh and cosh' = sinh:
    ∂y/∂x = (cosh² x - sinh² x) / cosh² x = 1 - y²         (2)
    dx = dy (1 - y²)                                       (3)
    Check: at x = 0 the derivative is 1; if y is near ±1, it is near 0.
    """
    y = saved
    return (dy * (1 - y * y),)  # (3)


tanh = Op(tanh_forward, tanh_backward, promotes_to_float=True)


def sigmoid_array(x: np.ndarray) -> np.ndarray:
    """Return 1/(1 + exp(-x)) without overflow: only exp(-|x|) is computed.

    >>> sigmoid_array(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    small = np.exp(-np.abs(x))  # in (0, 1]
    return np.where(x >= 0, 1, small) / (1 + small)  # for x < 0 numerator and denominator are multiplied by exp(x)


def sigmoid_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Squash to (0, 1).
    y = 1 / (1 + exp(-x))                                  (1)
    """
    y = sigmoid_array(x)
    return y, y


def sigmoid_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1).
    With e = exp(-x), whose derivative is -e:
    ∂y/∂x = e / (1 + e)² = 1/(1 + e) · e/(1 + e) = y (1 - y)   (2)
    dx = dy y (1 - y)                                      (3)
    Check: at x = 0, where y = ½, the derivative is ¼, its maximum.
    """
    y = saved
    return (dy * y * (1 - y),)  # (3)


sigmoid = Op(sigmoid_forward, sigmoid_backward, promotes_to_float=True)
