"""std, norm, prod, logsumexp and cumsum."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def pulled(op: Any, x: Any, dy: Any, **options: Any) -> np.ndarray:
    leaf = Tensor(np.array(x, np.float64), requires_grad=True)
    op(leaf, **options).backward(np.array(dy, np.float64))
    return leaf.grad


def test_std_by_hand() -> None:
    x = [1.0, 3.0]  # mean 2, both 1 away
    assert ng.std(np.array(x)) == 1
    assert ng.std(np.array(x), ddof=1) == math.sqrt(2)
    np.testing.assert_allclose(pulled(ng.std, x, 4.0), [-2, 2])  # c dy / (n y) = ±1 · 4 / 2
    np.testing.assert_array_equal(pulled(ng.std, [2.0, 2.0], 4.0), [0, 0])


def test_norm_by_hand() -> None:
    assert ng.norm(np.array([3.0, 4.0])) == 5
    np.testing.assert_allclose(pulled(ng.norm, [3.0, 4.0], 10.0), [6, 8])
    np.testing.assert_array_equal(pulled(ng.norm, [0.0, 0.0], 10.0), [0, 0])


def test_prod_by_hand() -> None:
    assert ng.prod(np.array([2.0, 3.0, 4.0])) == 24
    np.testing.assert_array_equal(pulled(ng.prod, [2.0, 3.0, 4.0], 1.0), [12, 8, 6])
    np.testing.assert_array_equal(pulled(ng.prod, [2.0, 0.0, 4.0], 1.0), [0, 8, 0])
    np.testing.assert_array_equal(pulled(ng.prod, [0.0, 0.0, 4.0], 1.0), [0, 0, 0])


def test_logsumexp_by_hand() -> None:
    x = np.log([1.0, 2.0, 5.0])
    assert ng.logsumexp(x) == pytest.approx(math.log(8))
    np.testing.assert_allclose(pulled(ng.logsumexp, x, 8.0), [1, 2, 5])


def test_logsumexp_neither_overflows_nor_loses_a_masked_row() -> None:
    assert ng.logsumexp(np.array([1e4, 1e4])) == pytest.approx(1e4 + math.log(2))
    masked = np.array([[-np.inf, -np.inf], [0.0, -np.inf]])
    np.testing.assert_array_equal(ng.logsumexp(masked, axis=1), [-np.inf, 0])
    np.testing.assert_array_equal(pulled(ng.logsumexp, masked, [1, 1], axis=1), [[0, 0], [1, 0]])


def test_cumsum_by_hand() -> None:
    np.testing.assert_array_equal(ng.cumsum(np.array([1.0, 2.0, 4.0]), axis=0), [1, 3, 7])
    np.testing.assert_array_equal(pulled(ng.cumsum, [1.0, 2.0, 4.0], [1, 10, 100], axis=0), [111, 110, 100])


@pytest.mark.parametrize(("x", "axis"), [(np.ones((2, 3)), None), (np.array(1.0), 0)])
def test_cumsum_needs_an_axis(x: np.ndarray, axis: Any) -> None:
    with pytest.raises(ValueError, match=r"cumsum: name an axis of x, such as axis=-1; got axis="):
        ng.cumsum(x, axis=axis)


def test_std_of_equal_entries_has_gradient_zero() -> None:
    np.testing.assert_array_equal(pulled(ng.std, np.full((2, 7), 0.1), [1, -2], axis=1), 0)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e-30), (np.float64, 1e-200), (np.float64, 1e200)])
def test_a_norm_neither_underflows_nor_overflows(dtype: Any, size: float) -> None:
    x = Tensor((np.array([3.0, 4.0]) * size).astype(dtype), requires_grad=True)
    assert x.norm().item() == pytest.approx(5 * size, rel=1e-6)
    np.testing.assert_allclose(ng.grad(x.norm(), x), [0.6, 0.8], rtol=1e-6)
