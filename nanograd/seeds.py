"""Randomness without state: each use derives its seed from its purpose, so there is no generator state to save.

A training step draws its batch from (seed, DATA, step, …) and its dropout from (seed, DROPOUT, step, …). So a resumed run
draws the same numbers as an uninterrupted one, and an evaluation in between changes nothing.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

INIT, DATA, DROPOUT, EVAL, SAMPLE = range(5)  # purposes; the numbers are part of every run's result


class Seeds:
    """A sequence of seeds from a key: the n-th depends only on the key and n."""

    def __init__(self, key: tuple[int, ...], n: int = 0) -> None:
        self.key = key
        self.n = n

    def __next__(self) -> int:
        self.n += 1
        return int(np.random.SeedSequence((*self.key, self.n - 1)).generate_state(1, np.uint64)[0])

    def copy(self) -> "Seeds":
        """Return an independent sequence that continues from here, to draw the same seeds again."""
        return Seeds(self.key, self.n)


_SEEDS: ContextVar[Seeds | None] = ContextVar("nanograd.seeds", default=None)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """Return the Generator of one use: its purpose and its position in the run (step, micro-batch, shard).

    >>> generator(1, DATA, 7).random() == generator(1, DATA, 7).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, *position)))


@contextlib.contextmanager
def seeds(seed: int, purpose: int, *position: int) -> Iterator[None]:
    """Let `next_seed` draw from this key in the block: the n-th draw of a step is the same in every run."""
    with use_seeds(Seeds((seed, purpose, *position))):
        yield


@contextlib.contextmanager
def use_seeds(sequence: Seeds) -> Iterator[None]:
    """Let `next_seed` draw from this sequence in the block."""
    token = _SEEDS.set(sequence)
    try:
        yield
    finally:
        _SEEDS.reset(token)


def current_seeds() -> Seeds:
    """Return the sequence of the surrounding block; outside of one, a new one with a random key."""
    return _SEEDS.get() or Seeds((fresh_seed(),))


def fresh_seed() -> int:
    """Return an unpredictable seed from the operating system."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def next_seed() -> int:
    """Return the next seed of the surrounding `seeds(…)`; outside of one, a fresh seed."""
    sequence = _SEEDS.get()
    return fresh_seed() if sequence is None else next(sequence)
