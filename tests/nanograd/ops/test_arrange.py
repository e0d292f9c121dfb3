"""pad, repeat, flip, roll, take_along_axis and scatter_add."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def pulled(op: Any, x: Any, *others: Any, dy: Any, **options: Any) -> np.ndarray:
    leaf = Tensor(np.array(x, np.float64), requires_grad=True)
    op(leaf, *others, **options).backward(np.array(dy, np.float64))
    return leaf.grad


def test_pad_by_hand() -> None:
    np.testing.assert_array_equal(ng.pad(X[0], width=(1, 2), value=9), [9, 1, 2, 3, 9, 9])
    np.testing.assert_array_equal(pulled(ng.pad, X[0], dy=[1, 2, 3, 4, 5, 6], width=(1, 2)), [2, 3, 4])


def test_repeat_by_hand() -> None:
    np.testing.assert_array_equal(ng.repeat(X[0], repeats=2, axis=0), [1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(pulled(ng.repeat, X[0], dy=[1, 2, 4, 8, 16, 32], repeats=2, axis=0), [3, 12, 48])


def test_flip_by_hand() -> None:
    np.testing.assert_array_equal(ng.flip(X), [[6, 5, 4], [3, 2, 1]])
    np.testing.assert_array_equal(ng.flip(X, axis=1), [[3, 2, 1], [6, 5, 4]])
    np.testing.assert_array_equal(pulled(ng.flip, X[0], dy=[1, 2, 3]), [3, 2, 1])


def test_roll_by_hand() -> None:
    np.testing.assert_array_equal(ng.roll(X[0], shift=1), [3, 1, 2])
    np.testing.assert_array_equal(pulled(ng.roll, X[0], dy=[1, 2, 3], shift=1), [2, 3, 1])
    np.testing.assert_array_equal(pulled(ng.roll, X, dy=X, shift=[1, 1], axis=[0, 1]), [[5, 6, 4], [2, 3, 1]])


def test_take_along_axis_by_hand() -> None:
    ids = np.array([[2, 2], [0, -1]])
    np.testing.assert_array_equal(ng.take_along_axis(X, ids, axis=1), [[3, 3], [4, 6]])
    dx = pulled(ng.take_along_axis, X, ids, dy=[[1, 10], [100, 1000]], axis=1)
    np.testing.assert_array_equal(dx, [[0, 0, 11], [100, 0, 1000]])
    assert ng.gather is ng.take_along_axis


def test_scatter_add_by_hand() -> None:
    ids, values = np.array([[2, 2], [0, -1]]), np.array([[10.0, 20.0], [30.0, 40.0]])
    np.testing.assert_array_equal(ng.scatter_add(X, ids, values, axis=1), [[1, 2, 33], [34, 5, 46]])
    leaf = Tensor(values, requires_grad=True)
    ng.scatter_add(X, ids, leaf, axis=1).backward(X)
    np.testing.assert_array_equal(leaf.grad, [[3, 3], [4, 6]])
    np.testing.assert_array_equal(X[0], [1, 2, 3])  # x itself is left alone


IDS = np.zeros((2, 1), int)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        (IDS + 3, ValueError, r"indices must lie in \[-3, 3\) along axis 1, got 3 to 3"),
        (IDS - 4, ValueError, r"indices must lie in \[-3, 3\) along axis 1, got -4 to -4"),
        (IDS[:1], ValueError, r"x and indices must agree apart from axis 1, got \(2, 3\) and \(1, 1\)"),
        (IDS[:, 0], ValueError, r"x and indices must agree apart from axis 1, got \(2, 3\) and \(2,\)"),
        (IDS + 0.5, TypeError, "indices must be integers, got float64"),
    ],
)
def test_refusals(indices: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=f"take_along_axis: {message}"):
        ng.take_along_axis(X, indices, axis=1)
    with pytest.raises(error, match=f"scatter_add: {message}"):
        ng.scatter_add(X, indices, np.ones((2, 1)), axis=-1)


def test_values_must_fit_the_indices() -> None:
    with pytest.raises(ValueError, match=r"scatter_add: values \(2, 3\) and indices \(2, 1\) must have one shape"):
        ng.scatter_add(X, IDS, X, axis=1)
