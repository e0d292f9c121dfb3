"""Batches: which windows of the tokens a training step sees.

A window is T + 1 consecutive tokens: T ids, and T targets, which are the ids one position later. Windows begin every
`stride` tokens, or, if documents are kept apart, where `document_windows` says; they are numbered from 0. The windows of a
step follow from (seed, step) alone: a resumed run draws the same batches as an uninterrupted one, and checkpoints need not
store a position in the data.
"""

import functools
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gpt.config import TrainConfig
from nanograd.seeds import DATA, generator

IGNORE = -100  # a target that the loss ignores
ROUNDS = 6
BLOCK = 1 << 22  # tokens that are searched at once
UInt64 = npt.NDArray[np.uint64]
Order = Callable[[np.ndarray, int, int, int], np.ndarray]  # (positions, n, seed, epoch) → indices
Windows = tuple[np.ndarray, np.ndarray]  # ids (B, T) and targets (B, T)


class Tokens(Protocol):
    """Ids (n,): an array, or shards that are read as one array."""

    def __len__(self) -> int: ...

    def __getitem__(self, window: slice, /) -> np.ndarray: ...


def draw_batch(
    tokens: Tokens,
    context_length: int,
    config: TrainConfig,
    step: int,
    micro: int = 0,
    starts: np.ndarray | None = None,
) -> Windows:
    """Return the ids (B, T) and targets (B, T) of one micro-batch of a step, drawn as `config.sampling` says.

    starts (n,) are the indices at which windows begin; without them, one begins every `stride` tokens.
    """
    stride = window_stride(config, context_length)
    n = count_windows(tokens, context_length, stride) if starts is None else len(starts)
    if config.sampling == "random":
        numbers = generator(config.seed, DATA, step, micro).integers(0, n, config.batch_size)
    else:
        number = step * config.grad_accum_steps + micro
        numbers = epoch_batch(feistel_order, n, config.batch_size, config.seed, number)
    return take_windows(tokens, numbers * stride if starts is None else starts[numbers], context_length)


def window_stride(config: TrainConfig, context_length: int) -> int:
    """Return the number of tokens from one window to the next: by default 1 at random, a whole window in epochs."""
    return config.stride or (1 if config.sampling == "random" else context_length)


def count_windows(tokens: Tokens, context_length: int, stride: int) -> int:
    """Return the number of complete windows; the tokens after the last one are in none."""
    return max(0, (len(tokens) - context_length - 1) // stride + 1)


def take_windows(tokens: Tokens, starts: np.ndarray, context_length: int) -> Windows:
    """Return the windows that begin at starts (B,): ids (B, T) and targets (B, T)."""
    windows = np.stack([tokens[s : s + context_length + 1] for s in starts.tolist()]).astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def epoch_batch(order: Order, n: int, batch_size: int, seed: int, number: int) -> np.ndarray:
    """Return the indices (B,), from 0 to n - 1, of batch `number`, counted from 0 through all epochs.

    An epoch visits every index once, shuffled by `order`: `permutation_order` or `feistel_order`. A batch at the end of an
    epoch continues in the next.
    """
    epochs, positions = np.divmod(np.arange(number * batch_size, (number + 1) * batch_size), n)
    return np.concatenate([order(positions[epochs == epoch], n, seed, int(epoch)) for epoch in np.unique(epochs)])


def permutation_order(positions: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Return the indices at these positions (k,) of an epoch's shuffle: a random permutation, drawn once per epoch.

    Fine-tuning uses it: its examples are few. Pretraining uses `feistel_order`.
    """
    return _permutation(n, seed, epoch)[positions]


@functools.lru_cache(maxsize=2)  # a batch may lie in two epochs
def _permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, DATA, epoch).permutation(n)


def feistel_order(positions: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Return the indices at these positions (k,) of an epoch's shuffle, in O(k) without storing a permutation of all n.

    Write an index as row and column of a table that is about square. Shifting every row by an amount hashed from its row
    number maps no two cells to one, nor does shifting every column; a few rounds of both shuffle the table. (This is a
    Feistel network: Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002.) The table has a few cells more
    than n. An index that lands on one of these is mapped again, until it is below n: the map permutes the cells in
    cycles, so each index goes to the next of its cycle that is below n, and no two go to the same.

    >>> sorted(feistel_order(np.arange(10), 10, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    columns = np.uint64(math.isqrt(n - 1) + 1)
    rows = np.uint64(-(-n // int(columns)))
    keys = generator(seed, DATA, epoch).integers(0, 2**64, ROUNDS, dtype=np.uint64)
    indices = positions.astype(np.uint64)
    outside = np.arange(len(positions))
    while len(outside):
        row, column = indices[outside] // columns, indices[outside] % columns
        for i, key in enumerate(keys):
            if i % 2 == 0:
                column += _hash(row, key)
                column %= columns
            else:
                row += _hash(column, key)
                row %= rows
        indices[outside] = row * columns + column
        outside = outside[indices[outside] >= n]
    return indices.astype(np.int64)


def _hash(numbers: UInt64, key: np.uint64) -> UInt64:
    """Hash each number to 63 bits: the finalizer of splitmix64 (Steele, Lea and Flood, 2014)."""
    bits = numbers + key  # modulo 2^64, like the following steps
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (bits ^ (bits >> np.uint64(31))) >> np.uint64(1)  # 63 bits, so that adding a row or column cannot overflow


def random_batch(
    tokens: Tokens, batch_size: int, context_length: int, rng: np.random.Generator, stride: int = 1
) -> Windows:
    """Draw windows at random: ids (B, T), and targets (B, T), which are the ids one position later.

    >>> ids, targets = random_batch(np.arange(100), 2, 5, np.random.default_rng(0))
    >>> bool((targets == ids + 1).all())
    True
    """
    numbers = rng.integers(0, count_windows(tokens, context_length, stride), batch_size)
    return take_windows(tokens, numbers * stride, context_length)


def document_starts(tokens: Tokens, begin: int) -> np.ndarray:
    """Return the indices (n,) at which documents begin: 0, and wherever the token `begin` is, except at the very end."""
    end = len(tokens) - 1
    blocks = range(1, end, BLOCK)
    return np.concatenate([[0], *(np.flatnonzero(tokens[i : min(i + BLOCK, end)] == begin) + i for i in blocks)])


def document_windows(tokens: Tokens, context_length: int, begin: int) -> np.ndarray:
    """Return the indices (n,) at which windows begin, if the token `begin` begins every document.

    A window holds whole documents, as many as fit. The one that does not fit begins the next window; what the window has of
    it is cut off. A document that is longer than the context is divided into windows that follow each other; the last of
    them holds the next documents too. `begin` is the end-of-text token: it ends a document, and it is the first token of
    the next, as it is in a text that is generated without a prompt. So each document's first token is predicted too.

    >>> document_windows(np.array([7, 1, 0, 2, 3, 0, 4, 5, 6, 7, 8, 9, 0, 1]), context_length=5, begin=0).tolist()
    [0, 5, 10]
    """
    end = len(tokens) - 1
    borders = np.append(document_starts(tokens, begin), end)
    starts, start = array("q"), 0
    while start < end:
        starts.append(start)
        last = int(borders[bisect_right(borders, start + context_length) - 1])  # the last border within reach
        start = last if last > start else start + context_length
    return np.array(starts, np.int64)


def document_numbers(ids: np.ndarray, begin: int) -> np.ndarray:
    """Return for each token of ids (B, T) the number of its document in its row: `begin` is a document's first token.

    >>> document_numbers(np.array([[5, 6, 0, 7], [0, 8, 9, 0]]), begin=0).tolist()
    [[0, 0, 1, 1], [1, 1, 1, 2]]
    """
    return np.cumsum(ids == begin, axis=1)


def consecutive_batches(
    tokens: Tokens, batch_size: int, context_length: int, limit: int | None = None, starts: np.ndarray | None = None
) -> Iterator[Windows]:
    """Yield the tokens as consecutive windows, so that every token but the first is a target exactly once.

    A window ends where the next begins: every `context_length` tokens, or at `starts` (n,), which are no farther apart. It
    is padded with targets that the loss ignores. A limit takes only that many batches, spread evenly over the tokens.
    """
    n = len(tokens) - 1  # targets
    starts = np.arange(0, n, context_length) if starts is None else starts
    ends = np.append(starts[1:], n)
    if limit is not None and limit * batch_size < len(starts):
        chosen = np.linspace(0, len(starts) - 1, limit * batch_size).astype(np.int64)
        starts, ends = starts[chosen], ends[chosen]
    for first in range(0, len(starts), batch_size):
        rows = range(first, min(first + batch_size, len(starts)))
        ids = np.zeros((len(rows), context_length), np.int64)
        targets = np.full((len(rows), context_length), IGNORE, np.int64)
        for row, i in enumerate(rows):
            window = tokens[starts[i] : ends[i] + 1]
            ids[row, : len(window) - 1] = window[:-1]
            targets[row, : len(window) - 1] = window[1:]
        yield ids, targets


def check_length(split: str, tokens: Tokens, context_length: int) -> None:
    """Raise ValueError unless at least one window fits."""
    if len(tokens) <= context_length:
        needed = f"a window needs context_length + 1 = {context_length + 1}"
        way_out = "give more text or a smaller --context-length"
        raise ValueError(f"data: the {split} text has {len(tokens)} tokens, and {needed}; {way_out}")
