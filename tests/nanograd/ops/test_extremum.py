"""maximum, minimum, clip and abs: choices and their kinks."""

from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor


def pulled(y_of: Any, *xs: Any, dy: Any) -> list[np.ndarray]:
    leaves = [Tensor(np.array(x, np.float64), requires_grad=True) for x in xs]
    y_of(*leaves).backward(np.array(dy, np.float64))
    return [leaf.grad for leaf in leaves]


def test_maximum_and_minimum_by_hand() -> None:
    a, b = [1.0, 5.0, 3.0], [2.0, 4.0, 3.0]
    np.testing.assert_array_equal(ng.maximum(np.array(a), np.array(b)), [2, 5, 3])
    np.testing.assert_array_equal(ng.minimum(np.array(a), np.array(b)), [1, 4, 3])
    da, db = pulled(ng.maximum, a, b, dy=[10, 20, 30])
    np.testing.assert_array_equal(da, [0, 20, 15])  # the tie is shared
    np.testing.assert_array_equal(db, [10, 0, 15])
    da, db = pulled(ng.minimum, a, b, dy=[10, 20, 30])
    np.testing.assert_array_equal(da, [10, 0, 15])
    np.testing.assert_array_equal(db, [0, 20, 15])


def test_a_number_against_a_row_gets_the_sum() -> None:
    da, db = pulled(ng.maximum, 2.0, [1.0, 2.0, 3.0], dy=[1, 2, 4])
    assert da == 1 + 2 / 2
    np.testing.assert_array_equal(db, [0, 1, 4])


def test_clip_by_hand() -> None:
    x = [-2.0, -1.0, 0.5, 1.0, 3.0]
    np.testing.assert_array_equal(ng.clip(np.array(x), low=-1, high=1), [-1, -1, 0.5, 1, 1])
    [dx] = pulled(lambda t: ng.clip(t, low=-1, high=1), x, dy=[1, 2, 3, 4, 5])
    np.testing.assert_array_equal(dx, [0, 2, 3, 4, 0])  # the ends count as inside
    np.testing.assert_array_equal(ng.clip(np.array(x), high=0.0), [-2, -1, 0, 0, 0])
    np.testing.assert_array_equal(ng.clip(np.array(x), low=0.0), [0, 0, 0.5, 1, 3])


def test_clip_needs_a_bound() -> None:
    with pytest.raises(ValueError, match="clip: give low, high or both"):
        ng.clip(np.ones(2))


def test_numpy_scalars_as_options_do_not_promote() -> None:
    x = np.ones(3, np.float32)
    assert ng.clip(x, low=np.float64(0.1)).dtype == np.float32
    assert ng.rmsnorm(x, eps=np.float64(0.1)).dtype == np.float32


def test_abs_by_hand() -> None:
    np.testing.assert_array_equal(ng.abs(np.array([-2.0, 0.0, 3.0])), [2, 0, 3])
    [dx] = pulled(ng.abs, [-2.0, 0.0, 3.0], dy=[5, 5, 5])
    np.testing.assert_array_equal(dx, [-5, 0, 5])


def test_a_nan_passes_the_gradient_to_both_inputs() -> None:
    a, b = [np.nan, 1.0], [0.0, 0.0]
    for op in (ng.maximum, ng.minimum):
        for xs in ((a, b), (b, a)):
            assert [dx[0] for dx in pulled(op, *xs, dy=[2, 3])] == [2, 2]
    assert pulled(ng.relu, a, dy=[2, 3])[0].tolist() == [2, 3]
