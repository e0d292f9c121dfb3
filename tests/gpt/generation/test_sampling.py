"""From logits to a token: every rule from numbers worked out by hand, then what holds for all."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.generation.sampling import (
    TOP_P_CANDIDATES,
    divide_by_temperature,
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    next_token_probabilities,
    penalise_repetition,
    top_k_ids,
)

HALF = np.log([0.5, 0.25, 0.15, 0.1])


def test_the_model_itself_at_temperature_one() -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(HALF + 700), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)


def test_temperature_takes_probabilities_to_a_power() -> None:
    # At ½ they are squared: 0.25, 0.0625, 0.0225, 0.01 of 0.345.
    expected = np.array([0.25, 0.0625, 0.0225, 0.01]) / 0.345
    np.testing.assert_allclose(next_token_probabilities(HALF, temperature=0.5), expected, rtol=1e-12)
    assert next_token_probabilities(HALF, temperature=100.0).max() < 0.26  # nearly even
    np.testing.assert_allclose(next_token_probabilities(HALF, temperature=0.01), [1, 0, 0, 0], atol=1e-12)


def test_temperature_zero_takes_the_first_largest() -> None:
    np.testing.assert_array_equal(next_token_probabilities(HALF[::-1], temperature=0), [0, 0, 0, 1])
    np.testing.assert_array_equal(next_token_probabilities(np.array([1.0, 3, 3]), temperature=0), [0, 1, 0])


def test_top_k_keeps_the_k_most_probable() -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF, top_k=2), [2 / 3, 1 / 3, 0, 0], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(HALF[::-1], top_k=2), [0, 0, 1 / 3, 2 / 3], rtol=1e-12)
    np.testing.assert_array_equal(next_token_probabilities(HALF, top_k=1), [1, 0, 0, 0])
    for k in (4, 100):
        np.testing.assert_allclose(next_token_probabilities(HALF, top_k=k), [0.5, 0.25, 0.15, 0.1], rtol=1e-12)
    np.testing.assert_allclose(next_token_probabilities(np.zeros(3), top_k=2), [0.5, 0.5, 0])  # of equals, the first


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.0, [1, 0, 0, 0]),  # one always stays
        (0.4, [1, 0, 0, 0]),
        (0.6, [2 / 3, 1 / 3, 0, 0]),  # 0.5 is not enough, 0.75 is
        (0.8, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        (0.95, [0.5, 0.25, 0.15, 0.1]),
        (1.0, [0.5, 0.25, 0.15, 0.1]),
    ],
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, expected: list[float]) -> None:
    np.testing.assert_allclose(next_token_probabilities(HALF, top_p=p), expected, rtol=1e-12)
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(next_token_probabilities(HALF[order], top_p=p), np.array(expected)[order], rtol=1e-12)


def test_what_reaches_p_exactly_is_enough() -> None:
    even = np.zeros(4)  # powers of two, which floats hold: ½ is reached by two of ¼
    np.testing.assert_array_equal(next_token_probabilities(even, top_p=0.5), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(next_token_probabilities(even, top_p=0.51), [1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    ("probabilities", "p", "n"),
    [
        ([0.3, 0.1, 0.1, 0.5], 0.8, 2),  # 0.5 + 0.3 is 0.7999… in float64
        ([0.7, 0.2, 0.1], 0.9, 2),
        ([0.1] * 10, 0.3, 3),
        ([0.5, 0.25, 0.125, 0.125], 0.75, 2),
        ([0.7, 0.2, 0.1], 0.9001, 3),
    ],
)
def test_top_p_takes_no_token_more_where_a_sum_is_p(probabilities: list[float], p: float, n: int) -> None:
    assert np.count_nonzero(next_token_probabilities(np.log(probabilities), top_p=p)) == n


def test_temperature_comes_first_then_top_k_then_top_p() -> None:
    # Squared, the three highest are 0.25, 0.0625, 0.0225 of 0.335: 0.746, 0.187, 0.067. Two reach 0.9, one does not.
    p = next_token_probabilities(HALF, temperature=0.5, top_k=3, top_p=0.9)
    np.testing.assert_allclose(p, [0.8, 0.2, 0, 0], rtol=1e-12)
    # 0.5 of the two that top_k leaves is 2/3: enough for 0.6, though it is not enough of all four.
    np.testing.assert_array_equal(next_token_probabilities(HALF, top_k=2, top_p=0.6), [1, 0, 0, 0])


def test_float32_logits_are_taken_as_they_are_and_not_changed() -> None:
    logits = HALF.astype(np.float32)
    before = logits.copy()
    p = next_token_probabilities(logits, temperature=0.5, top_k=2, top_p=0.9)
    assert p.dtype == np.float64
    np.testing.assert_array_equal(logits, before)


# Min-p


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (0.0, 4),  # off
        (0.15, 4),  # a tenth is a fifth of a half
        (0.25, 3),  # 0.15 is 0.3 of a half
        (0.31, 2),
        (0.51, 1),
        (1.0, 1),  # the most probable token always remains
    ],
)
def test_min_p_keeps_tokens_near_the_highest_probability(p: float, kept: int) -> None:
    expected = np.where(np.arange(4) < kept, [0.5, 0.25, 0.15, 0.1], 0)
    np.testing.assert_allclose(next_token_probabilities(HALF, min_p=p), expected / expected.sum(), rtol=1e-12)


def test_min_p_keeps_what_is_exactly_there() -> None:
    z = np.array([0.0, np.log(0.25), np.log(0.25) - 1e-9, 0.0])
    np.testing.assert_array_equal(keep_min_p(z, 0.25), [0, np.log(0.25), -np.inf, 0])
    np.testing.assert_array_equal(keep_min_p(np.zeros(3), 1.0), np.zeros(3))  # equals all stay


def test_min_p_comes_after_temperature_and_top_p() -> None:
    # Squared: 0.25, 0.0625, 0.0225, 0.01. 0.0625 is a quarter of the largest, though 0.25 is half of 0.5.
    np.testing.assert_array_equal(next_token_probabilities(HALF, temperature=0.5, min_p=0.3), [1, 0, 0, 0])
    # top_p=0.7 leaves 2 of them, of which min_p=0.1 takes none; alone it would leave 4.
    np.testing.assert_allclose(next_token_probabilities(HALF, top_p=0.7, min_p=0.1), [2 / 3, 1 / 3, 0, 0], rtol=1e-12)
    assert np.count_nonzero(next_token_probabilities(HALF, min_p=0.1)) == 4


# Repetition


def test_the_penalty_makes_what_was_seen_less_likely_on_both_sides_of_zero() -> None:
    z = np.array([3.0, 3.0, -2.0, -2.0, 0.0])
    np.testing.assert_array_equal(penalise_repetition(z, [0, 2, 4], 1.5), [2, 3, -3, -2, 0])
    np.testing.assert_array_equal(penalise_repetition(z, [0, 0, 0], 1.5), [2, 3, -2, -2, 0])  # once, however often
    np.testing.assert_array_equal(penalise_repetition(z, [], 1.5), z)
    np.testing.assert_array_equal(penalise_repetition(z, [0, 2], 1.0), z)
    np.testing.assert_array_equal(z, [3, 3, -2, -2, 0])


def test_the_penalty_comes_first() -> None:
    # Greedy takes token 1, once 2 / 1.5 is below 1.5.
    z = np.array([2.0, 1.5, -9.0])
    np.testing.assert_array_equal(
        next_token_probabilities(z, temperature=0, repetition_penalty=1.5, seen=[0]), [0, 1, 0]
    )
    np.testing.assert_array_equal(next_token_probabilities(z, temperature=0, repetition_penalty=1.5), [1, 0, 0])
    # Of logits 2 / 2 = 1 and 1.5, half the temperature makes 2 and 3: e² to e³.
    p = next_token_probabilities(z, temperature=0.5, top_k=2, repetition_penalty=2.0, seen=[0])
    np.testing.assert_allclose(p, [1 / (1 + np.e), np.e / (1 + np.e), 0], rtol=1e-12)


# The edges


@pytest.mark.parametrize("lost", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_lost_weights_are_named(lost: float, temperature: float) -> None:
    for z in ([0.0, lost], [lost, 0.0], [lost, lost]):
        with pytest.raises(ValueError, match="logits are not finite, so its weights are damaged; use"):
            next_token_probabilities(np.array(z), temperature=temperature)
        with pytest.raises(ValueError, match="logits are not finite"):
            log_probabilities(np.array([z, [0.0, 0.0]]))


def test_a_token_at_minus_infinity_is_never_drawn_and_one_must_be_above_it() -> None:
    z = np.array([-np.inf, 0.0, -np.inf])
    for options in ({}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}, {"temperature": 0}):
        np.testing.assert_array_equal(next_token_probabilities(z, **options), [0, 1, 0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="logits are not finite"):
        next_token_probabilities(np.full(3, -np.inf))


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-30, 1e30])
def test_no_temperature_overflows(temperature: float) -> None:
    p = next_token_probabilities(np.array([1e30, 3e38, -3e38], np.float32), temperature=temperature)
    assert abs(p.sum() - 1) < 1e-12
    assert p.argmax() == 1


def test_a_rule_leaves_its_logits_as_they_are() -> None:
    z = HALF.copy()
    for changed in (keep_top_k(z, 1), keep_top_p(z, 0.1), keep_min_p(z, 0.9), divide_by_temperature(z, 0.5)):
        assert changed is not z
        np.testing.assert_array_equal(z, HALF)


def test_top_p_looks_as_far_as_it_must() -> None:
    K = TOP_P_CANDIDATES
    V = 9 * K
    for kept in (1, K - 1, K, K + 1, 8 * K, 8 * K + 1, V - 1):
        p = next_token_probabilities(np.zeros(V), top_p=(kept - 0.5) / V)  # of equals, the first
        np.testing.assert_array_equal(np.flatnonzero(p), np.arange(kept))
    z = np.random.default_rng(0).permutation(V) / V  # without equals
    for top_p in (0.05, 0.15, 0.2, 0.5, 0.95):
        p = np.sort(np.exp(z) / np.exp(z).sum())[::-1]
        kept = int(np.count_nonzero(p.cumsum() < top_p)) + 1
        assert np.count_nonzero(next_token_probabilities(z, top_p=top_p)) == kept
        assert (kept < K) == (top_p < 0.2)
    order = np.argsort(-z)
    np.testing.assert_array_equal(top_k_ids(z, 10), order[:10])
    np.testing.assert_array_equal(np.flatnonzero(next_token_probabilities(z, top_k=300)), np.sort(order[:300]))


def test_a_token_is_drawn_where_the_number_falls() -> None:
    p = np.array([0.0, 0.25, 0.0, 0.75, 0.0])
    assert [draw(p, u) for u in (0.0, 0.2499, 0.25, 0.9999, 1 - 2**-53)] == [1, 1, 3, 3, 3]
    third = np.full(3, 1 / 3)
    third /= 1.0000001  # rounding may leave a sum below 1: still no number falls outside
    assert draw(third, 1 - 2**-53) == 2


def test_a_draw_is_that_of_choice() -> None:
    p = next_token_probabilities(np.random.default_rng(0).standard_normal(100), top_k=20)
    for seed in range(50):
        assert draw(p, np.random.default_rng(seed).random()) == np.random.default_rng(seed).choice(100, p=p)


def test_log_probabilities_of_rows() -> None:
    z = np.log([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]).astype(np.float32) + np.float32(50)
    np.testing.assert_allclose(np.exp(log_probabilities(z)), [[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], rtol=1e-5)
    assert log_probabilities(z).dtype == np.float64


# What holds for all


# Eighths: of two that differ by less than rounding, neither needs to be the likelier.
EIGHTHS = st.integers(-400, 400) | st.integers(-2, 2)
LOGITS = st.lists(EIGHTHS.map(lambda n: n / 8), min_size=1, max_size=12).map(np.array)


@settings(deadline=None)
@given(LOGITS, st.floats(0.05, 5), st.integers(1, 14), st.floats(0, 1), st.floats(0, 1), st.sets(st.integers(0, 11)))
def test_whatever_is_asked_it_is_a_distribution(
    z: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float, seen: set[int]
) -> None:
    p = next_token_probabilities(
        z,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=1.3,
        seen=[id for id in seen if id < len(z)],
    )
    assert p.shape == z.shape
    assert (p >= 0).all()
    assert abs(p.sum() - 1) < 1e-12
    assert np.count_nonzero(p) <= top_k
    if not seen:
        assert p[z.argmax()] == p.max()


@settings(deadline=None)
@given(LOGITS, st.floats(0.05, 5), st.none() | st.integers(1, 14), st.none() | st.floats(0, 1), st.floats(0, 1))
def test_who_has_the_greater_logit_is_not_less_likely(
    z: np.ndarray, temperature: float, top_k: int | None, top_p: float | None, min_p: float
) -> None:
    p = next_token_probabilities(z, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    order = np.argsort(-z, kind="stable")
    assert (np.diff(p[order]) <= 1e-15).all()


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=10), st.integers(0, 100))
def test_the_kept_are_the_fewest_that_reach_p(weights: list[int], percent: int) -> None:
    # Whole numbers are not rounded: what is kept has percent/100 of the total, and one fewer has not. A sum that
    # is exactly p may fall on either side in floats, where p or the probabilities have no exact binary form.
    kept = np.flatnonzero(np.isfinite(keep_top_p(np.log(weights), percent / 100)))
    inside = sorted((weights[i] for i in kept), reverse=True)
    p, total = Fraction(percent, 100), sum(weights)
    tiny = Fraction(1, 10**9)
    assert Fraction(sum(inside), total) >= p - tiny
    assert len(inside) == 1 or Fraction(sum(inside[:-1]), total) < p + tiny
    assert inside == sorted(weights, reverse=True)[: len(inside)]


@settings(deadline=None)
@given(LOGITS, st.integers(1, 14))
def test_the_top_k_are_those_that_a_sort_puts_first(z: np.ndarray, k: int) -> None:
    kept = np.flatnonzero(np.isfinite(keep_top_k(z, k)))
    assert kept.tolist() == sorted(np.argsort(-z, kind="stable")[:k].tolist())
