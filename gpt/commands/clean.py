"""python -m gpt clean: clean the text of files and folders."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, add_reading_flags
from gpt.text.clean import DEFAULT, MAX_PARAGRAPHS, STEPS, Cleaner, check_out, select_steps, write_texts
from gpt.text.documents import SUFFIXES, Skipped, read_documents
from gpt.text.read import HTML_SUFFIXES
from nanograd.runtime.files import atomic_write

FLAGS = {"lowercase": "lowercase", "no_punctuation": "remove_punctuation", "ascii": "remove_non_ascii"}
NAMES = "\n    ".join(name if name in DEFAULT else f"[{name}]" for name in STEPS)
DESCRIPTION = f"""Clean the text of files and folders ({" ".join(SUFFIXES)}, code).

    python -m gpt clean book.txt pages/ -o clean.txt
    python -m gpt clean crawl.jsonl --text-key content -o clean.jsonl

Documents are written a blank line apart, or as lines {{"text": …}} if OUT ends in .jsonl. The steps in order; those in
brackets need a flag:
    strip_html (of .html and .htm; of all with --html)
    {NAMES}
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt clean", description=DESCRIPTION)
    parser.add_argument("paths", metavar="IN", nargs="+", help="a file or a folder")
    parser.option("-o --out", "the .txt or .jsonl to write", metavar="FILE", required=True)
    parser.option("--lowercase", "convert to lower case", False)
    parser.option("--no-punctuation", "remove punctuation", False)
    parser.option("--ascii", "remove characters that are not ASCII, accented letters too", False)
    parser.option("--skip", "a step to skip; may be repeated", [], action="append", metavar="STEP")
    parser.option("--html", "strip tags from all files, not only .html and .htm", False)
    add_reading_flags(parser)
    options = parser.parse(arguments)
    out = Path(options.out)
    check_out(out, options.paths)
    cleaner = Cleaner(select_steps([step for flag, step in FLAGS.items() if getattr(options, flag)], options.skip))
    skipped = Skipped()
    documents = read_documents(
        options.paths,
        encoding=options.encoding,
        text_key=options.text_key,
        on_error=None if options.on_error == "stop" else skipped.add,
        stop_at_named=options.on_error is None,
        on_other=skipped.add_other,
        warn=lambda message: print(f"note: {message}", file=sys.stderr),
    )
    texts = (
        cleaner.clean(document.blocks, html=options.html or Path(document.name).suffix.lower() in HTML_SUFFIXES)
        for document in documents
    )
    with atomic_write(out) as file:
        written, empty = write_texts(file, texts, as_lines=out.suffix.lower() == ".jsonl")
        if not written:
            reasons = "".join(f"; {line}" for line in skipped.lines())
            counts = f"{len(skipped)} skipped, {empty} empty{reasons}"
            raise ValueError(f"clean: no text is left ({counts}), so {out} is not written")
    for line in skipped.lines():
        print(f"skipped: {line}", file=sys.stderr)
    print(cleaner.table())
    if len(cleaner.duplicates.seen) == MAX_PARAGRAPHS:
        print(f"note: only the first {MAX_PARAGRAPHS:,} paragraphs were compared")
    print(f"\n{written:,} documents in {out}; {empty:,} had no text left, {len(skipped):,} skipped as unreadable")
    return 0
