"""silu and swiglu: x times its own sigmoid, and the gate that uses it."""

from typing import Any

import numpy as np

from nanograd.op import Needs, Op
from nanograd.ops._blocks import CACHED
from nanograd.ops.trig import sigmoid_array


def silu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply x by its sigmoid (Elfwing et al. 2017, arXiv:1702.03118); also called swish.
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
    Check: at x = 0 the derivative is σ(0) = ½.
    """
    x, s = saved
    return (dy * s * (1 + x * (1 - s)),)  # (5)


silu = Op(silu_forward, silu_backward, promotes_to_float=True)


def check_gate(a: np.ndarray, b: np.ndarray) -> None:
    """Raise if gate and value differ in shape."""
    if a.shape != b.shape:
        raise ValueError(f"swiglu: gate and value must have one shape, got {a.shape} and {b.shape}")


def swiglu_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply b by the gate silu(a) (Shazeer 2020, arXiv:2002.05202, eq. 5).
    σ = 1 / (1 + exp(-a))                                  (1)
    y = a σ b                                              (2)
    """
    check_gate(a, b)
    s = sigmoid_array(a)  # (1)
    return a * s * b, (a, b, s)  # (2)


def swiglu_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back through (2), a product of silu(a) = a σ and b.
    The derivative of silu(a) is that of silu_backward:
    da = dy b σ (1 + a (1 - σ))                            (3)
    db = dy a σ                                            (4)
    Check: a closed gate, a → -∞, passes neither b nor a gradient.
    """
    a, b, s = saved
    da = dy * b * s * (1 + a * (1 - s)) if needs[0] else None  # (3)
    db = dy * a * s if needs[1] else None  # (4)
    return da, db


def swiglu_forward_fast(a: np.ndarray, b: np.ndarray, *, block: int = CACHED) -> tuple[np.ndarray, Any]:
    """Compute (1), as ½ (1 + tanh(a/2)), and (2) in blocks that stay in the second-level cache.

    4096 × 2048 entries, two shards at once: 29 ms forward and backward, readable 107 ms.
    """
    check_gate(a, b)
    gate, value = a.ravel(), b.ravel()
    s, y = np.empty_like(gate), np.empty_like(gate)
    for i in range(0, gate.size, block):
        chunk = slice(i, i + block)
        u = np.multiply(gate[chunk], 0.5, out=s[chunk])
        np.tanh(u, out=u)
        u += 1
        u *= 0.5  # (1)
        out = np.multiply(gate[chunk], u, out=y[chunk])
        out *= value[chunk]  # (2)
    return y.reshape(a.shape), (gate, value, s, block)


def swiglu_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> tuple[np.ndarray | None, ...]:
    """Pull dy back in blocks."""
    gate, value, s, block = saved
    shape, dy = dy.shape, dy.ravel()
    da = np.empty_like(s) if needs[0] else None
    db = np.empty_like(s) if needs[1] else None
    for i in range(0, s.size, block):
        chunk = slice(i, i + block)
        dy_s = dy[chunk] * s[chunk]
        if db is not None:
            np.multiply(dy_s, gate[chunk], out=db[chunk])  # (4)
        if da is not None:
            derivative = np.subtract(1, s[chunk], out=da[chunk])
            derivative *= gate[chunk]
            derivative += 1
            derivative *= value[chunk]
            derivative *= dy_s  # (3)
    return None if da is None else da.reshape(shape), None if db is None else db.reshape(shape)


swiglu = Op(swiglu_forward, swiglu_backward, fast=(swiglu_forward_fast, swiglu_backward_fast), promotes_to_float=True)
