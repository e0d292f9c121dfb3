"""Turn texts into shards of tokens, in constant memory, and so that it can be stopped at any moment.

The work is done in parts: of as many pieces of text as give a shard's tokens. The shards of a part, one for training and
one for validation, are each written whole or not at all; then unfinished.json notes the part, with a hash of its text.
Whoever starts again reads the text of the parts that are noted, sees by the hash that it is still the same, and goes on
behind them. A part that was not noted is written again, over what there may be of it. manifest.json comes last.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from gpt.data.dataset import (
    FORMAT,
    MANIFEST,
    TOKENIZER,
    TRAIN,
    UNFINISHED,
    VAL,
    Dataset,
    ShardWriter,
    open_dataset,
    shard_writer,
)
from gpt.data.documents import PIECE, Piece, Sources
from gpt.data.encode import encode_pieces
from gpt.tokenizer import EOT, BPETokenizer, Tokenizer
from gpt.tokenizer.trainer import train_on_chunks
from nanograd.runtime.files import file_sha256, write_text

SHARD_TOKENS = 1 << 25  # 67 MB of uint16
SAMPLE = 1 << 26  # bytes that a tokenizer is trained on; more change few of its merges


@dataclass
class Status:
    """How far the work is: what `report` is handed after every piece."""

    total_bytes: int  # about
    began: float = field(default_factory=time.monotonic)
    resumed_bytes: int = 0  # of text that was prepared before
    n_bytes: int = 0
    n_tokens: int = 0
    by_position: bool = False  # whether the split is inside of a single document
    inside: bool = False  # of a document

    def take(self, piece: Piece, digest: "hashlib._Hash") -> None:
        """Count a piece, and hash it with what tells it from other pieces of the same text."""
        data = piece.text.encode("utf-8")
        digest.update(repr((piece.split, piece.first, piece.last, len(data))).encode())
        digest.update(data)
        self.n_bytes += len(data)
        self.by_position |= piece.first and self.inside
        self.inside = not piece.last


def prepare(
    sources: Sources,
    out: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    val_fraction: float = 0.1,
    shard_tokens: int = SHARD_TOKENS,
    workers: int = 1,
    report: Callable[[Status], None] = lambda status: None,
) -> Dataset:
    """Write the texts as tokens into the folder `out`, or go on where that was stopped; return the dataset.

    A document ends with the tokenizer's end of text, if it has one. A shard is full with the piece that brings it to
    `shard_tokens`. The number of workers changes the time and not the result; more than one starts processes, which
    import the main script again: it must guard its work with `if __name__ == "__main__":`.

    Raises ValueError where there is no text, where `out` holds something else, or where what it was begun with differs.
    """
    _check(val_fraction, shard_tokens, workers)
    out = Path(out)
    settings = {
        "tokenizer_sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "eot_id": tokenizer.eot_id,
        "val_fraction": val_fraction,
        "shard_tokens": shard_tokens,
        "sources": [str(Path(path).resolve()) for path in sources.paths],
        "encoding": sources.encoding,
        "text_key": sources.text_key,
    }
    stored = read_state(out)
    if stored is not None:
        _check_same(out, stored, settings)
    if (out / MANIFEST).is_file():
        (out / UNFINISHED).unlink(missing_ok=True)
        return open_dataset(out)
    pieces = sources.pieces(val_fraction, min(PIECE, max(1, shard_tokens // 4)))
    first = next(pieces, None)
    if first is None:
        raise ValueError(f"data: there is no text in {', '.join(map(str, sources.paths))}: {sources.n_skipped} skipped")
    pieces = chain((first,), pieces)

    parts: list[dict[str, Any]] = [] if stored is None else list(takewhile(partial(_is_whole, out), stored["parts"]))
    status = Status(sources.n_bytes())
    for done in parts:
        _pass_over(pieces, done, status)
    out.mkdir(parents=True, exist_ok=True)
    for unfinished in out.glob(".*.tmp"):  # of a writer that was killed
        unfinished.unlink()
    _write_json(out / UNFINISHED, {"format": FORMAT, **settings, "parts": parts})
    tokenizer.save(out / TOKENIZER)
    try:
        with closing(encode_pieces(pieces, tokenizer, workers)) as encoded:
            while part := _write_part(out, len(parts), encoded, settings, status, report):
                parts.append(part)
                _write_json(out / UNFINISHED, {"format": FORMAT, **settings, "parts": parts})
        _write_json(out / MANIFEST, {"format": FORMAT, **settings, **_summary(parts, status, sources), "parts": parts})
    except OSError as error:
        if error.errno is not None and error.filename is None:  # of a write: the disk is full
            error.filename = str(out)
        raise
    (out / UNFINISHED).unlink(missing_ok=True)
    return open_dataset(out)


def train_tokenizer(sources: Sources, vocab_size: int, val_fraction: float) -> BPETokenizer:
    """Learn byte pairs from the training texts; where they are large, from pieces that are spread evenly over them."""
    every = -(-sources.n_bytes() // SAMPLE)

    def texts() -> Iterator[str]:
        pieces = (piece.text for piece in sources.pieces(val_fraction) if piece.split == TRAIN)
        for text in islice(pieces, 0, None, max(1, every)):
            yield from (text, EOT)  # nothing is merged across the end of a piece

    vocab, merges = train_on_chunks(texts(), vocab_size, (EOT,), name="data prepare")
    return BPETokenizer(vocab, merges, (EOT,), allowed_special=())


def read_state(out: Path) -> dict[str, Any] | None:
    """Return what the folder notes of itself, or None where nothing is there yet; ValueError where it is not ours."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"out: {out} is a file; give a folder")
    for name in (MANIFEST, UNFINISHED):
        if (out / name).is_file():
            try:
                state = json.loads((out / name).read_bytes())
                if state["format"] == FORMAT and isinstance(state["parts"], list):
                    return dict(state)
            except (ValueError, KeyError, TypeError):
                pass
            raise ValueError(f"out: {out / name} is damaged or of another program; choose another -o")
    if out.is_dir() and any(not path.match(".*.tmp") for path in out.iterdir()):
        raise ValueError(f"out: {out} is not empty, and was not made by data prepare; choose another -o")
    return None


def _write_part(
    out: Path,
    number: int,
    encoded: Iterator[tuple[Piece, np.ndarray]],
    settings: dict[str, Any],
    status: Status,
    report: Callable[[Status], None],
) -> dict[str, Any] | None:
    """Write the shards of the next part, and return what is noted of it; None where there is no more text."""
    digest, n_pieces, before = hashlib.sha256(), 0, status.n_bytes
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as shards:
        for piece, ids in encoded:
            if piece.split not in writers:
                path = out / f"{piece.split}-{number:05}.tokens"
                opened = shard_writer(path, settings["vocab_size"], settings["tokenizer_sha256"])
                writers[piece.split] = shards.enter_context(opened)
            writer = writers[piece.split]
            if piece.first:
                writer.begin_document()
            writer.write(ids)
            n_pieces += 1
            status.take(piece, digest)
            status.n_tokens += len(ids)
            report(status)
            if sum(writer.tokens for writer in writers.values()) >= settings["shard_tokens"]:
                break
    if not n_pieces:
        return None
    part: dict[str, Any] = {
        "pieces": n_pieces,
        "text_bytes": status.n_bytes - before,
        "text_sha256": digest.hexdigest(),
    }
    for split, writer in writers.items():
        name = f"{split}-{number:05}.tokens"
        counts = {"tokens": writer.tokens, "documents": len(writer.starts)}
        part[split] = {"file": name, **counts, "sha256": file_sha256(out / name)}
    return part


def _is_whole(out: Path, part: dict[str, Any]) -> bool:
    """Tell whether the shards of a part are there as they were written."""
    files = [part[split] for split in (TRAIN, VAL) if split in part]
    return all((out / f["file"]).is_file() and file_sha256(out / f["file"]) == f["sha256"] for f in files)


def _pass_over(pieces: Iterator[Piece], part: dict[str, Any], status: Status) -> None:
    """Read the text of a part that is there; ValueError where it is not the text that the part was made of."""
    digest = hashlib.sha256()
    for piece in islice(pieces, part["pieces"]):
        status.take(piece, digest)
    if digest.hexdigest() != part["text_sha256"]:
        raise ValueError(
            "data: the texts are not what they were when this was begun; put them back, or choose another -o"
        )
    status.resumed_bytes = status.n_bytes
    status.n_tokens += sum(part[split]["tokens"] for split in (TRAIN, VAL) if split in part)


def _summary(parts: list[dict[str, Any]], status: Status, sources: Sources) -> dict[str, Any]:
    """Return what the manifest says of all parts together."""

    def total(split: str, what: str) -> int:
        return sum(part[split][what] for part in parts if split in part)

    return {
        "split": "position" if status.by_position else "document",
        "text_bytes": status.n_bytes,
        "tokens": {split: total(split, "tokens") for split in (TRAIN, VAL)},
        "documents": {split: total(split, "documents") for split in (TRAIN, VAL)},
        "skipped": {"count": sources.n_skipped, "first": sources.skipped},
    }


def _check(val_fraction: float, shard_tokens: int, workers: int) -> None:
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be at least 0 and below 1, got {val_fraction}")
    for name, value in (("shard_tokens", shard_tokens), ("workers", workers)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _check_same(out: Path, stored: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise ValueError unless the folder was begun with these settings."""
    for name, value in settings.items():
        if stored.get(name) != value:
            raise ValueError(
                f"out: {out} was begun with {name} {stored.get(name)}, which cannot change to {value}; choose another -o"
            )


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
