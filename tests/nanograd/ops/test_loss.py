"""cross_entropy, mse and dpo: their numbers, what they ignore, and what they refuse."""

import math
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor

# Three rows whose exponentials add up to 8: the probability of class k of row 0 is (1, 2, 5)/8
LOGITS = np.log(np.array([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0], [6.0, 1.0, 1.0]]))
TARGETS = np.array([2, 0, 1])  # of probability 5/8, 4/8, 1/8


def gradient(logits: np.ndarray, targets: Any, dy: Any = None, **options: Any) -> np.ndarray:
    leaf = Tensor(logits, requires_grad=True)
    ng.cross_entropy(leaf, targets, **options).backward(dy)
    return leaf.grad


def test_cross_entropy_by_hand() -> None:
    losses = [math.log(8 / 5), math.log(8 / 4), math.log(8 / 1)]
    np.testing.assert_allclose(ng.cross_entropy(LOGITS, TARGETS, reduction="none"), losses)
    np.testing.assert_allclose(ng.cross_entropy(LOGITS, TARGETS, reduction="sum"), sum(losses))
    np.testing.assert_allclose(ng.cross_entropy(LOGITS, TARGETS), sum(losses) / 3)
    # p - onehot, in eighths: (1, 2, 5-8), (4-8, 2, 2), (6, 1-8, 1)
    eighths = np.array([[1, 2, -3], [-4, 2, 2], [6, -7, 1]]) / 8
    np.testing.assert_allclose(gradient(LOGITS, TARGETS, reduction="sum"), eighths)
    np.testing.assert_allclose(gradient(LOGITS, TARGETS), eighths / 3)
    weights = np.array([1.0, 10.0, 100.0])
    np.testing.assert_allclose(gradient(LOGITS, TARGETS, weights, reduction="none"), eighths * weights[:, None])


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    assert ng.cross_entropy(np.zeros((4, 65)), np.arange(4)) == pytest.approx(math.log(65))


def test_cross_entropy_is_log_softmax_at_the_targets() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 7))
    targets = np.array([6, 0, 3, 3])
    by_parts = -ng.mean(ng.log_softmax(logits)[np.arange(4), targets])
    np.testing.assert_allclose(ng.cross_entropy(logits, targets), by_parts)


def test_the_mean_is_over_the_targets_that_count() -> None:
    targets = np.array([2, -100, 1])
    assert ng.cross_entropy(LOGITS, targets) == pytest.approx((math.log(8 / 5) + math.log(8)) / 2)
    dx = gradient(LOGITS, targets)
    np.testing.assert_allclose(dx, np.array([[1, 2, -3], [0, 0, 0], [6, -7, 1]]) / 16)
    none = ng.cross_entropy(LOGITS, targets, reduction="none")
    np.testing.assert_allclose(none, [math.log(8 / 5), 0, math.log(8)])


def test_ignore_index_may_be_a_class() -> None:
    assert ng.cross_entropy(LOGITS, TARGETS, ignore_index=0) == pytest.approx((math.log(8 / 5) + math.log(8)) / 2)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_if_all_targets_are_ignored_the_loss_is_zero(reduction: str) -> None:
    for logits, targets in ((LOGITS, np.full(3, -100)), (np.zeros((0, 3)), np.zeros(0, np.int64))):
        assert ng.cross_entropy(logits, targets, reduction=reduction) == 0
        np.testing.assert_array_equal(gradient(logits, targets, reduction=reduction), np.zeros(logits.shape))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_ignored_row_may_hold_anything(poison: float) -> None:
    logits = LOGITS.copy()
    logits[1] = [poison, 1, poison]
    targets = np.array([2, -100, 1])
    assert ng.cross_entropy(logits, targets) == ng.cross_entropy(LOGITS, targets)
    np.testing.assert_array_equal(gradient(logits, targets), gradient(LOGITS, targets))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_large_logits_does_not_overflow(dtype: Any) -> None:
    logits = np.array([[1e30, 0.0], [0.0, 2000.0]], dtype)
    np.testing.assert_array_equal(ng.cross_entropy(logits, np.array([0, 0]), reduction="none"), [0, 2000])


def test_a_logit_of_minus_infinity_has_probability_zero() -> None:
    logits = np.array([[0.0, -np.inf, 0.0]])
    assert ng.cross_entropy(logits, np.array([0])) == pytest.approx(math.log(2))
    np.testing.assert_allclose(gradient(logits, np.array([0])), [[-0.5, 0, 0.5]])


def test_leading_axes_index_targets() -> None:
    logits, targets = LOGITS.reshape(1, 3, 3), TARGETS.reshape(1, 3)
    assert ng.cross_entropy(logits, targets) == ng.cross_entropy(LOGITS, TARGETS)
    assert ng.cross_entropy(logits, targets, reduction="none").shape == (1, 3)
    assert ng.cross_entropy(LOGITS[0], 2) == pytest.approx(math.log(8 / 5))


ROW, TARGET = LOGITS[:1], TARGETS[:1]


def test_cross_entropy_with_label_smoothing_by_hand() -> None:
    # ε = 0.3: q = (0.1, 0.1, 0.8)
    loss = -(0.1 * math.log(1 / 8) + 0.1 * math.log(2 / 8) + 0.8 * math.log(5 / 8))
    assert ng.cross_entropy(ROW, TARGET, label_smoothing=0.3) == pytest.approx(loss)
    np.testing.assert_allclose(gradient(ROW, TARGET, label_smoothing=0.3), [[1 / 8 - 0.1, 2 / 8 - 0.1, 5 / 8 - 0.8]])
    np.testing.assert_allclose(
        gradient(ROW, TARGET, label_smoothing=1), [[1 / 8 - 1 / 3, 2 / 8 - 1 / 3, 5 / 8 - 1 / 3]]
    )


def test_z_loss_by_hand() -> None:
    s = math.log(8)
    assert ng.cross_entropy(ROW, TARGET, z_loss=0.5) == pytest.approx(math.log(8 / 5) + 0.5 * s * s)
    np.testing.assert_allclose(gradient(ROW, TARGET, z_loss=0.5), [np.array([1, 2, 5]) / 8 * (1 + s) - [0, 0, 1]])


@pytest.mark.parametrize("smoothing", [-0.1, 1.5])
def test_label_smoothing_must_lie_between_zero_and_one(smoothing: float) -> None:
    with pytest.raises(ValueError, match=rf"cross_entropy: label_smoothing must lie in \[0, 1\], got {smoothing}"):
        ng.cross_entropy(ROW, TARGET, label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "error", "message"),
    [
        (LOGITS, [0, 3, 0], {}, ValueError, r"targets must lie in \[0, 3\) or be ignore_index=-100, got 3"),
        (LOGITS, [0, -1, 0], {}, ValueError, r"targets must lie in \[0, 3\) or be ignore_index=-100, got -1"),
        (LOGITS, [0, -100, 0], {"ignore_index": -1}, ValueError, "be ignore_index=-1, got -100"),
        (LOGITS, [0, 1], {}, ValueError, r"shape of logits without its last axis.* got logits \(3, 3\) and targets \("),
        (LOGITS, [[0], [1], [2]], {}, ValueError, r"got logits \(3, 3\) and targets \(3, 1\)"),
        (np.array(1.0), 0, {}, ValueError, r"got logits \(\) and targets \(\)"),
        (LOGITS, [0.0, 1.0, 2.0], {}, TypeError, "targets must be integers, got float64"),
        (LOGITS, [True, False, True], {}, TypeError, "targets must be integers, got bool"),
        (LOGITS, [0, 1, 2], {"reduction": "avg"}, ValueError, "reduction must be mean, sum or none, got 'avg'"),
        (LOGITS, [0, 1, 2], {"ignore": 0}, TypeError, "unknown option ignore; did you mean ignore_index"),
    ],
)
def test_cross_entropy_refusals(logits: Any, targets: Any, options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=f"cross_entropy: .*{message}"):
        ng.cross_entropy(logits, targets, **options)


MSE_X, MSE_TARGET = np.array([1.0, 2.0]), np.array([4.0, 2.0])  # 3 off, and right


@pytest.mark.parametrize(
    ("reduction", "value", "gradient"), [("mean", 4.5, [-3, 0]), ("sum", 9, [-6, 0]), ("none", [9, 0], [-6, 0])]
)
def test_mse_by_hand(reduction: str, value: object, gradient: list[float]) -> None:
    x, target = Tensor(MSE_X, requires_grad=True), Tensor(MSE_TARGET, requires_grad=True)
    y = ng.mse(x, target, reduction=reduction)
    np.testing.assert_array_equal(y.data, value)
    dy = np.array([10.0, 100.0]) if y.shape else np.array(10.0)
    y.backward(dy)
    np.testing.assert_array_equal(x.grad, np.multiply(dy, gradient))
    np.testing.assert_array_equal(target.grad, -np.multiply(dy, gradient))


def test_the_mse_of_no_entries_is_zero() -> None:
    assert ng.mse(np.ones((0, 2)), np.ones((0, 2))) == 0


def test_mse_refusals() -> None:
    with pytest.raises(ValueError, match=r"mse: x and target must have one shape, got \(2,\) and \(2, 1\)"):
        ng.mse(MSE_X, MSE_TARGET[:, None])
    with pytest.raises(ValueError, match="mse: reduction must be mean, sum or none, got 'avg'"):
        ng.mse(MSE_X, MSE_TARGET, reduction="avg")


# dpo, β = 1. First pair: chosen gained 2 over the reference and rejected lost 1, m = 3. Second: nothing moved, m = 0.
CHOSEN, REJECTED = np.array([-4.0, -7.0]), np.array([-6.0, -2.0])
REFERENCE_CHOSEN, REFERENCE_REJECTED = np.array([-6.0, -7.0]), np.array([-5.0, -2.0])
FOUR = (CHOSEN, REJECTED, REFERENCE_CHOSEN, REFERENCE_REJECTED)
COSTS = np.array([math.log(1 + math.exp(-3)), math.log(2)])  # 0.0486 and 0.6931
LOSES = np.array([1 / (1 + math.exp(3)), 0.5])  # 1 - p


def leaves(dtype: type = np.float64) -> list[Tensor]:
    return [Tensor(array.astype(dtype), requires_grad=True) for array in FOUR]


@pytest.mark.parametrize(("reduction", "value", "n"), [("mean", COSTS.mean(), 2), ("sum", COSTS.sum(), 1)])
def test_dpo_by_hand(reduction: str, value: float, n: int) -> None:
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


def test_dpo_with_label_smoothing() -> None:
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


def test_dpo_refusals() -> None:
    with pytest.raises(
        ValueError, match=r"must have one shape, one entry per pair, got \(2,\), \(1,\), \(2,\) and \(2,\)"
    ):
        ng.dpo(CHOSEN, REJECTED[:1], CHOSEN, CHOSEN)
    with pytest.raises(ValueError, match="dpo: reduction must be mean, sum or none, got 'avg'"):
        ng.dpo(*FOUR, reduction="avg")
    with pytest.raises(ValueError, match=r"dpo: label_smoothing must lie in \[0, 1\], got 1.5"):
        ng.dpo(*FOUR, label_smoothing=1.5)


@pytest.mark.parametrize("pair", ["readable", "fast"])
@pytest.mark.parametrize("op", ["cross_entropy", "linear_cross_entropy"])
def test_a_target_without_any_probability_is_refused(op: str, pair: str) -> None:
    logits, targets = np.array([[0.0, 1.0], [-np.inf, -np.inf]]), np.array([0, 1])

    def loss(targets: np.ndarray) -> Any:
        if op == "cross_entropy":
            return ng.cross_entropy(logits, targets)
        return ng.linear_cross_entropy(np.array([[0.5], [-np.inf]]), np.ones((2, 1)), targets)

    with ng.op.context(readable=pair == "readable"):
        with pytest.raises(ValueError, match=r"all logits of row 1 are -∞.*ignore_index"):
            loss(targets)
        assert np.isfinite(loss(np.array([0, -100])))
