"""Edges at which engines differ: here the arrays follow NumPy, the neural ops PyTorch."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def leaf(values: Any) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def grad_of(y: Tensor, x: Tensor) -> Any:
    return ng.grad(y, x, np.ones(y.shape)).tolist()


def test_softmax_of_a_number_is_one() -> None:
    x = leaf(3.0)
    assert (ng.softmax(x).item(), ng.log_softmax(x).item()) == (1.0, 0.0)
    assert (grad_of(ng.softmax(x), x), grad_of(ng.log_softmax(x), x)) == (0.0, 0.0)


@pytest.mark.parametrize("size", [7, 48, 768])
def test_layernorm_of_equal_features_is_zero_however_large_they_are(size: int) -> None:
    x = Tensor(np.full((1, size), 1e4 + 0.1, np.float32), requires_grad=True)
    np.testing.assert_allclose(ng.layernorm(x).data, 0, atol=1e-6)
    np.testing.assert_allclose(ng.grad(ng.layernorm(x).sum(), x), 0, atol=1e-3)


def test_std_of_equal_entries_has_no_slope() -> None:
    x = leaf(np.full((2, 7), 0.1))
    np.testing.assert_array_equal(ng.grad(x.std(axis=1).sum(), x), 0)


def test_nan_does_not_hide_behind_a_clean_gradient() -> None:
    a, b = leaf([np.nan, 1.0]), leaf([0.0, 0.0])
    assert grad_of(ng.maximum(a, b), a) == grad_of(ng.minimum(a, b), b)[:1] + [1.0]
    assert grad_of(ng.maximum(a, b), b) == [1.0, 0.0]
    assert grad_of(ng.relu(a), a) == [1.0, 1.0]


def test_powers_at_the_edges() -> None:
    x = leaf([np.inf, -np.inf, np.nan, 0.0])
    assert grad_of(x**0, x) == [0.0] * 4  # a constant
    b = leaf([-1.0, -3.0, 0.0, 2.0])
    with np.errstate(divide="ignore"):
        assert grad_of(0.0**b, b) == [-np.inf, -np.inf, 0.0, 0.0]


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e-30), (np.float64, 1e-200), (np.float64, 1e200)])
def test_a_length_neither_vanishes_nor_overflows(dtype: Any, size: float) -> None:
    x = Tensor((np.array([3.0, 4.0]) * size).astype(dtype), requires_grad=True)
    assert x.norm().item() == pytest.approx(5 * size, rel=1e-6)
    np.testing.assert_allclose(ng.grad(x.norm(), x), [0.6, 0.8], rtol=1e-6)


def test_whole_numbers_that_meet_a_fraction_are_float32() -> None:
    i = Tensor([1, 2, 3])
    assert {i.clip(0.5, 2.5).dtype, i.masked_fill([True, False, True], 1.5).dtype} == {np.dtype(np.float32)}
    assert {i.clip(1, 2).dtype, i.masked_fill([True, False, True], 1).dtype} == {np.dtype(np.int64)}


def test_options_of_no_axes_widen_nothing() -> None:
    f = Tensor([1.0, 2.0])
    mask = [True, False]
    for y in (f.masked_fill(mask, np.array(2.0)), f.masked_fill(mask, Tensor(np.float64(1))), f.clip(np.array(0.2))):
        assert y.dtype == np.float32
    with pytest.raises(TypeError, match="clip: the option low takes no Tensor"):
        f.clip(Tensor([1.0, 2.0]))


def test_comparisons_follow_the_number_law() -> None:
    x = Tensor([0.1])
    assert (x == 0.1).item() is (x == [0.1]).item() is (x == np.float64(0.1)).item() is True
    assert ((x > 0) & ~(x > 1)).all().item() is True
    assert ((x > 1) | (x < 0)).any().item() is False


def test_a_tensor_of_one_number_is_a_number() -> None:
    x = Tensor(2.5)
    assert (float(x), int(x), f"{x:.2f}", x.tolist()) == (2.5, 2, "2.50", 2.5)
    assert [10, 20, 30][Tensor(1)] == 20
    assert (Tensor([3.0, 1.0]).argmax().item(), Tensor([3.0, 1.0]).argmin(axis=0).item()) == (0, 1)
    assert repr(Tensor(np.zeros((0, 3)))) == "Tensor([], shape=(0, 3), dtype=float64)"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.gelu("foo"), ValueError, 'approximate must be "none" or "tanh", got \'foo\''),
        (lambda x: x.sum(axis=0, dim=1), TypeError, "axis and dim are one option under two names"),
        (lambda x: x.repeat([1, 2], 0), ValueError, "repeat: repeats must be one whole number"),
        (lambda x: x.repeat(2, 5), ValueError, "repeat: .* axis one of x"),
        (lambda x: x.split(0), ValueError, "does not divide into 0 equal sections"),
        (lambda x: x.chunk(0), ValueError, "chunks must be at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(leaf([[1.0, 2.0], [3.0, 4.0]]))


def test_pytorchs_names_work_in_functions_too() -> None:
    x = leaf([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_array_equal(ng.sum(x, dim=0, keepdim=True).data, [[4, 7]])
    np.testing.assert_array_equal(x.sum([0, 1]).data, 11)
    np.testing.assert_array_equal(ng.cat([x, x], axis=1).data, [[1, 2, 1, 2], [3, 5, 3, 5]])
    assert len(x.split(np.int64(2))) == 2
