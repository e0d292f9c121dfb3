"""Batches: which windows of the tokens a step sees.

A window is T + 1 tokens that follow one another: T ids, and T targets, which are the ids one step later. Windows begin
every `stride` tokens and are numbered from 0. A step draws its windows from (seed, step) alone, so a run that is resumed
draws what an unbroken one would have drawn, and nothing about the data needs to be saved.
"""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpt.config import TrainConfig
from nanograd.seeds import DATA, generator

IGNORE = -100  # a target that does not count
ROUNDS = 6
Whole = npt.NDArray[np.uint64]


class Tokens(Protocol):
    """Ids (n,): an array, or shards that are read as one."""

    def __len__(self) -> int: ...

    def __getitem__(self, window: slice, /) -> np.ndarray: ...


def draw_batch(
    tokens: Tokens, context_length: int, config: TrainConfig, step: int, micro: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids (B, T) and targets (B, T) of one micro-batch of a step, as `config.sampling` says."""
    stride = window_stride(config, context_length)
    if config.sampling == "random":
        rng = generator(config.seed, DATA, step, micro)
        return random_batch(tokens, config.batch_size, context_length, rng, stride)
    n = count_windows(tokens, context_length, stride)
    first = (step * config.grad_accum_steps + micro) * config.batch_size  # windows that were drawn before
    epochs, places = np.divmod(np.arange(first, first + config.batch_size), n)
    windows = [shuffled(places[epochs == epoch], n, config.seed, int(epoch)) for epoch in np.unique(epochs)]
    return take_windows(tokens, np.concatenate(windows) * stride, context_length)


def window_stride(config: TrainConfig, context_length: int) -> int:
    """Return how many tokens there are from one window to the next: at random any place will do, in epochs each once."""
    return config.stride or (1 if config.sampling == "random" else context_length)


def count_windows(tokens: Tokens, context_length: int, stride: int) -> int:
    """Return how many windows there are; the tokens after the last that is whole are in none."""
    return max(0, (len(tokens) - context_length - 1) // stride + 1)


def take_windows(tokens: Tokens, starts: np.ndarray, context_length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows that begin at starts (B,): ids (B, T) and targets (B, T)."""
    windows = np.stack([tokens[s : s + context_length + 1] for s in starts.tolist()]).astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def shuffled(places: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Return which of the windows 0 to n - 1 stand at these places (k,) of an epoch's order, without making all of it.

    Write a number as row and column of a table that is about square. Turning every row by an amount hashed from its
    number moves no two numbers to one place, nor does turning every column; rows and columns in turn, a few times,
    shuffle the table. (This is a Feistel network: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002.) It
    has a few cells more than n. A number that lands on one of these is moved again, until it is below n: numbers move in
    cycles, and each now goes to the next of its cycle that is below n, which is the next of no other.

    >>> sorted(shuffled(np.arange(10), 10, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    columns = np.uint64(math.isqrt(n - 1) + 1)
    rows = np.uint64(-(-n // int(columns)))
    amounts = generator(seed, DATA, epoch).integers(0, 2**64, ROUNDS, dtype=np.uint64)
    moved = places.astype(np.uint64)
    outside = np.arange(len(places))
    while len(outside):
        row, column = moved[outside] // columns, moved[outside] % columns
        for turn, amount in enumerate(amounts):
            if turn % 2 == 0:
                column += _hash(row, amount)
                column %= columns
            else:
                row += _hash(column, amount)
                row %= rows
        moved[outside] = row * columns + column
        outside = outside[moved[outside] >= n]
    return moved.astype(np.int64)


def _hash(numbers: Whole, key: np.uint64) -> Whole:
    """Return 63 bits for each number that look random: the end of splitmix64 (Steele, Lea and Flood, 2014)."""
    bits = numbers + key  # modulo 2^64, as all that follows
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits ^ (bits >> np.uint64(31))) >> np.uint64(1)  # the 64th bit is kept free: a row or column is added


def random_batch(
    tokens: Tokens, batch_size: int, context_length: int, rng: np.random.Generator, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows at random: ids (B, T), and targets (B, T), which are the ids one step later.

    >>> ids, targets = random_batch(np.arange(100), 2, 5, np.random.default_rng(0))
    >>> bool((targets == ids + 1).all())
    True
    """
    numbers = rng.integers(0, count_windows(tokens, context_length, stride), batch_size)
    return take_windows(tokens, numbers * stride, context_length)


def consecutive_batches(
    tokens: Tokens, batch_size: int, context_length: int, limit: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut the tokens into windows one after the other, so that every token but the first is a target exactly once.

    The last window is filled up with targets that do not count. limit takes that many batches, spread evenly.
    """
    n = len(tokens) - 1  # targets
    starts = np.arange(0, n, context_length)
    if limit is not None and limit * batch_size < len(starts):
        starts = starts[np.linspace(0, len(starts) - 1, limit * batch_size).astype(np.int64)]
    for first in range(0, len(starts), batch_size):
        rows = starts[first : first + batch_size]
        ids = np.zeros((len(rows), context_length), np.int64)
        targets = np.full((len(rows), context_length), IGNORE, np.int64)
        for row, start in enumerate(rows):
            window = tokens[start : start + context_length + 1]
            ids[row, : len(window) - 1] = window[:-1]
            targets[row, : len(window) - 1] = window[1:]
        yield ids, targets


def check_length(what: str, tokens: Tokens, context_length: int) -> None:
    """Raise ValueError unless at least one window fits."""
    if len(tokens) <= context_length:
        raise ValueError(
            f"data: the {what} text has {len(tokens)} tokens, and a window needs context_length + 1 = "
            f"{context_length + 1}; give more text or a smaller --context-length"
        )
