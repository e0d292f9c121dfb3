"""Read records: the objects of a JSON or JSON-lines file, the rows of a CSV or TSV file.

    for record in read_json(path, encoding=encoding, warn=notes.append):      # a JSON list, or an object a line
        text = text_field(record, "text")                                     # ValueError names record.location

    rows = read_table(path, encoding=encoding, warn=notes.append)             # .csv or .tsv: (line, cells)

Both read the file with `gpt.text.read.read_text`: one rule for encodings, byte-order marks and the latin-1 warning. `warn`
is called with one line for everything the user should know: an encoding that was guessed, blank lines that were skipped. An
error names the file and the line (or the entry of a list) and begins with "data: ".
"""

import csv
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpt.text.read import OnError, Warn, read_text
from nanograd.runtime.files import StrPath
from nanograd.runtime.typed_json import parse_json

Table = list[tuple[int, list[str]]]  # of each row the line it begins at, and its cells


class Record(NamedTuple):
    """One JSON object, with the line it begins at (or, in a JSON list, its number), counted from 1."""

    fields: dict[str, Any]
    line: int
    location: str  # "data.jsonl, line 3", for errors


def read_json(
    path: StrPath, *, encoding: str | None = None, warn: Warn = warnings.warn, warn_blank: bool = False
) -> Iterator[Record]:
    """Yield the objects of a file: one JSON list of objects, or one object a line.

    Raises OSError if the file cannot be read; ValueError, with the line or entry, for anything that is not such an
    object, and for an object that has a key twice. Blank lines are skipped, and counted with `warn_blank`.
    """
    text = read_text(path, encoding=encoding, warn=warn)
    if not text.lstrip().startswith("["):
        yield from json_lines(text.split("\n"), path, warn_blank=warn if warn_blank else None)  # not splitlines: U+2028
        return
    try:
        entries = parse_json(text)
    except ValueError as error:
        raise ValueError(f"data: {path} must be a JSON list, but {error}") from None
    for number, entry in enumerate(entries, start=1):
        yield _record(entry, number, f"{path}, entry {number}")


def json_lines(
    lines: Iterable[str], path: StrPath, *, on_error: OnError | None = None, warn_blank: Warn | None = None
) -> Iterator[Record]:
    """Yield the object of each line of a JSON-lines file; `path` is for the errors.

    A line that is not an object, or has a key twice, raises ValueError; with `on_error`, that is called with the error
    and reading goes on.
    """
    n_blank, blank = 0, False
    for number, line in enumerate(lines, start=1):
        n_blank += blank  # a blank last line is the end of the line before it
        blank = not line.strip()
        if blank:
            continue
        location = f"{path}, line {number}"
        try:
            try:
                value = parse_json(line.removeprefix("\ufeff"))
            except ValueError as error:
                hint = "; a list of entries begins with [" if number == 1 else ""
                raise ValueError(f"data: {location}: a line must be one JSON object, but {error}{hint}") from None
            record = _record(value, number, location)
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        yield record
    _warn_blank(n_blank, warn_blank)


def read_table(path: StrPath, *, encoding: str | None = None, warn: Warn = warnings.warn) -> Table:
    """Return the rows of a .csv or .tsv file: for each the line it begins at, counted from 1, and its cells.

    - `.csv` follows RFC 4180: a cell in double quotes may hold commas, line ends, and quotes written twice.
    - `.tsv` has no quoting: a quote is a character, a tab always ends a cell, a line end always ends a row.

    Blank lines are skipped and counted. Raises OSError if the file cannot be read, ValueError with the line if it cannot
    be parsed.
    """
    text = read_text(path, encoding=encoding, keep_line_ends=True, warn=warn)
    rows = _tsv(text) if Path(path).suffix.lower() == ".tsv" else _csv(text, path)
    kept = [(line, cells) for line, cells in rows if cells]
    _warn_blank(len(rows) - len(kept), warn)
    return kept


def _tsv(text: str) -> Table:
    lines = text.removesuffix("\n").split("\n")  # not splitlines: a cell may hold U+2028
    return [
        (number, line.removesuffix("\r").split("\t") if line.strip("\r") else [])
        for number, line in enumerate(lines, start=1)
    ]


def _csv(text: str, path: StrPath) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "; put a cell that has quotes in quotes, and write each of its own quotes twice"
        raise ValueError(f"data: {path}, in the row that begins at line {line}: {error}{hint}") from None
    return rows


def text_field(record: Record, name: str) -> str:
    """Return the text that a record has under `name`; ValueError if it has none, or one that is not text."""
    if name not in record.fields:
        names = ", ".join(map(repr, list(record.fields)[:9])) or "nothing"
        raise ValueError(f"data: {record.location}: there is no {name!r}, only {names}")
    return check_text_field(record.fields[name], name, record.location)


def check_text_field(value: Any, name: str, location: str) -> str:
    """Return the value of the field `name` if it is text; ValueError if it is not, or has half of a character."""
    if not isinstance(value, str):
        raise ValueError(f"data: {location}: {name!r} must be a text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"data: {location}: {name!r} has a lone surrogate at {error.start}; take it out") from None
    return value


def _record(value: Any, line: int, location: str) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f'data: {location}: must be an object like {{"text": …}}, got {type(value).__name__}')
    return Record(value, line, location)


def _warn_blank(n_blank: int, warn: Warn | None) -> None:
    if n_blank and warn is not None:
        warn(f"{n_blank:,} blank line{'s' if n_blank > 1 else ''} skipped")
