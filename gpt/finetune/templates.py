"""Chat templates: how a conversation becomes tokens, and which of them a model learns to predict.

A template is data: a few strings in which {content} stands for a message. Some are built in; your own is a JSON file with
the same fields. A checkpoint stores the template that its model was trained with: `chat` must use the same.

    alpaca    Below is an instruction … ### Instruction: … ### Input: … ### Response: …   (Taori et al. 2023)
    chat      User: … Assistant: …                                                         a fifth of the tokens
    chatml    <|im_start|>user … <|im_end|> <|im_start|>assistant …                        Qwen, SmolLM2
    llama3, llama2, mistral, gemma                                                         of the models of these names

A template may also be a program in the language Jinja, as Hugging Face's models have it: `jinja.py` runs it.
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from gpt.config import nearest
from gpt.finetune.conversations import ASSISTANT, SYSTEM, USER, Message
from gpt.finetune.jinja import run_jinja
from gpt.text.read import read_text
from nanograd.runtime.files import StrPath
from nanograd.runtime.typed_json import parse_json

CONTENT = "{content}"
STRIP = ("none", "message", "turn")


class Segment(NamedTuple):
    """A piece of a text; the model learns to generate it if it is trainable (a response to learn), else only reads it."""

    text: str
    trainable: bool


@dataclass(frozen=True)
class Template:
    """The strings around messages, or a Jinja template. `user`, `input`, `system` and `response` have {content} once."""

    name: str
    user: str = CONTENT  # an instruction, or a message of the user
    reply: str = ""  # precedes every response
    input: str = "{content}\n"  # Alpaca's input; if empty, it follows its instruction after an empty line
    system: str = "{content}\n"  # the system message, at the beginning; if empty, there can be none
    default_system: str = ""  # for conversations without one; none if empty
    between: str = "\n"  # after a response that another message follows
    end: str = ""  # ends a response; if empty, the tokenizer's end of text does
    begin: str = ""  # the beginning of a conversation
    response: str = CONTENT
    strip: str = "none"  # or remove white space around each "message", or each "turn", a system message with the user's
    system_in_user: bool = False  # the system message is a part of the first message of the user
    joined: bool = False  # encode a conversation as one text, as transformers does, and not each segment by itself
    jinja: str = ""  # writes the whole conversation, from `begin` as bos_token and `end` as eos_token
    source: str = dataclasses.field(default="", compare=False)  # the model's own program, for which the strings stand

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), type(field.default) if field.name != "name" else str
            if type(value) is not kind:
                rule = "a text" if kind is str else "true or false"
                raise ValueError(f"template: {field.name!r} must be {rule}, got {type(value).__name__}")
        if self.jinja:
            return
        for name in ("user", "reply", "input", "system", "default_system", "between", "end", "begin", "response"):
            text, n_contents = getattr(self, name), int(name in ("user", "input", "system", "response"))
            if text.count(CONTENT) != n_contents and (text or name not in ("input", "system")):
                rule = "have {content} once" if n_contents else "not have {content}"
                raise ValueError(f"template: {name!r} must {rule}, got {text!r}")
        if not self.reply and self.user.endswith(CONTENT):
            raise ValueError("template: 'reply' must not be empty: it tells the model to answer")
        if self.strip not in STRIP:
            raise ValueError(f"template: 'strip' must be {' or '.join(STRIP)}, got {self.strip!r}")

    def to_dict(self) -> dict[str, Any]:
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
        for name in ("name",) if fields.get("jinja") else ("name", "user", "reply"):
            if name not in fields:
                raise ValueError(f"template: the field {name!r} is missing")
        return cls(**fields)

    def render(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the text of messages in segments, prompts and responses in turn; without the ends of responses.

        A prompt ends with `reply`, also after the last message if that is the user's.

        >>> CHAT.render([Message("user", "2 + 3?"), Message("assistant", "5")])
        [Segment(text='User: 2 + 3?\\nAssistant:\\n', trainable=False), Segment(text='5', trainable=True)]
        """
        if self.jinja:
            return self._run(messages)
        segments: list[Segment] = []
        prompt, in_user = self.begin, ""
        if self.default_system and not (messages and messages[0].role == SYSTEM):
            messages = [Message(SYSTEM, self.default_system), *messages]
        for message in messages:
            content, is_part = message.content, message.role == SYSTEM and self.system_in_user
            if message.input and not self.input:
                content += "\n\n" + message.input
            if self.strip == "message" and not is_part:
                content = content.strip()
            if message.role == USER:
                content, in_user = in_user + content, ""
            if self.strip == "turn" and not is_part:
                content = content.strip()
            if message.role == ASSISTANT:
                text = self.response.replace(CONTENT, content)
                segments += Segment(prompt, False), Segment(text, message.learned)
                prompt = self.between
            elif message.role == USER:
                prompt += self.user.replace(CONTENT, content)
                prompt += self.input.replace(CONTENT, message.input) if message.input else ""
                prompt += self.reply
            elif not self.system:
                raise ValueError(f"the template {self.name} has no system message; leave it out")
            elif self.system_in_user:
                in_user = self.system.replace(CONTENT, content)
            else:
                prompt += self.system.replace(CONTENT, content)
        if messages and messages[-1].role == USER:
            segments.append(Segment(prompt, False))
        return segments

    def to_jinja(self, end: str = "") -> str:
        """Return a program in Jinja that writes what `render` does; `end` follows a response where the template has none.

        The part `input` of a message is left out: the messages of transformers have none.
        """
        if self.jinja or self.source:
            return self.jinja or self.source

        def expression(text: str) -> str:
            """Return the string as an expression, in which {content} is the variable `content`."""
            return " + content + ".join(json.dumps(part, ensure_ascii=False) for part in text.split(CONTENT))

        def show(text: str) -> str:
            return "{{ " + expression(text) + " }}" if text else ""

        strip_message, strip_turn = (".strip()" if self.strip == kind else "" for kind in ("message", "turn"))
        system, strip_system = show(self.system), strip_message or strip_turn
        if self.system_in_user:
            system, strip_system = "{% set ns.system = " + expression(self.system) + " %}", ""
        if not self.system:
            system = "{{ raise_exception('there must be no system message') }}"
        default = ""
        if self.default_system:
            content = json.dumps(self.default_system, ensure_ascii=False)
            default = (
                "{% if messages[0].role != 'system' %}{% set content = " + content + " %}" + system + "{% endif %}"
            )
        return "".join([
            "{% set ns = namespace(system='') %}", show(self.begin), default,
            "{% for message in messages %}{% if message.role == 'system' %}",
            "{% set content = message.content" + strip_system + " %}", system,
            "{% elif message.role == 'user' %}",
            "{% set content = (ns.system + message.content" + strip_message + ")" + strip_turn + " %}",
            "{% set ns.system = '' %}",
            show(self.user), "{% if not loop.last or add_generation_prompt %}", show(self.reply), "{% endif %}",
            "{% else %}{% set content = message.content" + strip_message + strip_turn + " %}", show(self.response),
            show(self.end or end),
            "{% if not loop.last %}", show(self.between), "{% endif %}",
            "{% endif %}{% endfor %}",
        ])  # fmt: skip

    def _run(self, messages: Sequence[Message]) -> list[Segment]:
        """Return the text that the Jinja template writes, in segments; responses have their ends.

        The template writes the messages before a response, and those up to it; the response is the difference of the two
        texts. Qwen3's template writes earlier responses differently from the last one: these are read but not learned.
        """
        chat = [{"role": m.role, "content": m.content + ("\n\n" + m.input if m.input else "")} for m in messages]
        responses = [i for i, message in enumerate(messages) if message.role == ASSISTANT]
        if len(messages) - 1 not in responses:
            return [Segment(text, False) for text in run_jinja(self.jinja, [(chat, True)], self.begin, self.end)]
        jobs = [job for i in responses for job in ((chat[:i], True), (chat[: i + 1], False))]
        texts = run_jinja(self.jinja, jobs, self.begin, self.end)
        segments, before = list[Segment](), ""
        for i, prompt, text in zip(responses, texts[::2], texts[1::2], strict=True):
            if not text.startswith(prompt):
                raise ValueError(f"the template {self.name} writes an answer otherwise than it asks for it")
            if not prompt.startswith(before):
                segments, before = [], ""
            response = text[len(prompt) :]
            if self.end and self.end in response:
                response = response[: response.rindex(self.end) + len(self.end)]
            segments += Segment(prompt[len(before) :], False), Segment(response, messages[i].learned)
            before = prompt + response
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
CHATML = Template(
    name="chatml",
    user="<|im_start|>user\n{content}<|im_end|>\n",
    reply="<|im_start|>assistant\n",
    input="",
    system="<|im_start|>system\n{content}<|im_end|>\n",
    end="<|im_end|>",
    joined=True,
)
LLAMA3 = Template(
    name="llama3",
    user="<|start_header_id|>user<|end_header_id|>\n\n{content}<|eot_id|>",
    reply="<|start_header_id|>assistant<|end_header_id|>\n\n",
    input="",
    system="<|start_header_id|>system<|end_header_id|>\n\n{content}<|eot_id|>",
    between="",
    end="<|eot_id|>",
    begin="<|begin_of_text|>",
    strip="message",
    joined=True,
)
LLAMA2 = Template(
    name="llama2",
    user="<s>[INST] {content} [/INST]",
    input="",
    system="<<SYS>>\n{content}\n<</SYS>>\n\n",
    between="",
    end="</s>",
    response=" {content} ",
    strip="turn",
    system_in_user=True,
    joined=True,
)
MISTRAL = Template(
    name="mistral",
    user="[INST] {content} [/INST]",
    input="",
    system="",
    between="",
    end="</s>",
    begin="<s>",
    joined=True,
)
GEMMA = Template(
    name="gemma",
    user="<start_of_turn>user\n{content}<end_of_turn>\n",
    reply="<start_of_turn>model\n",
    input="",
    system="{content}\n\n",
    end="<end_of_turn>",
    begin="<bos>",
    strip="message",
    system_in_user=True,
    joined=True,
)
TEMPLATES = {template.name: template for template in (ALPACA, CHAT, CHATML, LLAMA3, LLAMA2, MISTRAL, GEMMA)}


def load_template(name: StrPath, *, end: str | None = None) -> Template:
    """Return a built-in template by name, or one from a JSON file; `end` replaces its own end.

    Raises ValueError where there is neither, or the file holds something else.
    """
    name = os.fspath(name)
    if (template := TEMPLATES.get(name)) is None:
        if not Path(name).is_file():
            hint = nearest(name, list(TEMPLATES))
            names = ", ".join(TEMPLATES)
            raise ValueError(f"template: must be {names} or a JSON file, got {name!r}, which is no file{hint}")
        try:
            template = Template.from_dict(parse_json(read_text(Path(name))))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return template if end is None else dataclasses.replace(template, end=end)


# The built-in templates by the SHA-256 of the Jinja templates that write the same, without their default system message;
# and what their bos_token and eos_token must be, where they use them. Tests compare what the two write.
KNOWN = {
    "153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3": (CHATML, "", ""),  # OpenHermes
    "fa20279545c63820a4cac5045e8858d956e9a84864fff5b3aeefcbb1065859e9": (CHATML, "", ""),  # SmolLM2, Qwen2
    "ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122": (LLAMA3, "<|begin_of_text|>", ""),
    "b48c47f6443892716176eb200bf4ef108f64e06ca26ed0fa8ebc0a4b3992fcb2": (LLAMA3, "<|begin_of_text|>", ""),  # the first
    "9780fae5bfea3cfd7be37d328c6edfd296a8869be8131495bbe7eb37e780c88c": (LLAMA2, "<s>", "</s>"),
    "26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7": (MISTRAL, "<s>", "</s>"),  # Mixtral
    "7e995b379ec01747807246483647cd99030abf331653f1119e16d7ac041a3495": (
        dataclasses.replace(MISTRAL, between=" "), "<s>", "</s>",
    ),  # Mistral 0.1
    "7de1c58e208eda46e9c7f86397df37ec49883aeece39fb961e0a6b24088dd3c4": (GEMMA, "<bos>", ""),  # Gemma 3
    "ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6": (
        dataclasses.replace(GEMMA, system=""), "<bos>", "",
    ),  # Gemma 1 and 2
}  # fmt: skip
DEFAULT_SYSTEM = re.compile(r"<\|im_start\|>system\n((?:(?!<\||['\\{]).)*)<\|im_end\|>\n' \}\}\{% endif %\}", re.DOTALL)


def template_of_model(source: str, bos_token: str = "", eos_token: str = "") -> Template:
    """Return the template that a model brings in Jinja: the built-in one that writes the same, else a program."""
    text = source.replace(r"\n", "\n")
    default = DEFAULT_SYSTEM.search(text)
    start, stop = default.span(1) if default else (0, 0)
    key = hashlib.sha256((text[:start] + (CONTENT if default else "") + text[stop:]).encode()).hexdigest()
    known, bos, eos = KNOWN.get(key, (None, "", ""))
    if known is None or (bos and bos != bos_token) or (eos and eos != eos_token):
        return Template(name="jinja", begin=bos_token, end=eos_token, jinja=source)
    if default:
        known = dataclasses.replace(known, default_system=default[1])
    return dataclasses.replace(known, source=source)
