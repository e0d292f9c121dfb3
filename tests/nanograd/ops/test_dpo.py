"""dpo, with numbers worked out by hand."""

import math

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

# β = 1. First pair: chosen gained 2 over the reference and rejected lost 1, m = 3. Second: nothing moved, m = 0.
CHOSEN, REJECTED = np.array([-4.0, -7.0]), np.array([-6.0, -2.0])
REFERENCE_CHOSEN, REFERENCE_REJECTED = np.array([-6.0, -7.0]), np.array([-5.0, -2.0])
FOUR = (CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED)
COSTS = np.array([math.log(1 + math.exp(-3)), math.log(2)])  # 0.0486 and 0.6931
LOSES = np.array([1 / (1 + math.exp(3)), 0.5])  # 1 - p


def leaves(dtype: type = np.float64) -> list[Tensor]:
    return [Tensor(array.astype(dtype), requires_grad=True) for array in FOUR]


@pytest.mark.parametrize(("reduction", "value", "n"), [("mean", COSTS.mean(), 2), ("sum", COSTS.sum(), 1)])
def test_by_hand(reduction: str, value: float, n: int) -> None:
    four = leaves()
    y = ng.dpo(*four, beta=1.0, reduction=reduction)
    assert y.item() == pytest.approx(value, abs=1e-15)
    y.backward(np.array(3.0))
    for leaf, sign in zip(four, (-1, 1, 1, -1), strict=True):
        np.testing.assert_allclose(leaf.grad, sign * 3 * LOSES / n, rtol=1e-14)


def test_without_reduction_every_pair_has_its_loss_and_cotangent() -> None:
    four = leaves()
    y = ng.dpo(*four, beta=1.0, reduction="none")
    np.testing.assert_allclose(y.data, COSTS, rtol=1e-14)
    y.backward(np.array([5.0, -2.0]))
    np.testing.assert_allclose(four[0].grad, [-5 * LOSES[0], 1.0], rtol=1e-14)


def test_beta_scales_margin_and_gradient() -> None:
    four = leaves()
    ng.dpo(*four, beta=0.5, reduction="sum").backward()
    np.testing.assert_allclose(four[0].grad, [-0.5 / (1 + math.exp(1.5)), -0.25], rtol=1e-14)


def test_the_loss_of_the_reference_itself_is_ln_2() -> None:
    assert ng.dpo(CHOSEN, REJECTED, CHOSEN, REJECTED) == pytest.approx(math.log(2))


def test_label_smoothing() -> None:
    """With ε = 1/4 and p = 0.9526 the first pair costs ¾·0.0486 + ¼·3.0486, and its derivative is ¼ p - ¾ (1 - p)."""
    four = leaves()
    y = ng.dpo(*four, beta=1.0, label_smoothing=0.25, reduction="none")
    np.testing.assert_allclose(y.data, [COSTS[0] + 0.75, COSTS[1]], rtol=1e-14)
    y.backward(np.array([1.0, 10.0]))
    np.testing.assert_allclose(four[0].grad, [0.25 - LOSES[0], -2.5], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_margins_stay_finite(dtype: type) -> None:
    zero = np.zeros(2, dtype)
    chosen = Tensor(np.array([1000, -1000], dtype), requires_grad=True)
    y = ng.dpo(chosen, zero, zero, zero, beta=1.0, reduction="none")
    assert y.data.tolist() == [0, 1000]
    y.backward(np.array([1, 2], dtype))
    assert chosen.grad is not None
    assert chosen.grad.dtype == dtype
    assert chosen.grad.tolist() == [0, -2]


def test_small_gradients_are_exact_in_float32() -> None:
    """At m = 20 the derivative is -2e-9: 1 - p would be 0."""
    chosen = Tensor(np.array([20], np.float32), requires_grad=True)
    zero = np.zeros(1, np.float32)
    ng.dpo(chosen, zero, zero, zero, beta=1.0).backward()
    assert chosen.grad is not None
    assert chosen.grad[0] == pytest.approx(-1 / (1 + math.exp(20)), rel=1e-6)


def test_the_loss_of_no_pairs_is_zero() -> None:
    none = Tensor(np.zeros(0), requires_grad=True)
    y = ng.dpo(none, none, none, none)
    y.backward()
    assert y.item() == 0
    assert none.grad is not None
    assert none.grad.shape == (0,)


def test_a_frozen_reference_gets_no_gradient() -> None:
    chosen, rejected = (Tensor(array, requires_grad=True) for array in FOUR[:2])
    reference = [Tensor(array) for array in FOUR[2:]]
    ng.dpo(chosen, rejected, *reference).backward()
    assert all(array.grad is None for array in reference)
    assert chosen.grad is not None
    np.testing.assert_array_equal(rejected.grad, -chosen.grad)


def test_refusals() -> None:
    with pytest.raises(
        ValueError, match=r"must have one shape, one entry per pair, got \(2,\), \(1,\), \(2,\) and \(2,\)"
    ):
        ng.dpo(CHOSEN, REJECTED[:1], CHOSEN, CHOSEN)
    with pytest.raises(ValueError, match="dpo: reduction must be mean, sum or none, got 'avg'"):
        ng.dpo(*FOUR, reduction="avg")
    with pytest.raises(ValueError, match=r"dpo: label_smoothing must lie in \[0, 1\], got 1.5"):
        ng.dpo(*FOUR, label_smoothing=1.5)
