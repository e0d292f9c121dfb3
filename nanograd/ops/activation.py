"""relu, gelu, gelu_tanh, silu: activations, the nonlinear functions between two linear maps; and swiglu, a gate."""

import math
from typing import Any

import numpy as np

from nanograd.op import Gradients, Needs, Op
from nanograd.ops._blocks import CACHED
from nanograd.ops.erf import erf_array
from nanograd.ops.trig import sigmoid_array


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Keep positive entries, and set the others to 0.
    y = max(x, 0)                                          (1)
    """
    return np.maximum(x, 0), ~(x <= 0)  # NaN passes dy on, so that the gradient shows it


def relu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1), whose derivative is 1 above zero and 0 below.
    dx = dy 1[x > 0]                                       (2)
    At the kink x = 0 every derivative in [0, 1] is valid; it is 0 here, as in PyTorch.
    Check: a unit with x < 0 gets no gradient.
    """
    positive = saved
    return (dy * positive,)  # (2)


relu = Op(relu_forward, relu_backward)


def gelu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply x by the chance that a standard normal variable is below it (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Φ = ½ (1 + erf(x/√2))                                  (1)
    y = x Φ                                                (2)
    """
    phi_below = erf_array(x * math.sqrt(0.5))
    phi_below += 1
    phi_below *= 0.5  # (1)
    return x * phi_below, (x, phi_below)  # (2)


def gelu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2), a product.
    The derivative of Φ is the normal density:
    φ = ∂Φ/∂x = exp(-x²/2) / √(2π)                         (3)
    dx = dy (Φ + x φ)                                      (4)
    Check: at x = 0 the derivative is Φ(0) = ½.
    """
    x, phi_below = saved
    phi = np.exp(x * x * -0.5)
    phi *= 1 / math.sqrt(2 * math.pi)  # (3)
    return (dy * (phi_below + x * phi),)  # (4)


gelu = Op(gelu_forward, gelu_backward, promotes_to_float=True)

SCALE = math.sqrt(2 / math.pi)  # the derivative of u at x = 0
CUBIC = 0.044715
TINY = 1e-30  # far below the smallest positive h, 2⁻²⁵


def gelu_tanh_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Approximate gelu with tanh, as GPT-2 does (Hendrycks and Gimpel 2016, section 2).
    u = √(2/π) (x + 0.044715 x³)                           (1)
    y = ½ x (1 + tanh u)                                   (2)
    """
    u = np.asarray(x * x)  # a 0-d product is a NumPy scalar, which tanh could not write into
    u *= CUBIC
    u += 1
    u *= x
    u *= SCALE  # (1)
    t = np.tanh(u, out=u)
    y = t + 1
    y *= x
    y *= 0.5  # (2)
    return y, (x, t)


def gelu_tanh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2), a product of x and a function of u; write t = tanh u.
    ∂u/∂x = √(2/π) (1 + 3 · 0.044715 x²)                   (3)
    ∂t/∂u = 1 - t²                                         (4)
    ∂y/∂x = ½ (1 + t) + ½ x (4) (3)                        (5)
    dx = dy · (5)                                          (6)
    Check: at x = 0, where u = t = 0, the derivative is ½.
    """
    x, t = saved
    derivative = x * x
    derivative *= 3 * CUBIC
    derivative += 1
    derivative *= SCALE  # (3)
    derivative *= 1 - t * t  # (4)
    derivative *= x
    derivative += t
    derivative += 1
    derivative *= 0.5  # (5)
    derivative *= dy
    return (derivative,)  # (6)


def gelu_tanh_forward_fast(x: np.ndarray, *, block: int = CACHED) -> tuple[np.ndarray, Any]:
    """Compute (1) and (2) in blocks, so that intermediate results stay in the second-level cache.

    Backward recovers x from the saved h = ½ (1 + t) and y = x h. The next linear map saves y anyway, so one array is held
    for backward instead of two.

    4096 × 2048 entries, two shards at once: 33 ms forward and backward, readable 65 ms.
    """
    a = x.ravel()
    h, y = np.empty_like(a), np.empty_like(a)
    for i in range(0, a.size, block):
        chunk = slice(i, i + block)
        u = np.multiply(a[chunk], a[chunk], out=h[chunk])
        u += 1 / CUBIC
        u *= a[chunk]
        u *= SCALE * CUBIC  # (1)
        np.tanh(u, out=u)
        u += 1
        u *= 0.5
        np.multiply(a[chunk], u, out=y[chunk])  # (2)
    return y.reshape(x.shape), (h, y, block)


def gelu_tanh_backward_fast(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back in blocks. With 1 - t² = 4 h (1 - h) and x = y / h, (5) becomes h + 2 y (1 - h) (3).

    If h has rounded to 0, far to the left, y and the derivative are 0 for every x.
    """
    h, y, block = saved
    dy_flat, dx = dy.ravel(), np.empty_like(h)
    rest = np.empty(block, h.dtype)
    for i in range(0, h.size, block):
        chunk = slice(i, i + block)
        s, r = dx[chunk], rest[: h[chunk].size]
        np.maximum(h[chunk], TINY, out=r)
        np.divide(y[chunk], r, out=s)  # x
        s *= s
        s += 1 / (3 * CUBIC)
        s *= y[chunk]
        np.subtract(1, h[chunk], out=r)
        r *= 6 * CUBIC * SCALE
        s *= r
        s += h[chunk]
        s *= dy_flat[chunk]
    return (dx.reshape(dy.shape),)


gelu_tanh = Op(
    gelu_tanh_forward,
    gelu_tanh_backward,
    fast=(gelu_tanh_forward_fast, gelu_tanh_backward_fast),
    promotes_to_float=True,
)


def silu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply x by its sigmoid (Elfwing et al. 2017, arXiv:1702.03118); also called swish.
    σ = 1 / (1 + exp(-x))                                  (1)
    y = x σ                                                (2)
    """
    s = sigmoid_array(x)  # (1)
    return x * s, (x, s)  # (2)


def silu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (2), a product; `sigmoid` derives the derivative of σ:
    ∂σ/∂x = σ (1 - σ)                                      (3)
    ∂y/∂x = σ + x σ (1 - σ)                                (4)
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


def swiglu_backward(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
    """Pull dy back through (2), a product of silu(a) = a σ and b.
    `silu` derives the derivative of silu(a):
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


def swiglu_backward_fast(dy: np.ndarray, saved: Any, needs: Needs = (True, True)) -> Gradients:
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
