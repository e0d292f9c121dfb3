"""python -m gpt tokenizer: train a tokenizer, encode, decode, explain, and convert between formats."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, check_stdin, read_stdin
from gpt.runs.progress import LiveLine
from gpt.text.read import detect_encoding, read_text
from gpt.tokenizer import (
    EOT,
    PATTERNS,
    BPETokenizer,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
    to_huggingface,
)
from gpt.tokenizer.bpe import Explanation
from gpt.tokenizer.special_tokens import SpecialTokenizer
from gpt.tokenizer.splits import NAMED
from nanograd.runtime.arguments import dispatch
from nanograd.runtime.files import write_text

HELP = """usage: python -m gpt tokenizer {train,encode,decode,explain,convert} …

Train a tokenizer, encode text, decode ids, show the merges, convert between formats.

    python -m gpt tokenizer train FILE … -o tokenizer.json
    python -m gpt tokenizer encode tokenizer.json "some text"
    python -m gpt tokenizer decode tokenizer.json 101 32 99
    python -m gpt tokenizer explain tokenizer.json "lower"
    python -m gpt tokenizer convert FOLDER -o tokenizer.json

A TOKENIZER is a file or folder: one that `train` wrote, Hugging Face's tokenizer.json, SentencePiece's tokenizer.model,
OpenAI's encoder.json with vocab.bpe, or tiktoken's .tiktoken.
"""
LARGE = 1 << 25  # bytes: from this size on several processes count words; they take longer to start than a smaller text


def main(arguments: Sequence[str]) -> int:
    actions = {"train": train, "encode": encode, "decode": decode, "explain": explain, "convert": convert}
    return dispatch("gpt tokenizer", "action", actions, HELP, arguments)


def train(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer train", description="Learn a vocabulary from texts.")
    parser.add_argument("files", metavar="FILE", nargs="+", help="a text; for bpe of any size")
    parser.option("-o --out", "the JSON file to write", metavar="FILE", required=True)
    parser.option("--kind", "byte pairs or characters", "bpe", choices=("bpe", "char"))
    parser.option("--vocab-size", "tokens, for bpe", 4096)
    parser.option("--pattern", "how bpe splits text into words", "gpt2", choices=tuple(PATTERNS))
    special_token = f"a special token; may be repeated (default {EOT})"
    parser.option("--special-token", special_token, action="append", metavar="TEXT")
    parser.option("--workers", "processes (default: one per core for 32 MB or more)", kind=int)
    options = parser.parse(arguments)
    _check_out(options.out)
    for path in map(Path, options.files):
        if path.is_dir():
            raise ValueError(f"data: {path} is a folder; give a text file")
        detect_encoding(path, warn=lambda message: None)  # refuse a file that is not text before any work
    n_bytes = sum(map(os.path.getsize, options.files))
    start = time.perf_counter()
    if options.kind == "char":
        tokenizer: Tokenizer = CharTokenizer.train("".join(map(read_text, options.files)))
    else:
        default_workers = (os.cpu_count() or 1) if n_bytes >= LARGE else 1
        tokenizer = BPETokenizer.train_files(
            options.files,
            options.vocab_size,
            pattern=options.pattern,
            special_tokens=options.special_token or (EOT,),
            workers=default_workers if options.workers is None else options.workers,
            progress=_Progress() if n_bytes >= LARGE else None,
        )
    seconds = time.perf_counter() - start
    tokenizer.save(options.out)
    length = f"{n_bytes:,} bytes"
    if n_bytes < LARGE:
        texts = [read_text(path) for path in options.files]
        n, size = sum(len(tokenizer.encode_ordinary(text)) for text in texts), sum(len(text.encode()) for text in texts)
        length = f"{n:,} of them, {size / n:.2f} bytes a token"
    print(f"{tokenizer.vocab_size:,} tokens learned in {seconds:.1f} s; the text is {length}; saved in {options.out}")
    return 0


def encode(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer encode", description="Turn text into ids.")
    tokenizer, text, options = _tokenizer_and_text(parser, arguments)
    with _name_special_flag():
        ids = tokenizer.encode(text, **options) if isinstance(tokenizer, SpecialTokenizer) else tokenizer.encode(text)
    print(*ids)
    return 0


def explain(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m gpt tokenizer explain", description="Show the merges that turn text into ids, one by one."
    )
    tokenizer, text, options = _tokenizer_and_text(parser, arguments)
    if not isinstance(tokenizer, BPETokenizer | SentencePieceTokenizer):
        raise ValueError("explain: the tokenizer must be bpe, got char, which has one id per character and no merges")
    with _name_special_flag():
        explanations = list(tokenizer.explain(text, **options))
    for explanation in explanations:
        print(_format(explanation))
    return 0


def decode(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer decode", description="Turn ids into text.")
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a file or folder")
    parser.add_argument("ids", metavar="ID", nargs="*", help="the ids (default: from standard input)")
    options = parser.parse(arguments)
    if not options.ids:
        check_stdin("give the ids as arguments, or through a pipe")
    words = options.ids or sys.stdin.read().split()
    try:
        ids = [int(word) for word in words]
    except ValueError as error:
        raise ValueError(f"decode: ids must be whole numbers; {error}") from None
    print(load_tokenizer(options.tokenizer).decode(ids))
    return 0


def convert(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt tokenizer convert", description="Read a tokenizer and write it as one file.")
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a file or folder")
    parser.option("-o --out", "the JSON file to write", metavar="FILE", required=True)
    parser.option("--to", "the format: this program's or Hugging Face's", "gpt", choices=("gpt", "huggingface"))
    pattern = "how it splits text into words, for a file without a pattern"
    parser.option("--pattern", f"{pattern}: {', '.join(NAMED)}", metavar="NAME", choices=tuple(NAMED))
    special_token = "for a file without special tokens; may be repeated"
    parser.option("--special-token", special_token, action="append", metavar="TEXT")
    options = parser.parse(arguments)
    _check_out(options.out)
    tokenizer = load_tokenizer(options.tokenizer, pattern=options.pattern, special_tokens=options.special_token)
    if options.to == "gpt":
        tokenizer.save(options.out)
    elif isinstance(tokenizer, BPETokenizer | SentencePieceTokenizer):
        write_text(options.out, json.dumps(to_huggingface(tokenizer), ensure_ascii=False, indent=2) + "\n")
    else:
        raise ValueError("convert: the tokenizer must be bpe, got char, which Hugging Face's format cannot store")
    print(f"{tokenizer.vocab_size:,} tokens; saved in {options.out}")
    return 0


def _tokenizer_and_text(parser: Parser, arguments: Sequence[str]) -> tuple[Tokenizer, str, dict[str, str]]:
    """Parse the arguments of `encode` and `explain`: the tokenizer, the text, and the options for special tokens."""
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a file or folder")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text (default: from standard input)")
    parser.option("--special", "special tokens in the text become their ids", False)
    options = parser.parse(arguments)
    text = read_stdin() if options.text is None else options.text
    return load_tokenizer(options.tokenizer), text, {"allowed_special": "all"} if options.special else {}


@contextlib.contextmanager
def _name_special_flag() -> Iterator[None]:
    """Name --special, and not Python's argument, in the error of a block for a special token that is not allowed."""
    try:
        yield
    except ValueError as error:
        message, python, _ = str(error).partition("; allowed_special=")
        raise ValueError(message + ("; --special gives its id" if python else "")) from None


def _format(explanation: Explanation) -> str:
    """Format a pre-token, its merges in order and its ids as lines."""
    lines = [repr(explanation.text)]
    if explanation.steps:  # otherwise the ids are those of the bytes, or of a special token
        lines.append(
            f"{'bytes' if max(map(len, explanation.start)) == 1 else 'pieces':>10}  {_tokens(explanation.start)}"
        )
    lines += [f"{f'merge {rank}':>10}  {_tokens(tokens)}" for rank, tokens in explanation.steps]
    lines.append(f"{'ids':>10}  {' '.join(map(str, explanation.ids))}")
    return "\n".join(lines)


def _tokens(tokens: Sequence[bytes]) -> str:
    return " ".join(repr(token.decode("utf-8", "backslashreplace")) for token in tokens)


def _check_out(out: str) -> None:
    """Raise ValueError if the file cannot be written: before the work, not after it."""
    path = Path(out)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"out: must be a file in an existing folder, got {path}")


class _Progress(LiveLine):
    """Print the progress, speed and remaining time: one live line on a terminal, else a line every 10 %."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.start = time.perf_counter()
        self.tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total
        if not self.live and tenths == self.tenths:
            return
        self.tenths = tenths
        seconds = time.perf_counter() - self.start
        line = f"counted {done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {done / seconds / 1e6:.1f} MB/s"
        left = f"{seconds * (total - done) / done:.0f} s left"
        self.write(f"{line}, {left}", f"{done / total:.0%}, {left}")
        if done == total:
            self.end_line()
