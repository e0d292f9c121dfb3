"""Read documents from files and folders, one at a time: what `clean` and `data prepare` work on."""

import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpt.text.read import HTML_SUFFIXES, OnError, TextFile, Warn, check_encoding, detect_encoding
from gpt.text.records import json_lines, text_field
from nanograd.runtime.files import StrPath

SUFFIXES = (".txt", ".md", *HTML_SUFFIXES, ".jsonl")  # the files that are read from a folder


@dataclass(frozen=True)
class Document:
    """A text and the name of its source. `blocks`, joined, are the text; of a file they are read one by one."""

    name: str
    blocks: Iterable[str]

    @property
    def text(self) -> str:
        return "".join(self.blocks)


def read_documents(
    paths: Iterable[StrPath],
    *,
    encoding: str | None = None,
    text_key: str = "text",
    on_error: OnError | None = None,
    warn: Warn = warnings.warn,
) -> Iterator[Document]:
    """Read files, and folders in sorted order: one document per file, or per line of a .jsonl.

    A line of a .jsonl is an object whose `text_key` holds the text; its document is called "path:line". HTML comes as it
    stands in the file (`strip_html` extracts its text). `gpt.text.read` says how a file's encoding is determined.

    A file that is missing, unreadable, empty, binary or wrongly encoded, and a line that is not such an object, raises
    OSError or ValueError with its name; with `on_error`, that is called with the error and reading goes on. Each file is
    decoded once before its document is yielded, so an error never comes in the middle of a text.
    """
    if encoding is not None:
        check_encoding(encoding)

    def handle(error: Exception) -> None:
        if on_error is None:
            raise error
        on_error(error)

    for path in list_files(paths, handle):
        try:
            file = TextFile(path, detect_encoding(path, encoding, warn))
        except (OSError, ValueError) as error:
            handle(error)
            continue
        if path.suffix.lower() == ".jsonl":
            yield from _jsonl_documents(file, text_key, handle)
        else:
            yield Document(str(path), file)


def _jsonl_documents(file: TextFile, text_key: str, on_error: OnError) -> Iterator[Document]:
    """Yield a document for each line of a .jsonl; empty texts are skipped."""
    for record in json_lines(file.lines(), file.path, on_error=on_error):
        try:
            text = text_field(record, text_key)
        except ValueError as error:
            missing = text_key not in record.fields
            on_error(ValueError(f"{error}; name it with --text-key of clean or data prepare") if missing else error)
            continue
        if text.strip():
            yield Document(f"{file.path}:{record.line}", (text,))


def list_files(paths: Iterable[StrPath], on_error: OnError) -> Iterator[Path]:
    """Yield the files among the paths as they are, and of folders the files with one of SUFFIXES.

    A folder's own files come first, sorted, then its subfolders'. Hidden names (.git, .venv) are skipped, and links to
    folders are not followed. A folder without text is reported to `on_error`.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        empty = True
        for folder, folders, names in os.walk(path, onerror=on_error):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                    empty = False
                    yield Path(folder, name)
        if empty:
            on_error(ValueError(f"data: the folder {path} has no text: no {', '.join(SUFFIXES)}"))
