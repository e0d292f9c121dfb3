"""relu, gelu and gelu_tanh."""

import math

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def derivative(op: ng.Op, *x: float) -> np.ndarray:
    """Return the derivative of an elementwise op at each x."""
    leaf = Tensor(np.array(x, np.float64), requires_grad=True)
    dy = 2.0 ** np.arange(len(x))  # powers of two are divided out exactly
    op(leaf).backward(dy)
    return leaf.grad / dy


def test_relu_by_hand() -> None:
    np.testing.assert_array_equal(ng.relu(np.array([-2.0, 0.0, 3.0])), [0, 0, 3])
    np.testing.assert_array_equal(derivative(ng.relu, -2, 0, 3), [0, 0, 1])  # 0 at the kink, by choice


@pytest.mark.parametrize("x", [-9.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 9.0])
def test_gelu_is_its_formula(x: float) -> None:
    below = (1 + math.erf(x / math.sqrt(2))) / 2
    bell = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    assert ng.gelu(np.array([x]))[0] == pytest.approx(x * below, rel=1e-13, abs=1e-16)
    assert derivative(ng.gelu, x)[0] == pytest.approx(below + x * bell, rel=1e-13, abs=1e-16)


def test_gelu_by_hand() -> None:
    # Φ(1) = 0.841345 of any table; φ(1) = 0.241971
    assert ng.gelu(np.array([1.0]))[0] == pytest.approx(0.841345, abs=1e-6)
    assert derivative(ng.gelu, 1)[0] == pytest.approx(0.841345 + 0.241971, abs=2e-6)
    assert derivative(ng.gelu, 0)[0] == 0.5


@pytest.mark.parametrize("x", [-9.0, -3.0, -1.0, -0.3, 0.0, 0.3, 1.0, 3.0, 9.0])
def test_gelu_tanh_is_its_formula(x: float) -> None:
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    t, du = math.tanh(u), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    assert ng.gelu_tanh(np.array([x]))[0] == pytest.approx(x / 2 * (1 + t), rel=1e-13, abs=1e-15)
    assert derivative(ng.gelu_tanh, x)[0] == pytest.approx((1 + t) / 2 + x / 2 * (1 - t * t) * du, rel=1e-12, abs=1e-15)


def test_the_two_gelus_are_close_and_not_equal() -> None:
    x = np.linspace(-6, 6, 1001)
    apart = np.abs(ng.gelu(x) - ng.gelu_tanh(x)).max()
    assert 1e-4 < apart < 5e-4  # the largest distance, 4.7e-4, is near |x| = 2.7


@pytest.mark.parametrize("op", [ng.gelu, ng.gelu_tanh], ids=repr)
def test_far_out_gelu_is_relu(op: ng.Op) -> None:
    x = np.array([-50.0, 50.0])
    np.testing.assert_allclose(op(x), [0, 50], atol=1e-12)
    np.testing.assert_allclose(derivative(op, *x), [0, 1], atol=1e-12)
