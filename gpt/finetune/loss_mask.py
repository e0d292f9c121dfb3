"""Which tokens of a conversation a model learns: those of the responses, each with the end after it, and no others.

A text of n + 1 tokens has n ids and n targets, the ids one step later. Where the token to come belongs to a prompt its
target is -100, which does not count: it adds nothing to the loss, and so nothing to any gradient.

    tokens      User:  hi  ⏎  Assistant:  ⏎   Hello  !     <end>
    targets     -100 -100  -100        -100   Hello  !     <end>      (from the second token on)
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO

import numpy as np

from gpt.data.batches import IGNORE
from gpt.finetune.conversations import ASSISTANT, Conversation, Message
from gpt.finetune.templates import Template
from gpt.tokenizer import EOT, Tokenizer

SHORTER = "more tokens than the context: turns at their end left out"
TOO_LONG = "more tokens than the context in the first turn: left out"
RESPONSE, PROMPT, PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"  # bold green, dim


@dataclass(frozen=True)
class Example:
    """The tokens (n + 1,) of messages, and which of them (n + 1,) the model is to write."""

    messages: tuple[Message, ...]
    tokens: np.ndarray
    learned: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """What the model reads: all tokens (n,) but the last."""
        return self.tokens[:-1]

    @property
    def targets(self) -> np.ndarray:
        """The tokens one step later (n,), or -100 where they are not to be learned."""
        return np.where(self.learned[1:], self.tokens[1:], IGNORE)


def end_ids(tokenizer: Tokenizer, template: Template) -> list[int]:
    """Return what ends a response: the template's own end, or the end-of-text token.

    ValueError where there is neither: a model that never sees an end would never stop.
    """
    if template.end:
        try:
            return tokenizer.encode_ordinary(template.end)
        except ValueError as error:
            raise ValueError(f"the end of a response, {template.end!r}: {error}") from None
    if tokenizer.eot_id is None:
        raise ValueError(
            f"tokenizer: the base's, of kind {tokenizer.kind}, has no {EOT} to end a response with; name a text that "
            r"no response holds, and its vocabulary can write, for example --end '\n\n'"
        )
    return [tokenizer.eot_id]


def encode(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Return the tokens of messages. Every segment is encoded by itself, as it is when the model is asked.

    What looks like a special token in a message is text like any other: only what we write ends a response. ValueError
    where a response holds the template's own end.
    """
    end = end_ids(tokenizer, template)
    tokens: list[int] = []
    learned: list[bool] = []
    for text, is_response in template.render(messages):
        if is_response and template.end and template.end in text:
            raise ValueError(f"a response holds {template.end!r}, which is to end it; choose another --end")
        ids = tokenizer.encode_ordinary(text) + (end if is_response else [])
        tokens += ids
        learned += [is_response] * len(ids)
    return Example(tuple(messages), np.array(tokens, np.int64), np.array(learned, bool))


def encode_all(
    conversations: Sequence[Conversation], template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[list[Example], Counter[str]]:
    """Return the examples of conversations, and how often each rule was applied to one that is too long.

    Of a conversation with more than context_length + 1 tokens the turns at the end are left out, as many as must be; if
    the first turn alone is too long, all of it: a response without its end would teach the model not to stop.
    ValueError, with the place, for one that cannot be encoded.
    """
    examples, counts = [], Counter[str]()
    for conversation in conversations:
        messages = list(conversation.messages)
        try:
            example = encode(messages, template, tokenizer)
            if is_longer := len(example.tokens) > context_length + 1:
                while len(example.tokens) > context_length + 1 and _turns(messages) > 1:
                    messages = messages[:-2]
                    example = encode(messages, template, tokenizer)
        except ValueError as error:
            raise ValueError(f"{conversation.place}: {error}") from None
        if len(example.tokens) > context_length + 1:
            counts[TOO_LONG] += 1
            continue
        counts[SHORTER] += is_longer
        examples.append(example)
    return examples, +counts


def show_mask(example: Example, tokenizer: Tokenizer, *, colour: bool) -> str:
    """Return the text of an example with what is learned made visible: green, or between [ and ] without colour."""
    shown = ""
    for is_learned, group in groupby(range(len(example.tokens)), lambda k: bool(example.learned[k])):
        text = tokenizer.decode(example.tokens[k] for k in group)
        if colour:
            shown += (RESPONSE if is_learned else PROMPT) + text + PLAIN
        else:
            shown += f"[{text}]" if is_learned else text
    return shown


def has_colour(out: TextIO) -> bool:
    """Tell whether to write colours: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _turns(messages: Sequence[Message]) -> int:
    return sum(message.role == ASSISTANT for message in messages)
