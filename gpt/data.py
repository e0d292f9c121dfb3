"""Tokens on disk, and the batches drawn from them.

A token file is a header of 32 bytes, little-endian, and the ids:
    8 bytes  magic "GPTTOKEN"
    uint32   version, 1
    uint32   bytes an id: 2 (uint16) or 4 (uint32)
    uint64   number of ids
    uint64   vocab_size: every id is below it
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gpt.files import atomic_write

MAGIC = b"GPTTOKEN"
VERSION = 1
HEADER = struct.Struct("<8sIIQQ")
DTYPES: dict[int, np.dtype] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
IGNORE = -100  # a target that does not count


def write_tokens(path: str | os.PathLike[str], ids: Sequence[int] | np.ndarray, vocab_size: int) -> None:
    """Write ids (n,) in the narrowest type that holds vocab_size."""
    dtype = DTYPES[2 if vocab_size <= 65536 else 4]
    array = np.asarray(ids, dtype=np.int64)
    if array.size and (array.min() < 0 or array.max() >= vocab_size):
        raise ValueError(f"write_tokens: ids must lie in [0, {vocab_size}), got {array.min()} to {array.max()}")
    with atomic_write(path) as file:
        file.write(HEADER.pack(MAGIC, VERSION, dtype.itemsize, array.size, vocab_size))
        file.write(array.astype(dtype).tobytes())


def read_tokens(path: str | os.PathLike[str]) -> np.ndarray:
    """Map the ids (n,) of a token file, read-only, so that only what is used is read. ValueError where it is damaged."""
    path = Path(path)
    with open(path, "rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size or head[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{path} is no token file: it does not begin with {MAGIC.decode()}")
    _, version, width, count, _ = HEADER.unpack(head)
    if version != VERSION or width not in DTYPES:
        raise ValueError(f"{path}: version {version} with {width} bytes an id; this program reads version {VERSION}")
    size = path.stat().st_size
    if size != HEADER.size + count * width:
        raise ValueError(f"{path} is damaged: {count} ids need {HEADER.size + count * width} bytes, it has {size}")
    if count == 0:
        return np.empty(0, DTYPES[width])
    return np.memmap(path, DTYPES[width], "r", HEADER.size, (count,))


def random_batch(
    tokens: np.ndarray, batch_size: int, context_length: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw windows at random: ids (B, T), and targets (B, T), which are the ids one step later.

    >>> ids, targets = random_batch(np.arange(100), 2, 5, np.random.default_rng(0))
    >>> bool((targets == ids + 1).all())
    True
    """
    starts = rng.integers(0, len(tokens) - context_length, batch_size)
    windows = np.stack([tokens[s : s + context_length + 1] for s in starts]).astype(np.int64)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def consecutive_batches(
    tokens: np.ndarray, batch_size: int, context_length: int, limit: int | None = None
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


def check_length(what: str, tokens: np.ndarray, context_length: int) -> None:
    """Raise ValueError unless at least one window fits."""
    if len(tokens) <= context_length:
        raise ValueError(
            f"data: the {what} text has {len(tokens)} tokens, and a window needs context_length + 1 = "
            f"{context_length + 1}; give more text or a smaller --context-length"
        )
