"""dropout: same seed, same mask; the mean stays."""

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor
from nanograd.ops.dropout import KeepMasks, keep_mask

ONES = np.ones((64, 64), np.float32)


def test_kept_entries_are_scaled_by_one_over_one_minus_p() -> None:
    y = ng.dropout(ONES, p=0.75, seed=0)
    assert set(np.unique(y)) == {0.0, 4.0}  # 1/(1 - 3/4)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_stays(p: float) -> None:
    y = ng.dropout(np.ones(40_000), p=p, seed=1)
    sigma = (p * (1 - p) / 40_000) ** 0.5
    assert abs((y == 0).mean() - p) < 4 * sigma
    assert abs(y.mean() - 1) < 4 * sigma / (1 - p)


def test_the_same_seed_draws_the_same_mask_and_another_seed_another() -> None:
    first = ng.dropout(ONES, p=0.5, seed=3)
    np.testing.assert_array_equal(first, ng.dropout(ONES, p=0.5, seed=3))
    assert 0.4 < (first != ng.dropout(ONES, p=0.5, seed=4)).mean() < 0.6


def test_the_mask_depends_on_neither_dtype_nor_layout() -> None:
    base = ng.dropout(ONES, p=0.5, seed=3)
    np.testing.assert_array_equal(base, ng.dropout(ONES.astype(np.float64), p=0.5, seed=3))
    np.testing.assert_array_equal(base, ng.dropout(np.asfortranarray(ONES), p=0.5, seed=3))
    np.testing.assert_array_equal(base, ng.dropout(ONES.reshape(-1), p=0.5, seed=3).reshape(64, 64))


def test_neighbours_are_drawn_independently() -> None:
    """The four entries of one 64-bit word must not share their fate."""
    z = keep_mask((10_000, 4), 0.5, 5, np.dtype(np.float64)) - 1  # ±1
    assert np.abs((z.T @ z) / 10_000 - np.eye(4)).max() < 0.05


def test_backward_uses_the_mask_of_forward() -> None:
    x = Tensor(np.random.default_rng(0).standard_normal((8, 8)), requires_grad=True)
    y = ng.dropout(x, p=0.5, seed=2)
    dy = np.random.default_rng(1).standard_normal((8, 8))
    y.backward(dy)
    z = y.data / x.data
    np.testing.assert_array_equal(x.grad, dy * z)
    assert {0.0, 2.0} == set(np.unique(z))


def test_p_zero_keeps_everything_to_the_bit() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.testing.assert_array_equal(ng.dropout(x, p=0.0, seed=0), x)
    assert keep_mask((500_000,), 0.0, 0, np.dtype(np.float32)).all()  # each 16-bit number comes up several times


@pytest.mark.parametrize("p", [1.0, -0.1, 1.5, float("nan")])
def test_p_must_lie_between_zero_and_one(p: float) -> None:
    with pytest.raises(ValueError, match=r"dropout: p is the share of entries to drop, it must lie in \[0, 1\), got"):
        ng.dropout(ONES, p=p, seed=0)


def test_p_and_seed_are_required() -> None:
    with pytest.raises(TypeError, match=r"dropout.*'p' and 'seed'"):
        ng.dropout(ONES)


def test_masks_drawn_one_after_another_are_one_large_mask() -> None:
    """Attention draws the masks of a group of heads at a time, also of groups that are no multiple of four entries."""
    masks = KeepMasks(0.3, 7)
    drawn = [masks((size,)) for size in (1, 3, 5, 2, 10, 4, 7)]
    np.testing.assert_array_equal(np.concatenate(drawn), KeepMasks(0.3, 7)((32,)))
