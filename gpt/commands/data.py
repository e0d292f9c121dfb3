"""python -m gpt data: turn texts into tokens once, so that training starts at once and needs no text."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import SKIP, Parser, add_reading_flags
from gpt.config import ModelConfig
from gpt.data.dataset import MANIFEST, TRAIN, UNFINISHED, VAL, Dataset, open_dataset
from gpt.data.documents import TextFiles
from gpt.data.prepare import SHARD_TOKENS, Status, prepare, read_state, stored_tokenizer, train_tokenizer
from gpt.runs.estimate import duration, gigabytes, plural
from gpt.runs.progress import LiveLine
from gpt.tokenizer import Tokenizer, load_tokenizer
from nanograd.runtime.arguments import dispatch

HELP = """usage: python -m gpt data {prepare,info} …

Turn texts of any size into tokens once, so that training starts at once.

    python -m gpt data prepare FILE… --tokenizer tokenizer.json -o DIR
    python -m gpt data prepare FOLDER --tokenizer bpe --vocab-size 4096 -o DIR
    python -m gpt data info DIR
    python -m gpt train --data DIR
"""
PREPARE = """Turn texts (.txt, .md, .html, .jsonl, folders of them) into shards of tokens.

It can be stopped at any moment; the same command resumes it. Of HTML the text that a reader sees is taken, without tags
and scripts; a page that is renamed to .txt is read as it is. In a folder, code (.py, .c, …) in UTF-8 is text too.
"""


def main(arguments: Sequence[str]) -> int:
    return dispatch("gpt data", "action", {"prepare": prepare_texts, "info": info}, HELP, arguments)


def prepare_texts(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt data prepare", description=PREPARE)
    parser.add_argument("paths", metavar="FILE", nargs="+", help="a text, or a folder of texts")
    parser.option("--tokenizer", "a saved tokenizer, or bpe to train one", metavar="T", required=True)
    parser.option("-o --out", "the folder to write", metavar="DIR", required=True)
    parser.option("--vocab-size", f"size of the vocabulary, for bpe (default {ModelConfig().vocab_size})", kind=int)
    parser.option(
        "--val-fraction", "share of the text for validation: whole documents, and the ends of large ones", 0.1
    )
    shard_tokens = f"approximate number of tokens in a file (default {SHARD_TOKENS:,})"
    parser.option("--shard-tokens", shard_tokens, SHARD_TOKENS)
    parser.option("--workers", "number of processes that encode", 1)
    add_reading_flags(parser)
    options = parser.parse(arguments)
    out = Path(options.out)
    bar = Bar()
    files = TextFiles(options.paths, options.encoding, options.text_key, SKIP[options.on_error], bar.note)
    whole = (out / MANIFEST).is_file()
    try:
        dataset = prepare(
            files, out, choose_tokenizer(options.tokenizer, options.vocab_size, files, options.val_fraction, out),
            val_fraction=options.val_fraction, shard_tokens=options.shard_tokens, workers=options.workers, report=bar.show,
        )  # fmt: skip
    except KeyboardInterrupt:
        bar.end_line()
        print("\nstopped; the same command resumes after the last complete shard", file=sys.stderr)
        return 130
    finally:
        bar.end_line()
    for note in files.notes():
        print(note)
    if whole:
        print(f"note      {out} is complete already: nothing was written")
    describe(dataset)
    return 0


def choose_tokenizer(kind: str, vocab_size: int | None, files: TextFiles, val_fraction: float, out: Path) -> Tokenizer:
    """Load the tokenizer, or train one, unless the folder already has one of this size."""
    if kind != "bpe":
        if vocab_size is not None:
            raise ValueError("--vocab-size is for --tokenizer bpe: a saved tokenizer has its own; leave it out")
        if not os.path.exists(kind):
            raise ValueError(
                f"tokenizer must be bpe or the path of a saved tokenizer, got {kind!r}, which is not a file"
            )
        return load_tokenizer(kind)
    vocab_size = vocab_size or ModelConfig().vocab_size
    if (stored := stored_tokenizer(out, vocab_size)) is not None:
        return stored
    print(f"tokenizer learning {vocab_size:,} tokens from the training texts", flush=True)
    start = time.monotonic()
    tokenizer = train_tokenizer(files, vocab_size, val_fraction)
    print(f"tokenizer {tokenizer.vocab_size:,} tokens learned in {time.monotonic() - start:.1f} s", flush=True)
    return tokenizer


def info(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt data info", description="Show the contents of a prepared folder.")
    parser.add_argument("dir", metavar="DIR", help="a folder of data prepare")
    parser.option("--check", "read every byte and compare its hash with the manifest", False)
    options = parser.parse(arguments)
    folder = Path(options.dir)
    if (folder / UNFINISHED).is_file() and not (folder / MANIFEST).is_file():
        state = read_state(folder)
        parts = [] if state is None else state["parts"]
        size = sum(part["text_bytes"] for part in parts)
        print(
            f"{folder} is not complete: {len(parts)} parts, {gigabytes(size)} of text, are done; run data prepare again"
        )
        return 1
    dataset = open_dataset(folder)
    describe(dataset)
    if options.check:
        if damaged := dataset.damaged():
            raise ValueError(f"{folder} is damaged: {', '.join(damaged)}; prepare it again in another folder")
        print("checked   every byte is as it was written")
    return 0


def describe(dataset: Dataset) -> None:
    """Print the size, splits and tokenizer of a dataset."""
    manifest = dataset.manifest
    size = sum(path.stat().st_size for path in dataset.files())
    print(f"data      {dataset.path}: {gigabytes(manifest['text_bytes'])} of text in {gigabytes(size)} of tokens")
    for split in (TRAIN, VAL):
        n, documents = manifest["tokens"][split], manifest["documents"][split]
        shards = len(dataset.shards(split))
        print(f"{split:<9} {plural(n, 'token')}, {plural(documents, 'document')}, {plural(shards, 'shard')}")
    if n_documents := manifest.get("n_documents"):
        share = manifest["tokens"][VAL] / max(1, manifest["tokens"][TRAIN] + manifest["tokens"][VAL])
        print(f"documents {n_documents:,}, {share:.1%} of the tokens to validate")
    if manifest["split"] == "position":
        print("note      the ends of large documents, or of a single one, are for validation")
    elif manifest["val_fraction"] and not manifest["tokens"][VAL]:
        print("note      no document is for validation: all documents begin alike")
    if count := manifest["skipped"]["count"]:
        print(f"skipped   {count:,} texts that could not be read; {MANIFEST} lists the first")
    print(f"tokenizer {manifest['vocab_size']:,} tokens, sha256 {manifest['tokenizer_sha256'][:16]}…")


class Bar(LiveLine):
    """Show the progress of `prepare`, first after an interval: short work shows none."""

    def __init__(self) -> None:
        super().__init__()
        self.last_shown_s = time.monotonic()

    def show(self, status: Status) -> None:
        if self.due():
            text = line(status, time.monotonic())
            share, *_, left = text.split("  ")
            self.write(text, f"{share}  {left}")

    def note(self, message: object) -> None:
        """Print a line of its own."""
        self.end_line()
        print(f"note      {message}", file=sys.stderr)


def line(status: Status, now: float) -> str:
    """Format the progress, the speed and the remaining time."""
    speed = (status.n_bytes - status.resumed_bytes) / max(now - status.start_time, 1e-9)
    share = min(1.0, status.n_bytes / max(status.total_bytes, 1))
    left = max(0.0, status.total_bytes - status.n_bytes) / max(speed, 1e-9)
    return (
        f"{share:4.0%}  {gigabytes(status.n_bytes)} of text  {status.n_tokens:,} tokens  {speed / 1e6:.1f} MB/s  "
        f"{duration(left)} left"
    )
