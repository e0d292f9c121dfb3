"""sum, mean, var, max and min."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops.reduce import spread

X = np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 1.0]])
DY = np.array([1.0, 10.0])


@pytest.mark.parametrize(
    ("op", "options", "y", "dx"),
    [
        (ng.sum, {}, [9, 9], [[1, 1, 1], [10, 10, 10]]),
        (ng.mean, {}, [3, 3], [[1 / 3] * 3, [10 / 3] * 3]),
        # c = (-2, -1, 3) and (1, 1, -2): Σc² = 14 and 6; dx = 2 c dy / n
        (ng.var, {}, [14 / 3, 2], [[-4 / 3, -2 / 3, 2], [20 / 3, 20 / 3, -40 / 3]]),
        (ng.var, {"ddof": 1}, [7, 3], [[-2, -1, 3], [10, 10, -20]]),
        (ng.max, {}, [6, 4], [[0, 0, 1], [5, 5, 0]]),  # two that tie share
        (ng.min, {}, [1, 1], [[1, 0, 0], [0, 0, 10]]),
    ],
)
def test_by_hand(op: ng.Op, options: dict[str, int], y: list[float], dx: list[list[float]]) -> None:
    x = Tensor(X, requires_grad=True)
    out = op(x, axis=1, **options)
    np.testing.assert_allclose(out.data, y, rtol=1e-15)
    out.backward(DY)
    np.testing.assert_allclose(x.grad, dx, rtol=1e-15)


@pytest.mark.parametrize("op", [ng.max, ng.min], ids=repr)
@pytest.mark.parametrize("shape", [(3,), (3, 1), (2, 3)])
def test_ties_share_equally(op: ng.Op, shape: tuple[int, ...]) -> None:
    x = Tensor(np.full(shape, 7.0, np.float32), requires_grad=True)
    op(x).backward()
    np.testing.assert_allclose(x.grad, np.full(shape, 1 / x.size), rtol=1e-6)
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("op", [ng.sum, ng.mean, ng.var, ng.max, ng.min], ids=repr)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1), (-1,), (), np.int64(1)], ids=repr)
@pytest.mark.parametrize("keepdims", [False, True])
def test_values_are_numpys_and_gradients_have_the_shape(op: ng.Op, axis: Any, keepdims: bool) -> None:
    x = Tensor(X, requires_grad=True)
    y = op(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(y.data, getattr(np, op.name)(X, axis=axis, keepdims=keepdims))
    dy = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(dy)
    assert x.grad.shape == X.shape
    rise = {"sum": x.size / y.size, "var": 0}.get(op.name, 1)  # of y, if all x rise by 1
    np.testing.assert_allclose(x.grad.sum(), rise * dy.sum(), atol=1e-12)


@pytest.mark.parametrize(("axis", "shape"), [(None, (1, 1, 1)), (1, (2, 1, 4)), (-1, (2, 3, 1)), ((0, 2), (1, 3, 1))])
def test_spread_gives_axes_back(axis: Any, shape: tuple[int, ...]) -> None:
    x = np.zeros((2, 3, 4))
    for keepdims in (False, True):
        assert spread(x.sum(axis=axis, keepdims=keepdims), x.shape, axis).shape == shape


def test_a_shift_changes_no_variance() -> None:
    x = Tensor(X, requires_grad=True)
    ng.var(x, axis=1).backward(DY)
    np.testing.assert_allclose(x.grad.sum(axis=1), 0, atol=1e-14)


def test_an_axis_out_of_range() -> None:
    with pytest.raises(np.exceptions.AxisError, match="axis 2 is out of bounds for array of dimension 2"):
        ng.sum(Tensor(X, requires_grad=True), axis=2)


def test_max_of_no_entries_raises() -> None:
    with pytest.raises(ValueError, match="zero-size array"):
        ng.max(np.zeros((0, 3)))
