"""Supervised fine-tuning on instructions: a model that continues texts learns to answer.

The loss is that of pretraining, the cross-entropy of the next token, over the tokens of the responses alone (see
`examples.py`). The result is evaluated on test conversations: by the same loss, by the share of their tokens that are the
model's first choice, and by the answers that it generates.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpt.config import SampleConfig, option
from gpt.data.batches import IGNORE
from gpt.finetune.batching import Splits, epoch_order, padding_share
from gpt.finetune.chat import answer
from gpt.finetune.conversations import ASSISTANT, Conversation, read_conversations
from gpt.finetune.examples import Example, encode, encode_splits, pad_examples, show_mask
from gpt.finetune.task import (
    COLUMNS,
    Content,
    FinetuneConfig,
    FinetuneTask,
    Start,
    evaluation_batches,
    load_best,
    make_objective,
)
from gpt.finetune.templates import TEMPLATES, Template, load_template
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.run import Run, run_file
from gpt.text.records import read_json
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, mean_loss, next_token_loss
from nanograd import ops
from nanograd.nn import evaluating
from nanograd.op import no_grad
from nanograd.runtime.files import StrPath, write_text

SHORTENED = "more tokens than the context: turns at their end left out"
TOO_LONG = "more tokens than the context in the first turn: left out"
CHUNK = 1024  # tokens whose logits are in memory at a time
GREEDY = SampleConfig(max_new_tokens=256, temperature=0.0)  # how test questions are answered
TEMPLATE = f"how conversations are written: {', '.join(TEMPLATES)} or a JSON file; if none, the base's, else alpaca"
END = r"text that ends a response, instead of the template's or tokenizer's end; \n is a new line"
DATA, BEFORE, RESPONSES = "data.json", "before.jsonl", "responses.jsonl"
N_PRINTED = 3  # answers that are printed at the end, beside those of the base


@dataclass(frozen=True)
class InstructConfig(FinetuneConfig):
    """How a model learns to answer."""

    template: str | None = option(None, TEMPLATE)
    end: str | None = option(None, END)
    columns: str | None = option(None, COLUMNS)
    val_fraction: float = option(0.05, "share of the conversations for validation", least=0, below=1)
    test_fraction: float = option(0.1, "share of the conversations for the test at the end", least=0, below=1)


Instructing = Run[GPT, InstructConfig]


class InstructTask(FinetuneTask):
    """Learn to answer, from instructions and conversations."""

    kind, config_type, data_name = "instruct", InstructConfig, "a file of instructions or conversations"
    results = (RESPONSES,)

    def start(self, config: InstructConfig, base: Checkpoint | None, flags: Mapping[str, Any]) -> Start:
        assert base is not None
        template, path = template_of(config.template, config.end, base), Path(str(config.data))
        splits = read_splits(path, config, template, base.tokenizer, base.model_config.context_length)
        lengths = list(map(len, splits.train))
        config = config.resolve(len(lengths), round(float(np.mean(lengths))))
        print(f"epoch     {-(-len(lengths) // config.batch_size):,} batches; {config.max_steps:,} steps")
        model = base.model()
        print_scores("before", model, splits.test, config)
        before = list(respond(model, base.tokenizer, template, splits.test[:N_PRINTED]))
        files: dict[str, Content] = {DATA: path, BEFORE: partial(write_responses, before)}
        return Start(model, config, base.tokenizer, splits, files, template=template.to_dict())

    def read(self, run: Instructing) -> Splits[Example]:
        path = run_file(run.folder, DATA, run.state)
        return read_splits(path, run.config, stored_template(run), run.tokenizer, run.model.config.context_length)

    def objective(self, run: Instructing, data: Splits[Example]) -> Objective:
        return make_objective(data.train, data.val, pad_examples, next_token_loss, run.config)

    def evaluate(self, run: Instructing, data: Splits[Example], flags: Mapping[str, Any]) -> None:
        """Print how the best checkpoint answers the test questions, and write its answers for another judge."""
        if not data.test:
            return
        model = load_best(run).model()
        print_scores("after", model, data.test, run.config)
        responses = list(respond(model, run.tokenizer, stored_template(run), data.test))
        n_exact = sum(response.is_exact for response in responses)
        write_responses(responses, run.folder / RESPONSES)
        share = n_exact / len(responses)
        print(f"exact     {n_exact} of {len(responses)} answers are the expected ones: {share:.1%}")
        print(f"answers   {run.folder / RESPONSES}")
        before = answers_before(run)
        for number, response in enumerate(responses[:N_PRINTED]):
            question = response.example.messages[-2]
            print(f"\n{question.content}{' | ' if question.input else ''}{question.input}")
            print(f"    expected: {response.expected}")
            if before:
                print(f"    before:   {before[number]}")
            print(f"    answered: {response.text}")


def show_masks(config: InstructConfig, n: int, *, colour: bool) -> None:
    """Print the first n training conversations with their trainable tokens marked."""
    base = InstructTask().open_base(config)
    assert base is not None
    template = template_of(config.template, config.end, base)
    data = read_splits(str(config.data), config, template, base.tokenizer, base.model_config.context_length)
    for number, example in enumerate(data.train[:n], start=1):
        print(f"\n=== {number}: {int(example.loss_mask.sum())} of {len(example.tokens)} tokens are learned ===")
        print(show_mask(example, base.tokenizer, colour=colour))


def template_of(name: str | None, end: str | None, base: Checkpoint) -> Template:
    """Return the template that --template names, with the end that --end names; the base's own, or else Alpaca's.

    "\\n" in `end` stands for a new line, which is hard to type in a shell.
    """
    stored = None if base.task is None else base.task.template
    end = None if end is None else end.replace(r"\n", "\n")
    if name is None and stored:
        template = Template.from_dict(stored)
        return template if end is None else dataclasses.replace(template, end=end)
    return load_template(name or "alpaca", end=end)


def read_splits(
    path: StrPath, config: InstructConfig, template: Template, tokenizer: Tokenizer, context_length: int
) -> Splits[Example]:
    """Read, split and encode the conversations; print what there is, and what is left out."""
    conversations, notes = read_conversations(path, config.columns)
    encode_one = partial(encode_conversation, template=template, tokenizer=tokenizer, context_length=context_length)
    fractions = config.val_fraction, config.test_fraction
    splits, encode_notes = encode_splits(conversations, encode_one, fractions, config.seed)
    if not splits.train:
        way_out = "give a base with a longer one, or a shorter template (--template chat)"
        raise ValueError(f"data: no conversation fits the base's context of {context_length} tokens; {way_out}")
    train, val, test = map(len, splits)
    counts = f"{train:,} to train on, {val:,} to choose the best checkpoint, {test:,} to test it"
    print(f"data      {config.data}: {len(conversations):,} conversations: {counts}")
    for note in [*notes, *encode_notes]:
        print(f"note      {note}")
    lengths = list(map(len, splits.train))
    n_learned = sum(int(example.loss_mask.sum()) for example in splits.train)
    padding = padding_share(lengths, epoch_order(lengths, config.batch_size, config.seed, 0))
    learned = f"{n_learned:,} are learned: the responses; template {template.name}"
    print(f"tokens    {sum(lengths):,}, of which {learned}; {padding:.1%} beside them is padding")
    return splits


def encode_conversation(
    conversation: Conversation, template: Template, tokenizer: Tokenizer, context_length: int
) -> tuple[Example | None, str]:
    """Return the example of a conversation, and the rule that shortened it or left it out, if any.

    A conversation of more than context_length + 1 tokens loses as many turns at its end as necessary. If the first turn
    alone is too long, it is left out: a response without its end would teach the model not to stop.
    """
    messages = conversation.messages
    example = encode(messages, template, tokenizer)
    while len(example) > context_length:
        messages = messages[:-2]
        if not any(message.role == ASSISTANT for message in messages):
            return None, TOO_LONG
        example = encode(messages, template, tokenizer)
    return example, "" if messages == conversation.messages else SHORTENED


@no_grad()
def token_accuracy(model: GPT, batches: Sequence[Batch]) -> float:
    """Return the share of response tokens, ends included, that are the model's first choice after the true prefix."""
    correct = 0
    with evaluating(model):
        for batch in batches:
            ids, targets = batch.rows
            mask = targets != IGNORE  # (B, T)
            x, expected = model.hidden_states(ids).data[mask], targets[mask]  # (N, C), (N,)
            for start in range(0, len(x), CHUNK):
                logits = ops.linear(x[start : start + CHUNK], model.lm_head_weight.data)  # (≤ CHUNK, V)
                correct += int((logits.argmax(-1) == expected[start : start + CHUNK]).sum())
    return correct / sum(batch.n_targets for batch in batches)


def print_scores(when: str, model: GPT, test: Sequence[Example], config: InstructConfig) -> None:
    """Print loss and token accuracy of the test responses."""
    if test:
        batches = evaluation_batches(test, pad_examples, config.batch_size)
        loss = mean_loss(model, batches, next_token_loss, shards=config.shards)
        share = token_accuracy(model, batches)
        print(f"{when:<9} response loss {loss:.4f} nats a token, token accuracy {share:.1%}, of {len(test)} responses")


class Response(NamedTuple):
    """A generated answer, with the example that asked for it."""

    example: Example
    text: str

    @property
    def expected(self) -> str:
        return self.example.messages[-1].content

    @property
    def is_exact(self) -> bool:
        """Tell whether the answer is the expected one, ignoring white space around it."""
        return self.text.strip() == self.expected.strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the instruction, its input, the expected answer and the generated one; earlier turns, if any."""
        *earlier, question, _ = self.example.messages
        fields: dict[str, Any] = {"instruction": question.content, "input": question.input}
        fields |= {"expected": self.expected, "response": self.text}
        return {**fields, "before": [message.to_dict() for message in earlier]} if earlier else fields


def respond(model: GPT, tokenizer: Tokenizer, template: Template, examples: Sequence[Example]) -> Iterator[Response]:
    """Yield the model's own answer to the last question of each example."""
    for example in examples:
        assert example.messages[-1].role == ASSISTANT
        yield Response(example, "".join(answer(model, tokenizer, template, example.messages[:-1], GREEDY)))


def write_responses(responses: Sequence[Response], path: Path) -> None:
    """Write answers, one a line."""
    lines = [json.dumps(response.to_dict(), ensure_ascii=False) + "\n" for response in responses]
    write_text(path, "".join(lines))


def answers_before(run: Run[Any, Any]) -> list[str]:
    """Return what the base answered to the first test questions; nothing in a run of an earlier version."""
    if BEFORE not in run.state.tokens_sha256:
        return []
    return [record.fields["response"] for record in read_json(run_file(run.folder, BEFORE, run.state))]


def stored_template(run: Run[Any, Any]) -> Template:
    """Return the template that a run was started with."""
    assert run.task is not None
    return Template.from_dict(run.task.template)
