"""where, masked_fill, tril and triu."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

X = np.arange(1.0, 10.0).reshape(3, 3)
DY = X * 10


def test_where_by_hand() -> None:
    a, b = (Tensor(np.array(v), requires_grad=True) for v in ([1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]))
    y = ng.where([True, False, True], a, b)
    np.testing.assert_array_equal(y.data, [1, -2, 3])
    y.backward(np.array([1.0, 10.0, 100.0]))
    np.testing.assert_array_equal(a.grad, [1, 0, 100])
    np.testing.assert_array_equal(b.grad, [0, 10, 0])


def test_a_condition_may_stretch_its_operands() -> None:
    a = Tensor(np.array(5.0), requires_grad=True)
    ng.where(np.array([[True, False], [True, True]]), a, 0.0).backward(np.array([[1.0, 10.0], [100.0, 1000.0]]))
    assert a.grad == 1101


def test_the_guard_of_the_docstring_keeps_nan_out() -> None:
    x = Tensor(np.array([2.0, -1.0, 0.0]), requires_grad=True)
    ng.where(x.data > 0, ng.log(ng.where(x.data > 0, x, 1.0)), 0.0).backward(np.array([3.0, 5.0, 7.0]))
    np.testing.assert_array_equal(x.grad, [1.5, 0, 0])


def test_masked_fill_by_hand() -> None:
    x = Tensor(X, requires_grad=True)
    y = x.masked_fill(np.eye(3, dtype=bool), -np.inf)
    np.testing.assert_array_equal(y.data, [[-np.inf, 2, 3], [4, -np.inf, 6], [7, 8, -np.inf]])
    y.backward(DY)
    np.testing.assert_array_equal(x.grad, [[0, 20, 30], [40, 0, 60], [70, 80, 0]])


@pytest.mark.parametrize("value", [1, 0.5, np.float64(0.5), np.float32(0.5), np.int64(1)], ids=repr)
def test_the_value_does_not_promote(value: Any) -> None:
    assert ng.masked_fill(np.ones(2, np.float32), [True, False], value=value).dtype == np.float32


def test_a_mask_must_not_stretch_x() -> None:
    with pytest.raises(ValueError, match=r"masked_fill: mask must broadcast to x \(3,\), got \(3, 3\)"):
        ng.masked_fill(X[0], np.eye(3, dtype=bool), value=0.0)


def test_triangles_by_hand() -> None:
    for op, k, y in (
        (ng.tril, 0, [[1, 0, 0], [4, 5, 0], [7, 8, 9]]),
        (ng.tril, -1, [[0, 0, 0], [4, 0, 0], [7, 8, 0]]),
        (ng.triu, 0, [[1, 2, 3], [0, 5, 6], [0, 0, 9]]),
        (ng.triu, 1, [[0, 2, 3], [0, 0, 6], [0, 0, 0]]),
    ):
        x = Tensor(X, requires_grad=True)
        out = op(x, k=k)
        np.testing.assert_array_equal(out.data, y)
        out.backward(DY)
        np.testing.assert_array_equal(x.grad, np.array(y) * 10)


def test_the_two_triangles_make_the_matrix() -> None:
    np.testing.assert_array_equal(ng.tril(X) + ng.triu(X, k=1), X)


@pytest.mark.parametrize("op", [ng.tril, ng.triu], ids=repr)
@pytest.mark.parametrize("shape", [(3,), ()])
def test_a_triangle_needs_a_matrix(op: ng.Op, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"{op.name}: x must have at least two axes, got shape \("):
        op(np.ones(shape))


def test_a_fill_value_promotes_integers_only_if_it_is_a_fraction() -> None:
    i, mask = Tensor([1, 2, 3]), [True, False, True]
    assert {i.clip(0.5, 2.5).dtype, i.masked_fill(mask, 1.5).dtype} == {np.dtype(np.float32)}
    assert {i.clip(1, 2).dtype, i.masked_fill(mask, 1).dtype} == {np.dtype(np.int64)}


def test_a_scalar_array_as_an_option_does_not_promote() -> None:
    x, mask = Tensor([1.0, 2.0]), [True, False]
    for y in (x.masked_fill(mask, np.array(2.0)), x.masked_fill(mask, Tensor(np.float64(1))), x.clip(np.array(0.2))):
        assert y.dtype == np.float32
    with pytest.raises(TypeError, match="clip: the option low takes no Tensor"):
        x.clip(Tensor([1.0, 2.0]))
