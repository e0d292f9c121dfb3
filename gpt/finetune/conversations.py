"""Conversations to learn from: read from Alpaca's JSON or from chat JSONL, checked, and split.

    {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}                              Alpaca (Taori 2023)
    {"messages": [{"role": "user", "content": "2 and 3?"}, {"role": "assistant", "content": "5"}]}      chat

A file is one JSON list of such entries, or has one entry a line; `formats.py` rewrites the formats of other programs as
these two. A message of the assistant with "weight": 0 is read, but not learned. An entry that makes no sense is an error
with its location; an entry that training can do without is left out and counted.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gpt.config import nearest
from gpt.finetune.formats import normalise, parse_columns
from gpt.text.records import Record, check_text_field, read_json
from nanograd.runtime.files import StrPath
from nanograd.seeds import EVAL, generator

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
FIELDS = ("instruction", "input", "output", "messages")
DUPLICATE = "the same content as an earlier one: left out"
UNANSWERED = "a last message without an answer: the message left out"
UNWEIGHTED = "the weight 0: read, but not learned"
UNLEARNED = "the weight 0 on every answer: left out"


@dataclass(frozen=True)
class Message:
    """One message. `input` is Alpaca's: the text that an instruction is about. The loss counts it if it is `learned`."""

    role: str
    content: str
    input: str = ""
    learned: bool = True  # of an answer

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as chat JSONL has them; `input` and `weight` only where they say something."""
        optional = {"input": self.input} if self.input else {}
        return {"role": self.role, "content": self.content, **optional, **({} if self.learned else {"weight": 0})}


@dataclass(frozen=True)
class Conversation:
    """Messages of user and assistant in turn, the assistant's last; a system message may precede them."""

    messages: tuple[Message, ...]
    location: str = field(default="", compare=False)  # file and line, for errors

    @property
    def question(self) -> Message:
        """The first message of the user."""
        return next(message for message in self.messages if message.role == USER)


T = TypeVar("T", bound=Conversation)


def read_conversations(path: StrPath, columns: str | None = None) -> tuple[list[Conversation], list[str]]:
    """Read a file of conversations; return them, and notes on what was left out and how often.

    columns says which columns hold which fields, as in "instruction=question,output=answer".
    Left out and counted: conversations with an empty message, or with nothing to learn; duplicates; a user's last message
    without an answer; unused fields. Raises ValueError, with the location, for anything else: invalid JSON, a missing field
    or one of another type, an unknown role, roles out of turn, an id that two different entries share, a lone surrogate;
    and where nothing is left.
    """
    notes: list[str] = []
    counts: Counter[str] = Counter()
    seen: set[Conversation] = set()
    ids: dict[str, Conversation] = {}
    conversations, fields = [], parse_columns(columns, FIELDS)
    for record in read_json(path, warn=notes.append):
        record = normalise(record, fields, counts)
        conversation = _parse(record, counts)
        if "id" in record.fields:
            id = json.dumps(record.fields["id"])
            other = ids.setdefault(id, conversation)
            if other != conversation:
                raise ValueError(f"data: {record.location}: has the id {id} of {other.location}; give each its own")
        if conversation in seen:
            counts[DUPLICATE] += 1
            continue
        seen.add(conversation)
        empty = next((message.role for message in conversation.messages if not message.content.strip()), None)
        if empty is not None:
            counts[f"an empty message of the {empty}: left out"] += 1
            continue
        if conversation.messages[-1].role == USER:
            counts[UNANSWERED] += 1
            conversation = Conversation(conversation.messages[:-1], record.location)
            if not any(message.role == ASSISTANT for message in conversation.messages):
                raise ValueError(f"data: {record.location}: no message of the assistant to learn from; take it out")
            if conversation in seen:
                counts[DUPLICATE] += 1
                continue
            seen.add(conversation)
        if not any(message.learned for message in conversation.messages if message.role == ASSISTANT):
            counts[UNLEARNED] += 1
            continue
        conversations.append(conversation)
    return with_notes(conversations, "conversation", path, notes, counts)


def count_notes(counts: Mapping[str, int]) -> list[str]:
    """Return a line for each rule that was applied.

    >>> count_notes({"an empty prompt: left out": 2})
    ['2 with an empty prompt: left out']
    """
    return [f"{n:,} with {rule}" for rule, n in counts.items() if n]


def with_notes(
    items: list[T], noun: str, path: StrPath, notes: list[str], counts: Mapping[str, int]
) -> tuple[list[T], list[str]]:
    """Return the items, and all notes on them; ValueError where there are no items, with what was left out."""
    if not items:
        reasons = f" ({'; '.join(count_notes(counts))})" if counts else ""
        raise ValueError(f"data: {path} has no {noun} to learn from{reasons}")
    return items, [*notes, *count_notes(counts)]


def missing_fields(record: Record, needed: str, known: Sequence[str]) -> ValueError:
    """Return the error of an entry without the needed fields; it suggests the nearest one of those that it lacks."""
    present = ", ".join(map(repr, record.fields)) or "nothing"
    lacking = [name for name in known if name not in record.fields]
    hint = next((hint for name in record.fields if name not in known and (hint := nearest(name, lacking))), "")
    way_out = f"{hint}; for other names give --columns FIELD=COLUMN"
    return ValueError(f"data: {record.location}: needs {needed}, and has {present}{way_out if record.fields else ''}")


def split_conversations(conversations: Sequence[T], fractions: Sequence[float], seed: int) -> list[list[T]]:
    """Split conversations at random: first what remains for training, then a split for each fraction.

    Conversations with the same first question come into the same split: no question in validation or test opens a
    conversation in training. A split is at least as large as its fraction; a fraction of 0 makes it empty. Raises
    ValueError where nothing remains for training.
    """
    groups: dict[Message, list[T]] = {}
    for conversation in conversations:
        groups.setdefault(conversation.question, []).append(conversation)
    order = [list(groups.values())[i] for i in generator(seed, EVAL).permutation(len(groups)).tolist()]
    splits: list[list[T]] = []
    for fraction in fractions:
        split: list[T] = []
        while order and len(split) < fraction * len(conversations):
            split += order.pop()
        splits.append(split)
    train = [conversation for group in order for conversation in group]
    if not train:
        problem = "none is left to train on; give more data, or a smaller --val-fraction and --test-fraction"
        raise ValueError(f"data: of {len(conversations)} conversations, on {len(groups)} questions, {problem}")
    return [train, *splits]


def _parse(record: Record, counts: Counter[str]) -> Conversation:
    """Return the conversation of an entry, and count its unused fields."""
    entry, location = record.fields, record.location
    if "messages" in entry:
        used = ["id", "messages"]
        messages = parse_messages(entry["messages"], location, counts)
    else:
        used = ["id", "instruction", "input", "output"]
        if not {"instruction", "output"} <= entry.keys():
            raise missing_fields(record, "'instruction' and 'output', or 'messages'", FIELDS)
        texts = {name: check_text_field(entry.get(name, ""), name, location) for name in used[1:]}
        question = Message(USER, texts["instruction"], texts["input"] if texts["input"].strip() else "")
        messages = (question, Message(ASSISTANT, texts["output"]))
    counts.update(f"the field {name!r}: not used" for name in entry if name not in used)
    return Conversation(messages, location)


def parse_messages(entries: Any, location: str, counts: Counter[str]) -> tuple[Message, ...]:
    """Return the messages of a chat, whose roles must alternate; count those that are not learned."""
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"data: {location}: 'messages' must be a list of messages, got {entries!r:.40}")
    messages: list[Message] = []
    for number, entry in enumerate(entries, start=1):
        here = f"{location}, message {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"data: {here}: must be an object with 'role' and 'content', got {type(entry).__name__}")
        if missing := next((key for key in ("role", "content") if key not in entry), None):
            raise ValueError(f"data: {here}: needs 'role' and 'content', and has no {missing!r}")
        role = entry["role"]
        if role not in ROLES:
            hint = nearest(str(role), list(ROLES))
            raise ValueError(f"data: {here}: the role must be system, user or assistant, got {role!r}{hint}")
        if unused := [key for key in entry if key not in ("role", "content", "input", "weight")]:
            raise ValueError(f"data: {here}: has {unused[0]!r}, which cannot be learned; take it out")
        previous = messages[-1].role if messages else None
        if role == SYSTEM and previous is not None:
            raise ValueError(f"data: {here}: a system message must be the first; move it or put it into a user message")
        if role == ASSISTANT and previous in (None, SYSTEM):
            raise ValueError(f"data: {here}: the assistant must not begin; put the user's question before its message")
        if role == previous:
            raise ValueError(f"data: {here}: user and assistant must take turns, got {role} twice; join the two")
        weight = entry.get("weight", 1 if role == ASSISTANT else 0)
        if weight not in ((0, 1) if role == ASSISTANT else (0,)) or isinstance(weight, bool):
            rule = "0 or 1" if role == ASSISTANT else f"0 in a message of the {role}, which is never learned"
            raise ValueError(f"data: {here}: the weight must be {rule}, got {weight!r}; take it out")
        learned = role != ASSISTANT or bool(weight)
        counts[UNWEIGHTED] += not learned
        content = check_text_field(entry["content"], "content", here)
        messages.append(Message(role, content, check_text_field(entry.get("input", ""), "input", here), learned))
    if messages[-1].role == SYSTEM:
        raise ValueError(f"data: {location}: there is only a system message; a message of the user must follow")
    return tuple(messages)
