"""Batches: each example once an epoch, little padding, and the same batches for the same seed."""

import itertools

import numpy as np
import pytest

from gpt.finetune.batching import (
    POOL,
    batches_by_length,
    bucketed_batches,
    epoch_order,
    pad,
    padding_share,
    shuffled_batches,
)

LENGTHS = np.random.default_rng(3).integers(1, 99, 8 * POOL * 2).tolist()


def test_padding_is_on_the_right() -> None:
    assert pad([[4, 5, 6], np.array([8])], filler=12).tolist() == [[4, 5, 6], [8, 12, 12]]


def test_an_epoch_has_every_example_once_and_the_next_another_order() -> None:
    lengths = LENGTHS[:150]
    orders = [epoch_order(lengths, 8, seed=4, epoch=epoch) for epoch in (0, 0, 1)]
    for batches in orders:
        assert sorted(np.concatenate(batches).tolist()) == list(range(150))
        assert sorted(map(len, batches)) == [6] + [8] * 18
    flat = [np.concatenate(batches).tolist() for batches in orders]
    assert flat[0] == flat[1] != flat[2]
    companions = [{frozenset(batch.tolist()) for batch in batches} for batches in orders]
    assert len(companions[0] & companions[2]) < 4  # new batches, not the same ones in another order


def test_bucketed_batches_need_little_padding() -> None:
    batches = epoch_order(LENGTHS, 8, seed=0, epoch=0)
    assert 0 < padding_share(LENGTHS, batches) < 0.06
    shuffled = np.random.default_rng(0).permutation(len(LENGTHS)).reshape(-1, 8)
    assert padding_share(LENGTHS, list(shuffled)) > 0.3
    longest = [max(LENGTHS[i] for i in batch) for batch in batches]
    assert sum(after < before for before, after in itertools.pairwise(longest)) > 5  # the short ones do not come first


def test_bucketed_batches_are_numbered_through_the_epochs() -> None:
    lengths = list(range(1, 11))
    batch = bucketed_batches(lengths, 4, seed=0)
    for epoch in range(3):
        batches = [batch(3 * epoch + i).tolist() for i in range(3)]
        assert batches == [indices.tolist() for indices in epoch_order(lengths, 4, seed=0, epoch=epoch)]
    assert batch(7).tolist() == bucketed_batches(lengths, 4, seed=0)(7).tolist()


def test_shuffled_batches_have_one_size_and_each_example_once_an_epoch() -> None:
    batch = shuffled_batches(range(10), 4, seed=5)
    drawn = np.concatenate([batch(number) for number in range(5)]).tolist()
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert drawn[:10] != drawn[10:]
    half = shuffled_batches(range(10), 2, seed=5)
    assert np.concatenate([half(number) for number in range(10)]).tolist() == drawn
    assert [len(shuffled_batches(range(3), 8, seed=5)(number)) for number in range(3)] == [8, 8, 8]  # of several epochs
    assert shuffled_batches(range(10), 4, seed=6)(0).tolist() != drawn[:4]


@pytest.mark.parametrize("make", [bucketed_batches, shuffled_batches])
def test_a_batch_follows_from_its_number_alone(make: object) -> None:
    """The order of the calls does not matter, as in a run that is resumed."""
    batches = [make(LENGTHS[:20], 3, 1)(number).tolist() for number in range(15)]  # type: ignore[operator]
    again = make(LENGTHS[:20], 3, 1)  # type: ignore[operator]
    assert [again(number).tolist() for number in reversed(range(15))] == batches[::-1]


def test_evaluation_has_every_example_once_the_shortest_first() -> None:
    batches = batches_by_length(LENGTHS, 7)
    order = np.concatenate(batches)
    assert sorted(order.tolist()) == list(range(len(LENGTHS)))
    assert np.array(LENGTHS)[order].tolist() == sorted(LENGTHS)
    assert batches_by_length([], 7) == []
