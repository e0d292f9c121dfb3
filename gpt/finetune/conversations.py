"""Conversations to learn from: read from Alpaca's JSON or from chat JSONL, checked, and split.

    {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}                              Alpaca (Taori 2023)
    {"messages": [{"role": "user", "content": "2 and 3?"}, {"role": "assistant", "content": "5"}]}      chat

A file is one JSON list of such entries, or has one entry a line. What cannot be meant is an error that names the entry;
what can be learned without is left out and counted: nothing goes unsaid.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt.config import nearest
from gpt.text.read import read_text
from nanograd.seeds import EVAL, generator

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
FIELDS = ("instruction", "input", "output", "messages")
DUPLICATE = "the same as one before: left out"
UNANSWERED = "a last message that nobody answers: the message left out"


@dataclass(frozen=True)
class Message:
    """What one side says. Alpaca's format has beside an instruction the input that it is about."""

    role: str
    content: str
    input: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the fields as chat JSONL has them; `input` only where there is one."""
        return {"role": self.role, "content": self.content, **({"input": self.input} if self.input else {})}


@dataclass(frozen=True)
class Conversation:
    """Messages of user and assistant in turn, the assistant's last; one of the system may come before them."""

    messages: tuple[Message, ...]
    place: str = field(default="", compare=False)  # where it was read, for errors

    @property
    def question(self) -> Message:
        """The first message of the user."""
        return next(message for message in self.messages if message.role == USER)


@dataclass(frozen=True)
class Reading:
    """What a file holds: its conversations, and how often each rule was applied to the others."""

    conversations: list[Conversation]
    counts: Counter[str]

    def notes(self) -> list[str]:
        """Return a line for each rule that was applied."""
        return [f"{n:,} with {rule}" for rule, n in self.counts.items()]


def read_conversations(path: str | os.PathLike[str]) -> Reading:
    """Read a file of conversations, in UTF-8.

    Left out and counted: conversations in which a message is empty; one that is the same as one before; a user's last
    message without an answer; fields that are not used. ValueError names the entry for everything else that is wrong:
    no JSON, a field missing or of another type, an unknown role, roles out of turn, an id that two different entries
    have, half of a character; and where nothing is left. Of a file that is not UTF-8, the byte.
    """
    counts: Counter[str] = Counter()
    seen: set[Conversation] = set()
    ids: dict[Any, Conversation] = {}
    kept = []
    for place, entry in read_entries(read_text(Path(path)), os.fspath(path)):
        conversation, unused = _conversation(entry, place)
        counts.update(f"the field {name!r}: not used" for name in unused)
        if "id" in entry:
            other = ids.setdefault(json.dumps(entry["id"]), conversation)
            if other != conversation:
                raise ValueError(f"{place}: the id {entry['id']!r} is that of {other.place} too; give each its own")
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
            conversation = Conversation(conversation.messages[:-1], place)
            if not any(message.role == ASSISTANT for message in conversation.messages):
                raise ValueError(f"{place}: there is no message of the assistant to learn from; add one or take it out")
            if conversation in seen:
                counts[DUPLICATE] += 1
                continue
            seen.add(conversation)
        kept.append(conversation)
    if not kept:
        raise ValueError(f"data: {path} has no conversation to learn from{_because(counts)}")
    return Reading(kept, counts)


def split_conversations(
    conversations: Sequence[Conversation], fractions: Sequence[float], seed: int
) -> list[list[Conversation]]:
    """Deal conversations out at random: a part for each fraction, and what is left as the first.

    Those that begin with the same question come into the same part, so that no answer is known from training. A part is
    at least as large as its fraction says, and one of a fraction of 0 is empty. ValueError where none is left.
    """
    groups: dict[Message, list[Conversation]] = {}
    for each in conversations:
        groups.setdefault(each.question, []).append(each)
    order = [list(groups.values())[k] for k in generator(seed, EVAL).permutation(len(groups)).tolist()]
    parts: list[list[Conversation]] = []
    for fraction in fractions:
        part: list[Conversation] = []
        while order and len(part) < fraction * len(conversations):
            part += order.pop()
        parts.append(part)
    rest = [each for group in order for each in group]
    if not rest:
        raise ValueError(
            f"data: of {len(conversations)} conversations, on {len(groups)} different questions, none is left to train "
            "on; give more data, or a smaller --val-fraction and --test-fraction"
        )
    return [rest, *parts]


def read_entries(text: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each entry and its place: of a JSON list, or of a file with an entry a line."""
    if text.lstrip().startswith("["):
        try:
            entries = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"data: {path} must be a JSON list, but {error}") from None
        for number, entry in enumerate(entries, start=1):
            yield _object(f"{path}, entry {number}", entry)
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines: JSON may hold U+2028
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            entry = json.loads(line, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as error:
            way = "; a list of entries begins with [" if number == 1 else ""
            raise ValueError(f"{place}: a line must be one JSON object, but {error}{way}") from None
        yield _object(place, entry)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that gives a key twice, of which Python would silently take the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError(f"a key is there twice, of {', '.join(name for name, _ in pairs)}")
    return fields


def _object(place: str, entry: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: must be an object like {{'messages': …}}, got {type(entry).__name__}")
    return place, entry


def _conversation(entry: Mapping[str, Any], place: str) -> tuple[Conversation, list[str]]:
    """Return what an entry says, and the names of the fields that were not read."""
    if "messages" in entry:
        used = ["id", "messages"]
        messages = _messages(entry["messages"], place)
    else:
        used = ["id", "instruction", "input", "output"]
        for name in ("instruction", "output"):
            if name not in entry:
                known = ", ".join(map(repr, entry)) or "nothing"
                near = next((hint for key in entry if (hint := nearest(key, list(FIELDS)))), "")
                raise ValueError(f"{place}: needs 'instruction' and 'output', or 'messages', and has {known}{near}")
        texts = {name: text_field(entry.get(name, ""), name, place) for name in used[1:]}
        question = Message(USER, texts["instruction"], texts["input"] if texts["input"].strip() else "")
        messages = (question, Message(ASSISTANT, texts["output"]))
    return Conversation(messages, place), [name for name in entry if name not in used]


def _messages(entries: Any, place: str) -> tuple[Message, ...]:
    """Return the messages of a chat, which must take turns."""
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{place}: 'messages' must be a list of messages, got {entries!r:.40}")
    messages: list[Message] = []
    for number, entry in enumerate(entries, start=1):
        here = f"{place}, message {number}"
        if not isinstance(entry, dict):
            raise ValueError(f"{here}: must be an object with 'role' and 'content', got {type(entry).__name__}")
        if unknown := next((key for key in ("role", "content") if key not in entry), None):
            raise ValueError(f"{here}: needs 'role' and 'content', and has no {unknown!r}")
        role = entry["role"]
        if role not in ROLES:
            near = nearest(str(role), list(ROLES))
            raise ValueError(f"{here}: the role must be system, user or assistant, got {role!r}{near}")
        if unused := [key for key in entry if key not in ("role", "content", "input")]:
            raise ValueError(
                f"{here}: has {unused[0]!r}, beside 'role' and 'content'; it cannot be learned, take it out"
            )
        before = messages[-1].role if messages else None
        _check_turn(role, before, here)
        content = text_field(entry["content"], "content", here)
        messages.append(Message(role, content, text_field(entry.get("input", ""), "input", here)))
    if messages[-1].role == SYSTEM:
        raise ValueError(f"{place}: there is only a system message; a message of the user must follow")
    return tuple(messages)


def _check_turn(role: str, before: str | None, here: str) -> None:
    """Raise ValueError where a role does not come in turn."""
    if role == SYSTEM and before is not None:
        raise ValueError(f"{here}: the system may speak only first; put it there, or into a message of the user")
    if role == ASSISTANT and before in (None, SYSTEM):
        raise ValueError(f"{here}: a conversation must not begin with the assistant; put the user's question before it")
    if role == before:
        raise ValueError(f"{here}: user and assistant must take turns, got {role} twice; join the two messages")


def text_field(value: Any, name: str, place: str) -> str:
    """Return a field's text; ValueError where it is none."""
    if not isinstance(value, str):
        raise ValueError(f"{place}: {name!r} must be a text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{place}: {name!r} has half of a character (a lone surrogate) at {error.start}") from None
    return value


def _because(counts: Counter[str]) -> str:
    return f" ({'; '.join(f'{n:,} with {rule}' for rule, n in counts.items())})" if counts else ""
