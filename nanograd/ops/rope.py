"""rope: rotary position embedding, which turns queries and keys by their position."""

from typing import Any

import numpy as np

from nanograd.op import Op


def rope_tables(positions: np.ndarray, d: int, base: float, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of the angles, each (T, d/2), computed in float64 and cast."""
    frequencies = base ** (-np.arange(0, d, 2, dtype=np.float64) / d)
    angles = positions[..., None] * frequencies
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rope_forward(
    x: np.ndarray, *, base: float = 10000.0, positions: np.ndarray | None = None, interleaved: bool = False
) -> tuple[np.ndarray, Any]:
    """Turn pairs of features by an angle that grows with position (Su et al. 2021, arXiv:2104.09864, eq. 15).

    x (…, T, D), D even; positions (T,) are 0 … T-1 unless given. Pair i is (a, b) = (x_i, x_{i+D/2}), the layout of
    Llama in Hugging Face's files, or with interleaved (x_{2i}, x_{2i+1}), the paper's. With θ = position · base^(-2i/D):
    y_a = a cos θ - b sin θ                                (1)
    y_b = a sin θ + b cos θ                                (2)
    A product of two turned vectors depends on the difference of their positions only.
    """
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"rope: x must be (…, T, D) with D even, got {x.shape}")
    positions = np.arange(x.shape[-2]) if positions is None else np.asarray(positions)
    if positions.shape[-1:] != x.shape[-2:-1]:
        raise ValueError(f"rope: positions must be one for each of {x.shape[-2]} tokens, got shape {positions.shape}")
    cos, sin = rope_tables(positions, x.shape[-1], base, x.dtype)
    return _turn(x, cos, sin, interleaved), (cos, sin, interleaved)  # (1), (2)


def rope_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1) and (2).
    Collect what a and b do to both outputs:
    dx_a = dy_a cos θ + dy_b sin θ                         (3)
    dx_b = -dy_a sin θ + dy_b cos θ                        (4)
    which is the turn by -θ: a rotation is undone by its transpose.
    Check: dx is as long as dy.
    """
    cos, sin, interleaved = saved
    return (_turn(dy, cos, -sin, interleaved),)  # (3), (4)


rope = Op(rope_forward, rope_backward, floating=True)


def _turn(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """Turn every pair of x by the angle whose cosine and sine are given: (1), (2)."""
    half = x.shape[-1] // 2
    first, second = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(half), slice(half, None))
    a, b = x[..., first], x[..., second]
    y = np.empty(x.shape, x.dtype)
    y[..., first] = a * cos - b * sin
    y[..., second] = a * sin + b * cos
    return y
