"""Let a model answer: what it is asked is written with the template that it was trained with."""

import dataclasses
from collections.abc import Iterator, Sequence

from gpt.config import SampleConfig
from gpt.finetune.conversations import SYSTEM, Message
from gpt.finetune.loss_mask import encode
from gpt.finetune.templates import Template
from gpt.generation.generate import write
from gpt.model import GPT
from gpt.tokenizer import Tokenizer


def answer(
    model: GPT, tokenizer: Tokenizer, template: Template, messages: Sequence[Message], config: SampleConfig
) -> Iterator[str]:
    """Return the answer to messages, of which the user's comes last, in whole characters as they come.

    It ends where the model ends it, after max_new_tokens, or with the context: the question stays in sight to its end.
    ValueError where the messages fill the context.
    """
    ids = encode(messages, template, tokenizer).tokens.tolist()
    room = model.config.context_length + 1 - len(ids)  # the last token that is written need not be read
    if room < 1:
        raise ValueError(
            f"the question has {len(ids):,} tokens, with its template, and the context {model.config.context_length:,}: "
            "no room for an answer; ask something shorter"
        )
    config = dataclasses.replace(config, max_new_tokens=min(config.max_new_tokens, room))
    (text,) = write(model, tokenizer, ids, config, stop=[template.end] if template.end else ())
    return text


def recent(
    messages: Sequence[Message], template: Template, tokenizer: Tokenizer, most: int
) -> tuple[list[Message], int]:
    """Return messages of at most `most` tokens, and how many turns had to be dropped for that.

    The oldest go first; what the system says stays, and so does the last question, whatever its length.
    """
    system = [message for message in messages if message.role == SYSTEM]
    rest = [message for message in messages if message.role != SYSTEM]
    dropped = 0
    while len(rest) > 1 and len(encode([*system, *rest], template, tokenizer).tokens) > most:
        rest = rest[2:]
        dropped += 1
    return [*system, *rest], dropped
