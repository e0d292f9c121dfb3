"""Tests of gpt/data/batches.py: random windows, epochs with each window once, every token a target once."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.config import TrainConfig
from gpt.data.batches import (
    IGNORE,
    check_length,
    consecutive_batches,
    count_windows,
    document_starts,
    document_windows,
    draw_batch,
    epoch_batch,
    feistel_order,
    permutation_order,
    random_batch,
    take_windows,
)
from gpt.data.dataset import Shards
from nanograd.seeds import DATA, generator

Order = Callable[[np.ndarray, int, int, int], np.ndarray]

# Random batches


def test_targets_are_the_ids_one_step_later() -> None:
    tokens = np.arange(100, dtype=np.uint16) * 3
    ids, targets = random_batch(tokens, 4, 7, np.random.default_rng(0))
    assert ids.shape == targets.shape == (4, 7)
    assert ids.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(np.diff(ids), 3)
    np.testing.assert_array_equal(targets, ids + 3)


def test_the_same_generator_draws_the_same_batch() -> None:
    def draw(seed: int) -> np.ndarray:
        return random_batch(np.arange(1000), 4, 7, np.random.default_rng(seed))[0]

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_every_window_is_drawn_the_first_and_the_last_too() -> None:
    ids, targets = random_batch(np.arange(10), 200, 7, np.random.default_rng(0))
    assert set(ids[:, 0].tolist()) == {0, 1, 2}  # windows of 8 in 10
    assert targets.max() == 9


def test_a_text_of_one_window_is_enough() -> None:
    ids, targets = random_batch(np.arange(4), 2, 3, np.random.default_rng(0))
    assert ids.tolist() == [[0, 1, 2]] * 2
    assert targets.tolist() == [[1, 2, 3]] * 2


def test_check_length_says_what_is_missing() -> None:
    check_length("training", np.arange(9), 8)
    with pytest.raises(
        ValueError,
        match=r"data: the training text has 8 tokens, and a window needs context_length \+ 1 = 9; "
        "give more text or a smaller --context-length",
    ):
        check_length("training", np.arange(8), 8)


# Windows


@pytest.mark.parametrize(
    ("n", "context_length", "stride", "expected"),
    [(10, 3, 1, 7), (10, 3, 3, 3), (10, 3, 6, 2), (9, 3, 6, 1), (4, 3, 9, 1), (3, 3, 1, 0), (0, 3, 1, 0)],
)
def test_windows_are_counted(n: int, context_length: int, stride: int, expected: int) -> None:
    assert count_windows(np.arange(n), context_length, stride) == expected
    starts = [s for s in range(0, n, stride) if s + context_length < n]  # those that have their last target
    assert len(starts) == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=9), st.integers(1, 6), st.integers(1, 8))
def test_windows_of_shards_are_slices_of_the_whole(sizes: list[int], context_length: int, stride: int) -> None:
    whole = np.arange(sum(sizes), dtype=np.uint16) * 7 % 31
    shards = Shards(np.split(whole, np.cumsum(sizes)[:-1]))
    n = count_windows(whole, context_length, stride)
    assert count_windows(shards, context_length, stride) == n
    if n:
        starts = np.arange(n) * stride
        ids, targets = take_windows(shards, starts, context_length)
        for row, start in enumerate(starts):
            assert ids[row].tolist() == whole[start : start + context_length].tolist()
            assert targets[row].tolist() == whole[start + 1 : start + 1 + context_length].tolist()


def test_random_windows_are_those_of_the_generator_of_the_step() -> None:
    config = TrainConfig(seed=3, batch_size=4)
    expected = random_batch(np.arange(100), 4, 7, generator(3, DATA, 5, 1))
    np.testing.assert_array_equal(draw_batch(np.arange(100), 7, config, step=5, micro=1), expected)


def test_random_windows_begin_at_the_stride() -> None:
    config = TrainConfig(batch_size=300, stride=4)
    ids, _ = draw_batch(np.arange(30), 7, config, step=0)
    assert set(ids[:, 0].tolist()) == {0, 4, 8, 12, 16, 20}  # 22 is the last start with 8 tokens


# Epochs


def test_the_smallest_epochs() -> None:
    assert feistel_order(np.array([0]), 1, seed=0, epoch=0).tolist() == [0]
    assert sorted(feistel_order(np.arange(2), 2, seed=0, epoch=0).tolist()) == [0, 1]


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32 - 1), st.integers(0, 2**40))
def test_an_epoch_has_every_window_once(n: int, seed: int, epoch: int) -> None:
    assert np.bincount(feistel_order(np.arange(n), n, seed, epoch), minlength=n).tolist() == [1] * n


@settings(deadline=None)
@given(st.integers(1, 10**12), st.lists(st.integers(0, 10**12), min_size=1, max_size=50, unique=True))
def test_positions_of_an_epoch_that_does_not_fit_into_memory(n: int, positions: list[int]) -> None:
    some = np.array(sorted({position % n for position in positions}))
    indices = feistel_order(some, n, seed=1, epoch=2)
    assert len(set(indices.tolist())) == len(some)
    assert 0 <= indices.min() <= indices.max() < n
    one_by_one = [int(feistel_order(some[i : i + 1], n, seed=1, epoch=2)[0]) for i in range(len(some))]
    assert indices.tolist() == one_by_one  # an index does not depend on the other positions asked for


@pytest.mark.parametrize("n", [5, 9, 64, 1000])
def test_epochs_look_random(n: int) -> None:
    orders = np.array([feistel_order(np.arange(n), n, seed=0, epoch=epoch) for epoch in range(400)])
    assert len(np.unique(orders[:, :8], axis=0)) >= (80 if n == 5 else 399)  # 5 windows have 120 orders
    for column in (0, n // 2, n - 1):  # where a window goes: uniform, by a chi-square of 5 classes and 4.5 sigma
        counts = np.histogram(orders[:, column], bins=5, range=(0, n))[0]
        expected = np.histogram(np.arange(n), bins=5, range=(0, n))[0] * 400 / n
        assert ((counts - expected) ** 2 / expected).sum() < 4 + 4.5 * np.sqrt(8)
    if n >= 64:
        correlation = np.corrcoef(orders[:, :-1].ravel(), orders[:, 1:].ravel())[0, 1]
        assert abs(correlation + 1 / (n - 1)) < 5 / np.sqrt(orders.size)  # of neighbours


@pytest.mark.parametrize("n", [1, 5, 14])
@pytest.mark.parametrize("order", [feistel_order, permutation_order])
def test_batches_go_through_epoch_after_epoch(order: Order, n: int) -> None:
    indices = np.concatenate([epoch_batch(order, n, 4, 3, number) for number in range(n)])  # four epochs
    for epoch, drawn in enumerate(indices.reshape(4, n)):
        np.testing.assert_array_equal(drawn, order(np.arange(n), n, 3, epoch))
        assert sorted(drawn.tolist()) == list(range(n))


def test_a_permutation_is_that_of_the_generator_of_the_epoch() -> None:
    expected = generator(3, DATA, 2).permutation(20)
    np.testing.assert_array_equal(permutation_order(np.array([19, 0, 7]), 20, seed=3, epoch=2), expected[[19, 0, 7]])


@pytest.mark.parametrize(("batch_size", "grad_accum_steps"), [(1, 1), (4, 1), (3, 2), (50, 1)])
def test_steps_go_through_epoch_after_epoch(batch_size: int, grad_accum_steps: int) -> None:
    config = TrainConfig(sampling="epochs", batch_size=batch_size, grad_accum_steps=grad_accum_steps, seed=7)
    tokens = np.arange(100)  # of windows of 7 + 1, beginning every 7: 14
    drawn: list[int] = []
    for step in range(-(-3 * 14 // (batch_size * grad_accum_steps))):
        for micro in range(grad_accum_steps):
            ids, targets = draw_batch(tokens, 7, config, step, micro)
            np.testing.assert_array_equal(targets, ids + 1)
            drawn += ids[:, 0].tolist()
    epochs = [drawn[i : i + 14] for i in (0, 14, 28)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(0, 98, 7))
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[2])


def test_an_epoch_of_overlapping_windows() -> None:
    config = TrainConfig(sampling="epochs", batch_size=45, stride=2)
    ids, _ = draw_batch(np.arange(96), 7, config, step=0)
    assert sorted(ids[:, 0].tolist()) == list(range(0, 90, 2))  # 88 + 7 is the last target


@pytest.mark.parametrize("sampling", ["random", "epochs"])
def test_another_seed_draws_other_windows(sampling: str) -> None:
    first, second = (
        draw_batch(np.arange(1000), 7, TrainConfig(sampling=sampling, seed=seed), step=0)[0] for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_another_sampling_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling must be random or epochs, got 'epoch'"):
        TrainConfig(sampling="epoch")


# Documents


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.integers(1, 12))
def test_windows_begin_at_documents(ids: list[int], context_length: int) -> None:
    """By definition: a border is at 0, at each token 0, and at the last token. A document is from border to border."""
    n = len(ids) - 1
    borders = [0, *(i for i in range(1, n) if ids[i] == 0), n]
    starts = document_windows(np.array(ids, np.uint16), context_length, begin=0).tolist()
    ends = [*starts[1:], n]
    assert starts[0] == 0
    for start, end in zip(starts, ends, strict=True):
        assert 0 < end - start <= context_length
        assert end in borders or end - start == context_length  # only a document of more than that is divided
    for begin, end in itertools.pairwise(borders):
        inside = [start for start in starts if begin < start < end]
        if end - begin <= context_length:
            assert inside == []  # a document that fits into a window is whole in one
        else:
            assert begin in starts
            assert inside == list(range(begin + context_length, end, context_length))
    for start, end in zip(starts, ends, strict=True):
        if end < n and ids[end] == 0:  # the next document would not have fitted
            assert borders[borders.index(end) + 1] > start + context_length
    np.testing.assert_array_equal(document_windows(Shards(np.array_split(ids, 3)), context_length, 0), starts)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=80), st.integers(1, 5), st.integers(1, 12))
def test_documents_that_are_kept_apart_have_the_same_targets(ids: list[int], batch_size: int, T: int) -> None:
    tokens = np.array(ids, np.uint16)
    starts = document_windows(tokens, T, begin=0)
    batches = list(consecutive_batches(tokens, batch_size, T, None, starts))
    targets = [target for _, rows in batches for target in rows[rows != IGNORE].tolist()]
    assert targets == ids[1:]


def test_windows_of_documents_are_drawn() -> None:
    tokens, starts = np.arange(100), np.array([0, 5, 11, 90])
    epochs = TrainConfig(sampling="epochs", batch_size=4, documents="apart")
    ids, targets = draw_batch(tokens, 7, epochs, step=3, starts=starts)
    assert sorted(ids[:, 0].tolist()) == starts.tolist()
    np.testing.assert_array_equal(targets, ids + 1)
    config = TrainConfig(documents="apart")  # batches of 16
    drawn = [draw_batch(tokens, 7, config, *at, starts)[0][:, 0] for at in ((0, 0), (0, 1), (1, 0))]
    assert {start for row in drawn for start in row.tolist()} == set(starts.tolist())
    assert len({row.tobytes() for row in drawn}) == 3


def test_blocks_of_tokens_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(0, 5, 200)
    expected = document_starts(tokens, 0)
    monkeypatch.setattr("gpt.data.batches.BLOCK", 7)
    np.testing.assert_array_equal(document_starts(tokens, 0), expected)
    assert len(expected) > 20


def test_documents_apart_have_no_stride() -> None:
    with pytest.raises(ValueError, match=r"stride: with documents=apart .* leave stride out"):
        TrainConfig(documents="apart", stride=4)


# Consecutive batches


def test_windows_follow_one_another_and_the_last_is_filled_up() -> None:
    first, second = consecutive_batches(np.arange(10, 19), batch_size=2, context_length=3)
    assert first[0].tolist() == [[10, 11, 12], [13, 14, 15]]
    assert first[1].tolist() == [[11, 12, 13], [14, 15, 16]]
    assert second[0].tolist() == [[16, 17, 0]]
    assert second[1].tolist() == [[17, 18, IGNORE]]
    assert second[0].dtype == second[1].dtype == np.int64


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9))
def test_every_token_but_the_first_is_a_target_once(n: int, batch_size: int, context_length: int) -> None:
    tokens = np.arange(1, n + 1, dtype=np.uint16)
    targets: list[int] = []
    for ids, expected in consecutive_batches(tokens, batch_size, context_length):
        assert ids.shape == expected.shape
        assert ids.shape[0] <= batch_size
        assert ids.shape[1] == context_length
        counts = expected != IGNORE
        np.testing.assert_array_equal(ids[counts] + 1, expected[counts])
        targets += expected[counts].tolist()
    assert targets == list(range(2, n + 1))


def test_a_limit_takes_batches_from_the_whole_text() -> None:
    tokens = np.arange(101)  # 20 windows of 5 targets
    rows = np.concatenate([ids for ids, _ in consecutive_batches(tokens, 2, 5, limit=2)])
    assert rows[:, 0].tolist() == [0, 30, 60, 95]  # windows 0, 6, 12 and 19: evenly, with the first and the last
    assert len(list(consecutive_batches(tokens, 3, 5, limit=100))) == 7  # more than there are: all of them


@settings(deadline=None)
@given(st.integers(2, 80), st.integers(1, 4), st.integers(1, 9), st.integers(1, 6))
def test_a_limit_takes_no_window_twice(n: int, batch_size: int, context_length: int, limit: int) -> None:
    batches = list(consecutive_batches(np.arange(n), batch_size, context_length, limit))
    starts = [int(row[0]) for ids, _ in batches for row in ids]
    windows = -(-(n - 1) // context_length)
    assert len(starts) == len(set(starts)) == min(windows, limit * batch_size)
    assert len(batches) <= limit
