"""relu, gelu, gelu_tanh, silu and swiglu."""

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


def test_silu_by_hand() -> None:
    x = Tensor(np.array([0.0, math.log(3)]), requires_grad=True)  # σ = 1/2 and 3/4
    y = ng.silu(x)
    np.testing.assert_allclose(y.data, [0, 0.75 * math.log(3)])
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_allclose(x.grad, [0.5, 7.5 * (1 + 0.25 * math.log(3))])


def test_swiglu_by_hand() -> None:
    a, b = (Tensor(np.array([value]), requires_grad=True) for value in (math.log(3), 8.0))
    y = ng.swiglu(a, b)
    np.testing.assert_allclose(y.data, [6 * math.log(3)])
    y.backward(np.array([1.0]))
    np.testing.assert_allclose(a.grad, [6 * (1 + 0.25 * math.log(3))])
    np.testing.assert_allclose(b.grad, [0.75 * math.log(3)])
    np.testing.assert_array_equal(y.data, (ng.silu(a) * b).data)


def test_silu_of_large_inputs_does_not_overflow() -> None:
    np.testing.assert_array_equal(ng.silu(np.array([-1e4, 1e4])), [0, 1e4])


def test_gate_and_value_must_have_one_shape() -> None:
    with pytest.raises(ValueError, match=r"swiglu: gate and value must have one shape, got \(2,\) and \(1,\)"):
        ng.swiglu(np.ones(2), np.ones(1))
