"""Count the pre-tokens of texts and files: all that training needs to know of them.

A big file is cut into parts (see cut.py), which worker processes count at once: the counts of the parts add up to the count
of the whole, whatever the number of workers.
"""

import codecs
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from gpt.tokenizer.pretokens import checked_texts, split_text
from gpt.tokenizer.split_points import first_cut
from nanograd.runtime.workers import in_order

CHUNK = 1 << 20  # bytes read at a time
PART = 1 << 23  # bytes a worker counts at a time: half a second of work
WINDOW = 1 << 12  # bytes searched at once for a place to cut

Progress = Callable[[int, int], None]
"""What is called with the bytes counted so far and the bytes there are."""


class Part(NamedTuple):
    """The bytes of a file from `start` up to `stop`."""

    path: str
    start: int
    stop: int


def count_words(
    chunks: Iterable[str], special_tokens: Sequence[str] = (), *, pattern: str = "gpt2", name: str = "count_words"
) -> Counter[str]:
    """Count the pre-tokens of the text that `chunks` are parts of; special tokens end a word and are not counted."""
    counts: Counter[str] = Counter()
    for piece in split_text(checked_texts(chunks, name), pattern, special_tokens):
        counts.update(piece.words)
    return counts


def count_files(
    paths: Iterable[str | os.PathLike[str]],
    special_tokens: Sequence[str] = (),
    *,
    pattern: str = "gpt2",
    workers: int = 1,
    plain: bool = False,
    progress: Progress | None = None,
    part_size: int = PART,
) -> Counter[str]:
    """Count the pre-tokens of UTF-8 files, each a text of its own, in little memory.

    `plain` reads them as `gpt.text.read.read_text` does: without byte-order mark and with \\n line ends. More than one
    worker starts processes, which import the main script again: it must guard its work with
    `if __name__ == "__main__":`.

    Raises OSError where a file cannot be read, ValueError for one that is not UTF-8 or for fewer workers than one.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; 1 works in this process alone")
    parts = [part for path in paths for part in cut_file(path, special_tokens, part_size)]
    total = sum(part.stop - part.start for part in parts)
    counts: Counter[str] = Counter()
    done = 0
    for part, counted in zip(parts, _count_parts(parts, special_tokens, pattern, plain, workers), strict=True):
        counts.update(counted)
        done += part.stop - part.start
        if progress is not None:
            progress(done, total)
    return counts


def cut_file(path: str | os.PathLike[str], special_tokens: Sequence[str] = (), part_size: int = PART) -> list[Part]:
    """Cut a file into parts of about `part_size` bytes that can be counted apart.

    A stretch without a place to cut stays whole, and so does a file for special tokens that such a place may cut.
    """
    size = os.path.getsize(path)
    edges = [0]
    if not any(first_cut(token) is not None for token in special_tokens):
        with open(path, "rb") as file:
            while (near := edges[-1] + part_size) < size:
                edges.append(_next_cut(file, near, size))
    if edges[-1] < size:
        edges.append(size)
    return [Part(os.fspath(path), start, stop) for start, stop in pairwise(edges)]


def _next_cut(file: io.BufferedReader, place: int, size: int) -> int:
    while place < size:
        file.seek(place)
        data = file.read(WINDOW)
        text = data.decode("utf-8", "surrogateescape")  # half a character becomes no letter, digit or space
        if (cut := first_cut(text)) is not None:
            return place + len(text[:cut].encode("utf-8", "surrogateescape"))
        place += len(data)
    return size


def _count_parts(
    parts: Sequence[Part], special_tokens: Sequence[str], pattern: str, plain: bool, workers: int
) -> Iterator[Counter[str]]:
    """Yield the counts of each part in order, of which no more wait in memory than keep the workers busy."""
    count = partial(_count_part, special_tokens=tuple(special_tokens), pattern=pattern, plain=plain)
    if min(workers, len(parts)) <= 1:
        yield from map(count, parts)
    else:
        yield from (counted for _, counted in in_order(count, parts, min(workers, len(parts))))


def _count_part(part: Part, special_tokens: Sequence[str], pattern: str, plain: bool) -> Counter[str]:
    return count_words(_read_part(part, plain), special_tokens, pattern=pattern)


def _read_part(part: Part, plain: bool) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = io.IncrementalNewlineDecoder(decoder, translate=True) if plain else decoder
    with open(part.path, "rb") as file:
        file.seek(part.start)
        place = part.start
        while place < part.stop:
            data = file.read(min(CHUNK, part.stop - place))
            if not data:
                raise OSError(f"{part.path} became shorter while it was read: {part.stop - place} bytes are missing")
            try:
                text = lines.decode(data, final=place + len(data) == part.stop)
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                at = place + len(data) - len(error.object) + error.start
                raise ValueError(
                    f"{part.path} must be UTF-8, got byte 0x{byte:02x} at {at}; save it as UTF-8 first"
                ) from None
            yield text.removeprefix("\ufeff") if plain and place == 0 else text
            place += len(data)
