"""silu and swiglu: x weighed by its own sigmoid, and the gate made of it."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops.trig import sigmoid_array


def silu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Weigh x by its sigmoid (Elfwing et al. 2017, arXiv:1702.03118); also called swish.
    σ = 1 / (1 + exp(-x))                                  (1)
    y = x σ                                                (2)
    """
    s = sigmoid_array(x)  # (1)
    return x * s, (x, s)  # (2)


def silu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2), a product.
    dσ/dx = σ (1 - σ)                                      (3)
    dy/dx = σ + x σ (1 - σ)                                (4)
    dx = dy σ (1 + x (1 - σ))                              (5)
    Check: at x = 0 the slope is σ(0) = ½.
    """
    x, s = saved
    return (dy * s * (1 + x * (1 - s)),)  # (5)


silu = Op(silu_forward, silu_backward, floating=True)


def swiglu_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Let a gate, bent by silu, decide how much of b passes (Shazeer 2020, arXiv:2002.05202, eq. 5).
    σ = 1 / (1 + exp(-a))                                  (1)
    y = a σ b                                              (2)
    """
    if a.shape != b.shape:
        raise ValueError(f"swiglu: gate and value must have one shape, got {a.shape} and {b.shape}")
    s = sigmoid_array(a)  # (1)
    return a * s * b, (a, b, s)  # (2)


def swiglu_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (2), a product of silu(a) = a σ and b.
    The slope of silu is that of silu_backward:
    da = dy b σ (1 + a (1 - σ))                            (3)
    db = dy a σ                                            (4)
    Check: a closed gate, a → -∞, passes neither b nor a gradient.
    """
    a, b, s = saved
    da = dy * b * s * (1 + a * (1 - s)) if needs[0] else None  # (3)
    db = dy * a * s if needs[1] else None  # (4)
    return da, db


swiglu = Op(swiglu_forward, swiglu_backward, floating=True)
