"""softmax and log_softmax."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

X = np.random.default_rng(0).standard_normal((3, 5))


def pulled(op: ng.Op, x: Any, dy: Any) -> np.ndarray:
    leaf = Tensor(np.array(x, np.float64), requires_grad=True)
    op(leaf).backward(np.array(dy, np.float64))
    return leaf.grad


def test_softmax_by_hand() -> None:
    x = [math.log(1), math.log(2), math.log(5)]
    np.testing.assert_allclose(ng.softmax(np.array(x)), [1 / 8, 2 / 8, 5 / 8])
    # dy = (8, 0, 0): Σ dy y = 1; dx = y (dy - 1) = (1/8 · 7, 2/8 · -1, 5/8 · -1)
    np.testing.assert_allclose(pulled(ng.softmax, x, [8, 0, 0]), [7 / 8, -2 / 8, -5 / 8])


def test_log_softmax_by_hand() -> None:
    x = [math.log(1), math.log(2), math.log(5)]
    np.testing.assert_allclose(ng.log_softmax(np.array(x)), np.log([1 / 8, 2 / 8, 5 / 8]))
    # dx = dy - p Σ dy = (8, 0, 0) - 8 (1, 2, 5)/8
    np.testing.assert_allclose(pulled(ng.log_softmax, x, [8, 0, 0]), [7, -2, -5])


@pytest.mark.parametrize("op", [ng.softmax, ng.log_softmax], ids=repr)
def test_a_shift_changes_nothing(op: ng.Op) -> None:
    np.testing.assert_allclose(op(X + 1000), op(X), rtol=1e-12)
    np.testing.assert_allclose(op(X - 1000), op(X), rtol=1e-12)
    dx = pulled(op, X, np.random.default_rng(1).standard_normal(X.shape))
    np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-14)


def test_rows_sum_to_one() -> None:
    np.testing.assert_allclose(ng.softmax(X * 30).sum(axis=-1), 1)
    np.testing.assert_allclose(ng.softmax(X, axis=0).sum(axis=0), 1)
    np.testing.assert_allclose(np.exp(ng.log_softmax(X)), ng.softmax(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_overflow(dtype: Any) -> None:
    x = np.array([1e30, 0, -1e30], dtype)
    np.testing.assert_array_equal(ng.softmax(x), [1, 0, 0])
    np.testing.assert_array_equal(ng.log_softmax(x), np.array([0, -1e30, -2e30], dtype))


@pytest.mark.parametrize("pair", ["readable", "fast"])
@pytest.mark.parametrize(
    ("op", "y"),
    [
        (ng.softmax, 0),
        (ng.log_softmax, -np.inf),
        (lambda x: ng.logsumexp(x, axis=-1, keepdims=True), -np.inf),
        (lambda x: ng.softmax(x, np.zeros(x.shape, bool)), 0),
    ],
    ids=["softmax", "log_softmax", "logsumexp", "softmax with a mask"],
)
def test_a_row_of_minus_infinities_has_no_gradient(op: Any, y: float, pair: str) -> None:
    x = Tensor(np.full((2, 3), -np.inf), requires_grad=True)
    with ng.op.context(readable=pair == "readable"):
        out = op(x)
        np.testing.assert_array_equal(out.data, np.full(out.shape, y))
        out.backward(np.ones(out.shape) * 3)
    np.testing.assert_array_equal(x.grad, np.zeros((2, 3)))


def test_a_row_of_minus_infinities() -> None:
    x = np.array([[-np.inf, -np.inf], [0, -np.inf]])
    np.testing.assert_array_equal(ng.softmax(x), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(ng.log_softmax(x), [[-np.inf, -np.inf], [0, -np.inf]])
    np.testing.assert_array_equal(pulled(ng.softmax, x, [[1, 2], [3, 4]]), np.zeros((2, 2)))


def test_nan_is_not_hidden() -> None:
    assert np.isnan(ng.softmax(np.array([np.nan, 1.0]))).all()


def test_softmax_of_a_number_is_one() -> None:
    assert (ng.softmax(3.0), ng.log_softmax(3.0)) == (1.0, 0.0)
    assert (pulled(ng.softmax, 3.0, 2.0), pulled(ng.log_softmax, 3.0, 2.0)) == (0.0, 0.0)


def test_a_masked_softmax_by_hand() -> None:
    mask = np.array([[True, False, True], [False, False, False]])
    x = Tensor(np.log([[1.0, 9.0, 3.0], [1.0, 1.0, 1.0]]), requires_grad=True)
    y = ng.softmax(x, mask)
    np.testing.assert_allclose(y.data, [[1 / 4, 0, 3 / 4], [0, 0, 0]])
    y.backward(np.array([[4.0, 100.0, 0.0], [1.0, 2.0, 3.0]]))  # Σ dy y = 1
    np.testing.assert_allclose(x.grad, [[3 / 4, 0, -3 / 4], [0, 0, 0]])


@pytest.mark.parametrize(
    ("mask", "got"),
    [(np.ones(3), "float64"), (np.ones((2, 1, 3), bool), r"bool \(2, 1, 3\)"), (np.ones(2, bool), "bool")],
)
def test_softmax_refuses_other_masks(mask: np.ndarray, got: str) -> None:
    with pytest.raises(ValueError, match=rf"softmax: mask must be boolean, .* broadcast to x \(1, 3\), got {got}"):
        ng.softmax(np.ones((1, 3)), mask)
