"""Chat templates: how a conversation becomes one text, in which a model learns the responses.

A template is data: a few strings in which {content} stands for a message. Two are built in; your own is a JSON file with
the same fields. A checkpoint stores the template that its model was trained with: `chat` must use the same.

    alpaca    Below is an instruction … ### Instruction: … ### Input: … ### Response: …   (Taori et al. 2023)
    chat      User: … Assistant: …                                                         a fifth of the tokens
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from gpt.config import nearest
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Message
from gpt.text.read import read_text

CONTENT = "{content}"


class Segment(NamedTuple):
    """A piece of a text; the model learns to generate it if it is trainable (a response), else only reads it."""

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
        for name, text in self.to_dict().items():
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
                raise ValueError(
                    f"template: unknown field {key!r}{nearest(key, known)}; the fields: {', '.join(known)}"
                )
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
                segments += Segment(prompt, False), Segment(message.content, True)
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


def load_template(name: str | os.PathLike[str], *, end: str | None = None) -> Template:
    """Return a built-in template by name, or one from a JSON file; `end` replaces its own end.

    Raises ValueError where there is neither, or the file holds something else.
    """
    if (template := TEMPLATES.get(os.fspath(name))) is None:
        if not Path(name).is_file():
            known = list(TEMPLATES)
            raise ValueError(
                f"template: must be {' or '.join(known)}, or a JSON file, got {os.fspath(name)!r}, which is no file"
                f"{nearest(os.fspath(name), known)}"
            )
        try:
            template = Template.from_dict(json.loads(read_text(Path(name))))
        except json.JSONDecodeError as error:
            raise ValueError(f"template: {name} must be JSON, but {error}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return template if end is None else dataclasses.replace(template, end=end)
