"""Which tokens of a conversation a model learns to predict: those of the responses, each with its end, and no others.

A text of n + 1 tokens has n inputs and n targets, the inputs one step later. A target that belongs to a prompt is -100 and
ignored: it adds nothing to the loss or to any gradient.

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
from gpt.finetune.batching import pad
from gpt.finetune.conversations import ASSISTANT, Conversation, Message
from gpt.finetune.templates import Template
from gpt.tokenizer import EOT, Tokenizer
from gpt.training import Batch

SHORTENED = "more tokens than the context: turns at their end left out"
TOO_LONG = "more tokens than the context in the first turn: left out"
RESPONSE, PROMPT, RESET = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"  # bold green, dim


@dataclass(frozen=True)
class Example:
    """The tokens (n + 1,) of messages, and a mask (n + 1,) of those that the model learns to predict."""

    messages: tuple[Message, ...]
    tokens: np.ndarray
    loss_mask: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """The inputs of the model (n,): all tokens but the last."""
        return self.tokens[:-1]

    @property
    def targets(self) -> np.ndarray:
        """The next tokens (n,), or -100 outside the loss mask."""
        return np.where(self.loss_mask[1:], self.tokens[1:], IGNORE)


def end_ids(tokenizer: Tokenizer, template: Template) -> list[int]:
    """Return the tokens that end a response: the template's own end, or the end-of-text token.

    Raises ValueError where there is neither: a model that never sees an end would never stop.
    """
    if template.end:
        try:
            return tokenizer.encode_ordinary(template.end)
        except ValueError as error:
            raise ValueError(f"the end of a response, {template.end!r}: {error}") from None
    if tokenizer.eot_id is None:
        raise ValueError(
            f"tokenizer: the base's, of kind {tokenizer.kind}, has no {EOT} to end a response with; name a text that "
            r"occurs in no response and that its vocabulary can encode, for example --end '\n\n'"
        )
    return [tokenizer.eot_id]


def encode(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Return the tokens of messages. Every segment is encoded separately, exactly as at generation.

    A special token written in a message is ordinary text: only the end that is added here ends a response. Raises
    ValueError for a response that contains the template's own end.
    """
    end = end_ids(tokenizer, template)
    tokens: list[int] = []
    loss_mask: list[bool] = []
    for text, trainable in template.render(messages):
        if trainable and template.end and template.end in text:
            raise ValueError(f"a response contains {template.end!r}, which is to end it; choose another --end")
        ids = tokenizer.encode_ordinary(text) + (end if trainable else [])
        tokens += ids
        loss_mask += [trainable] * len(ids)
    return Example(tuple(messages), np.array(tokens, np.int64), np.array(loss_mask, bool))


def encode_all(
    conversations: Sequence[Conversation], template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[list[Example], Counter[str]]:
    """Return the examples of conversations, and how many were shortened or left out because they are too long.

    A conversation of more than context_length + 1 tokens loses as many turns at its end as necessary. If the first turn
    alone is too long, it is left out: a response without its end would teach the model not to stop. Raises ValueError,
    with the location, for a conversation that cannot be encoded.
    """
    examples, counts = [], Counter[str]()
    for conversation in conversations:
        messages = list(conversation.messages)
        try:
            example = encode(messages, template, tokenizer)
            if is_longer := len(example.tokens) > context_length + 1:
                while len(example.tokens) > context_length + 1 and _count_turns(messages) > 1:
                    messages = messages[:-2]
                    example = encode(messages, template, tokenizer)
        except ValueError as error:
            raise ValueError(f"data: {conversation.location}: {error}") from None
        if len(example.tokens) > context_length + 1:
            counts[TOO_LONG] += 1
            continue
        counts[SHORTENED] += is_longer
        examples.append(example)
    return examples, +counts


def pad_examples(examples: Sequence[Example], filler: int = 0) -> Batch:
    """Return a batch of ids (B, T) and targets (B, T), T being the longest; padding is never a target."""
    ids, targets = pad([example.ids for example in examples], filler), pad([e.targets for e in examples], IGNORE)
    return Batch((ids, targets), int((targets != IGNORE).sum()))


def show_mask(example: Example, tokenizer: Tokenizer, *, colour: bool) -> str:
    """Return the text of an example with its trainable tokens marked: green, or between [ and ] without colour."""
    shown = ""
    for trainable, group in groupby(range(len(example.tokens)), lambda i: bool(example.loss_mask[i])):
        text = tokenizer.decode(example.tokens[i] for i in group)
        if colour:
            shown += (RESPONSE if trainable else PROMPT) + text + RESET
        else:
            shown += f"[{text}]" if trainable else text
    return shown


def supports_colour(out: TextIO) -> bool:
    """Tell whether to print in colour: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _count_turns(messages: Sequence[Message]) -> int:
    return sum(message.role == ASSISTANT for message in messages)
