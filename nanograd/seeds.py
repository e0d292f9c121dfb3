"""Randomness without state: each use derives its seed from what it is for, so nothing needs to be saved or restored.

A training step draws its batch from (seed, DATA, step, …) and its dropout from (seed, DROPOUT, step, …): resuming there
draws what an unbroken run would have drawn, and evaluating in between changes nothing.
"""

import contextlib
import itertools
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np

INIT, DATA, DROPOUT, EVAL, SAMPLE = range(5)  # purposes; the numbers are part of every run's result

_SEEDS: ContextVar[Iterator[int] | None] = ContextVar("nanograd.seeds", default=None)


def generator(seed: int, purpose: int, *position: int) -> np.random.Generator:
    """Return the Generator of one use: what for, and where in the run (step, micro step, shard).

    >>> generator(1, DATA, 7).random() == generator(1, DATA, 7).random()
    True
    """
    return np.random.default_rng(np.random.SeedSequence((seed, purpose, *position)))


@contextlib.contextmanager
def seeds(seed: int, purpose: int, *position: int) -> Iterator[None]:
    """Let `next_seed` count from this key inside: the n-th draw of a step is the same in every run."""
    sequence = (
        int(np.random.SeedSequence((seed, purpose, *position, n)).generate_state(1, np.uint64)[0])
        for n in itertools.count()
    )
    token = _SEEDS.set(sequence)
    try:
        yield
    finally:
        _SEEDS.reset(token)


def next_seed() -> int:
    """Return the next seed of the surrounding `seeds(…)`; outside of one, a fresh seed from the system."""
    sequence = _SEEDS.get()
    if sequence is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    return next(sequence)
