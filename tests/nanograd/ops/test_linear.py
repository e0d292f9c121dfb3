"""linear and matmul."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def leaves(*arrays: list) -> list[Tensor]:
    return [Tensor(np.array(a, np.float64), requires_grad=True) for a in arrays]


def test_linear_by_hand() -> None:
    x, weight, bias = leaves([[1, 2], [3, 4]], [[1, 10], [100, 1000], [0, 1]], [1, 2, 3])
    y = ng.linear(x, weight, bias)
    np.testing.assert_array_equal(y.data, [[22, 2102, 5], [44, 4302, 7]])  # 1·1 + 2·10 + 1, …
    y.backward(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(x.grad, [[1, 10], [200, 2003]])  # dy weight: 2·(100, 1000) + 3·(0, 1)
    np.testing.assert_array_equal(weight.grad, [[1, 2], [6, 8], [9, 12]])  # dyᵀ x
    np.testing.assert_array_equal(bias.grad, [1, 2, 3])


def test_matmul_by_hand() -> None:
    a, b = leaves([[1, 2, 3]], [[1, 0], [0, 1], [10, 100]])
    y = a @ b
    np.testing.assert_array_equal(y.data, [[31, 302]])
    y.backward(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(a.grad, [[1, 2, 210]])  # dy bᵀ
    np.testing.assert_array_equal(b.grad, [[1, 2], [2, 4], [3, 6]])  # aᵀ dy


def test_two_vectors_by_hand() -> None:
    a, b = leaves([1, 2], [3, 4])
    y = a @ b
    assert y.data == 11
    y.backward(10.0)
    np.testing.assert_array_equal(a.grad, [30, 40])
    np.testing.assert_array_equal(b.grad, [10, 20])


def test_a_shared_matrix_gets_the_sum_over_the_batch() -> None:
    a, b = leaves([[[1, 2]], [[10, 20]]], [[1], [1]])
    (a @ b).backward(np.array([[[3.0]], [[5.0]]]))
    np.testing.assert_array_equal(b.grad, [[3 * 1 + 5 * 10], [3 * 2 + 5 * 20]])


def test_linear_is_matmul_with_the_transposed_weight() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
    np.testing.assert_allclose(ng.linear(x, weight, bias), x @ weight.T + bias)


def test_a_frozen_weight_keeps_no_input() -> None:
    saved = ng.ops.linear.pair.forward(np.ones((2, 3)), np.ones((4, 3)), needs=(True, False, False))[1]
    assert saved[0] is None
    saved = ng.ops.linear.pair.forward(np.ones((2, 3)), np.ones((4, 3)), needs=(False, True, False))[1]
    assert saved[1] is None


@pytest.mark.parametrize(("x", "weight"), [((2, 3), (8, 4)), ((3,), (3,)), ((), (3, 3)), ((2, 3), (3, 3, 3))], ids=str)
def test_linear_refuses_shapes(x: tuple[int, ...], weight: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"linear: x and weight \(out, in\) must have one inner size, got \("):
        ng.linear(np.ones(x), np.ones(weight))


@pytest.mark.parametrize("bias", [(3,), (1,), (), (1, 4)])
def test_linear_refuses_a_bias(bias: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"linear: bias must have shape \(4,\), the rows of weight, got \("):
        ng.linear(np.ones((2, 3)), np.ones((4, 3)), np.ones(bias))


@pytest.mark.parametrize(
    ("a", "b"), [((2, 3), (2, 3)), ((2,), (3,)), ((), (2,)), ((2, 2), ()), ((3,), (2, 2)), ((2, 2), (3,))], ids=str
)
def test_matmul_refuses_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="matmul: the last axis of a and last but one of b must agree, got "):
        ng.matmul(np.ones(a), np.ones(b))
