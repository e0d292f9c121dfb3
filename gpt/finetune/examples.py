"""From a conversation to tokens, and to a mask of those that the model learns to predict.

The model learns the tokens of the responses, each with its end, and no others. A text of n + 1 tokens has n inputs and n
targets, the inputs one step later. A target that belongs to a prompt is -100 and ignored: it adds nothing to the loss or to
any gradient.

    tokens      User:  hi  ⏎  Assistant:  ⏎   Hello  !     <end>
    targets     -100 -100  -100        -100   Hello  !     <end>      (from the second token on)

Special tokens delimit the turns of a chat model, so a message must not contain them: special tokens written in a message
are ordinary text, whatever the template.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO, TypeVar

import numpy as np

from gpt.data.batches import IGNORE
from gpt.finetune.batching import Splits, pad
from gpt.finetune.conversations import ASSISTANT, Conversation, Message, count_notes, split_conversations
from gpt.finetune.templates import Template
from gpt.generation.decoder import common_prefix
from gpt.tokenizer import EOT, Tokenizer
from gpt.training import Batch

MARKS = range(0xFDD0, 0xFDF0)  # noncharacters, for a program's own use: Unicode 23.7
RESPONSE, PROMPT, RESET = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"  # bold green, dim

C = TypeVar("C", bound=Conversation)
E = TypeVar("E")


@dataclass(frozen=True)
class Example:
    """The tokens (n + 1,) of messages, and a mask (n + 1,) of those that the model learns to predict."""

    messages: tuple[Message, ...]
    tokens: np.ndarray
    loss_mask: np.ndarray

    def __len__(self) -> int:
        """Return how many tokens the model reads."""
        return len(self.tokens) - 1

    @property
    def ids(self) -> np.ndarray:
        """The inputs of the model (n,): all tokens but the last."""
        return self.tokens[:-1]

    @property
    def targets(self) -> np.ndarray:
        """The next tokens (n,), or -100 outside the loss mask."""
        return np.where(self.loss_mask[1:], self.tokens[1:], IGNORE)


def response_end(tokenizer: Tokenizer, template: Template) -> list[int]:
    """Return the tokens that end a response: the template's own end, or the end-of-text token.

    Raises ValueError where there is neither: a model that never sees an end would never stop.
    """
    if template.end:
        try:
            return tokenizer.encode_ordinary(template.end)
        except ValueError as error:
            raise ValueError(f"the end of a response, {template.end!r}: {error}") from None
    if tokenizer.eot_id is None:
        way_out = r"name a text that it can encode and that no response has, as in finetune instruct --end '\n\n'"
        raise ValueError(f"tokenizer: the base's, of kind {tokenizer.kind}, has no {EOT} to end a response; {way_out}")
    return [tokenizer.eot_id]


def encode(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Return the tokens of messages: segment by segment, or as one text for the template of a chat model.

    Such a template writes the beginning itself; otherwise the tokenizer's `prefix` comes first. Raises ValueError for a
    response that contains the template's own end.
    """
    if template.end and template.end not in tokenizer.special_tokens:
        for message in messages:
            if message.role == ASSISTANT and template.end in message.content:
                rule = f"a response contains {template.end!r}, which is to end it"
                raise ValueError(f"{rule}; choose another --end of finetune")
    encode_as = encode_joined if template.joined or template.jinja else encode_segments
    return encode_as(messages, template, tokenizer)


def encode_segments(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Return the tokens of messages. Every segment is encoded separately, exactly as at generation.

    A special token written in a message is ordinary text: only the end that is added here ends a response.
    """
    end = response_end(tokenizer, template)
    tokens, loss_mask = list(tokenizer.prefix), [False] * len(tokenizer.prefix)
    for number, (text, trainable) in enumerate(template.render(messages)):
        is_response = number % 2 == 1  # also one that is not learned
        ids = tokenizer.encode_ordinary(text) + (end if is_response else [])
        tokens += ids
        loss_mask += [trainable] * len(ids)
    return Example(tuple(messages), np.array(tokens, np.int64), np.array(loss_mask, bool))


def encode_joined(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Encode a conversation as one text; the tokens of a response are those that its prompt does not have yet.

    Nothing is learned from a conversation that ends with a question: it is a prompt.
    """
    mark, marked = mark_special_tokens(messages, tokenizer)
    segments = template.render(marked)
    end = "" if template.jinja else template.end or tokenizer.decode(response_end(tokenizer, template))
    texts = [text + (end if number % 2 == 1 else "") for number, (text, _) in enumerate(segments)]
    tokens = encode_marked("".join(texts), mark, tokenizer)
    loss_mask = np.zeros(len(tokens), bool)
    if messages[-1].role == ASSISTANT:
        for number, (_, trainable) in enumerate(segments):
            if trainable:
                before, after = ("".join(texts[:n]) for n in (number, number + 1))
                first, stop = (common_prefix(encode_marked(text, mark, tokenizer), tokens) for text in (before, after))
                loss_mask[first:stop] = True
    return Example(tuple(messages), np.array(tokens, np.int64), loss_mask)


def mark_special_tokens(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[str, list[Message]]:
    """Return messages with a mark inside each special token written in them, and the mark; "" where there is none.

    The mark is a character that no message has, so it shows, whatever a template does with a message, which special tokens
    of the whole text are the template's. Tokens that `encode` reads in any text, such as Qwen3's <think>, stay.
    """
    special = [token for token in tokenizer.special_tokens if token not in tokenizer.allowed_special]
    whole = "\n".join(text for message in messages for text in (message.content, message.input))
    if not any(token in whole for token in special):
        return "", list(messages)
    mark = next((character for character in map(chr, MARKS) if character not in whole), None)
    if mark is None:
        raise ValueError("a message has special tokens and every noncharacter from U+FDD0 to U+FDEF; take one out")
    pattern = re.compile("|".join(map(re.escape, special)))

    def split(text: str) -> str:
        return pattern.sub(lambda match: match[0][:1] + mark + match[0][1:], text)

    return mark, [dataclasses.replace(m, content=split(m.content), input=split(m.input)) for m in messages]


def encode_marked(text: str, mark: str, tokenizer: Tokenizer) -> list[int]:
    """Return the ids of a rendered text: special tokens as their ids, but those with a mark in them as ordinary text."""
    if not mark:
        return tokenizer.encode_data(text)
    longest_first = sorted(tokenizer.special_tokens, key=len, reverse=True)
    ids: list[int] = []
    for number, piece in enumerate(re.split(f"({'|'.join(map(re.escape, longest_first))})", text)):
        ids += [tokenizer.special_tokens[piece]] if number % 2 else tokenizer.encode_ordinary(piece.replace(mark, ""))
    return ids


def encode_splits(
    conversations: Sequence[C], encode_one: Callable[[C], tuple[E | None, str]], fractions: Sequence[float], seed: int
) -> tuple[Splits[E], list[str]]:
    """Split conversations and encode them; return the examples of each split, and notes on what was left out.

    `encode_one` returns an example, or None for a conversation to leave out, and the rule that it applied, or "". Its
    ValueErrors get the location of the conversation.
    """
    splits, counts = list[list[E]](), Counter[str]()
    for split in split_conversations(conversations, fractions, seed):
        splits.append([])
        for conversation in split:
            try:
                example, rule = encode_one(conversation)
            except ValueError as error:
                raise ValueError(f"data: {conversation.location}: {error}") from None
            splits[-1] += [] if example is None else [example]
            counts[rule] += bool(rule)
    return Splits(*splits), count_notes(+counts)


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
