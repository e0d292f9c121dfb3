"""Templates: how a conversation is written as one text, of which a model learns the responses.

A template is data: a few strings, in which {content} stands for what is said. Two are built in; one of your own is a JSON
file of the same fields. The template that a model was trained with is stored in its checkpoint, since `chat` must write
what the model has learned to answer.

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
    """A part of a text; the model learns to write it where it is a response, and only reads it where not."""

    text: str
    is_response: bool


@dataclass(frozen=True)
class Template:
    """The strings around what is said. `system`, `user` and `input` have {content} once, the others not."""

    name: str
    user: str  # an instruction, or what the user says
    reply: str  # what stands before every response
    input: str = "{content}\n"  # Alpaca's input, after its instruction
    system: str = "{content}\n"  # what the system says, before all
    default_system: str = ""  # where it says nothing; none if empty
    between: str = "\n"  # after a response that another message follows
    end: str = ""  # a text that ends a response; if empty, the tokenizer's end of text

    def __post_init__(self) -> None:
        for name, text in self.to_dict().items():
            if not isinstance(text, str):
                raise ValueError(f"template: {name!r} must be a text, got {type(text).__name__}")
            times = 1 if name in ("user", "input", "system") else 0
            if text.count(CONTENT) != times:
                rule = "have {content} once" if times else "not have {content}"
                raise ValueError(f"template: {name!r} must {rule}, got {text!r}")
        if not self.reply:
            raise ValueError("template: 'reply' must not be empty: from it the model knows that it is to answer")

    def to_dict(self) -> dict[str, str]:
        """Return the fields as JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """Make one from `to_dict`; ValueError where a field is missing, or unknown, with the nearest name."""
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
        """Return the text of messages in segments: what the model reads, what it is to write, and so on in turn.

        After a message of the user, as after all of them where they end with one, comes what calls for a response.

        >>> CHAT.render([Message("user", "2 + 3?"), Message("assistant", "5")])
        [Segment(text='User: 2 + 3?\\nAssistant:\\n', is_response=False), Segment(text='5', is_response=True)]
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
    """Return a template by its name, or from a JSON file; `end`, if given, takes the place of its own.

    ValueError where there is neither, or the file holds something else.
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
