"""Documents in pieces: small enough to hold, cut where a tokenizer cannot tell, and each for training or validation."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gpt.data.dataset import TRAIN, VAL
from gpt.text.documents import Document, list_files, read_documents
from gpt.tokenizer.split_points import last_cut

PIECE = 1 << 20  # characters
BEGINNING = 1 << 16  # characters
FEW = 100  # documents
NAMED = 20  # of the texts that were skipped, how many are named


class Piece(NamedTuple):
    """A part of a document, whether it is the first or the last, and the split that the document belongs to."""

    document: str
    split: str
    text: str
    first: bool
    last: bool


@dataclass
class Sources:
    """Where the texts are, and how to read them; what is skipped is counted, and the first of it named."""

    paths: Sequence[str | os.PathLike[str]]
    encoding: str | None = None
    text_key: str = "text"
    skip: bool = False  # what cannot be read; if not, it is an error
    warn: Callable[[str], None] = warnings.warn
    n_skipped: int = 0
    skipped: list[str] = field(default_factory=list)

    def pieces(self, val_fraction: float, size: int = PIECE) -> Iterator[Piece]:
        """Read the texts, in pieces."""
        self.n_skipped, self.skipped = 0, []
        on_error = self._note if self.skip else None
        documents = read_documents(
            map(Path, self.paths), encoding=self.encoding, text_key=self.text_key, on_error=on_error, warn=self.warn
        )
        return split_documents(documents, val_fraction, size)

    def n_bytes(self) -> int:
        """Return how many bytes the files have: about as many as their text."""
        files = list_files(map(Path, self.paths), lambda error: None)
        return sum(path.stat().st_size for path in files if path.is_file())

    def _note(self, error: Exception) -> None:
        self.n_skipped += 1
        if self.n_skipped <= NAMED:
            self.skipped.append(str(error))
            self.warn(f"skipped: {error}")


def split_documents(documents: Iterable[Document], val_fraction: float, size: int = PIECE) -> Iterator[Piece]:
    """Yield the documents in pieces, each document for training or for validation.

    A hash of how a document begins says where it belongs: so copies of it stay together, and it stays there whatever
    other documents there are. Where there are fewer than FEW, those of the lowest hashes are for validation, at least
    one; of a single one, its last part.
    """
    documents = iter(documents)
    head = list(islice(documents, FEW))
    if len(head) == 1 and val_fraction:
        yield from _split_inside(head[0], val_fraction, size)
        return
    limit = val_fraction if len(head) == FEW else _limit(head, val_fraction)
    for document in _chain(head, documents):
        split = VAL if rank(document) < limit else TRAIN
        for text, first, last in _ends(cut(document.blocks, size)):
            yield Piece(document.name, split, text, first, last)


def rank(document: Document) -> float:
    """Return a number from 0 to 1, hashed from how the document begins."""
    beginning = "".join(section(document.blocks, 0, BEGINNING))
    return int.from_bytes(hashlib.sha256(beginning.encode()).digest()[:8], "big") / 2**64


def cut(parts: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text that comes in parts into pieces of at most about `size` characters, the same however it comes.

    The ids of the pieces, joined, are those of the text: see gpt/tokenizer/split_points.py. Where there is no place to cut
    a piece is as long as it takes to find one.
    """
    buffer, start, enough = "", 0, size
    for part in parts:
        if start:
            buffer, start = buffer[start:], 0
        buffer += part
        while len(buffer) - start >= enough:
            place = last_cut(buffer, start, start + enough)
            if place is not None:
                yield buffer[start:place]
                start, enough = place, size
            else:
                enough *= 2
    if start < len(buffer):
        yield buffer[start:]


def section(parts: Iterable[str], start: int, stop: int | None = None) -> Iterator[str]:
    """Yield the characters from start to stop of a text that comes in parts.

    >>> list(section(["abc", "def", "ghi"], 2, 7))
    ['c', 'def', 'g']
    """
    place = 0
    for part in parts:
        inside = part[max(0, start - place) : None if stop is None else max(0, stop - place)]
        place += len(part)
        if inside:
            yield inside
        if stop is not None and place >= stop:
            return


def _split_inside(document: Document, val_fraction: float, size: int) -> Iterator[Piece]:
    """Yield a document's pieces, its last part for validation."""
    n = sum(map(len, document.blocks))
    place = round(n * (1 - val_fraction))
    for split, start, stop in ((TRAIN, 0, place), (VAL, place, n)):
        for text, first, last in _ends(cut(section(document.blocks, start, stop), size)):
            yield Piece(document.name, split, text, first, last and stop == n)


def _limit(documents: Sequence[Document], val_fraction: float) -> float:
    """Return the rank below which documents are for validation: their share of so few, but never none and never all."""
    if len(documents) < 2 or not val_fraction:
        return 0.0
    n_val = min(max(round(len(documents) * val_fraction), 1), len(documents) - 1)
    return sorted(map(rank, documents))[n_val]


def _ends(texts: Iterator[str]) -> Iterator[tuple[str, bool, bool]]:
    """Tell of each text whether it is the first, and whether it is the last."""
    waiting, first = next(texts, None), True
    while waiting is not None:
        text, waiting = waiting, next(texts, None)
        yield text, first, waiting is None
        first = False


def _chain(head: list[Document], documents: Iterator[Document]) -> Iterator[Document]:
    """Yield all documents, and let go of each of the first before the next is made."""
    while head:
        yield head.pop(0)
    yield from documents
