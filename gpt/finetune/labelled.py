"""Labelled texts, ready to learn: cleaned by rules that count what they leave out, balanced, and split."""

import os
from collections import Counter
from dataclasses import dataclass

from gpt.finetune.rows import Row, plural, read_rows
from nanograd.seeds import EVAL, generator

FRACTIONS = (0.7, 0.1, 0.2)  # of each class: to train on, to stop early by, to test with
LEAST = 3  # texts of a class: each part needs one


@dataclass(frozen=True)
class Labelled:
    """What a file teaches: rows with a label, their distinct labels in sorted order, and what was left out, to be told."""

    examples: list[Row]
    labels: tuple[str, ...]
    notes: list[str]

    def counts(self) -> str:
        """Write how many examples each label has: "ham 4,518, spam 653"."""
        return count_labels(self.examples)


@dataclass(frozen=True)
class Split:
    """Three parts that share no text."""

    train: list[Row]
    val: list[Row]
    test: list[Row]


def read_labelled(
    path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    text_column: str | None = None,
    encoding: str = "utf-8",
) -> Labelled:
    """Read the labelled texts of a .csv, .tsv or .jsonl, and clean them.

    Left out, and counted in `notes`: texts of white space alone; exact duplicates, of which the first stays (so that none
    stands in two parts of a split); and texts that come with two different labels, all of them, since nothing says which
    is right. Raises ValueError where an id comes twice, or a class has fewer than 3 texts, or there is only one.
    """
    found = read_rows(path, label_column=label_column, text_column=text_column, encoding=encoding)
    check_ids(found.rows, path)
    examples, notes = clean(found.rows)
    counts = Counter(str(example.label) for example in examples)
    if len(counts) < 2:
        only = f"only one label, {next(iter(counts))!r}" if counts else "no text that could be used"
        raise ValueError(f"data: {os.fspath(path)} has {only}; a classifier needs two classes or more")
    for label, n in sorted(counts.items()):
        if n < LEAST:
            raise ValueError(
                f"data: {os.fspath(path)}: the label {label!r} has {plural(n, 'text')}, and training, validation and test "
                f"need one each; add some, or check that labels and texts are in the columns that --label-column and "
                "--text-column say"
            )
    return Labelled(examples, tuple(sorted(counts)), [*found.notes, *notes])


def check_ids(rows: list[Row], path: str | os.PathLike[str]) -> None:
    """Raise ValueError where two rows have one id: one of them is wrong, and nothing says which."""
    lines: dict[str, int] = {}
    for row in rows:
        if row.id is None:
            continue
        if row.id in lines:
            raise ValueError(
                f"data: {os.fspath(path)}: lines {lines[row.id]} and {row.line} have the same id {row.id!r}; give each row "
                "its own, or rename the column if it is no id"
            )
        lines[row.id] = row.line


def clean(examples: list[Row]) -> tuple[list[Row], list[str]]:
    """Leave out what cannot teach; return what stays, and phrases that count what does not.

    >>> spam, ham = Row(1, "win!", "spam"), Row(2, "hi", "ham")
    >>> clean([spam, ham, ham, Row(4, " ", "ham")])[1]
    ['1 empty text left out', '1 exact duplicate left out']
    """
    labels: dict[str, set[str]] = {}
    for example in examples:
        labels.setdefault(example.text, set()).add(str(example.label))
    kept: dict[str, Row] = {}
    left_out = Counter[str]()
    for example in examples:
        if not example.text.strip():
            left_out["empty text"] += 1
        elif len(labels[example.text]) > 1:
            left_out["text with two labels"] += 1
        elif example.text in kept:
            left_out["exact duplicate"] += 1
        else:
            kept[example.text] = example
    names = {"text with two labels": "texts with two labels"}
    notes = [f"{n:,} {names.get(why, why + 's') if n > 1 else why} left out" for why, n in left_out.items()]
    return list(kept.values()), sorted(notes)


def balance(examples: list[Row], seed: int) -> list[Row]:
    """Draw from each class as many examples as the smallest has; they stay in their order."""
    classes = by_label(examples)
    size = min(map(len, classes.values()))
    kept: set[int] = set()
    for number, places in enumerate(classes.values()):
        kept.update(generator(seed, EVAL, number).permutation(places)[:size].tolist())
    return [examples[i] for i in sorted(kept)]


def split(examples: list[Row], seed: int) -> Split:
    """Cut each class in 70, 10 and 20 % (stratified): drawn from the seed, and at least one example to a part."""
    parts: tuple[list[int], ...] = ([], [], [])
    for number, places in enumerate(by_label(examples).values()):
        n = len(places)
        n_val, n_test = (max(1, round(fraction * n)) for fraction in FRACTIONS[1:])
        order = generator(seed, EVAL, number, 1).permutation(places).tolist()
        for part, chosen in zip(
            parts, (order[n_val + n_test :], order[:n_val], order[n_val : n_val + n_test]), strict=True
        ):
            part += chosen
    train, val, test = ([examples[i] for i in sorted(part)] for part in parts)
    return Split(train, val, test)


def by_label(examples: list[Row]) -> dict[str, list[int]]:
    """Return the places of each label's examples, by sorted label."""
    places: dict[str, list[int]] = {label: [] for label in sorted({str(example.label) for example in examples})}
    for i, example in enumerate(examples):
        places[str(example.label)].append(i)
    return places


def count_labels(examples: list[Row]) -> str:
    """Write how many examples each label has."""
    return ", ".join(f"{label} {len(places):,}" for label, places in by_label(examples).items())
