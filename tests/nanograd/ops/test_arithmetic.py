"""add, sub, mul, div, neg, astype, and the adjoint of broadcasting."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops._unbroadcast import unbroadcast

A, B, DY = np.array([6.0, -8.0]), np.array([2.0, 4.0]), np.array([1.0, 10.0])


@pytest.mark.parametrize(
    ("op", "y", "da", "db"),
    [
        (ng.add, [8, -4], [1, 10], [1, 10]),
        (ng.sub, [4, -12], [1, 10], [-1, -10]),
        (ng.mul, [12, -32], [2, 40], [6, -80]),  # dy b; dy a
        (ng.div, [3, -2], [0.5, 2.5], [-1.5, 5]),  # dy/b; -dy a/b²: -6/4, 10 · 8/16
    ],
    ids=repr,
)
def test_by_hand(op: ng.Op, y: list[float], da: list[float], db: list[float]) -> None:
    a, b = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    out = op(a, b)
    np.testing.assert_array_equal(out.data, y)
    out.backward(DY)
    np.testing.assert_array_equal(a.grad, da)
    np.testing.assert_array_equal(b.grad, db)


def test_neg_by_hand() -> None:
    x = Tensor(A, requires_grad=True)
    y = -x
    np.testing.assert_array_equal(y.data, [-6, 8])
    y.backward(DY)
    np.testing.assert_array_equal(x.grad, [-1, -10])


def test_copies_add_up() -> None:
    column, row = Tensor([[1.0], [2.0]], requires_grad=True), Tensor([3.0, 4.0, 5.0], requires_grad=True)
    (column * row).backward(np.array([[1.0, 0.0, 10.0], [0.0, 2.0, 0.0]]))  # of y_ij = c_i r_j
    np.testing.assert_array_equal(column.grad, [[1 * 3 + 10 * 5], [2 * 4]])
    np.testing.assert_array_equal(row.grad, [1 * 1, 2 * 2, 10 * 1])


def test_unbroadcast_sums_added_and_stretched_axes() -> None:
    g = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(unbroadcast(g, (3, 1)), g.sum(axis=(0, 2))[:, None])
    np.testing.assert_array_equal(unbroadcast(g, ()), g.sum())
    assert unbroadcast(g, (2, 3, 4)) is g
    assert unbroadcast(np.ones((0, 3)), (1, 3)).tolist() == [[0, 0, 0]]


def test_identities() -> None:
    x = Tensor(A, requires_grad=True)
    (x - x + x / x).backward(DY)  # always 1
    np.testing.assert_array_equal(x.grad, [0, 0])


def test_astype_rounds_forward_and_casts_back() -> None:
    x = Tensor(np.array([1 / 3]), requires_grad=True)
    y = x.astype(np.float32)
    assert y.data[0] == np.float32(1 / 3)
    y.backward(np.array([0.1]))
    assert x.grad.dtype == np.float64
    assert x.grad[0] == np.float32(0.1)


def test_astype_there_and_back_gives_dy_to_the_bit() -> None:
    x = Tensor(np.array([0.7], np.float32), requires_grad=True)
    x.astype(np.float64).astype(np.float32).backward(np.array([0.1], np.float32))
    assert x.grad[0] == np.float32(0.1)


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"could not be broadcast together with shapes \(2,\) \(3,\)"):
        ng.add(np.ones(2), np.ones(3))
