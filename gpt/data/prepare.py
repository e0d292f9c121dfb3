"""Turn texts into shards of tokens, in constant memory; the work can be stopped at any moment and resumed.

The text is handled in *parts*, each of as many chunks as fill a shard. The shards of a part, one for training and one for
validation, are each written completely or not at all; then unfinished.json lists the part, with a hash of its text. A
resumed run reads the text of the listed parts, checks by the hash that it has not changed, and continues after them. A
part that is not listed is written again, over whatever is left of it. manifest.json is written last.
"""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpt.data.dataset import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    TRAIN,
    UNFINISHED,
    VAL,
    Dataset,
    Part,
    Settings,
    ShardWriter,
    Unfinished,
    open_dataset,
    read_manifest,
    shard_entries,
    shard_writer,
)
from gpt.data.documents import CHUNK, Chunk, TextFiles, encode_chunks, no_text
from gpt.tokenizer import EOT, BPETokenizer, Tokenizer, load_tokenizer
from gpt.tokenizer.trainer import train_on_chunks
from nanograd.runtime.files import StrPath, file_sha256, write_text

SHARD_TOKENS = 1 << 25  # 67 MB of uint16
SAMPLE = 1 << 26  # bytes that a tokenizer is trained on; more text changes few of its merges


@dataclass
class Status:
    """The progress of the work, passed to `report` after every chunk."""

    total_bytes: int  # an estimate
    start_time: float = field(default_factory=time.monotonic)
    resumed_bytes: int = 0  # of text that was prepared before the resume
    n_bytes: int = 0
    n_tokens: int = 0
    n_documents: int = 0
    divided: bool = False  # whether a document is divided between training and validation
    last: tuple[str, str] = ("", "")  # document and split of the last chunk

    def count(self, chunk: Chunk, digest: "hashlib._Hash") -> None:
        """Count a chunk, and hash its text together with its split, its length and its ends."""
        data = chunk.text.encode("utf-8")
        digest.update(repr((chunk.split, chunk.first, chunk.last, len(data))).encode())
        digest.update(data)
        self.n_bytes += len(data)
        ending = chunk.first and (self.last == (chunk.document, TRAIN)) and chunk.split == VAL
        self.divided |= ending
        self.n_documents += chunk.first and not ending
        self.last = chunk.document, chunk.split


def prepare(
    files: TextFiles,
    out: StrPath,
    tokenizer: Tokenizer,
    *,
    val_fraction: float = 0.1,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    report: Callable[[Status], None] = lambda status: None,
) -> Dataset:
    """Write the texts as tokens into the folder `out`, or resume that work; return the dataset.

    A document ends with the tokenizer's <|endoftext|>, if it has one. A part is complete with the chunk that brings it to
    `shard_tokens`. The number of workers changes the time but not the result; more than one starts processes, which
    import the main script again: it must guard its work with `if __name__ == "__main__":`.

    Raises ValueError if there is no text, if `out` holds something else, or if it was begun with other settings.
    """
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be at least 0 and below 1, got {val_fraction}")
    for option, number in (("shard_tokens", shard_tokens), ("workers", workers)):
        if number < 1:
            raise ValueError(f"{option} must be at least 1, got {number}")
    out = Path(out)
    settings: Settings = {
        "format": FORMAT,
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "eot_id": tokenizer.eot_id,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
        "sources": [str(Path(path).resolve()) for path in files.paths],
        "encoding": files.encoding,
        "text_key": files.text_key,
    }
    stored = read_state(out)
    for name, value in settings.items():
        if stored is not None and stored.get(name) != value:
            begun = f"{out} was begun with {name} {stored.get(name)}"
            raise ValueError(f"out: {begun}, which cannot change to {value}; choose another -o")
    if (out / MANIFEST).is_file():
        (out / UNFINISHED).unlink(missing_ok=True)
        return open_dataset(out)
    size = min(CHUNK, max(1, shard_tokens // 4)) if tokenizer.cuts_at_split_points else sys.maxsize
    chunks = files.chunks(val_fraction, size)
    first = next(chunks, None)
    if first is None:
        raise no_text(files)
    chunks = chain((first,), chunks)

    parts: list[Part] = [] if stored is None else list(takewhile(partial(_is_intact, out), stored["parts"]))
    status = Status(files.n_bytes())
    for part in parts:
        _skip_part(chunks, part, status)
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(".*.tmp"):  # of a writer that was killed
        leftover.unlink()
    _write_json(out / UNFINISHED, {**settings, "parts": parts})
    tokenizer.save(out / TOKENIZER)
    try:
        with closing(encode_chunks(chunks, tokenizer, workers)) as encoded:
            while new_part := _write_part(out, len(parts), encoded, settings, status, report):
                parts.append(new_part)
                _write_json(out / UNFINISHED, {**settings, "parts": parts})
        _write_json(out / MANIFEST, {**settings, **_summary(parts, status, files), "parts": parts})
    except OSError as error:
        if error.errno is not None and error.filename is None:  # from a write: the disk is full
            error.filename = str(out)
        raise
    (out / UNFINISHED).unlink(missing_ok=True)
    return open_dataset(out)


def train_tokenizer(files: TextFiles, vocab_size: int, val_fraction: float) -> BPETokenizer:
    """Learn byte pairs from the training texts; from every n-th chunk if they are larger than SAMPLE."""
    step = max(1, -(-files.n_bytes() // SAMPLE))

    def texts() -> Iterator[str]:
        chunks = (chunk.text for chunk in files.chunks(val_fraction) if chunk.split == TRAIN)
        for text in islice(chunks, 0, None, step):
            yield from (text, EOT)  # nothing is merged across the end of a chunk

    vocab, merges = train_on_chunks(texts(), vocab_size, (EOT,), name="data prepare")
    return BPETokenizer(vocab, merges, (EOT,), allowed_special=())


def stored_tokenizer(out: Path, vocab_size: int) -> Tokenizer | None:
    """Return the tokenizer that the folder was begun with, if it has `vocab_size` tokens and is intact, else None."""
    state = read_state(out)
    if state is not None and state["vocab_size"] == vocab_size and (out / TOKENIZER).is_file():
        tokenizer = load_tokenizer(out / TOKENIZER)
        if tokenizer.sha256 == state["tokenizer_sha256"]:
            return tokenizer
    return None


def read_state(out: Path) -> Unfinished | None:
    """Return the manifest of the folder, finished or not, or None if the folder is missing or empty.

    Raises ValueError if the folder was not made by `data prepare`.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: {out} is a file; give a folder")
    for name in (MANIFEST, UNFINISHED):
        if (out / name).is_file():
            try:
                return read_manifest(out / name, Unfinished)
            except ValueError as error:
                raise ValueError(
                    f"out: {out / name} is damaged or from another program; choose another -o ({error})"
                ) from None
    if out.is_dir() and any(not path.match(".*.tmp") for path in out.iterdir()):
        raise ValueError(f"out: {out} is not empty, and was not made by data prepare; choose another -o")
    return None


def _write_part(
    out: Path,
    number: int,
    encoded: Iterator[tuple[Chunk, np.ndarray]],
    settings: Settings,
    status: Status,
    report: Callable[[Status], None],
) -> Part | None:
    """Write the shards of the next part and return its entry in the manifest, or None if there is no more text."""
    digest, n_chunks, start = hashlib.sha256(), 0, status.n_bytes
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as shards:
        for chunk, ids in encoded:
            if chunk.split not in writers:
                path = out / f"{chunk.split}-{number:05}.tokens"
                context = shard_writer(path, settings["vocab_size"], settings["tokenizer_sha256"])
                writers[chunk.split] = shards.enter_context(context)
            writer = writers[chunk.split]
            if chunk.first:
                writer.begin_document()
            writer.write(ids)
            n_chunks += 1
            status.count(chunk, digest)
            status.n_tokens += len(ids)
            report(status)
            if sum(writer.tokens for writer in writers.values()) >= settings["shard_tokens"]:
                break
    if not n_chunks:
        return None
    part: Part = {"pieces": n_chunks, "text_bytes": status.n_bytes - start, "text_sha256": digest.hexdigest()}
    for split, writer in writers.items():
        name = f"{split}-{number:05}.tokens"
        part[split] = {  # type: ignore[literal-required]
            "file": name,
            "tokens": writer.tokens,
            "documents": len(writer.starts),
            "sha256": file_sha256(out / name),
        }
    return part


def _is_intact(out: Path, part: Part) -> bool:
    """Return whether the shards of a part are as they were written."""
    files = [(out / entry["file"], entry["sha256"]) for entry in shard_entries([part])]
    return all(path.is_file() and file_sha256(path) == sha256 for path, sha256 in files)


def _skip_part(chunks: Iterator[Chunk], part: Part, status: Status) -> None:
    """Read the text of a part that is already written; ValueError if the text has changed since."""
    digest = hashlib.sha256()
    for chunk in islice(chunks, part["pieces"]):
        status.count(chunk, digest)
    if digest.hexdigest() != part["text_sha256"]:
        versions = "; an earlier version split and read folders in another way"
        raise ValueError(
            f"data: the texts have changed since this was begun; restore them, or choose another -o{versions}"
        )
    status.resumed_bytes = status.n_bytes
    status.n_tokens += sum(entry["tokens"] for entry in shard_entries([part]))


def _summary(parts: list[Part], status: Status, files: TextFiles) -> dict[str, Any]:
    """Return the totals over all parts."""

    def total(split: str, key: Literal["tokens", "documents"]) -> int:
        return sum(entry[key] for entry in shard_entries(parts, (split,)))

    return {
        "split": "position" if status.divided else "document",
        "text_bytes": status.n_bytes,
        "tokens": {split: total(split, "tokens") for split in (TRAIN, VAL)},
        "documents": {split: total(split, "documents") for split in (TRAIN, VAL)},
        "n_documents": status.n_documents,
        "skipped": {
            "count": len(files.skipped),
            "first": [text for first in files.skipped.first.values() for text in first],
        },
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
