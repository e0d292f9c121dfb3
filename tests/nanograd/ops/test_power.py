"""pow, square, reciprocal, sqrt, rsqrt, exp and log."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def leaf(*x: float) -> Tensor:
    return Tensor(np.array(x, np.float64), requires_grad=True)


@pytest.mark.parametrize(
    ("op", "x", "y", "derivative"),
    [
        (ng.square, -3.0, 9, -6),
        (ng.reciprocal, -2.0, -0.5, -0.25),  # -1/x²
        (ng.reciprocal, 4.0, 0.25, -1 / 16),
        (ng.sqrt, 4.0, 2, 1 / 4),  # 1/(2·2)
        (ng.rsqrt, 4.0, 0.5, -1 / 16),  # -½ · (½)³
        (ng.rsqrt, 1.0, 1, -1 / 2),
        (ng.exp, 0.0, 1, 1),
        (ng.exp, math.log(3), 3, 3),
        (ng.log, 1.0, 0, 1),
        (ng.log, 4.0, math.log(4), 0.25),
    ],
)
def test_by_hand(op: ng.Op, x: float, y: float, derivative: float) -> None:
    tensor = leaf(x)
    out = op(tensor)
    np.testing.assert_allclose(out.data, [y], rtol=1e-15)
    out.backward(np.array([10.0]))
    np.testing.assert_allclose(tensor.grad, [10 * derivative], rtol=1e-15)


def test_pow_by_hand() -> None:
    a, b = leaf(2.0), leaf(3.0)
    y = a**b
    assert y.data == [8]
    y.backward(np.array([10.0]))
    np.testing.assert_allclose(a.grad, [120])  # 3 · 2² = 12
    np.testing.assert_allclose(b.grad, [80 * math.log(2)])  # 8 ln 2


@pytest.mark.parametrize(
    ("exponent", "y", "derivative"),
    [
        (0, [1, 1, 1, 1], [0, 0, 0, 0]),
        (1, [-2, -1, 1, 2], [1, 1, 1, 1]),
        (2, [4, 1, 1, 4], [-4, -2, 2, 4]),
        (3, [-8, -1, 1, 8], [12, 3, 3, 12]),
        (-1, [-0.5, -1, 1, 0.5], [-0.25, -1, -1, -0.25]),
        (2.0, [4, 1, 1, 4], [-4, -2, 2, 4]),
        (-2.0, [0.25, 1, 1, 0.25], [0.25, 2, -2, -0.25]),
    ],
)
def test_whole_exponents_of_any_base(exponent: float, y: list[float], derivative: list[float]) -> None:
    for power in (lambda x: x**exponent, lambda x: ng.pow(x, exponent)):  # x ** 2 is square, pow(x, 2) is not
        x = leaf(-2, -1, 1, 2)
        out = power(x)
        np.testing.assert_array_equal(out.data, y)
        dy = np.array([1.0, 2.0, 4.0, 8.0])
        out.backward(dy)
        np.testing.assert_array_equal(x.grad, dy * derivative)


@pytest.mark.parametrize(
    ("exponent", "y", "derivative"), [(0, 1, 0), (1, 0, 1), (2, 0, 0), (3, 0, 0), (1.5, 0, 0), (0.5, 0, np.inf)]
)
def test_a_base_of_zero(exponent: float, y: float, derivative: float) -> None:
    x = leaf(0.0)
    out = ng.pow(x, exponent)
    assert out.data == [y]
    out.backward(np.array([2.0]))
    assert x.grad == [2 * derivative]


def test_the_exponent_of_zero_has_no_gradient() -> None:
    a, b = leaf(0.0, 0.0), leaf(2.0, 0.0)
    (a**b).backward(np.array([1.0, 2.0]))
    np.testing.assert_array_equal(b.grad, [0, 0])
    np.testing.assert_array_equal(a.grad, [0, 0])


def test_the_exponent_of_a_negative_base_has_no_real_derivative() -> None:
    b = leaf(2.0)
    (Tensor(np.array([-2.0])) ** b).backward(np.array([2.0]))
    assert np.isnan(b.grad).all()


def test_a_number_to_a_tensor() -> None:
    x = leaf(3.0)
    (2**x).backward(np.array([10.0]))
    np.testing.assert_allclose(x.grad, [80 * math.log(2)])


@pytest.mark.parametrize("op", [ng.sqrt, ng.log], ids=repr)
def test_an_infinite_derivative_gives_no_warning(op: ng.Op) -> None:
    x = leaf(0.0)
    with np.errstate(divide="ignore"):
        out = op(x)
    out.backward(np.array([2.0]))
    assert x.grad == [np.inf]


@pytest.mark.parametrize(
    ("there", "back"),
    [(ng.exp, ng.log), (ng.square, ng.sqrt), (ng.reciprocal, ng.reciprocal), (ng.rsqrt, lambda y: 1 / (y * y))],
    ids=["exp", "square", "reciprocal", "rsqrt"],
)
def test_an_inverse_has_the_inverse_derivative(there: Any, back: Any) -> None:
    x = leaf(0.5, 1.0, 2.0)
    y = back(there(x))
    np.testing.assert_allclose(y.data, x.data, rtol=1e-14)
    y.backward(np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(x.grad, [1, 2, 3], rtol=1e-14)


def test_powers_at_the_edges() -> None:
    x = leaf(np.inf, -np.inf, np.nan, 0.0)
    (x**0).backward([1, 2, 3, 4])
    assert x.grad.tolist() == [0.0] * 4  # x⁰ is a constant
    b = leaf(-1.0, -3.0, 0.0, 2.0)
    with np.errstate(divide="ignore"):
        (0.0**b).backward([1, 2, 3, 4])
    assert b.grad.tolist() == [-np.inf, -np.inf, 0.0, 0.0]
