"""python -m gpt tokenizer: train a tokenizer, turn text into ids and back."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpt.cli import Parser
from gpt.config import nearest
from gpt.text import read_text
from gpt.tokenizer import BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer

DESCRIPTION = """Train a tokenizer, turn text into ids and back.

    python -m gpt tokenizer train FILE -o tokenizer.json --vocab-size 4096
    python -m gpt tokenizer encode tokenizer.json "some text"
    python -m gpt tokenizer decode tokenizer.json 101 32 99
"""
ACTIONS = ("train", "encode", "decode")


def main(arguments: Sequence[str]) -> int:
    action = arguments[0] if arguments else "--help"
    if action in ("-h", "--help"):
        print(f"usage: python -m gpt tokenizer {{{','.join(ACTIONS)}}} …\n\n{DESCRIPTION}", end="")
        return 0
    if action not in ACTIONS:
        hint = nearest(action, list(ACTIONS))
        print(f"gpt tokenizer: unknown action {action!r}{hint}; see python -m gpt tokenizer --help", file=sys.stderr)
        return 2
    return {"train": train, "encode": encode, "decode": decode}[action](arguments[1:])


def train(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer train", description="Learn a vocabulary from a text.")
    parser.add_argument("file", metavar="FILE", help="a UTF-8 text")
    parser.add_argument("-o", "--out", required=True, help="the JSON file to write")
    parser.add_argument("--kind", choices=("bpe", "char"), default="bpe", help="byte pairs (default) or characters")
    parser.add_argument("--vocab-size", metavar="N", type=int, default=4096, help="tokens, for bpe (default 4096)")
    given = parser.parse(arguments)
    out = Path(given.out)
    if out.is_dir() or not out.absolute().parent.is_dir():  # now, not after the work
        raise ValueError(f"out: must be a file in a folder that is there, got {out}")
    text = read_text(given.file)
    began = time.perf_counter()
    tokenizer: Tokenizer = (
        CharTokenizer.train(text) if given.kind == "char" else BPETokenizer.train(text, given.vocab_size)
    )
    seconds = time.perf_counter() - began
    tokenizer.save(given.out)
    n = len(tokenizer.encode(text))
    print(
        f"{tokenizer.vocab_size:,} tokens learned in {seconds:.1f} s; the text is {n:,} of them, "
        f"{len(text.encode()) / n:.2f} bytes a token; saved in {given.out}"
    )
    return 0


def encode(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer encode", description="Turn text into ids.")
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a saved tokenizer")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text; standard input if left out")
    given = parser.parse(arguments)
    text = given.text
    if text is None:
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"encode: standard input must be UTF-8; {error}") from None
    print(*load_tokenizer(given.tokenizer).encode(text))
    return 0


def decode(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer decode", description="Turn ids into text.")
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a saved tokenizer")
    parser.add_argument("ids", metavar="ID", nargs="*", help="the ids; standard input if left out")
    given = parser.parse(arguments)
    words = given.ids or sys.stdin.read().split()
    try:
        ids = [int(word) for word in words]
    except ValueError as error:
        raise ValueError(f"decode: ids are whole numbers; {error}") from None
    print(load_tokenizer(given.tokenizer).decode(ids))
    return 0
