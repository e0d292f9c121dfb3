"""Labelled texts for a classifier: read from a CSV, TSV or JSONL file, cleaned, balanced, and split.

Nothing is dropped silently: every rule that leaves texts out counts them in the notes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gpt.config import nearest
from gpt.finetune.batching import Splits
from gpt.runs.estimate import plural
from gpt.text.records import Table, check_text_field, read_json, read_table
from nanograd.runtime.files import StrPath
from nanograd.seeds import EVAL, generator

SUFFIXES = (".csv", ".tsv", ".jsonl")
LABEL_NAMES = ("label", "category", "class", "target", "sentiment")
TEXT_NAMES = ("text", "message", "sms", "sentence", "review", "content")
VAL_FRACTION, TEST_FRACTION = 0.1, 0.2  # of each class
MIN_TEXTS = 3  # in a class: each split needs one
Columns = tuple[str, str | None, str | None]  # of text, label and id


@dataclass(frozen=True)
class Row:
    """A text, the line that it begins at, counted from 1, and its label and id where the file has them."""

    line: int
    text: str
    label: str | None = None
    id: str | None = None


class Rows(NamedTuple):
    """The rows of a file, and notes on how they were read and what was left out, such as "2 blank lines skipped"."""

    rows: list[Row]
    notes: list[str]

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in sorted order."""
        return tuple(indices_by_label(self.rows))


# Reading


def read_rows(
    path: StrPath,
    *,
    label_column: str | None = None,
    text_column: str | None = None,
    encoding: str | None = None,
    need_label: bool = True,
) -> Rows:
    """Read texts, with labels where there are any; ValueError names the line of a mistake.

    Columns are found by name, in any case, unless they are named here; a file without a header has columns numbered from
    1. A file has no header if its first row names neither a text nor a label: then two columns are label and text, and one
    column is text.
    """
    path, requested, notes = Path(path), {"label": label_column, "text": text_column}, list[str]()
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"data: {path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: that is its format")
    if path.suffix.lower() == ".jsonl":
        records = read_json(path, encoding=encoding, warn=notes.append, warn_blank=True)
        cells = [(record.line, record.fields) for record in records]
        names = list(dict.fromkeys(name for _, fields in cells for name in fields))
        has_header = True
    else:
        table = read_table(path, encoding=encoding, warn=notes.append)
        has_header = _has_header(table[0][1], requested)
        names, cells = _name_cells(table, has_header, path)
    if not cells:
        raise ValueError(f"data: {path} has no rows")
    if not has_header and label_column is None and text_column is None and len(names) <= 2:
        requested = {"label": "1", "text": "2"} if len(names) == 2 else {"label": None, "text": "1"}
    columns = _find_columns(names, requested, need_label, path)
    return Rows([_make_row(line, fields, columns, f"{path}, line {line}") for line, fields in cells], notes)


def _has_header(first_row: Sequence[str], requested: Mapping[str, str | None]) -> bool:
    names = [cell.strip() for cell in first_row]
    numbers = [str(i) for i in range(1, len(names) + 1)]
    columns = [name for name in requested.values() if name is not None]
    if any(name not in names and name in numbers for name in columns):
        return False
    return bool(columns) or any(name.lower() in LABEL_NAMES + TEXT_NAMES for name in names)


def _name_cells(table: Table, has_header: bool, path: Path) -> tuple[list[str], list[tuple[int, dict[str, Any]]]]:
    """Return the names of the columns, from the header or numbered, and the cells of each row by name."""
    first_row = table[0][1]
    names = [cell.strip() if has_header else str(i) for i, cell in enumerate(first_row, start=1)]
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise ValueError(f"data: {path}: the header names the column {name!r} twice; rename one")
    rows = table[1:] if has_header else table
    for line, cells in rows:
        if len(cells) != len(names):
            raise ValueError(f"data: {path}, line {line} has {plural(len(cells), 'cell')}, the first row {len(names)}")
    return names, [(line, dict(zip(names, cells, strict=True))) for line, cells in rows]


def _find_columns(names: list[str], requested: Mapping[str, str | None], need_label: bool, path: Path) -> Columns:
    """Choose the columns of text, label and id by name: the requested ones, or those with a usual name."""
    for name in requested.values():
        if name is not None and name not in names:
            hint = nearest(name, names) or f"; its columns are {', '.join(names)}"
            raise ValueError(f"data: {path} has no column {name!r}{hint}")

    def choose(role: str, usual: Sequence[str]) -> str | None:
        if requested[role] is not None:
            return requested[role]
        candidates = [name for name in names if name.lower() in usual]
        if len(candidates) == 1:
            return candidates[0]
        if not candidates and role == "label" and not need_label:
            return None
        options = f"candidates are {', '.join(candidates)}" if candidates else f"its columns are {', '.join(names)}"
        raise ValueError(f"data: {path} has no column called {role}; {options}; choose one: --{role}-column NAME")

    label, text = choose("label", LABEL_NAMES), choose("text", TEXT_NAMES)
    return str(text), label, next((name for name in names if name.lower() == "id"), None)


def _make_row(line: int, fields: Mapping[str, Any], columns: Columns, location: str) -> Row:
    text_column, label_column, id_column = columns
    for name in (text_column, label_column):
        if name is not None and name not in fields:
            raise ValueError(f"data: {location} has no {name!r}; each row must have one")
    text, label, id = check_text_field(fields[text_column], text_column, location), None, None
    if label_column is not None:
        value = fields[label_column]
        if isinstance(value, (dict, list)) or value is None or not str(value).strip():
            raise ValueError(f"data: {location}: {label_column!r} must be a word or a number, got {value!r}")
        label = str(value).strip()
    if id_column is not None and fields.get(id_column) is not None:
        id = str(fields[id_column])
    return Row(line, text, label, id)


# Cleaning


def read_labelled(
    path: StrPath, *, label_column: str | None = None, text_column: str | None = None, encoding: str | None = None
) -> Rows:
    """Read the labelled texts of a .csv, .tsv or .jsonl, and clean them.

    Left out and counted: texts of white space alone; exact duplicates of an earlier text, so that no text is in two
    splits; texts with two different labels, all of them, since nothing tells which is right. Raises ValueError where an id
    occurs twice, a class has fewer than 3 texts, or there is only one class.
    """
    rows, notes = read_rows(path, label_column=label_column, text_column=text_column, encoding=encoding)
    check_ids(rows, path)
    rows, clean_notes = clean(rows)
    counts = Counter(str(row.label) for row in rows)
    if len(counts) < 2:
        only = f"only one label, {next(iter(counts))!r}" if counts else "no text that could be used"
        raise ValueError(f"data: {path} has {only}; a classifier needs two classes or more")
    for label, n in sorted(counts.items()):
        if n < MIN_TEXTS:
            needed = "training, validation and test need one each; add some, or check --label-column and --text-column"
            raise ValueError(f"data: {path}: the label {label!r} has {plural(n, 'text')}, and {needed}")
    return Rows(rows, [*notes, *clean_notes])


def check_ids(rows: Sequence[Row], path: StrPath) -> None:
    """Raise ValueError where two rows have one id: one of them is wrong, and nothing tells which."""
    lines: dict[str, int] = {}
    for row in rows:
        if row.id is None:
            continue
        if row.id in lines:
            problem = f"lines {lines[row.id]} and {row.line} have the same id {row.id!r}"
            raise ValueError(f"data: {path}: {problem}; give each row its own, or rename the column if it is no id")
        lines[row.id] = row.line


def clean(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Leave out texts that cannot be learned from; return the others, and phrases that count what was left out.

    >>> spam, ham = Row(1, "win!", "spam"), Row(2, "hi", "ham")
    >>> clean([spam, ham, ham, Row(4, " ", "ham")])[1]
    ['1 empty text left out', '1 exact duplicate left out']
    """
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.text, set()).add(str(row.label))
    cleaned: dict[str, Row] = {}
    counts = Counter[str]()
    for row in rows:
        if not row.text.strip():
            counts["empty text"] += 1
        elif len(labels[row.text]) > 1:
            counts["text with two labels"] += 1
        elif row.text in cleaned:
            counts["exact duplicate"] += 1
        else:
            cleaned[row.text] = row
    plurals = {"text with two labels": "texts with two labels"}
    notes = [f"{n:,} {plurals.get(rule, rule + 's') if n > 1 else rule} left out" for rule, n in counts.items()]
    return list(cleaned.values()), sorted(notes)


# Balancing and splitting


def balance(rows: Sequence[Row], seed: int) -> list[Row]:
    """Draw from each class as many rows as the smallest class has; they stay in their order."""
    classes = indices_by_label(rows)
    size = min(map(len, classes.values()))
    drawn: set[int] = set()
    for number, indices in enumerate(classes.values()):
        drawn.update(generator(seed, EVAL, number).permutation(indices)[:size].tolist())
    return [rows[i] for i in sorted(drawn)]


def split(rows: Sequence[Row], seed: int) -> Splits[Row]:
    """Split each class at random into 70, 10 and 20 % (stratified), with at least one row of each class in each split."""
    train, val, test = list[int](), list[int](), list[int]()
    for number, indices in enumerate(indices_by_label(rows).values()):
        n_val, n_test = (max(1, round(fraction * len(indices))) for fraction in (VAL_FRACTION, TEST_FRACTION))
        order = generator(seed, EVAL, number, 1).permutation(indices).tolist()
        val += order[:n_val]
        test += order[n_val : n_val + n_test]
        train += order[n_val + n_test :]
    return Splits(*([rows[i] for i in sorted(indices)] for indices in (train, val, test)))


def indices_by_label(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Return the indices of each label's rows, by sorted label."""
    indices: dict[str, list[int]] = {label: [] for label in sorted({str(row.label) for row in rows})}
    for i, row in enumerate(rows):
        indices[str(row.label)].append(i)
    return indices


def count_labels(rows: Sequence[Row]) -> str:
    """Return how many rows each label has, such as "ham 4,518, spam 653"."""
    return ", ".join(f"{label} {len(indices):,}" for label, indices in indices_by_label(rows).items())
