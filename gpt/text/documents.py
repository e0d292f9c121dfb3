"""Read documents from files and folders, one at a time: what `clean` and `data prepare` work on."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gpt.text.read import (
    HTML_SUFFIXES,
    BinaryFileError,
    EmptyFileError,
    OnError,
    TextFile,
    Warn,
    check_encoding,
    detect_encoding,
)
from gpt.text.records import json_lines, text_field
from nanograd.runtime.arguments import one_line
from nanograd.runtime.files import StrPath

SUFFIXES = (".txt", ".md", *HTML_SUFFIXES, ".jsonl")  # the files that are read from a folder, besides
CODE = (  # these, which must be UTF-8
    ".bat", ".c", ".cc", ".cpp", ".cs", ".css", ".go", ".h", ".hpp", ".hs", ".java", ".jl", ".js", ".jsx", ".kt", ".lua",
    ".m", ".php", ".pl", ".py", ".r", ".rb", ".rs", ".rst", ".scala", ".sh", ".sql", ".swift", ".tex", ".toml", ".ts",
    ".tsx", ".yaml", ".yml",
)  # fmt: skip
EXAMPLES = 3  # of what was skipped or read as latin-1, that are named


@dataclass(frozen=True)
class Document:
    """A text and the name of its source. `blocks`, joined, are the text; of a file they are read one by one."""

    name: str
    blocks: Iterable[str]

    @property
    def text(self) -> str:
        return "".join(self.blocks)


@dataclass
class Skipped:
    """The texts that were not read: a count and the first reasons of each kind."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of texts that could not be read, without the files of other kinds."""
        return self.counts.total() - self.counts["of other kinds"]

    def add(self, error: Exception) -> None:
        """Count a text that could not be read."""
        kind = "empty" if isinstance(error, EmptyFileError) else "unreadable"
        kind = "binary" if isinstance(error, BinaryFileError) else kind
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        self._count(kind, one_line(reason.removeprefix("data: ")))

    def add_other(self, path: Path) -> None:
        """Count a file that is no text by its name."""
        self._count("of other kinds", path.name)

    def lines(self) -> list[str]:
        """Return a line for each kind."""
        return [
            f"{count:,} {kind}: {'; '.join(self.first[kind])}{'; …' if count > EXAMPLES else ''}"
            for kind, count in self.counts.items()
        ]

    def _count(self, kind: str, example: str) -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= EXAMPLES:
            self.first.setdefault(kind, []).append(example)


def read_documents(
    paths: Iterable[StrPath],
    *,
    encoding: str | None = None,
    text_key: str = "text",
    on_error: OnError | None = None,
    stop_at_named: bool = False,
    on_other: Callable[[Path], None] = lambda path: None,
    warn: Warn = warnings.warn,
) -> Iterator[Document]:
    """Read files, and folders in sorted order: one document per file, or per line of a .jsonl.

    A line of a .jsonl is an object whose `text_key` holds the text; its document is called "path:line". HTML comes as it
    stands in the file (`strip_html` extracts its text). `gpt.text.read` says how a file's encoding is determined.

    A file that is missing, unreadable, empty, binary or wrongly encoded, and a line that is not such an object, raises
    OSError or ValueError with its name; with `on_error`, that is called with the error and reading goes on. With
    `stop_at_named` too, a file that is among the paths raises even so, but none inside a folder and no line of a .jsonl.
    Each file is decoded once before its document is yielded, so an error never comes in the middle of a text. `on_other`
    is called with each file of a folder whose name says that it is no text.
    """
    if encoding is not None:
        check_encoding(encoding)

    def handle(error: Exception) -> None:
        if on_error is None:
            raise error
        on_error(error)

    def handle_named(error: Exception) -> None:
        if stop_at_named:
            raise error
        handle(error)

    n_warned = 0

    def warn_of_few(message: str) -> None:
        nonlocal n_warned
        n_warned += 1
        if n_warned <= EXAMPLES:
            warn(message)

    for given in map(Path, paths):
        for path in list_files([given], handle, handle_named, on_other):
            suffix, fail = path.suffix.lower(), handle_named if path == given else handle
            try:
                in_utf8 = path != given and suffix in CODE
                file = TextFile(path, detect_encoding(path, encoding or ("utf-8" if in_utf8 else None), warn_of_few))
            except (OSError, ValueError) as error:
                fail(error)
                continue
            if suffix == ".jsonl":
                yield from _jsonl_documents(file, text_key, handle)
            else:
                yield Document(str(path), file)
    if n_warned > EXAMPLES:
        warn(f"{n_warned - EXAMPLES:,} more files are read as latin-1")


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


def list_files(
    paths: Iterable[StrPath],
    on_error: OnError,
    on_empty: OnError | None = None,
    on_other: Callable[[Path], None] = lambda path: None,
) -> Iterator[Path]:
    """Yield the files among the paths as they are, and of folders the files with one of SUFFIXES or CODE.

    A folder's own files come first, sorted, then its subfolders'. Hidden names (.git, .venv) are skipped, and links to
    folders are not followed. A subfolder that cannot be read is reported to `on_error`, a folder without text to
    `on_empty` (`on_error` if None), and any other file to `on_other`.
    """
    for path in map(Path, paths):
        if not path.is_dir():
            yield path
            continue
        empty = True
        for folder, folders, names in os.walk(path, onerror=on_error):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith("."):
                    continue
                if Path(name).suffix.lower() in (*SUFFIXES, *CODE):
                    empty = False
                    yield Path(folder, name)
                else:
                    on_other(Path(folder, name))
        if empty:
            (on_empty or on_error)(ValueError(f"data: the folder {path} has no text: no {', '.join(SUFFIXES)} or code"))
