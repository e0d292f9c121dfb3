"""Generate answers: messages are written with the template that the model was trained with."""

import dataclasses
from collections.abc import Iterator, Sequence

from gpt.config import SampleConfig
from gpt.finetune.conversations import SYSTEM, Message
from gpt.finetune.loss_mask import encode
from gpt.finetune.templates import Template
from gpt.generation.generate import generate_text
from gpt.model import GPT
from gpt.tokenizer import Tokenizer


def answer(
    model: GPT, tokenizer: Tokenizer, template: Template, messages: Sequence[Message], config: SampleConfig
) -> Iterator[str]:
    """Return the answer to messages, the last of which is the user's, streamed as complete characters.

    It ends with the model's end of a response, after max_new_tokens, or where the context is full: the question is never
    cut off. Raises ValueError where the messages alone fill the context.
    """
    ids = encode(messages, template, tokenizer).tokens.tolist()
    max_tokens = model.config.context_length + 1 - len(ids)  # the last generated token is not an input
    if max_tokens < 1:
        raise ValueError(
            f"the question has {len(ids):,} tokens, with its template, and the context {model.config.context_length:,}: "
            "no room for an answer; ask something shorter"
        )
    config = dataclasses.replace(config, max_new_tokens=min(config.max_new_tokens, max_tokens))
    texts = generate_text(model, tokenizer, ids, config, stop=[template.end] if template.end else ())
    return (text for (text,) in texts if text)


def truncate(
    messages: Sequence[Message], template: Template, tokenizer: Tokenizer, max_tokens: int
) -> tuple[list[Message], int]:
    """Drop the oldest turns until at most max_tokens remain; return the messages, and how many turns were dropped.

    The system message and the last question stay, whatever their length.
    """
    system = [message for message in messages if message.role == SYSTEM]
    rest = [message for message in messages if message.role != SYSTEM]
    n_dropped = 0
    while len(rest) > 1 and len(encode([*system, *rest], template, tokenizer).tokens) > max_tokens:
        rest = rest[2:]
        n_dropped += 1
    return [*system, *rest], n_dropped
