"""rope: what it rotates, and what it leaves as it is."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops.rope import llama3_frequencies, rope_frequencies

Q, K = np.random.default_rng(0).standard_normal((2, 8, 6))


def test_by_hand() -> None:
    """A base of (2/π)² rotates pair 0 by a radian a position and pair 1 by a right angle."""
    base = (2 / math.pi) ** 2  # base^(-2/4) = π/2
    x = np.array([[1.0, 2.0, 3.0, 4.0]] * 2)
    c, s = math.cos(1), math.sin(1)
    y = ng.rope(x, base=base)  # pairs (1, 3) and (2, 4)
    np.testing.assert_allclose(y, [[1, 2, 3, 4], [c - 3 * s, -4, s + 3 * c, 2]])
    y = ng.rope(x, base=base, interleaved=True)  # pairs (1, 2) and (3, 4)
    np.testing.assert_allclose(y, [[1, 2, 3, 4], [c - 2 * s, s + 2 * c, -4, 3]])


def test_the_gradient_is_rotated_back() -> None:
    leaf = Tensor(Q, requires_grad=True)
    ng.rope(leaf).backward(ng.rope(K))
    np.testing.assert_allclose(leaf.grad, K)


def test_only_the_distance_counts() -> None:
    near = ng.rope(Q[:1], positions=np.array([3])) @ ng.rope(K[:1], positions=np.array([1])).T
    far = ng.rope(Q[:1], positions=np.array([1003])) @ ng.rope(K[:1], positions=np.array([1001])).T
    np.testing.assert_allclose(near, far)


def test_heads_after_the_rotated_ones_are_unchanged() -> None:
    x = np.random.default_rng(1).standard_normal((2, 5, 3, 4))
    y = ng.rope(x, rotated=3)
    np.testing.assert_array_equal(y[:, :3], ng.rope(x[:, :3]))
    np.testing.assert_array_equal(y[:, 3:], x[:, 3:])
    assert np.abs(y[:, :3, 1:] - x[:, :3, 1:]).min() > 1e-6  # position 0 is not rotated


def test_the_memory_layout_is_kept() -> None:
    packed = np.random.default_rng(1).standard_normal((2, 3, 5, 4))  # (B, T, heads, D), as one matrix makes them
    leaf = Tensor(packed, requires_grad=True)
    y = ng.rope(leaf.swapaxes(1, 2), rotated=3).swapaxes(1, 2)
    assert y.data.flags.c_contiguous  # reshaping it to (B, T, heads · D) is a view
    y.backward(np.random.default_rng(2).standard_normal(packed.shape))
    assert leaf.grad is not None
    assert leaf.grad.flags.c_contiguous


def test_llama3_slows_down_the_pairs_that_turn_seldom() -> None:
    """By the three cases of Meta's apply_scaling, which knows pairs by their wavelengths."""
    frequencies = rope_frequencies(128, 500_000.0)
    context, low, high, factor = 8192, 1.0, 4.0, 8.0
    expected, cases = [], []
    for frequency in frequencies.tolist():
        wavelength = 2 * math.pi / frequency
        smooth = (context / wavelength - low) / (high - low)
        kind = (wavelength < context / high) - (wavelength > context / low)
        between = (1 - smooth) * frequency / factor + smooth * frequency
        expected.append({1: frequency, 0: between, -1: frequency / factor}[kind])
        cases.append(kind)
    assert [cases.count(kind) for kind in (1, 0, -1)] == [29, 6, 29]
    options = {"factor": factor, "original_context": context, "low_freq_factor": low, "high_freq_factor": high}
    np.testing.assert_allclose(llama3_frequencies(frequencies, **options), expected, rtol=1e-12)  # type: ignore[arg-type]


def test_lengths_stay() -> None:
    np.testing.assert_allclose(np.linalg.norm(ng.rope(Q), axis=-1), np.linalg.norm(Q, axis=-1))


def test_angles_are_exact_in_float32_too() -> None:
    positions = np.array([10**6])
    x = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(ng.rope(x, positions=positions), [[math.cos(10**6), math.sin(10**6)]], atol=1e-7)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones((2, 3)), {}, r"x must be \(…, T, D\) with D even, got \(2, 3\)"),
        (np.ones(4), {}, r"x must be \(…, T, D\) with D even, got \(4,\)"),
        (np.ones((2, 4)), {"rotated": 1}, r"rotated must be a number of heads of x \(…, H, T, D\), got 1 for \(2, 4\)"),
        (np.ones((2, 1, 4)), {"rotated": 3}, r"rotated must be .* got 3 for \(2, 1, 4\)"),
        (np.ones((2, 1, 4)), {"rotated": -1}, r"rotated must be .* got -1 for \(2, 1, 4\)"),
        (np.ones((2, 4)), {"frequencies": [1.0]}, r"frequencies must be one for each pair of 4 features, got \(1,\)"),
        (np.ones((2, 4)), {"positions": [1]}, r"positions must be one for each of 2 tokens, got shape \(1,\)"),
    ],
)
def test_refusals(x: np.ndarray, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"rope: {message}"):
        ng.rope(x, **options)
