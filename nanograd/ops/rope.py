"""rope: rotary position embedding, which rotates queries and keys by their position; and the frequencies of its angles."""

import math
from typing import Any

import numpy as np

from nanograd.op import Op


def rope_frequencies(d: int, base: float) -> np.ndarray:
    """Return the angle per position of each pair of d features: base^(-2i/d), (d/2,), in float64."""
    return base ** (-np.arange(0, d, 2, dtype=np.float64) / d)


def llama3_frequencies(
    frequencies: np.ndarray, *, factor: float, original_context: int, low_freq_factor: float, high_freq_factor: float
) -> np.ndarray:
    """Return the frequencies of Llama 3.1, which was trained on a short context and then extended to a long one.

    A pair of frequency ω makes n = original_context · ω / 2π turns within the original context. Pairs that make few turns
    tell positions far apart, and are slowed down so that `factor` times as many positions stay within the angles that were
    trained. Pairs that make many turns tell neighbours apart, and stay. Between the two the frequencies are interpolated:

    ω' = γ ω + (1 - γ) ω / factor,  γ = (n - low_freq_factor) / (high_freq_factor - low_freq_factor), clipped to 0 … 1

    Source: `apply_scaling` of github.com/meta-llama/llama-models, models/llama3/reference_impl/model.py; where γ is 0
    everywhere, this is linear scaling, which is position interpolation (Chen et al. 2023, arXiv:2306.15595).
    """
    turns = original_context * frequencies / (2 * math.pi)
    keep = np.clip((turns - low_freq_factor) / (high_freq_factor - low_freq_factor), 0, 1)  # γ
    scaled: np.ndarray = keep * frequencies + (1 - keep) * frequencies / factor
    return scaled


def rope_tables(positions: np.ndarray, frequencies: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and sin of the angles, each (T, d/2), computed in float64 and cast."""
    angles = positions[..., None] * frequencies
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rope_forward(
    x: np.ndarray,
    *,
    base: float = 10000.0,
    frequencies: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    interleaved: bool = False,
    rotated: int | None = None,
) -> tuple[np.ndarray, Any]:
    """Rotate pairs of features by an angle that grows with position (Su et al. 2021, arXiv:2104.09864, eq. 15).

    x (…, T, D), D even; positions (T,) are 0 … T-1 unless given. Pair i is (a, b) = (x_i, x_{i+D/2}), the layout of
    Llama in Hugging Face's files, or with interleaved (x_{2i}, x_{2i+1}), the paper's. Its angle is θ = position · ω_i,
    where ω_i is base^(-2i/D), or the i-th of `frequencies` (D/2,), as of a model that was stretched to a longer context.
    y_a = a cos θ - b sin θ                                (1)
    y_b = a sin θ + b cos θ                                (2)
    Write R_t for this rotation at position t; it is orthogonal, so its transpose is its inverse, the rotation by -θ. Two
    rotations one after the other add their angles, so R_sᵀ R_t = R_{t-s}. Hence the score of a query x_s and a key x_t
    depends on the difference of their positions only:
    (R_s x_s) · (R_t x_t) = x_s · (R_{t-s} x_t)            (3)

    With `rotated`, only the first `rotated` heads of x (…, H, T, D) are rotated: queries and keys, but not values. In the
    other heads θ is 0. y has the memory layout of x, so a view of (…, T, H, D) stays one.
    """
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ValueError(f"rope: x must be (…, T, D) with D even, got {x.shape}")
    positions = np.arange(x.shape[-2]) if positions is None else np.asarray(positions)
    frequencies = rope_frequencies(x.shape[-1], base) if frequencies is None else np.asarray(frequencies)
    if frequencies.shape != (x.shape[-1] // 2,):
        raise ValueError(
            f"rope: frequencies must be one for each pair of {x.shape[-1]} features, got {frequencies.shape}"
        )
    if positions.shape[-1:] != x.shape[-2:-1]:
        raise ValueError(f"rope: positions must be one for each of {x.shape[-2]} tokens, got shape {positions.shape}")
    if rotated is not None and (x.ndim < 3 or not 0 <= rotated <= x.shape[-3]):
        raise ValueError(f"rope: rotated must be a number of heads of x (…, H, T, D), got {rotated} for {x.shape}")
    cos, sin = rope_tables(positions, frequencies, x.dtype)
    return _rotate(x, cos, sin, interleaved, rotated), (cos, sin, interleaved, rotated)  # (1), (2)


def rope_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Pull dy back through (1) and (2).
    Add the effect of a, and of b, on both outputs:
    dx_a = dy_a cos θ + dy_b sin θ                         (4)
    dx_b = -dy_a sin θ + dy_b cos θ                        (5)
    which is the rotation by -θ: the inverse of a rotation is its transpose.
    Check: dx has the norm of dy.
    """
    cos, sin, interleaved, rotated = saved
    return (_rotate(dy, cos, -sin, interleaved, rotated),)  # (4), (5)


rope = Op(rope_forward, rope_backward, promotes_to_float=True)


def _rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool, rotated: int | None) -> np.ndarray:
    """Rotate every pair of x, or of its first `rotated` heads, by the angle with this cosine and sine: (1), (2)."""
    y = out = np.empty_like(x)
    if rotated is not None:
        y[..., rotated:, :, :] = x[..., rotated:, :, :]
        x, out = x[..., :rotated, :, :], y[..., :rotated, :, :]
    half = x.shape[-1] // 2
    first, second = (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(half), slice(half, None))
    a, b = x[..., first], x[..., second]
    out[..., first] = a * cos - b * sin
    out[..., second] = a * sin + b * cos
    return y
