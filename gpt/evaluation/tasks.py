"""Tasks: questions with a right answer, an object a line of a JSON-lines file.

    {"context": "Grass is", "choices": ["green", "loud"], "answer": 0}      multiple choice; "answer" counts from 0
    {"prompt": "2 + 3 =", "completion": "5"}                                one right continuation

Two more names of the same are read: HellaSwag's ctx, endings and label, and query, choices and gold, as the
lm-evaluation-harness has them. An optional "task" groups items. A space stands between a context and a choice if neither
has white space there; an optional "separator" replaces it, also by nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gpt.config import nearest
from gpt.text.read import Warn
from gpt.text.records import Record, check_text_field, read_json, text_field
from nanograd.runtime.files import StrPath
from nanograd.runtime.typed_json import quote
from nanograd.seeds import EVAL, generator

FORMATS = {  # the fields that an item must have: what precedes the answer, the answers, and which is right
    "context": ("context", "choices", "answer"),
    "ctx": ("ctx", "endings", "label"),
    "query": ("query", "choices", "gold"),
    "prompt": ("prompt", "completion"),
}
OPTIONAL = {"task", "separator"}
HELLASWAG = {"ind", "activity_label", "ctx_a", "ctx_b", "source_id", "split", "split_type"}  # beside ctx, in its files
BETWEEN_SHOTS = "\n\n"


@dataclass(frozen=True)
class Item:
    """One question: a context, and the texts that may continue it, with what separates them from it.

    number  the item's number in its file, from 1
    task    the group that it is counted in
    answer  the index of the right choice. A single choice is one that greedy decoding should write
    """

    number: int
    task: str
    context: str
    choices: tuple[str, ...]
    answer: int = 0

    @property
    def is_completion(self) -> bool:
        """Whether there is nothing to choose from."""
        return len(self.choices) == 1


def read_items(path: StrPath, task: str, *, warn: Warn) -> list[Item]:
    """Return the items of a file; `task` is the group of those that name none.

    Raises OSError if the file cannot be read; ValueError, with the line, for anything that is no item.
    """
    records = read_json(path, warn=warn, warn_blank=True)
    try:
        items = [parse_item(record, number, task) for number, record in enumerate(records, start=1)]
    except ValueError as error:
        raise ValueError(f"tasks: {str(error).removeprefix('data: ')}") from None
    if not items:
        raise ValueError(f"tasks: {path} has no items; write one a line, with context, choices and answer")
    return items


def parse_item(record: Record, number: int, task: str) -> Item:
    """Return the item that a record stands for; ValueError, with its location, if it is none."""
    fields, location = record.fields, record.location
    key = max(FORMATS, key=lambda key: sum(name in fields for name in FORMATS[key]))
    required = FORMATS[key]
    known = {*required, *OPTIONAL, *(HELLASWAG if key == "ctx" else ())}
    for name in fields:
        if name not in known:
            hint = nearest(name, sorted(known)) or f"; an item has {', '.join(required)}"
            raise ValueError(f"{location}: unknown field {name!r}{hint}")
    context, task = text_field(record, key), text_field(record, "task") if "task" in fields else task
    separator = text_field(record, "separator") if "separator" in fields else None
    if key == "prompt":
        completion = text_field(record, "completion")
        if not completion:
            raise ValueError(f"{location}: 'completion' must not be empty")
        return Item(number, task, context, (join(context, completion, separator),))
    choices, right = _choices(record, required[1]), required[2]
    answer = fields.get(right)
    if isinstance(answer, str) and answer.isdecimal():  # HellaSwag's files write numbers as texts
        answer = int(answer)
    if type(answer) is not int or not 0 <= answer < len(choices):
        raise ValueError(f"{location}: {right!r} must be from 0 to {len(choices) - 1}, got {quote(answer)}")
    if key == "ctx":
        context, choices = _hellaswag(fields, context), [clean_hellaswag(choice) for choice in choices]
    return Item(number, task, context, tuple(join(context, choice, separator) for choice in choices), answer)


def _choices(record: Record, name: str) -> list[str]:
    """Return the texts to choose from; ValueError if they are not two or more."""
    values = record.fields.get(name)
    if not isinstance(values, list) or len(values) < 2:
        raise ValueError(f"{record.location}: {name!r} must be a list of two texts or more")
    texts = [check_text_field(value, name, record.location) for value in values]
    if not all(texts):
        raise ValueError(f"{record.location}: {name!r} has an empty text, which any context has")
    return texts


def join(context: str, choice: str, separator: str | None = None) -> str:
    """Return the choice with what separates it from the context.

    >>> join("Grass is", "green"), join("Grass is ", "green"), join("", "Green"), join("f(x", ")", "")
    (' green', 'green', 'Green', ')')
    """
    if separator is None:
        separator = "" if not context or context[-1].isspace() or choice[0].isspace() else " "
    return separator + choice


def _hellaswag(fields: dict[str, Any], context: str) -> str:
    """Return the context as the lm-evaluation-harness puts it together, if the item has all that this takes."""
    activity, a, b = (fields.get(name) for name in ("activity_label", "ctx_a", "ctx_b"))
    if isinstance(activity, str) and isinstance(a, str) and isinstance(b, str):
        context = f"{activity}: {a} {b.capitalize()}"
    return clean_hellaswag(context)


def clean_hellaswag(text: str) -> str:
    """Remove the marks of WikiHow from a text of HellaSwag, as the lm-evaluation-harness does.

    >>> clean_hellaswag(" How to boil an egg [title] Take a pot. [step] Fill it.")
    'How to boil an egg. Take a pot. Fill it.'
    """
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def fingerprint(items: Sequence[Item]) -> str:
    """Return the beginning of the SHA-256 of the items: scores can be compared only where it is the same."""
    return hashlib.sha256(json.dumps([asdict(item) for item in items]).encode()).hexdigest()[:12]


def add_shots(items: Sequence[Item], k: int, seed: int) -> Iterator[Item]:
    """Yield each item with k others of its task before it, each with its right answer; they depend on the seed.

    Raises ValueError if a task has fewer than k others.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.task, []).append(item)
    for item in items:
        others = [other for other in groups[item.task] if other.number != item.number]
        if len(others) < k:
            raise ValueError(f"shots: {item.task} has {len(others)} other items, got shots={k}; give at most as many")
        drawn = generator(seed, EVAL, item.number).choice(len(others), k, replace=False) if k else np.zeros(0, int)
        shots = [others[i] for i in drawn.tolist()]
        before = "".join(shot.context + shot.choices[shot.answer] + BETWEEN_SHOTS for shot in shots)
        yield replace(item, context=before + item.context)
