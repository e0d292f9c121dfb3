"""Pairs of answers to one prompt, of which one is preferred: read from JSON or JSONL, checked, and turned into tokens.

    {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A trout."}
    {"instruction": "Add the numbers.", "input": "2 and 3", "chosen": "5", "rejected": "6"}

A pair is a Conversation whose last message is the chosen answer, with the rejected one beside it: so that templates, the
mask of what is learned, and the split are those of instructions.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import nearest
from gpt.data.batches import IGNORE
from gpt.finetune.conversations import ASSISTANT, USER, Conversation, Message, read_entries, text_field
from gpt.finetune.loss_mask import Example, encode
from gpt.finetune.templates import Template
from gpt.text.read import read_text
from gpt.tokenizer import Tokenizer

FIELDS = ("prompt", "instruction", "input", "chosen", "rejected")
SAME = "chosen and rejected alike, which says nothing: left out"
DUPLICATE = "the same as one before: left out"
TURNED = "the same as one before, with chosen and rejected changed over: left out"
TOO_LONG = "more tokens than the context, in prompt and one of the answers: left out"


@dataclass(frozen=True)
class Pair(Conversation):
    """A prompt with two answers: `messages` end with the chosen one."""

    rejected: str = ""

    @property
    def chosen(self) -> str:
        return self.messages[-1].content

    @property
    def other(self) -> tuple[Message, ...]:
        """The messages with the rejected answer."""
        return (*self.messages[:-1], Message(ASSISTANT, self.rejected))


@dataclass(frozen=True)
class PairExample:
    """The tokens of both answers, each after the prompt."""

    pair: Pair
    chosen: Example
    rejected: Example

    def __len__(self) -> int:
        """Return how many tokens the model reads of the longer one."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


def read_pairs(path: str | Path) -> tuple[list[Pair], Counter[str]]:
    """Read a file of pairs, in UTF-8: a JSON list, or an object a line. Return them, and how often a rule was applied.

    Left out and counted: pairs of which the prompt or an answer is empty, whose answers are alike but for white space
    around them, and that were there before, also with chosen and rejected changed over; fields that are not used.
    ValueError, with the line, for everything else that is wrong: no JSON, a field missing or of another type.
    """
    counts: Counter[str] = Counter()
    seen: set[tuple[Message, str, str]] = set()
    pairs = []
    for place, entry in read_entries(read_text(path), os.fspath(path)):
        pair, unused = _pair(entry, place)
        counts.update(f"the field {name!r}: not used" for name in unused)
        texts = {"prompt": pair.question.content, "chosen answer": pair.chosen, "rejected answer": pair.rejected}
        key = (pair.question, pair.chosen, pair.rejected)
        if empty := next((name for name, text in texts.items() if not text.strip()), ""):
            counts[f"an empty {empty}: left out"] += 1
        elif pair.chosen.strip() == pair.rejected.strip():
            counts[SAME] += 1
        elif key in seen:
            counts[DUPLICATE] += 1
        elif (pair.question, pair.rejected, pair.chosen) in seen:
            counts[TURNED] += 1
        else:
            seen.add(key)
            pairs.append(pair)
    if not pairs:
        why = "; ".join(f"{n:,} with {rule}" for rule, n in counts.items())
        raise ValueError(f"data: {path} has no pair to learn from{f' ({why})' if why else ''}")
    return pairs, counts


def _pair(entry: Mapping[str, Any], place: str) -> tuple[Pair, list[str]]:
    """Return what an entry says, and the names of the fields that were not read."""
    asks = "prompt" if "prompt" in entry else "instruction"
    for name in (asks, "chosen", "rejected"):
        if name not in entry:
            known = ", ".join(map(repr, entry)) or "nothing"
            near = next((hint for key in entry if key not in FIELDS and (hint := nearest(key, list(FIELDS)))), "")
            raise ValueError(
                f"{place}: needs 'prompt' or 'instruction', 'chosen' and 'rejected', and has {known}{near}"
            )
    if asks == "prompt" and "instruction" in entry:
        raise ValueError(f"{place}: has 'prompt' and 'instruction'; which of them is asked? Take one out")
    used = ("id", asks, "chosen", "rejected", *(("input",) if asks == "instruction" else ()))
    question, chosen, rejected = (text_field(entry[name], name, place) for name in (asks, "chosen", "rejected"))
    given = text_field(entry.get("input", ""), "input", place) if "input" in used else ""
    messages = (Message(USER, question, given if given.strip() else ""), Message(ASSISTANT, chosen))
    return Pair(messages, place, rejected), [name for name in entry if name not in used]


def encode_pairs(
    pairs: Sequence[Pair], template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[list[PairExample], Counter[str]]:
    """Return the examples of pairs, and how many were left out because the longer answer ends beyond the context.

    To cut an answer short would teach that its end does not matter. ValueError, with the place, for a pair that cannot be
    encoded.
    """
    examples, counts = [], Counter[str]()
    for pair in pairs:
        try:
            example = PairExample(
                pair, encode(pair.messages, template, tokenizer), encode(pair.other, template, tokenizer)
            )
        except ValueError as error:
            raise ValueError(f"{pair.place}: {error}") from None
        if len(example) > context_length:
            counts[TOO_LONG] += 1
        else:
            examples.append(example)
    return examples, counts


def pad_pairs(examples: Sequence[PairExample]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and targets (B, 2, T) of pairs, chosen before rejected, T being the longest.

    A target is -100 in the prompt and in the padding.
    """
    T = max(map(len, examples))
    ids = np.zeros((len(examples), 2, T), np.int64)
    targets = np.full((len(examples), 2, T), IGNORE, np.int64)
    for row, example in enumerate(examples):
        for side, each in enumerate((example.chosen, example.rejected)):
            ids[row, side, : len(each.ids)] = each.ids
            targets[row, side, : len(each.ids)] = each.targets
    return ids, targets
