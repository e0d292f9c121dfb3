"""From text files to ids: documents are assigned to a split, cut into chunks, and encoded.

A chunk is about 1 MB of one document, so memory holds a few chunks and never a whole file. It holds whole lines of a
.jsonl, the first hundred at once, and any stretch of text without a split point. Documents are cut only at points where
every tokenizer starts a new word: the ids of the chunks, joined, are the ids of the document.
"""

import hashlib
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from gpt.data.dataset import TRAIN, VAL, dtype_for
from gpt.text.documents import Document, list_files, read_documents
from gpt.text.read import Warn
from gpt.tokenizer import Tokenizer
from gpt.tokenizer.pretokens import last_split_point
from nanograd.runtime.files import StrPath
from nanograd.runtime.workers import in_order

CHUNK = 1 << 20  # characters
BATCH = 1 << 18  # characters that go to a worker together: sending a short document takes longer than encoding it
HASHED = 1 << 16  # characters: the beginning of a document, whose hash determines its split
MANY = 100  # documents; with fewer, the split is made exact, not left to chance
MAX_LISTED = 20  # errors that are kept and shown; the others are only counted


class Chunk(NamedTuple):
    """A stretch of a document's text, whether it is the document's first or last, and the document's split."""

    document: str
    split: str
    text: str
    first: bool
    last: bool


@dataclass
class TextFiles:
    """Files and folders, and how to read them. Each reading counts the texts it skipped and keeps the first errors."""

    paths: Sequence[StrPath]
    encoding: str | None = None
    text_key: str = "text"
    skip: bool = False  # skip what cannot be read; otherwise it is an error
    warn: Warn = warnings.warn
    n_skipped: int = 0
    skipped: list[str] = field(default_factory=list)

    def chunks(self, val_fraction: float, size: int = CHUNK) -> Iterator[Chunk]:
        """Read the documents, in chunks."""
        self.n_skipped, self.skipped = 0, []
        on_error = self._count_error if self.skip else None
        documents = read_documents(
            self.paths, encoding=self.encoding, text_key=self.text_key, on_error=on_error, warn=self.warn
        )
        return split_documents(documents, val_fraction, size)

    def n_bytes(self) -> int:
        """Return the size of the files, which is about the size of their text."""
        files = list_files(self.paths, lambda error: None)
        return sum(path.stat().st_size for path in files if path.is_file())

    def _count_error(self, error: Exception) -> None:
        self.n_skipped += 1
        if self.n_skipped <= MAX_LISTED:
            self.skipped.append(str(error))
            self.warn(f"skipped: {error}")


def split_documents(documents: Iterable[Document], val_fraction: float, size: int = CHUNK) -> Iterator[Chunk]:
    """Yield the chunks of the documents, each document for training or for validation.

    A document is for validation if the hash of its beginning, a number in [0, 1), is below val_fraction. So copies of a
    document are in one split, and a document's split does not depend on the other documents. If there are fewer than MANY
    documents, the round(n · val_fraction) with the lowest hashes are for validation, at least one and never all. A single
    document is divided: its end is for validation.
    """
    documents = iter(documents)
    head = list(islice(documents, MANY))
    if len(head) == 1 and val_fraction:
        yield from _divide(head[0], val_fraction, size)
        return
    limit = val_fraction if len(head) == MANY else _hash_limit(head, val_fraction)
    released = (head.pop(0) for _ in range(len(head)))  # the list lets go of each before the next is read
    for document in chain(released, documents):
        split = VAL if hash_fraction(document) < limit else TRAIN
        yield from _document_chunks(document.name, split, document.blocks, size)


def hash_fraction(document: Document) -> float:
    """Hash the beginning of a document to a number in [0, 1)."""
    beginning = "".join(slice_text(document.blocks, 0, HASHED))
    return int.from_bytes(hashlib.sha256(beginning.encode()).digest()[:8], "big") / 2**64


def cut_chunks(blocks: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into chunks of at most about `size` characters; where the text's blocks end makes no difference.

    A chunk ends at a split point (see `last_split_point`). A stretch without one is a longer chunk.
    """
    buffer, start, length = "", 0, size
    for block in blocks:
        if start:
            buffer, start = buffer[start:], 0
        buffer += block
        while len(buffer) - start >= length:
            end = last_split_point(buffer, start, start + length)
            if end is not None:
                yield buffer[start:end]
                start, length = end, size
            else:
                length *= 2
    if start < len(buffer):
        yield buffer[start:]


def slice_text(blocks: Iterable[str], start: int, stop: int | None = None) -> Iterator[str]:
    """Yield the characters from start to stop of the text that the blocks form.

    >>> list(slice_text(["abc", "def", "ghi"], 2, 7))
    ['c', 'def', 'g']
    """
    offset = 0
    for block in blocks:
        inside = block[max(0, start - offset) : None if stop is None else max(0, stop - offset)]
        offset += len(block)
        if inside:
            yield inside
        if stop is not None and offset >= stop:
            return


def _divide(document: Document, val_fraction: float, size: int) -> Iterator[Chunk]:
    """Yield the chunks of a single document: its beginning for training, its end for validation."""
    n = sum(map(len, document.blocks))
    n_train = round(n * (1 - val_fraction))
    for split, start, stop in ((TRAIN, 0, n_train), (VAL, n_train, n)):
        yield from _document_chunks(document.name, split, slice_text(document.blocks, start, stop), size, stop == n)


def _hash_limit(documents: Sequence[Document], val_fraction: float) -> float:
    """Return the hash below which a document is for validation, so that their number is val_fraction, not 0, not all."""
    if len(documents) < 2 or not val_fraction:
        return 0.0
    n_val = min(max(round(len(documents) * val_fraction), 1), len(documents) - 1)
    return sorted(map(hash_fraction, documents))[n_val]


def _document_chunks(name: str, split: str, blocks: Iterable[str], size: int, complete: bool = True) -> Iterator[Chunk]:
    """Yield the chunks of a document, or of its beginning if it is not complete: then none is its last."""
    texts = cut_chunks(blocks, size)
    following, first = next(texts, None), True
    while following is not None:
        text, following = following, next(texts, None)
        yield Chunk(name, split, text, first, complete and following is None)
        first = False


# Encoding


def encode_chunks(
    chunks: Iterable[Chunk], tokenizer: Tokenizer, workers: int = 1
) -> Generator[tuple[Chunk, np.ndarray], None, None]:
    """Yield each chunk with its ids (n,), in order; the last of a document ends with <|endoftext|>, if there is one.

    With several workers, processes encode. Memory holds only as many chunks as keep them busy. Raises ValueError, with
    the name of the document, for text that the tokenizer cannot encode.
    """
    for batch, (ids, ends) in in_order(partial(_encode_batch, tokenizer), _batches(chunks), workers):
        for chunk, start, end in zip(batch, [0, *ends], ends, strict=False):
            yield chunk, ids[start:end]


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    """Group chunks until a group has BATCH characters."""
    batch: list[Chunk] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batch(tokenizer: Tokenizer, batch: list[Chunk]) -> tuple[np.ndarray, list[int]]:
    """Return the ids (n,) of all chunks, and the index in them at which each chunk ends."""
    ids: list[int] = []
    ends = []
    for chunk in batch:
        try:
            ids += tokenizer.encode_data(chunk.text)
        except ValueError as error:
            raise ValueError(f"{chunk.document}: {error}") from None
        if chunk.last and tokenizer.eot_id is not None:
            ids.append(tokenizer.eot_id)
        ends.append(len(ids))
    return np.array(ids, dtype_for(tokenizer.vocab_size)), ends
