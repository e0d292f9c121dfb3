"""Read conversations in the formats of other programs: rewrite their fields as those that `conversations.py` parses.

    {"conversations": [{"from": "human", "value": "2 and 3?"}, {"from": "gpt", "value": "5"}]}         ShareGPT
    {"instruction": "Add the numbers.", "context": "2 and 3", "response": "5"}                         Dolly
    {"role": "user", "content": [{"type": "text", "text": "2 and 3?"}]}                                OpenAI's parts
    {"prompt": [messages], "chosen": [message], "rejected": [message]}                                 TRL
    {"chosen": [messages], "rejected": [messages]}                       its implicit prompt: what both begin with
    {"chosen": "\\n\\nHuman: …\\n\\nAssistant: …", "rejected": …}                                     Anthropic's hh-rlhf

--columns instruction=question,output=answer renames any other fields. A field that is null counts as absent: tables have
every column in every row. The recognised formats are counted, and a run prints them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gpt.config import nearest
from gpt.text.records import Record, check_text_field

ROLES = {"human": "user", "gpt": "assistant"}  # of ShareGPT; its other roles have our names
MESSAGES, PAIR = "messages", ("chosen", "rejected")
SHAREGPT = "ShareGPT's conversations, of from and value: read as messages, of role and content"
DOLLY = "Dolly's context and response: read as input and output"
HH = "the turns Human and Assistant in a text: read as messages"
IMPLICIT = "a prompt that is the messages with which chosen and rejected begin"
PARTS = "a message in parts: their texts are joined, each on a line of its own"
NAME = "the name of a message: not used"
TURN = re.compile(r"\n\n(Human|Assistant): ?")


def parse_columns(text: str | None, fields: Sequence[str]) -> dict[str, str]:
    """Return the field that each column of a file stands for; ValueError for anything but FIELD=COLUMN,FIELD=COLUMN.

    >>> parse_columns("instruction=question,output=answer", ["instruction", "input", "output"])
    {'question': 'instruction', 'answer': 'output'}
    """
    columns: dict[str, str] = {}
    for item in filter(None, (text or "").split(",")):
        field, equals, column = (word.strip() for word in item.partition("="))
        if not (field and equals and column):
            raise ValueError(f"columns must be like {fields[0]}=question,{fields[-1]}=answer, got {item!r}")
        if field not in fields:
            raise ValueError(
                f"columns: there is no field {field!r}{nearest(field, fields)}; fields: {', '.join(fields)}"
            )
        if column in columns or field in columns.values():
            raise ValueError(f"columns: {item!r} names a field or a column for the second time; name each once")
        columns[column] = field
    return columns


def normalise(record: Record, columns: Mapping[str, str], counts: Counter[str]) -> Record:
    """Return an entry in our own fields; count the formats that were recognised.

    columns has the field that each column stands for. Raises ValueError, with the location, for a column that the entry
    does not have, and for a message in parts that are no texts. All else is left to the parser.
    """
    entry = {name: value for name, value in _rename(record, columns, counts).items() if value is not None}
    if "conversations" in entry and MESSAGES not in entry:
        entry[MESSAGES] = entry.pop("conversations")
        counts[SHAREGPT] += 1
    if {"instruction", "response"} <= entry.keys() and "output" not in entry:
        entry["output"] = entry.pop("response")
        if "context" in entry and "input" not in entry:
            entry["input"] = entry.pop("context")
        counts[DOLLY] += 1
    if "prompt" not in entry and all(TURN.match(str(entry.get(name, ""))) for name in PAIR):
        entry |= {name: _turns(check_text_field(entry[name], name, record.location)) for name in PAIR}
        counts[HH] += 1
    for name in (MESSAGES, "prompt", *PAIR):
        if isinstance(entry.get(name), list):
            location = record.location if name == MESSAGES else f"{record.location}, {name}"
            entry[name] = [
                _rewrite_message(message, f"{location}, message {number}", counts)
                for number, message in enumerate(entry[name], start=1)
            ]
    if all(isinstance(entry.get(name), list) for name in PAIR):
        _find_prompt(entry, counts)
    return record._replace(fields=entry)


def _rename(record: Record, columns: Mapping[str, str], counts: Counter[str]) -> dict[str, Any]:
    """Return the fields of an entry under our names; one whose name another column takes is not used."""
    for column in columns:
        if column not in record.fields:
            present = ", ".join(map(repr, record.fields)) or "nothing"
            hint = nearest(column, list(record.fields))
            raise ValueError(f"data: {record.location}: columns names {column!r}, and it has {present}{hint}")
    entry = {}
    for name, value in record.fields.items():
        if name in columns.values() and name not in columns:
            counts[f"the field {name!r}: not used"] += 1
        else:
            entry[columns.get(name, name)] = value
    return entry


def _rewrite_message(message: Any, location: str, counts: Counter[str]) -> Any:
    """Return a message with role and content, the content being a text; what is no message is left to the parser."""
    if not isinstance(message, dict):
        return message
    if {"from", "value"} <= message.keys() and not {"role", "content"} & message.keys():
        message = {{"from": "role", "value": "content"}.get(name, name): value for name, value in message.items()}
        message["role"] = ROLES.get(str(message["role"]), message["role"])
    message = {name: value for name, value in message.items() if value is not None or name == "content"}
    counts[NAME] += message.pop("name", None) is not None
    if isinstance(message.get("content"), list):
        message["content"] = "\n".join(_text_of(part, location) for part in message["content"])
        counts[PARTS] += 1
    return message


def _text_of(part: Any, location: str) -> str:
    """Return the text of a part of a message; ValueError, naming its type, for an image or anything else."""
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if kind != "text":
        raise ValueError(f"data: {location}: a part of a content must have the type text, got {kind!r}; take it out")
    return check_text_field(part.get("text"), "text", location)


def _turns(text: str) -> list[dict[str, str]]:
    """Return the messages of a text in which each begins with Human or Assistant.

    >>> _turns("\\n\\nHuman: 2 + 3?\\n\\nAssistant: 5")
    [{'role': 'user', 'content': '2 + 3?'}, {'role': 'assistant', 'content': '5'}]
    """
    _, *pieces = TURN.split(text)
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[role], "content": text} for role, text in zip(pieces[::2], pieces[1::2], strict=True)]


def _find_prompt(entry: dict[str, Any], counts: Counter[str]) -> None:
    """Make the prompt of a pair a list of messages, and its answers what follows in either conversation.

    A prompt that is a text is the user's message. It is not used if both answers begin with the prompt's messages.
    """
    n = 0
    if not isinstance(entry.get("prompt"), list):
        chosen, rejected = (entry[name] for name in PAIR)
        while n < min(len(chosen), len(rejected)) - 1 and chosen[n] == rejected[n]:
            n += 1
        if n:
            counts["the field 'prompt': not used"] += "prompt" in entry
            counts[IMPLICIT] += 1
            entry["prompt"] = chosen[:n]
        elif "prompt" in entry:
            entry["prompt"] = [{"role": "user", "content": entry["prompt"]}]
    entry |= {name: entry[name][n:] for name in PAIR}
