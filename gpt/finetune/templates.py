"""Chat templates: how a conversation becomes tokens, and which of them a model learns to predict.

A template is data: a few strings in which {content} stands for a message. Two are built in; your own is a JSON file with
the same fields. A checkpoint stores the template that its model was trained with: `chat` must use the same.

    alpaca    Below is an instruction … ### Instruction: … ### Input: … ### Response: …   (Taori et al. 2023)
    chat      User: … Assistant: …                                                         a fifth of the tokens

The model learns the tokens of the responses, each with its end, and no others. A text of n + 1 tokens has n inputs and n
targets, the inputs one step later. A target that belongs to a prompt is -100 and ignored: it adds nothing to the loss or to
any gradient.

    tokens      User:  hi  ⏎  Assistant:  ⏎   Hello  !     <end>
    targets     -100 -100  -100        -100   Hello  !     <end>      (from the second token on)
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Self, TextIO, TypeVar

import numpy as np

from gpt.config import nearest
from gpt.data.batches import IGNORE
from gpt.finetune.batching import Splits, pad
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Conversation, Message, count_notes, split_conversations
from gpt.text.read import read_text
from gpt.tokenizer import EOT, Tokenizer
from gpt.training import Batch
from nanograd.runtime.files import StrPath
from nanograd.runtime.typed_json import parse_json

CONTENT = "{content}"
RESPONSE, PROMPT, RESET = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"  # bold green, dim

C = TypeVar("C", bound=Conversation)
E = TypeVar("E")


class Segment(NamedTuple):
    """A piece of a text; the model learns to generate it if it is trainable (a response to learn), else only reads it."""

    text: str
    trainable: bool


@dataclass(frozen=True)
class Template:
    """The strings around messages. `system`, `user` and `input` have {content} once, the others do not."""

    name: str
    user: str  # an instruction, or a message of the user
    reply: str  # precedes every response
    input: str = "{content}\n"  # Alpaca's input, after its instruction
    system: str = "{content}\n"  # the system message, at the beginning
    default_system: str = ""  # for conversations without one; none if empty
    between: str = "\n"  # after a response that another message follows
    end: str = ""  # ends a response; if empty, the tokenizer's end of text does

    def __post_init__(self) -> None:
        for name, text in vars(self).items():
            if not isinstance(text, str):
                raise ValueError(f"template: {name!r} must be a text, got {type(text).__name__}")
            n_contents = 1 if name in ("user", "input", "system") else 0
            if text.count(CONTENT) != n_contents:
                rule = "have {content} once" if n_contents else "not have {content}"
                raise ValueError(f"template: {name!r} must {rule}, got {text!r}")
        if not self.reply:
            raise ValueError("template: 'reply' must not be empty: it tells the model to answer")

    def to_dict(self) -> dict[str, str]:
        """Return the fields as JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """Make one from `to_dict`; ValueError for a missing field, or an unknown one, with the nearest name."""
        if not isinstance(fields, dict):
            raise ValueError(f"template: must be an object of texts, got {type(fields).__name__}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise ValueError(f"template: unknown field {key!r}{nearest(key, known)}; fields: {', '.join(known)}")
        for name in ("name", "user", "reply"):
            if name not in fields:
                raise ValueError(f"template: the field {name!r} is missing")
        return cls(**fields)

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the text of messages in segments, prompts and responses in turn.

        A prompt ends with `reply`, also after the last message if that is the user's.

        >>> CHAT.render([Message("user", "2 + 3?"), Message("assistant", "5")])
        [Segment(text='User: 2 + 3?\\nAssistant:\\n', trainable=False), Segment(text='5', trainable=True)]
        """
        segments: list[Segment] = []
        prompt = ""
        if self.default_system and not (messages and messages[0].role == SYSTEM):
            prompt = self.system.replace(CONTENT, self.default_system)
        for message in messages:
            if message.role == ASSISTANT:
                segments += Segment(prompt, False), Segment(message.content, message.learned)
                prompt = self.between
            elif message.role == USER:
                prompt += self.user.replace(CONTENT, message.content)
                prompt += self.input.replace(CONTENT, message.input) if message.input else ""
                prompt += self.reply
            else:
                prompt += self.system.replace(CONTENT, message.content)
        if messages and messages[-1].role == USER:
            segments.append(Segment(prompt, False))
        return segments


ALPACA = Template(
    name="alpaca",
    default_system="Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.",
    system="{content}\n\n",
    user="### Instruction:\n{content}\n\n",
    input="### Input:\n{content}\n\n",
    reply="### Response:\n",
    between="\n\n",
)
CHAT = Template(name="chat", user="User: {content}\n", reply="Assistant:\n")
TEMPLATES = {template.name: template for template in (ALPACA, CHAT)}


def load_template(name: StrPath, *, end: str | None = None) -> Template:
    """Return a built-in template by name, or one from a JSON file; `end` replaces its own end.

    Raises ValueError where there is neither, or the file holds something else.
    """
    name = os.fspath(name)
    if (template := TEMPLATES.get(name)) is None:
        if not Path(name).is_file():
            hint = nearest(name, list(TEMPLATES))
            raise ValueError(f"template: must be alpaca, chat or a JSON file, got {name!r}, which is no file{hint}")
        try:
            template = Template.from_dict(parse_json(read_text(Path(name))))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return template if end is None else dataclasses.replace(template, end=end)


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
        way_out = r"name a text that it can encode and that no response has, as in finetune instruct --end '\n\n'"
        raise ValueError(f"tokenizer: the base's, of kind {tokenizer.kind}, has no {EOT} to end a response; {way_out}")
    return [tokenizer.eot_id]


def encode(messages: Sequence[Message], template: Template, tokenizer: Tokenizer) -> Example:
    """Return the tokens of messages. Every segment is encoded separately, exactly as at generation.

    A special token written in a message is ordinary text: only the end that is added here ends a response. Raises
    ValueError for a response that contains the template's own end.
    """
    end = end_ids(tokenizer, template)
    tokens: list[int] = []
    loss_mask: list[bool] = []
    for number, (text, trainable) in enumerate(template.render(messages)):
        is_response = number % 2 == 1  # also one that is not learned
        if is_response and template.end and template.end in text:
            raise ValueError(
                f"a response contains {template.end!r}, which is to end it; choose another --end of finetune"
            )
        ids = tokenizer.encode_ordinary(text) + (end if is_response else [])
        tokens += ids
        loss_mask += [trainable] * len(ids)
    return Example(tuple(messages), np.array(tokens, np.int64), np.array(loss_mask, bool))


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
