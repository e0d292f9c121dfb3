"""sin, cos, tanh and sigmoid."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


@pytest.mark.parametrize(
    ("op", "x", "y", "derivative"),
    [
        (ng.sin, 0.0, 0, 1),
        (ng.sin, math.pi / 6, 0.5, math.sqrt(3) / 2),
        (ng.cos, 0.0, 1, 0),
        (ng.cos, math.pi / 6, math.sqrt(3) / 2, -0.5),
        (ng.tanh, 0.0, 0, 1),
        (ng.tanh, math.log(2), 3 / 5, 16 / 25),  # (2 - ½)/(2 + ½); 1 - y²
        (ng.sigmoid, 0.0, 0.5, 0.25),
        (ng.sigmoid, math.log(3), 3 / 4, 3 / 16),  # 3/(3 + 1); y (1 - y)
        (ng.sigmoid, -math.log(3), 1 / 4, 3 / 16),
    ],
)
def test_by_hand(op: ng.Op, x: float, y: float, derivative: float) -> None:
    leaf = Tensor(np.array([x]), requires_grad=True)
    out = op(leaf)
    np.testing.assert_allclose(out.data, [y], rtol=1e-15)
    out.backward(np.array([10.0]))
    np.testing.assert_allclose(leaf.grad, [10 * derivative], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_does_not_overflow(dtype: Any) -> None:
    y = ng.sigmoid(np.array([-1e4, -30, 30, 1e4, -np.inf, np.inf], dtype))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, [0, math.exp(-30), 1, 1, 0, 1], rtol=1e-6)


def test_sigmoid_keeps_its_digits_far_below_zero() -> None:
    assert ng.sigmoid(np.array([-600.0]))[0] == pytest.approx(math.exp(-600), rel=1e-14)


def test_sigmoid_is_half_a_tanh() -> None:
    x = np.linspace(-9, 9, 101)
    np.testing.assert_allclose(ng.sigmoid(x), (1 + np.tanh(x / 2)) / 2, rtol=1e-11)


def test_sine_and_cosine_lie_on_the_circle() -> None:
    x = Tensor(np.linspace(-9, 9, 101), requires_grad=True)
    y = ng.sin(x) * ng.sin(x) + ng.cos(x) * ng.cos(x)
    np.testing.assert_allclose(y.data, 1)
    y.backward(np.random.default_rng(0).standard_normal(101))
    np.testing.assert_allclose(x.grad, 0, atol=1e-15)
