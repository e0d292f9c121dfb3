"""From text files to ids: documents are assigned to a split, cut into chunks, and encoded.

A chunk is about 1 MB of one document, so memory holds a few chunks and never a whole text file. It holds the first lines
of a .jsonl and the first pages of HTML, 64 million characters at most, and any stretch of text without a split point.
Documents are cut only at points where our tokenizers start a new word: the ids of the chunks, joined, are the ids of the
document. For a tokenizer with a pattern of its own, of which this is not known, a document is one chunk.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, chain, islice, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt.data.dataset import TRAIN, VAL, dtype_for
from gpt.text.documents import Document, Skipped, list_files, read_documents
from gpt.text.html import strip_html
from gpt.text.read import HTML_SUFFIXES, EmptyFileError, Warn
from gpt.tokenizer import Tokenizer
from gpt.tokenizer.pretokens import cut_chunks
from nanograd.runtime.files import StrPath
from nanograd.runtime.workers import in_order

CHUNK = 1 << 20  # characters
BATCH = 1 << 18  # characters that go to a worker together: sending a short document takes longer than encoding it
HASHED = 1 << 16  # characters: the beginning of a document, whose hash determines its split
MANY = 1500  # documents; with fewer, and fewer than HELD characters, the split is made exact, not left to chance
HELD = 1 << 26  # characters of documents in memory: lines of .jsonl, and HTML
DIVIDED = "divided"


class Chunk(NamedTuple):
    """A stretch of a document's text, whether it is the document's first or last, and the document's split."""

    document: str
    split: str
    text: str
    first: bool
    last: bool


@dataclass
class TextFiles:
    """Files and folders, and how to read them. Each reading counts anew what it skipped.

    skip  skip what cannot be read. False: it is an error. None: skip it in a folder or a .jsonl, where it must not stop
          thousands of texts; a file that is named itself is an error
    """

    paths: Sequence[StrPath]
    encoding: str | None = None
    text_key: str = "text"
    skip: bool | None = None
    warn: Warn = warnings.warn
    skipped: Skipped = field(default_factory=Skipped)
    n_pages: int = 0  # of HTML

    def chunks(self, val_fraction: float, size: int = CHUNK) -> Iterator[Chunk]:
        """Read the documents, in chunks; of HTML the text that a reader of the page sees."""
        return split_documents(self._documents(), val_fraction, size, self.n_bytes() or math.inf)

    def n_bytes(self) -> int:
        """Return the size of the files, which is about the size of their text."""
        files = list_files(self.paths, lambda error: None)
        return sum(path.stat().st_size for path in files if path.is_file())

    def notes(self) -> list[str]:
        """Return a line for each kind of text that the last reading skipped, and one for HTML."""
        pages = f"{self.n_pages:,} page{'s' if self.n_pages > 1 else ''} of HTML, without tags and scripts"
        return [
            *(f"skipped   {line}" for line in self.skipped.lines()),
            *([f"html      {pages}"] if self.n_pages else []),
        ]

    def _documents(self) -> Iterator[Document]:
        self.skipped, self.n_pages = Skipped(), 0
        documents = read_documents(
            self.paths, encoding=self.encoding, text_key=self.text_key, warn=self.warn, stop_at_named=self.skip is None,
            on_error=None if self.skip is False else self.skipped.add, on_other=self.skipped.add_other,
        )  # fmt: skip
        for document in documents:
            if Path(document.name).suffix.lower() in HTML_SUFFIXES:
                text = strip_html(document.text)
                if not text.strip():
                    self.skipped.add(EmptyFileError(f"data: {document.name} has no text in its tags"))
                    continue
                self.n_pages, document = self.n_pages + 1, Document(document.name, (text,))
            yield document


def no_text(files: TextFiles) -> ValueError:
    """Return the error for files without any text: it names what was skipped."""
    reasons = "; ".join(files.skipped.lines())
    return ValueError(f"data: there is no text in {', '.join(map(str, files.paths))}{': ' * bool(reasons)}{reasons}")


def split_documents(
    documents: Iterable[Document], val_fraction: float, size: int = CHUNK, n_bytes: float = math.inf
) -> Iterator[Chunk]:
    """Yield the chunks of the documents, for training and for validation, whose share of the text is val_fraction.

    A large document is divided: its end is for validation. The others are kept whole. A document is large if it, with its
    copies, has more than a quarter of the text for validation (or for training, if that is less). Of the others, those
    whose beginnings have the lowest hashes are for validation: copies are in one split.

    With MANY documents, or HELD characters of them in memory, memory would not hold them all. Then a document is large
    above 1/144 of the text for validation, of n_bytes in all, and another one is for validation if its hash, a number in
    [0, 1), is below val_fraction. So it does not depend on the others, and chance changes the share by less than 25 %: that
    is three standard deviations.
    """
    documents, head, held = iter(documents), list[Document](), 0
    for document in documents:
        head.append(document)
        held += sum(map(len, document.blocks)) if isinstance(document.blocks, tuple) else 0
        if len(head) == MANY or held >= HELD:
            break
    rest = list(islice(documents, 1))
    limit = min(val_fraction, 1 - val_fraction) * n_bytes / 144
    splits = repeat("") if rest or not val_fraction else iter(_choose_splits(head, val_fraction))
    alone = len(head) == 1 and not rest
    released = (head.pop(0) for _ in range(len(head)))  # the list lets go of each before the next is read
    n = n_train = 0  # characters of the divided documents
    for document, split in zip(chain(released, rest, documents), splits, strict=False):
        if not split and not (val_fraction and _exceeds(document, limit)):
            split = VAL if hash_fraction(document) < val_fraction else TRAIN
        if split in (TRAIN, VAL):
            yield from _document_chunks(document.name, split, document.blocks, size)
            continue
        length = sum(map(len, document.blocks))
        n += length
        end = round(n * (1 - val_fraction)) - n_train
        n_train += end
        beginning, ending = slice_text(document.blocks, 0, end), slice_text(document.blocks, end)
        yield from _document_chunks(document.name, TRAIN, beginning, size, not alone or end == length)
        yield from _document_chunks(document.name, VAL, ending, size)


def _choose_splits(documents: Sequence[Document], val_fraction: float) -> list[str]:
    """Return the split of each document, DIVIDED for the large ones."""
    lengths, hashes = [sum(map(len, document.blocks)) for document in documents], list(map(hash_fraction, documents))
    totals = Counter[float]()  # characters of the documents with the same hash
    for length, number in zip(lengths, hashes, strict=True):
        totals[number] += length
    limit = min(val_fraction, 1 - val_fraction) * sum(lengths) / 4
    whole = sorted(number for number, total in totals.items() if total <= limit)
    missing = val_fraction * sum(totals[number] for number in whole)
    splits = dict.fromkeys(totals, DIVIDED) | dict.fromkeys(whole, TRAIN)
    for number in whole:
        if totals[number] < 2 * missing:  # then the share comes closer
            splits[number] = VAL
            missing -= totals[number]
    return [splits[number] for number in hashes]


def _exceeds(document: Document, limit: float) -> bool:
    """Return whether a document has more characters than the limit; no more of it is read."""
    return limit < math.inf and any(n > limit for n in accumulate(map(len, document.blocks)))


def hash_fraction(document: Document) -> float:
    """Hash the beginning of a document to a number in [0, 1)."""
    beginning = "".join(slice_text(document.blocks, 0, HASHED))
    return int.from_bytes(hashlib.sha256(beginning.encode()).digest()[:8], "big") / 2**64


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
            ids += tokenizer.prefix if chunk.first else []
            ids += tokenizer.encode_data(chunk.text, inside=not chunk.first)
        except ValueError as error:
            raise ValueError(f"{chunk.document}: {error}") from None
        if chunk.last and tokenizer.eot_id is not None:
            ids.append(tokenizer.eot_id)
        ends.append(len(ids))
    return np.array(ids, dtype_for(tokenizer.vocab_size)), ends
