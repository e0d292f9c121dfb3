"""grad, value_and_grad, jacobian and hvp."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def leaf(values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


# grad


def test_grad_by_hand() -> None:
    x, w = leaf([1.0, 2.0]), leaf([3.0, 5.0])
    y = x * w
    dx, dw, dy = ng.grad((y * y).sum(), [x, w, y])
    np.testing.assert_array_equal(dy, [6, 20])  # 2 y
    np.testing.assert_array_equal(dx, [18, 100])  # 2 y w
    np.testing.assert_array_equal(dw, [6, 40])
    assert x.grad is w.grad is None


def test_one_input_gives_one_array() -> None:
    x = leaf([1.0, 2.0])
    dx = ng.grad((x * 3).sum(), x)
    assert isinstance(dx, np.ndarray)
    np.testing.assert_array_equal(dx, [3, 3])


def test_a_number_used_twice_gets_an_array_too() -> None:
    x = leaf(3.0)
    dx = ng.grad(x * x, x)
    assert isinstance(dx, np.ndarray)
    assert dx == 6


def test_several_outputs_add() -> None:
    x = leaf([1.0, 2.0])
    a, b = x * 2, x * x
    dx = ng.grad([a, b, a], x, [np.array([1.0, 0.0]), np.array([10.0, 10.0]), np.array([0.0, 5.0])])
    np.testing.assert_array_equal(dx, [2 + 20, 40 + 10])


def test_outputs_may_be_inputs() -> None:
    x = leaf([1.0, 2.0])
    y = x * 2
    dy = np.array([3.0, 4.0])
    same, dx = ng.grad(y, [y, x], dy)
    np.testing.assert_array_equal(same, dy)
    np.testing.assert_array_equal(dx, [6, 8])
    assert not np.may_share_memory(same, dy)
    np.testing.assert_array_equal(ng.grad(x, x, dy), dy)


def test_an_unused_input_gets_zeros() -> None:
    x, other = leaf([1.0]), leaf([[1.0, 2.0]])
    np.testing.assert_array_equal(ng.grad(x * 2, other), [[0, 0]])


def test_an_input_and_its_ancestor_both_get_a_gradient() -> None:
    x = leaf([2.0])
    h = x * x
    dh, dx = ng.grad(h * h, [h, x])
    assert (dh, dx) == (8, 32)


def test_the_graph_is_freed_unless_retained() -> None:
    x = leaf([2.0])
    y = x * x
    for _ in range(2):
        assert ng.grad(y, x, retain_graph=True) == 4
    ng.grad(y, x)
    with pytest.raises(RuntimeError, match="was walked before"):
        ng.grad(y, x)


def test_wrong_calls() -> None:
    x = leaf([1.0, 2.0])
    y = x * x
    wrong: list[Any] = [Tensor(np.ones(2)), np.ones(2), [x, Tensor(np.ones(2))]]
    for bad in wrong:
        with pytest.raises(ValueError, match="grad: every input must be a Tensor that requires grad"):
            ng.grad(y.sum(), bad)
    with pytest.raises(ValueError, match="grad: there are 1 outputs and 2 gradients"):
        ng.grad([y], x, [None, None])
    with pytest.raises(ValueError, match=r"only a scalar may leave out its gradient, this has shape \(2,\)"):
        ng.grad(y, x)
    with pytest.raises(ValueError, match=r"gradient must have the tensor's shape \(2,\), got \(3,\)"):
        ng.grad(y, x, np.ones(3))


# value_and_grad


def test_value_and_grad_by_hand() -> None:
    f = ng.value_and_grad(lambda a, b, power: ((a * b) ** power).sum(), argnums=(1, 0))
    value, (db, da) = f(np.array([1.0, 2.0]), np.array([3.0, 4.0]), power=2)
    assert value == 9 + 64
    np.testing.assert_array_equal(da, [2 * 3 * 3, 2 * 8 * 4])
    np.testing.assert_array_equal(db, [2 * 3 * 1, 2 * 8 * 2])


def test_arguments_stay_as_they_are() -> None:
    x = leaf([1.0, 3.0])
    value, dx = ng.value_and_grad(lambda t: (t * t).sum())(x)
    assert (value, x.grad) == (10, None)
    np.testing.assert_array_equal(dx, [2, 6])


# jacobian


def test_a_jacobian_by_hand() -> None:
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(ng.jacobian(lambda x: ng.matmul(a, x), np.ones(3)), a)
    rows = ng.jacobian(lambda x: x.T, a)
    assert rows.shape == (3, 2, 2, 3)
    assert rows[2, 1, 1, 2] == 1
    assert rows.sum() == 6


def test_the_jacobian_of_softmax() -> None:
    x = np.random.default_rng(0).standard_normal(4)
    p = ng.softmax(x)
    np.testing.assert_allclose(ng.jacobian(ng.softmax, x), np.diag(p) - np.outer(p, p), atol=1e-15)


def test_the_jacobian_of_a_constant_is_zero_and_of_x_itself_one() -> None:
    np.testing.assert_array_equal(ng.jacobian(lambda x: Tensor(np.ones(2)), np.ones(3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(ng.jacobian(lambda x: x, np.ones(2)), np.eye(2))


# hvp


def test_a_hessian_by_hand() -> None:
    a = np.array([[2.0, 1.0], [1.0, 3.0]])
    v = np.array([1.0, -1.0])
    product = ng.hvp(lambda x: (x * ng.matmul(a, x)).sum() * 0.5, np.array([0.3, 0.7]), v)
    np.testing.assert_allclose(product, a @ v, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_hvp_has_six_digits(scale: float) -> None:
    x, v = scale * np.array([1.0, -2.0, 0.3]), np.array([100.0, 7.0, -30.0])
    np.testing.assert_allclose(ng.hvp(lambda t: (t * t * t).sum(), x, v), 6 * x * v, rtol=1e-6)


def test_hvp_in_float32_with_a_step_and_without_a_direction() -> None:
    x, v = np.array([1.0, 2.0], np.float32), np.array([100.0, 0.0], np.float32)
    product = ng.hvp(lambda t: (t * t * t).sum(), x, v)
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, [600, 0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ng.hvp(lambda t: (t * t * t).sum(), x.astype(float), v, step=1e-7), [600, 0], rtol=1e-5)
    np.testing.assert_array_equal(ng.hvp(lambda t: t.sum(), x, np.zeros(2)), [0, 0])
    np.testing.assert_array_equal(x, [1, 2])


def test_hvp_needs_a_direction_of_the_shape_of_x() -> None:
    with pytest.raises(ValueError, match=r"hvp: x and v must have one shape, got \(2,\) and \(3,\)"):
        ng.hvp(lambda t: t.sum(), np.ones(2), np.ones(3))


# Inside a live graph


def inner(x: Tensor) -> Tensor:
    return x * ng.value_and_grad(lambda y: x * y * y)(2.0)[1]


def by_grad(x: Tensor) -> Tensor:
    y = Tensor(2.0, requires_grad=True)
    return x * ng.grad(x * y * y, y)


@pytest.mark.parametrize(
    "lost",
    [
        lambda: ng.value_and_grad(inner)(3.0),
        lambda: ng.value_and_grad(by_grad)(3.0),
        lambda: inner(Tensor(3.0, requires_grad=True)),
        lambda: inner(Tensor(3.0, requires_grad=True) * 2),
        lambda: ng.jacobian(inner, 3.0),
        lambda: ng.hvp(inner, np.array(3.0), np.array(1.0)),
        lambda: ng.jacobian(lambda y: y * Tensor(3.0, requires_grad=True), 3.0),
    ],
    ids=["value_and_grad", "grad", "a leaf", "a result", "jacobian", "hvp", "jacobian of a leaf"],
)
def test_a_gradient_that_would_be_lost_is_an_error(lost: Any) -> None:
    with pytest.raises(RuntimeError, match=r"no double backward.*\.detach\(\)"):
        lost()


def test_parameters_and_detached_tensors_are_constants() -> None:
    layer, x = ng.Linear(1, 1, rng=0), Tensor(3.0, requires_grad=True)
    assert ng.value_and_grad(lambda y: layer(y).sum())(np.ones((1, 1), np.float32))[1] == layer.weight.data
    assert ng.value_and_grad(lambda y: x.detach() * y * y)(2.0) == (12, 12)
    with ng.no_grad():
        assert x * ng.grad(Tensor(1.0, requires_grad=True), Tensor(1.0, requires_grad=True)) == 0


@pytest.mark.parametrize("call", [lambda: ng.grad(np.sin), lambda: ng.grad(lambda x: x * x, 2.0)])
def test_a_function_in_place_of_its_result_is_explained(call: Any) -> None:
    with pytest.raises(TypeError, match=r"takes Tensors .* for a function, value_and_grad\(f\)\(x\)"):
        call()


def test_missing_inputs_are_named() -> None:
    with pytest.raises(TypeError, match="the inputs are missing"):
        ng.grad(Tensor(1.0, requires_grad=True))
