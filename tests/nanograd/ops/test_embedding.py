"""embedding: rows of a table, and the sum of what comes back to each."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

TABLE = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_by_hand() -> None:
    weight = Tensor(TABLE, requires_grad=True)
    y = ng.embedding(weight, np.array([2, 0, 2]))
    np.testing.assert_array_equal(y.data, [[5, 6], [1, 2], [5, 6]])
    y.backward(np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]))
    np.testing.assert_array_equal(weight.grad, [[2, 20], [0, 0], [5, 50]])  # row 2 twice: 1 + 4, 10 + 40


def test_a_row_never_looked_up_gets_exactly_zero() -> None:
    weight = Tensor(TABLE, requires_grad=True)
    ng.embedding(weight, np.array([[0, 0], [0, 0]])).backward(np.arange(8.0).reshape(2, 2, 2))
    np.testing.assert_array_equal(weight.grad, [[0 + 2 + 4 + 6, 1 + 3 + 5 + 7], [0, 0], [0, 0]])


def test_it_is_a_product_with_one_hot_rows() -> None:
    ids = np.random.default_rng(0).integers(0, 3, (4, 5))
    one_hot = np.eye(3)[ids]  # (4, 5, 3)
    dy = np.random.default_rng(1).standard_normal((4, 5, 2))
    by_table, by_product = Tensor(TABLE, requires_grad=True), Tensor(TABLE, requires_grad=True)
    ng.embedding(by_table, ids).backward(dy)
    (one_hot @ by_product).backward(dy)
    np.testing.assert_allclose(by_table.grad, by_product.grad)


def test_a_tied_table_gets_both_gradients() -> None:
    weight = Tensor(TABLE, requires_grad=True)
    h = ng.embedding(weight, np.array([1]))  # h = (3, 4)
    ng.linear(h, weight).backward(np.array([[1.0, 0.0, 0.0]]))  # y_0 = h · w_0
    np.testing.assert_array_equal(weight.grad, [[3, 4], [1, 2], [0, 0]])  # h at row 0, and w_0 at row 1


@pytest.mark.parametrize(
    ("weight", "ids", "error", "message"),
    [
        (TABLE, [0, 3], ValueError, r"ids must lie in \[0, 3\), the rows of weight \(3, 2\), got 0 to 3"),
        (TABLE, [-1], ValueError, r"ids must lie in \[0, 3\), .* got -1 to -1"),
        (TABLE, [0.0], TypeError, "ids must be integers, got float64"),
        (TABLE, [True], TypeError, "ids must be integers, got bool"),
        (TABLE[0], [0], ValueError, r"weight must be \(V, C\), one row per id, got \(2,\)"),
        (TABLE[None], [0], ValueError, r"weight must be \(V, C\), one row per id, got \(1, 3, 2\)"),
    ],
)
def test_refusals(weight: np.ndarray, ids: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"embedding: {message}"):
        ng.embedding(weight, ids)
