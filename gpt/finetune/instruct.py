"""Instruction tuning: a model that continues texts learns to answer. What is trained, and how it is judged.

The loss is that of pretraining, the cross-entropy of the next token, over the tokens of the responses alone (see
`targets.py`). After it a model is judged on conversations that it has not seen: by that loss, by how many of their tokens
it would have written, given those before, and by the answers that it writes by itself.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpt.config import SampleConfig, option
from gpt.data.batches import IGNORE
from gpt.finetune.buckets import Buckets
from gpt.finetune.chat import answer
from gpt.finetune.config import FinetuneConfig
from gpt.finetune.conversations import ASSISTANT, Conversation
from gpt.finetune.loss_mask import Example, encode_all
from gpt.finetune.templates import Template
from gpt.model import GPT
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, mean_loss, next_token_loss
from nanograd import ops
from nanograd.nn import evaluating
from nanograd.op import no_grad

ROWS = 1024  # tokens whose logits are held at a time
ANSWER = SampleConfig(max_new_tokens=256, temperature=0.0)  # how held-out questions are answered: the likeliest token


@dataclass(frozen=True)
class InstructConfig(FinetuneConfig):
    """How a model learns to answer."""

    template: str = option("alpaca", "alpaca, chat, or a JSON file of your own: how conversations are written")
    end: str | None = option(
        None, r"text that ends a response, instead of the tokenizer's end of text; \n is a new line"
    )
    val_fraction: float = option(0.05, "share of the conversations that choose the best checkpoint", least=0, below=1)
    test_fraction: float = option(0.1, "share of the conversations that judge it", least=0, below=1)


def examples_of(
    parts: Sequence[Sequence[Conversation]], template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[list[list[Example]], Counter[str]]:
    """Return the examples of each part, and how often a rule about long ones was applied; ValueError where none is left."""
    encoded = [encode_all(part, template, tokenizer, context_length) for part in parts]
    counts = sum((counts for _, counts in encoded), Counter[str]())
    if not encoded[0][0]:
        raise ValueError(
            f"data: no conversation fits the base's context of {context_length} tokens; give a base with a longer one, "
            "or a shorter template (--template chat)"
        )
    return [examples for examples, _ in encoded], counts


def instruction_objective(model: GPT, train: Buckets, val: Buckets | None, config: FinetuneConfig) -> Objective:
    """Return the objective: batches of conversations, the loss of their responses, and the same on those kept aside."""

    def batch_of(step: int, micro: int) -> Batch:
        return train[step * config.grad_accum_steps + micro]

    evaluate = None
    if val is not None:
        evaluate = partial(response_loss, model, val, shards=config.shards)
    return Objective(batch_of, next_token_loss, evaluate)


def response_loss(model: GPT, examples: Buckets, *, shards: int | None = None) -> float:
    """Return the loss of the responses, in nats a token."""
    return mean_loss(model, examples.in_order(), next_token_loss, shards=shards)


@no_grad()
def token_accuracy(model: GPT, batches: Iterable[Batch]) -> float:
    """Return the share of the responses' tokens, their ends too, that are the likeliest after the true ones before them."""
    right, count = 0, 0
    with evaluating(model):
        for batch in batches:
            ids, targets = batch.rows
            counts = targets != IGNORE  # (B, T)
            x, wanted = model.hidden_states(ids).data[counts], targets[counts]  # (N, C), (N,)
            for first in range(0, len(x), ROWS):
                logits = ops.linear(x[first : first + ROWS], model.lm_head_weight.data)  # (≤ ROWS, V)
                right += int((logits.argmax(-1) == wanted[first : first + ROWS]).sum())
            count += batch.n_targets
    return right / count


class Response(NamedTuple):
    """An answer, what was asked before it, and what was expected."""

    example: Example
    text: str

    @property
    def expected(self) -> str:
        return self.example.messages[-1].content

    @property
    def is_exact(self) -> bool:
        """Tell whether the answer is the expected one, but for white space around it."""
        return self.text.strip() == self.expected.strip()

    def to_dict(self) -> dict[str, Any]:
        """Return a line for a judge: the instruction, its input, what was expected and what came; turns before, if any."""
        *before, question, _ = self.example.messages
        fields: dict[str, Any] = {"instruction": question.content, "input": question.input}
        fields |= {"expected": self.expected, "response": self.text}
        return {**fields, "before": [message.to_dict() for message in before]} if before else fields


def respond(
    model: GPT, tokenizer: Tokenizer, template: Template, examples: Sequence[Example], config: SampleConfig = ANSWER
) -> Iterator[Response]:
    """Yield the model's own answer to the last question of each example."""
    for example in examples:
        assert example.messages[-1].role == ASSISTANT
        yield Response(example, "".join(answer(model, tokenizer, template, example.messages[:-1], config)))


def exact_match(responses: Sequence[Response]) -> float:
    """Return the share of answers that are the expected ones."""
    return float(np.mean([response.is_exact for response in responses]))


def responses_jsonl(responses: Sequence[Response]) -> str:
    """Return the answers as JSONL."""
    return "".join(json.dumps(response.to_dict(), ensure_ascii=False) + "\n" for response in responses)
