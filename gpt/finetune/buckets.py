"""Batches of examples that differ in length: those of about the same length together, so that little is padding.

A batch is padded on the right up to its longest example. Since attention looks back only, padding changes nothing that
comes before it, and its targets do not count. The loss divides by the number of targets that count in the whole step, so
neither the padding nor which examples share a batch changes what an example contributes.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from gpt.data.batches import IGNORE
from gpt.finetune.loss_mask import Example
from gpt.training import Batch
from nanograd.seeds import DATA, generator

POOL = 16  # batches whose examples are sorted together: with more less is padding, with fewer more is random


def pad(examples: Sequence[Example], filler: int = 0) -> Batch:
    """Return the ids (B, T) and targets (B, T) of examples, T being the longest; padding is read, and never a target."""
    T = max(len(example.ids) for example in examples)
    ids = np.full((len(examples), T), filler, np.int64)
    targets = np.full((len(examples), T), IGNORE, np.int64)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = example.ids
        targets[row, : len(example.ids)] = example.targets
    return Batch((ids, targets), int((targets != IGNORE).sum()))


def epoch_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Return the batches of an epoch as indices: each example once, in an order that (seed, epoch) alone decides.

    Examples are shuffled, sorted by length within a pool of several batches, cut into batches, and these shuffled: the
    batches are of like length, and not the same ones every epoch. One, of what is left over, is smaller.

    >>> sorted(np.concatenate(epoch_order([3, 9, 3, 8, 2], 2, seed=0, epoch=1)).tolist())
    [0, 1, 2, 3, 4]
    """
    rng = generator(seed, DATA, epoch)
    order = rng.permutation(len(lengths))
    size = POOL * batch_size
    pools = [order[first : first + size] for first in range(0, len(order), size)]
    by_length = [pool[np.argsort(np.asarray(lengths)[pool], kind="stable")] for pool in pools]
    batches = [pool[first : first + batch_size] for pool in by_length for first in range(0, len(pool), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches)).tolist()]


class Buckets:
    """The batches of a run, numbered from 0 on through all epochs: what step and micro-batch see follows from the seed."""

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int, filler: int = 0) -> None:
        self.examples, self.batch_size, self.seed, self.filler = examples, batch_size, seed, filler
        self.lengths = [len(example.ids) for example in examples]
        self._epoch: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-len(self.examples) // self.batch_size)  # pools are whole batches, but the last

    def __getitem__(self, number: int) -> Batch:
        """Return a batch: ids (B, T) and targets (B, T)."""
        epoch, place = divmod(number, len(self))
        if self._epoch[0] != epoch:
            self._epoch = epoch, epoch_order(self.lengths, self.batch_size, self.seed, epoch)
        return pad([self.examples[k] for k in self._epoch[1][place]], self.filler)

    def in_order(self) -> Iterator[Batch]:
        """Yield every example once, the shortest first: for measuring."""
        order = np.argsort(self.lengths, kind="stable")
        for first in range(0, len(order), self.batch_size):
            yield pad([self.examples[k] for k in order[first : first + self.batch_size]], self.filler)

    def padding(self) -> float:
        """Return the share of the first epoch's ids that is padding."""
        rows = [[self.lengths[k] for k in batch] for batch in epoch_order(self.lengths, self.batch_size, self.seed, 0)]
        cells = sum(len(row) * max(row) for row in rows)
        return 1 - sum(self.lengths) / cells
