"""Which examples form a batch, in training and in evaluation, and how rows of different length become one array.

A row is padded on the right up to the longest of its batch. Attention is causal, so padding changes nothing before it, and
its targets do not count. The loss is divided by the number of targets in the whole step: neither padding nor the other
examples of a batch change what an example contributes.

The batches of a run are numbered from 0 on through all epochs. A batch follows from the seed and its number alone, so a
resumed run continues with the batches that it would have seen.
"""

from collections.abc import Callable, Sequence, Sized
from functools import lru_cache, partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from gpt.data.batches import epoch_batch, permutation_order
from nanograd.seeds import DATA, generator

T = TypeVar("T")
POOL = 16  # batches whose examples are sorted together: larger pools pad less, smaller ones mix the examples more
IndexBatches = Callable[[int], np.ndarray]
"""From a batch's number to the indices (B,) of its examples."""


class Splits(NamedTuple, Generic[T]):
    """Examples to train on, to choose the best checkpoint with, and to test it with."""

    train: list[T]
    val: list[T]
    test: list[T]


def pad(rows: Sequence[Sequence[int] | np.ndarray], filler: int = 0) -> np.ndarray:
    """Return rows of different length as one array (B, T), T being the longest; `filler` follows the shorter ones.

    >>> pad([[1, 2, 3], [4]]).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    padded = np.full((len(rows), max(map(len, rows))), filler, np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def batches_by_length(lengths: Sequence[int] | np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return batches of all examples as indices, the shortest first, which needs the least padding: for evaluation."""
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def epoch_order(lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch as indices: each example once, in an order that (seed, epoch) alone decides.

    Examples are shuffled, sorted by length within a pool of several batches, cut into batches, and the batches shuffled: a
    batch holds examples of similar length, and other ones every epoch. The last batch of the last pool may be smaller. On
    the SMS collection, in batches of 32, this lowers padding from 50 % of the tokens to 8 %.

    >>> sorted(np.concatenate(epoch_order([3, 9, 3, 8, 2], 2, seed=0, epoch=1)).tolist())
    [0, 1, 2, 3, 4]
    """
    rng = generator(seed, DATA, epoch)
    order = rng.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        batches += [pool[indices] for indices in batches_by_length(np.asarray(lengths)[pool], batch_size)]
    return [batches[i] for i in rng.permutation(len(batches)).tolist()]


def bucketed_batches(lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int) -> IndexBatches:
    """Return the batches of all epochs, each of examples of similar length."""
    per_epoch = -(-len(lengths) // batch_size)

    @lru_cache(maxsize=2)  # the micro-batches of a step may lie in two epochs
    def of_epoch(epoch: int) -> list[np.ndarray]:
        return epoch_order(lengths, batch_size, seed, epoch)

    return lambda number: of_epoch(number // per_epoch)[number % per_epoch]


def shuffled_batches(lengths: Sized, batch_size: int, seed: int) -> IndexBatches:
    """Return the batches of all epochs, shuffled without regard to length.

    All have the same size: a batch that reaches the end of an epoch continues in the next one.
    """
    return partial(epoch_batch, permutation_order, len(lengths), batch_size, seed)


def padding_share(lengths: Sequence[int], batches: Sequence[np.ndarray]) -> float:
    """Return the share of padding among all ids of these batches.

    >>> padding_share([3, 1], [np.array([0, 1])])
    0.33333333333333337
    """
    rows = [[lengths[i] for i in batch] for batch in batches]
    return 1 - sum(map(sum, rows)) / sum(len(row) * max(row) for row in rows)
