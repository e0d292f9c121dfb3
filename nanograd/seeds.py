"""Randomness without state: each use derives its seed from what it is for, so nothing needs to be saved or restored.

A training step draws its batch from (seed, DATA, step, …) and its dropout from (seed, DROPOUT, step, …): resuming there
draws what an unbroken run would have drawn, and evaluating in between changes nothing.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

INIT, DATA, DROPOUT, EVAL, SAMPLE = range(5)  # purposes; the numbers are part of every run's result


class Seeds:
    """Count off seeds from a key: the n-th is the same whenever the key is."""

    def __init__(self, key: tuple[int, ...], n: int = 0) -> None:
        self.key = key
        self.n = n

    def __next__(self) -> int:
        self.n += 1
        return int(np.random.SeedSequence((*self.key, self.n - 1)).generate_state(1, np.uint64)[0])

    def copy(self) -> "Seeds":
        """Return one that goes on from here by itself: to draw the same again."""
        return Seeds(self.key, self.n)


_SEEDS: ContextVar[Seeds | None] = ContextVar("nanograd.seeds", default=None)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """Return the Generator of one use: what for, and where in the run (step, micro step, shard).

    >>> generator(1, DATA, 7).random() == generator(1, DATA, 7).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, *position)))


@contextlib.contextmanager
def seeds(seed: int, purpose: int, *position: int) -> Iterator[None]:
    """Let `next_seed` count from this key inside: the n-th draw of a step is the same in every run."""
    with using(Seeds((seed, purpose, *position))):
        yield


@contextlib.contextmanager
def using(sequence: Seeds) -> Iterator[None]:
    """Let `next_seed` draw from this sequence inside."""
    token = _SEEDS.set(sequence)
    try:
        yield
    finally:
        _SEEDS.reset(token)


def current_seeds() -> Seeds:
    """Return the surrounding sequence; outside of any, a new one with a key from the system."""
    return _SEEDS.get() or Seeds((fresh_seed(),))


def fresh_seed() -> int:
    """Return a seed that nobody can foresee."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def next_seed() -> int:
    """Return the next seed of the surrounding `seeds(…)`; outside of one, a fresh seed from the system."""
    sequence = _SEEDS.get()
    return fresh_seed() if sequence is None else next(sequence)
