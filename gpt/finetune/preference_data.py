"""Pairs of answers to one prompt, of which one is preferred: read from JSON or JSONL, checked, and encoded.

    {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A trout."}
    {"instruction": "Add the numbers.", "input": "2 and 3", "chosen": "5", "rejected": "6"}

A pair is a Conversation that ends with the chosen answer, and has the rejected one besides: templates, loss mask and split
are those of instructions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gpt.data.batches import IGNORE
from gpt.finetune.batching import pad
from gpt.finetune.conversations import (
    ASSISTANT,
    DUPLICATE,
    USER,
    Conversation,
    Message,
    check_not_empty,
    count_notes,
    missing_fields,
)
from gpt.finetune.loss_mask import Example, encode
from gpt.finetune.templates import Template
from gpt.text.records import Record, check_text_field, read_json
from gpt.tokenizer import Tokenizer

FIELDS = ("prompt", "instruction", "input", "chosen", "rejected")
EQUAL = "equal chosen and rejected answers: left out"
SWAPPED = "the same answers as an earlier one, with chosen and rejected swapped: left out"
TOO_LONG = "more tokens than the context, in prompt and one of the answers: left out"


@dataclass(frozen=True)
class Pair(Conversation):
    """A prompt with two answers: `messages` end with the chosen one."""

    rejected: str = ""

    @property
    def chosen(self) -> str:
        return self.messages[-1].content

    @property
    def rejected_messages(self) -> tuple[Message, ...]:
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


def read_pairs(path: str | Path) -> tuple[list[Pair], list[str]]:
    """Read a file of pairs: a JSON list, or an object a line. Return them, and notes on what was left out.

    Left out and counted: pairs whose prompt or answer is empty; pairs with equal answers, ignoring white space around
    them; duplicates, also with chosen and rejected swapped; unused fields. Raises ValueError, with the line, for anything
    else: invalid JSON, a field missing or of another type.
    """
    notes: list[str] = []
    counts: Counter[str] = Counter()
    seen: set[tuple[Message, str, str]] = set()
    pairs: list[Pair] = []
    for record in read_json(path, warn=notes.append):
        pair = _parse(record, counts)
        texts = {"prompt": pair.question.content, "chosen answer": pair.chosen, "rejected answer": pair.rejected}
        key = (pair.question, pair.chosen, pair.rejected)
        if empty := next((name for name, text in texts.items() if not text.strip()), ""):
            counts[f"an empty {empty}: left out"] += 1
        elif pair.chosen.strip() == pair.rejected.strip():
            counts[EQUAL] += 1
        elif key in seen:
            counts[DUPLICATE] += 1
        elif (pair.question, pair.rejected, pair.chosen) in seen:
            counts[SWAPPED] += 1
        else:
            seen.add(key)
            pairs.append(pair)
    return check_not_empty(pairs, "pair", path, counts), [*notes, *count_notes(counts)]


def _parse(record: Record, counts: Counter[str]) -> Pair:
    """Return the pair of an entry, and count its unused fields."""
    entry, location = record.fields, record.location
    prompt = "prompt" if "prompt" in entry else "instruction"
    if not {prompt, "chosen", "rejected"} <= entry.keys():
        raise missing_fields(record, "'prompt' or 'instruction', 'chosen' and 'rejected'", FIELDS)
    if prompt == "prompt" and "instruction" in entry:
        raise ValueError(f"data: {location}: has both 'prompt' and 'instruction'; take one out")
    used = ("id", prompt, "chosen", "rejected", *(("input",) if prompt == "instruction" else ()))
    question, chosen, rejected = (
        check_text_field(entry[name], name, location) for name in (prompt, "chosen", "rejected")
    )
    about = check_text_field(entry.get("input", ""), "input", location) if "input" in used else ""
    counts.update(f"the field {name!r}: not used" for name in entry if name not in used)
    messages = (Message(USER, question, about if about.strip() else ""), Message(ASSISTANT, chosen))
    return Pair(messages, location, rejected)


def encode_pairs(
    pairs: Sequence[Pair], template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[list[PairExample], Counter[str]]:
    """Return the examples of pairs, and how many were left out because the longer answer ends beyond the context.

    A truncated answer would teach that its end does not matter. Raises ValueError, with the location, for a pair that
    cannot be encoded.
    """
    examples, counts = [], Counter[str]()
    for pair in pairs:
        try:
            chosen, rejected = (
                encode(messages, template, tokenizer) for messages in (pair.messages, pair.rejected_messages)
            )
        except ValueError as error:
            raise ValueError(f"data: {pair.location}: {error}") from None
        example = PairExample(pair, chosen, rejected)
        if len(example) > context_length:
            counts[TOO_LONG] += 1
        else:
            examples.append(example)
    return examples, counts


def pad_pairs(examples: Sequence[PairExample]) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and targets (B, 2, T) of pairs, chosen before rejected, T being the longest.

    A target is -100 in the prompt and in the padding.
    """
    answers = [answer for example in examples for answer in (example.chosen, example.rejected)]
    ids, targets = pad([answer.ids for answer in answers]), pad([answer.targets for answer in answers], IGNORE)
    return ids.reshape(len(examples), 2, -1), targets.reshape(len(examples), 2, -1)
