"""python -m gpt clean: make clean text of files and folders."""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gpt.commands.arguments import Parser
from gpt.config import nearest
from gpt.text.clean import DEFAULT, MOST_PARAGRAPHS, STEPS, Cleaner
from gpt.text.documents import SUFFIXES, read_documents
from gpt.text.read import HTML_SUFFIXES
from nanograd.runtime.files import atomic_write

FLAGS = {"lowercase": "lowercase", "no_punctuation": "remove_punctuation", "ascii": "remove_non_ascii"}
NAMES = "\n    ".join(name if name in DEFAULT else f"[{name}]" for name in STEPS)
DESCRIPTION = f"""Make clean text of files and folders ({" ".join(SUFFIXES)}).

    python -m gpt clean book.txt pages/ -o clean.txt
    python -m gpt clean crawl.jsonl --text-key content -o clean.jsonl

Documents are a blank line apart in OUT; where OUT ends in .jsonl they are lines {{"text": …}}. The steps, in their order,
those in brackets only if a flag asks for them:
    strip_html (of .html and .htm; of all with --html)
    {NAMES}
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt clean", description=DESCRIPTION)
    parser.add_argument("paths", metavar="IN", nargs="+", help="a file or a folder")
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help="the .txt or .jsonl to write")
    parser.add_argument("--lowercase", action="store_true", help="write all in small letters")
    parser.add_argument("--no-punctuation", action="store_true", help="remove punctuation")
    parser.add_argument("--ascii", action="store_true", help="remove what is not ASCII, accented letters too")
    parser.add_argument("--skip", metavar="STEP", action="append", default=[], help="leave a step out; may be repeated")
    parser.add_argument("--html", action="store_true", help="strip tags from all files, not only .html and .htm")
    parser.add_argument("--encoding", metavar="NAME", help="of all files (default: found for each, UTF-8 first)")
    parser.add_argument(
        "--text-key", metavar="KEY", default="text", help="what holds the text in .jsonl (default text)"
    )
    parser.add_argument("--on-error", choices=("stop", "skip"), default="stop", help="at what cannot be read")
    given = parser.parse(arguments)
    out = Path(given.out)
    check_out(out, given.paths)
    steps = [*DEFAULT, *(step for flag, step in FLAGS.items() if getattr(given, flag))]
    for step in given.skip:
        if step not in steps:
            hint = nearest(step, steps) or f"; those done are {', '.join(steps)}"
            raise ValueError(f"skip: {step!r} is no step that would be done{hint}")
    cleaner = Cleaner([step for step in steps if step not in given.skip])
    skipped: list[Exception] = []

    def skip(error: Exception) -> None:
        skipped.append(error)
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else error
        print(f"skipped: {reason}", file=sys.stderr)

    documents = read_documents(
        given.paths,
        encoding=given.encoding,
        text_key=given.text_key,
        on_error=skip if given.on_error == "skip" else None,
        warn=lambda message: print(f"warning: {message}", file=sys.stderr),
    )
    texts = (
        cleaner.clean(document.blocks, html=given.html or Path(document.name).suffix.lower() in HTML_SUFFIXES)
        for document in documents
    )
    with atomic_write(out) as file:
        written, empty = write_texts(file, texts, as_lines=out.suffix.lower() == ".jsonl")
        if not written:
            raise ValueError(f"clean: no text is left ({len(skipped)} skipped, {empty} empty), so {out} is not written")
    print(cleaner.table())
    if len(cleaner.duplicates.seen) == MOST_PARAGRAPHS:
        print(f"note: paragraphs were compared with the first {MOST_PARAGRAPHS:,} only")
    print(f"\n{written:,} documents in {out}; {empty:,} had no text left, {len(skipped):,} skipped as unreadable")
    return 0


def check_out(out: Path, paths: Sequence[str]) -> None:
    """Raise ValueError where OUT cannot be a new file, or is one that is read, now or the next time."""
    if out.is_dir() or not out.absolute().parent.is_dir() or (out.exists() and not out.is_file()):
        raise ValueError(f"out: must be a file in a folder that is there, got {out}")
    target = out.resolve()
    for path in map(Path, paths):
        if path.resolve() == target or (out.exists() and path.exists() and path.samefile(out)):
            raise ValueError(f"out: {out} is read, too; choose another name")
        if path.is_dir() and path.resolve() in target.parents and target.suffix.lower() in SUFFIXES:
            raise ValueError(
                f"out: {out} lies in {path}, which is read: it would be cleaned again; choose another folder"
            )


def write_texts(file: BinaryIO, texts: Iterable[Iterator[str]], *, as_lines: bool) -> tuple[int, int]:
    """Write texts, which come in pieces, a blank line apart or as lines of JSON; count the written and the blank."""
    written = blank = 0
    for pieces in texts:
        first = next((piece for piece in pieces if not piece.isspace()), None)
        if first is None:
            blank += 1
            continue
        last = ""
        file.write(b'{"text": "' if as_lines else b"\n" if written else b"")
        for last in itertools.chain([first], pieces):
            file.write((json.dumps(last, ensure_ascii=False)[1:-1] if as_lines else last).encode("utf-8"))
        file.write(b'"}\n' if as_lines else b"" if last.endswith("\n") else b"\n")
        written += 1
    return written, blank
