"""mse."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

X, TARGET = np.array([1.0, 2.0]), np.array([4.0, 2.0])  # 3 off, and right


@pytest.mark.parametrize(
    ("reduction", "value", "gradient"), [("mean", 4.5, [-3, 0]), ("sum", 9, [-6, 0]), ("none", [9, 0], [-6, 0])]
)
def test_by_hand(reduction: str, value: object, gradient: list[float]) -> None:
    x, target = Tensor(X, requires_grad=True), Tensor(TARGET, requires_grad=True)
    y = ng.mse(x, target, reduction=reduction)
    np.testing.assert_array_equal(y.data, value)
    dy = np.array([10.0, 100.0]) if y.shape else np.array(10.0)
    y.backward(dy)
    np.testing.assert_array_equal(x.grad, np.multiply(dy, gradient))
    np.testing.assert_array_equal(target.grad, -np.multiply(dy, gradient))


def test_the_loss_of_no_entries_is_zero() -> None:
    assert ng.mse(np.ones((0, 2)), np.ones((0, 2))) == 0


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"mse: x and target must have one shape, got \(2,\) and \(2, 1\)"):
        ng.mse(X, TARGET[:, None])
    with pytest.raises(ValueError, match="mse: reduction must be mean, sum or none, got 'avg'"):
        ng.mse(X, TARGET, reduction="avg")
