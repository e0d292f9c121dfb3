"""Sums in float32 are as exact over leading axes as over the last, and an axis means the same in every reduction."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops._sums import sum_over

ROWS = 200_000
EXACT = 4e-7  # about four times PyTorch's error; a plain float32 sum over these rows is wrong by 1e-5 and more
X = (np.random.default_rng(0).standard_normal((ROWS, 3)) + 1).astype(np.float32)
C = X[:, 0].copy()


def gradient(function: Callable[[Tensor], Any], x: np.ndarray, dy: np.ndarray | None = None) -> np.ndarray:
    leaf = Tensor(x, requires_grad=True)
    function(leaf).backward(dy)
    assert leaf.grad is not None
    return leaf.grad


def normalise(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def root_mean_square(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


ONES = np.ones(3, np.float32)
DY = np.random.default_rng(1).standard_normal(X.shape).astype(np.float32) + X
X64, DY64 = X.astype(np.float64), DY.astype(np.float64)


def of_norm(op: Any, name: str) -> np.ndarray:
    parameters = {"weight": ONES, "bias": np.zeros_like(ONES)} if op is ng.layernorm else {"weight": ONES}
    return gradient(lambda p: op(X, **{**parameters, name: p}), parameters[name], DY)


@pytest.mark.parametrize(
    ("ours", "exact"),
    [
        pytest.param(lambda: ng.sum(X, axis=0), X64.sum(0), id="sum"),
        pytest.param(lambda: ng.sum(X.reshape(-1, 5, 3), axis=(0, 1)), X64.sum(0), id="sum of two leading axes"),
        pytest.param(lambda: ng.sum(X.reshape(4, -1, 3), axis=(0, 1)), X64.sum(0), id="sum of a short and a long axis"),
        pytest.param(lambda: ng.sum(X.reshape(2, -1, 3), axis=1)[1], X64[ROWS // 2 :].sum(0), id="sum of a middle axis"),
        pytest.param(lambda: ng.sum(X.reshape(-1, 3, 1), axis=(0, 2)), X64.sum(0), id="sum of first and last"),
        pytest.param(lambda: ng.sum(X[:, ::2], axis=0), X64[:, ::2].sum(0), id="sum of a view"),
        pytest.param(lambda: ng.sum(X[:, :2]), X64[:, :2].sum(), id="sum of all of a view"),
        pytest.param(lambda: ng.sum(X.T, axis=1), X64.sum(0), id="sum of columns"),
        pytest.param(lambda: ng.mean(X, axis=0), X64.mean(0), id="mean"),
        pytest.param(lambda: ng.var(X + 100, axis=0), (X + 100).astype(np.float64).var(0), id="var"),
        pytest.param(lambda: ng.std(X, axis=0), X64.std(0), id="std"),
        pytest.param(lambda: ng.norm(X, axis=0), np.linalg.norm(X64, axis=0), id="norm"),
        pytest.param(lambda: np.exp(ng.logsumexp(X, axis=0)), np.exp(X64).sum(0), id="logsumexp"),
        pytest.param(lambda: 1 / ng.softmax(X, axis=0), np.exp(X64).sum(0) / np.exp(X64), id="softmax"),
        pytest.param(lambda: ng.cumsum(C + 1000, axis=0), (C + 1000).cumsum(dtype=np.float64), id="cumsum"),
        pytest.param(
            lambda: gradient(lambda x: ng.cumsum(x, axis=0), C, C), C[::-1].cumsum(dtype=np.float64)[::-1], id="dcumsum"
        ),
        pytest.param(lambda: gradient(lambda b: X + b, ONES, DY), DY64.sum(0), id="a broadcast operand"),
        pytest.param(
            lambda: gradient(lambda b: X.reshape(-1, 4, 3) * b, np.ones((4, 1), np.float32), DY.reshape(-1, 4, 3)),
            (DY64 * X64).reshape(-1, 4, 3).sum((0, 2))[:, None], id="a stretched operand",
        ),
        pytest.param(lambda: gradient(lambda x: ng.repeat(x, repeats=ROWS, axis=0), X[:1], DY), DY64.sum(0), id="repeat"),
        pytest.param(lambda: gradient(lambda b: ng.linear(X, X[:3], b), ONES, DY), DY64.sum(0), id="linear's dbias"),
        pytest.param(lambda: of_norm(ng.layernorm, "weight"), (DY64 * normalise(X64)).sum(0), id="layernorm's dweight"),
        pytest.param(lambda: of_norm(ng.layernorm, "bias"), DY64.sum(0), id="layernorm's dbias"),
        pytest.param(lambda: of_norm(ng.rmsnorm, "weight"), (DY64 * root_mean_square(X64)).sum(0), id="rmsnorm's dweight"),
    ],
)  # fmt: skip
def test_float32_is_exact_over_many_rows(ours: Callable[[], Any], exact: np.ndarray) -> None:
    with ng.readable():
        y = ours()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.broadcast_to(exact, y.shape), rtol=0, atol=EXACT * np.abs(exact).max())


@pytest.mark.parametrize(
    "shape",
    [(0, 3), (3, 0), (1, 1), (300, 5), (1024, 3), (1025, 3), (300, 2, 2), (2, 300, 2), (2, 2, 300), (2100, 1), ()],
    ids=repr,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex128, np.bool_])
def test_sum_over_is_numpys_sum(shape: tuple[int, ...], dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    axes = [None, *range(-x.ndim, x.ndim), (), *[(i, j) for i in range(x.ndim) for j in range(i)]]
    for axis in axes:
        for keepdims in (False, True):
            expected = np.asarray(x.sum(axis=axis, keepdims=keepdims))
            y = np.asarray(sum_over(x, axis, keepdims))
            assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
            np.testing.assert_array_equal(y, expected)


def test_infinite_and_missing_numbers_stay_in_their_column() -> None:
    x = np.ones((3000, 4), np.float32)
    x[5, 1], x[2999, 2] = np.inf, np.nan
    np.testing.assert_array_equal(sum_over(x, 0), [3000, np.inf, np.nan, 3000])


REDUCTIONS = [
    ng.sum,
    ng.mean,
    ng.var,
    ng.std,
    ng.max,
    ng.min,
    ng.norm,
    ng.prod,
    ng.logsumexp,
    ng.softmax,
    ng.log_softmax,
]


@pytest.mark.parametrize("op", REDUCTIONS, ids=repr)
@pytest.mark.parametrize("axis", [0, -1, (0,), ()], ids=repr)
def test_a_number_has_one_axis(op: ng.Op, axis: Any) -> None:
    """As in PyTorch: the value and the gradient are those of an array of one entry."""
    x, same = (Tensor(np.full(shape, 2.0), requires_grad=True) for shape in ((), (1,)))
    y = op(x, axis=axis)
    op(same, axis=0).sum().backward()
    y.backward()
    assert y.shape == ()
    np.testing.assert_array_equal(x.grad, same.grad[0])
    with pytest.raises(np.exceptions.AxisError):
        op(x, axis=1)


@pytest.mark.parametrize("op", [ng.var, ng.std], ids=repr)
@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0], [[1.0, 2.0], [3.0, 3.0]]], ids=repr)
@pytest.mark.parametrize("ddof", [0, 1, 2, 5])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_with_too_few_entries_for_ddof_numpys_result(op: ng.Op, x: list[Any], ddof: int) -> None:
    for axis in (None, -1):
        expected = getattr(np, op.name)(np.array(x), axis=axis, ddof=ddof)
        np.testing.assert_allclose(op(np.array(x), axis=axis, ddof=ddof), expected, rtol=1e-12)
