"""Rows of a CSV, TSV or JSONL file: in each a text, and a label where there is one.

What the formats mean here:
- `.csv` follows RFC 4180: a cell in double quotes may hold commas, line ends, and quotes written twice.
- `.tsv` has no quoting: a quote is a character, a tab always ends a cell, a line end always ends a row.
- `.jsonl` has one object a line.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.config import nearest

SUFFIXES = (".csv", ".tsv", ".jsonl")
LABEL_NAMES = ("label", "category", "class", "target", "sentiment")
TEXT_NAMES = ("text", "message", "sms", "sentence", "review", "content")
MIXED = "mixed"
MARK = b"\xef\xbb\xbf"  # with which Windows programs begin a file in UTF-8


@dataclass(frozen=True)
class Row:
    """One row: the line that it begins at, counted from 1, its text, and its label and id where the file has them."""

    line: int
    text: str
    label: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Rows:
    """The rows of a file, and what was done to read them, to be told: phrases such as "2 blank lines"."""

    rows: list[Row]
    notes: list[str]


Cells = tuple[int, dict[str, Any]]
"""A line number, and what stands in each column."""


def read_rows(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    text_column: str | None = None,
    encoding: str = "utf-8",
    need_label: bool = True,
) -> Rows:
    """Read a file of labelled texts; what is wrong with it is a ValueError that names the line.

    Columns are found by name, in capitals or not, unless they are given; a column of a file without a header is given by
    its number, from 1. A file whose first row names neither a text nor a label has no header: then two columns are label
    and text, and one column is text. `encoding` "mixed" reads each line that is not UTF-8 as latin-1, and counts them.
    """
    path = Path(path)
    text, notes = _decode(_read_bytes(path), path, encoding)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"data: {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which says its format"
        )
    columns = _Columns(path, label_column, text_column, need_label)
    if suffix == ".jsonl":
        cells = _objects(text, path, notes)
        names = list(dict.fromkeys(name for _, row in cells for name in row))
        if cells:
            columns.find(names)
    else:
        cells = columns.named(list(_records(text, path, suffix, notes)))
    if not cells:
        raise ValueError(f"data: {path} has no rows")
    return Rows([columns.row(line, row) for line, row in cells], notes)


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"data: {path} is a folder; give a {', '.join(SUFFIXES)} file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"data: there is no file {path}") from None


def _decode(raw: bytes, path: Path, encoding: str) -> tuple[str, list[str]]:
    """Return the text of a file, and notes on how it was read."""
    raw = raw.removeprefix(MARK)
    if encoding not in ("utf-8", MIXED):
        try:
            return raw.decode(encoding).removeprefix("\ufeff"), []
        except LookupError:
            raise ValueError(
                f"encoding: there is none called {encoding!r}; utf-8, mixed, latin-1 and cp1252 are usual"
            ) from None
        except UnicodeDecodeError as error:
            raise ValueError(f"data: {path} is not {encoding}: {error.reason} at byte {error.start}") from None
    if b"\0" in raw:
        raise ValueError(f"data: {path} is binary or UTF-16 (it has zero bytes); if it is text, try --encoding utf-16")
    lines, others = [], 0
    for number, line in enumerate(raw.split(b"\n"), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            if encoding != MIXED:
                raise ValueError(
                    f"data: {path}, line {number} is not UTF-8: byte 0x{line[error.start]:02x}; if the whole file is in "
                    "another encoding, name it (--encoding latin-1); --encoding mixed reads only such lines as latin-1"
                ) from None
            lines.append(line.decode("latin-1"))
            others += 1
    return "\n".join(lines), [plural(others, "line") + " read as latin-1"] if others else []


def _objects(text: str, path: Path, notes: list[str]) -> list[Cells]:
    """Return the objects of a .jsonl."""
    found: list[Cells] = []
    for number, line in _lines(text, notes):
        try:
            row = json.loads(line, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"data: {path}, line {number} cannot be read as JSON: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"data: {path}, line {number} must be a JSON object, got {type(row).__name__}")
        found.append((number, row))
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that gives a key twice, of which Python would silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"a key is there twice, of {', '.join(name for name, _ in pairs)}")
    return fields


def _records(text: str, path: Path, suffix: str, notes: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of a .tsv or .csv; blank lines are counted."""
    if suffix == ".tsv":
        yield from ((number, line.split("\t")) for number, line in _lines(text, notes))
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    blank, number = 0, 1
    try:
        for cells in reader:
            if cells:
                yield number, cells
            else:
                blank += 1
            number = reader.line_num + 1
    except csv.Error as error:
        way_out = "; a cell that has quotes must stand in quotes, and have each of its own twice"
        raise ValueError(f"data: {path}, in the row that begins at line {number}: {error}{way_out}") from None
    _note_blank(blank, notes)


def _lines(text: str, notes: list[str]) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, and count those that are blank."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()  # what follows the last line end is no line
    blank = 0
    for number, line in enumerate(lines, start=1):
        if line.strip("\r"):
            yield number, line.removesuffix("\r")
        else:
            blank += 1
    _note_blank(blank, notes)


def _note_blank(blank: int, notes: list[str]) -> None:
    if blank:
        notes.append(plural(blank, "blank line") + " passed over")


class _Columns:
    """Which columns hold the label, the text and the id."""

    def __init__(self, path: Path, label: str | None, text: str | None, need_label: bool) -> None:
        self.path = path
        self.asked = {"label": label, "text": text}
        self.need_label = need_label
        self.label: str | None = None
        self.text = ""
        self.id: str | None = None

    def named(self, records: Sequence[tuple[int, list[str]]]) -> list[Cells]:
        """Name the cells of each row by the header, or by their numbers, and find the columns."""
        if not records:
            return []
        (_, first), *rest = records
        names = [name.strip() for name in first]
        numbers = [str(n) for n in range(1, len(first) + 1)]
        if any(asked is not None and asked not in names and asked in numbers for asked in self.asked.values()):
            header = False
        else:
            known = {*LABEL_NAMES, *TEXT_NAMES}
            header = any(asked is not None for asked in self.asked.values()) or any(n.lower() in known for n in names)
        if header:
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"data: {self.path}: the header names the column {name!r} twice; rename one")
            self.find(names)
        else:
            names, rest = numbers, list(records)
            self.find_numbers(numbers)
        cells = []
        for line, row in rest:
            if len(row) != len(names):
                raise ValueError(
                    f"data: {self.path}, line {line} has {plural(len(row), 'cell')}, and the first row {len(names)}"
                )
            cells.append((line, dict(zip(names, row, strict=True))))
        return cells

    def find_numbers(self, numbers: list[str]) -> None:
        """Choose the columns of a file without a header."""
        label, text = self.asked["label"], self.asked["text"]
        if label is None and text is None:
            if len(numbers) == 2:
                label, text = "1", "2"
            elif len(numbers) == 1 and not self.need_label:
                text = "1"
            else:
                raise ValueError(
                    f"data: {self.path}: its first row names no label and no text, and has {plural(len(numbers), 'cell')}; "
                    "say where they are: --label-column and --text-column, by name or by number from 1"
                )
        elif text is None or (label is None and self.need_label):
            missing = "text" if text is None else "label"
            raise ValueError(f"data: {self.path} has no header: give --{missing}-column too, a number from 1")
        for asked in (label, text):
            if asked is not None and asked not in numbers:
                raise ValueError(
                    f"data: {self.path} has no column {asked!r}: its first row has {plural(len(numbers), 'cell')}"
                )
        self.label, self.text = label, str(text)

    def find(self, names: list[str]) -> None:
        """Choose the columns by name."""
        for asked in self.asked.values():
            if asked is not None and asked not in names:
                hint = nearest(asked, names) or f"; its columns are {', '.join(names)}"
                raise ValueError(f"data: {self.path} has no column {asked!r}{hint}")
        self.label = self._choose("label", names, LABEL_NAMES)
        self.text = self._choose("text", names, TEXT_NAMES) or ""
        self.id = next((name for name in names if name.lower() == "id"), None)

    def _choose(self, what: str, names: list[str], known: Iterable[str]) -> str | None:
        if self.asked[what] is not None:
            return self.asked[what]
        found = [name for name in names if name.lower() in known]
        if len(found) == 1:
            return found[0]
        if not found and what == "label" and not self.need_label:
            return None
        several = f"several could be: {', '.join(found)}" if found else f"its columns are {', '.join(names)}"
        raise ValueError(f"data: {self.path} has no column called {what}; {several}; say which: --{what}-column NAME")

    def row(self, line: int, cells: dict[str, Any]) -> Row:
        """Take text, label and id out of a row."""
        where = f"data: {self.path}, line {line}"
        for name in (self.text, *([self.label] if self.label is not None else [])):
            if name not in cells:
                raise ValueError(f"{where} has no {name!r}; each row must have one")
        text = cells[self.text]
        if not isinstance(text, str):
            raise ValueError(f"{where}: {self.text!r} must be a text, got {text!r}")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError(
                f"{where}: {self.text!r} has a lone surrogate, which no text can have; take it out"
            ) from None
        label = None
        if self.label is not None:
            value = cells[self.label]
            if isinstance(value, (dict, list)) or value is None or not str(value).strip():
                raise ValueError(f"{where}: {self.label!r} must be a word or a number, got {value!r}")
            label = str(value).strip()
        id = cells.get(self.id) if self.id is not None else None
        return Row(line, text, label, None if id is None else str(id))


def plural(n: int, noun: str) -> str:
    """Write a number of things.

    >>> plural(1, "line"), plural(1200, "line")
    ('1 line', '1,200 lines')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
