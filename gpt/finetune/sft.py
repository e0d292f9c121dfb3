"""Supervised fine-tuning on instructions: a model that continues texts learns to answer.

The loss is that of pretraining, the cross-entropy of the next token, over the tokens of the responses alone (see
`loss_mask.py`). The result is evaluated on test conversations: by the same loss, by the share of their tokens that are the
model's first choice, and by the answers that it generates.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpt.config import SampleConfig, option
from gpt.data.batches import IGNORE
from gpt.finetune.batching import batches_by_length, bucketed_batches, epoch_order, padding_share
from gpt.finetune.chat import answer
from gpt.finetune.conversations import ASSISTANT, count_notes, read_conversations, split_conversations
from gpt.finetune.loss_mask import Example, encode_all, pad_examples, show_mask
from gpt.finetune.task import FinetuneTask, Start, load_best, make_objective, open_data_and_base, resolve
from gpt.finetune.templates import Template, load_template
from gpt.finetune.trainable import FinetuneConfig
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint
from gpt.runs.run import Run, run_file
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, mean_loss, next_token_loss
from nanograd import ops
from nanograd.nn import evaluating
from nanograd.op import no_grad
from nanograd.runtime.files import write_text

CHUNK = 1024  # tokens whose logits are in memory at a time
GREEDY = SampleConfig(max_new_tokens=256, temperature=0.0)  # how test questions are answered
DATA, RESPONSES = "data.json", "responses.jsonl"
N_PRINTED = 3  # answers that are printed at the end


@dataclass(frozen=True)
class InstructConfig(FinetuneConfig):
    """How a model learns to answer."""

    template: str = option("alpaca", "alpaca, chat, or a JSON file of your own: how conversations are written")
    end: str | None = option(
        None, r"text that ends a response, instead of the tokenizer's end of text; \n is a new line"
    )
    val_fraction: float = option(0.05, "share of the conversations for validation", least=0, below=1)
    test_fraction: float = option(0.1, "share of the conversations for the test at the end", least=0, below=1)


class Splits(NamedTuple):
    """Examples to train on, to choose the best checkpoint with, and to test it with."""

    train: list[Example]
    val: list[Example]
    test: list[Example]


Instructing = Run[GPT, InstructConfig]


class InstructTask(FinetuneTask[GPT, InstructConfig, Splits]):
    """Learn to answer, from instructions and conversations."""

    kind, config_type, data_noun = "instruct", InstructConfig, "a file of instructions or conversations"

    def start(
        self, config: InstructConfig, base: Checkpoint | None, flags: Mapping[str, Any]
    ) -> Start[GPT, InstructConfig, Splits]:
        assert base is not None
        template, path = template_of(config), Path(str(config.data))
        splits = read_splits(path, config, template, base.tokenizer, base.model_config.context_length)
        lengths = [len(example.ids) for example in splits.train]
        config = resolve(config, len(lengths), round(float(np.mean(lengths))))
        print(f"epoch     {-(-len(lengths) // config.batch_size):,} batches; {config.max_steps:,} steps")
        model = base.model()
        print_scores("before", model, splits.test, config)
        return Start(model, config, base.tokenizer, splits, {DATA: path}, template=template.to_dict())

    def empty_model(self, checkpoint: Checkpoint) -> GPT:
        return GPT(checkpoint.model_config, init=False)

    def read(self, run: Instructing) -> Splits:
        path = run_file(run.folder, DATA, run.state)
        return read_splits(path, run.config, stored_template(run), run.tokenizer, run.model.config.context_length)

    def objective(self, run: Instructing, data: Splits) -> Objective:
        return instruction_objective(run.model, data.train, data.val, run.config)

    def evaluate(self, run: Instructing, data: Splits, flags: Mapping[str, Any]) -> None:
        """Print how the best checkpoint answers the test questions, and write its answers for another judge."""
        if not data.test:
            return
        model = load_best(run).model()
        print_scores("after", model, data.test, run.config)
        responses = list(respond(model, run.tokenizer, stored_template(run), data.test))
        n_exact = sum(response.is_exact for response in responses)
        lines = [json.dumps(response.to_dict(), ensure_ascii=False) + "\n" for response in responses]
        write_text(run.folder / RESPONSES, "".join(lines))
        share = n_exact / len(responses)
        print(f"exact     {n_exact} of {len(responses)} answers are the expected ones: {share:.1%}")
        print(f"answers   {run.folder / RESPONSES}")
        for response in responses[:N_PRINTED]:
            question = response.example.messages[-2]
            print(f"\n{question.content}{' | ' if question.input else ''}{question.input}")
            print(f"    expected: {response.expected}\n    answered: {response.text}")


def show_masks(config: InstructConfig, n: int, *, colour: bool) -> None:
    """Print the first n training conversations with their trainable tokens marked."""
    base = open_data_and_base(InstructTask(), config)
    assert base is not None
    splits = read_splits(
        str(config.data), config, template_of(config), base.tokenizer, base.model_config.context_length
    )
    for number, example in enumerate(splits.train[:n], start=1):
        print(f"\n=== {number}: {int(example.loss_mask.sum())} of {len(example.tokens)} tokens are learned ===")
        print(show_mask(example, base.tokenizer, colour=colour))


def template_of(config: InstructConfig) -> Template:
    """Return the template that a config names, with its end; "\\n" is hard to type in a shell."""
    return load_template(config.template, end=None if config.end is None else config.end.replace(r"\n", "\n"))


def read_splits(
    path: str | Path, config: InstructConfig, template: Template, tokenizer: Tokenizer, context_length: int
) -> Splits:
    """Read, split and encode the conversations; print what there is, and what is left out."""
    conversations, notes = read_conversations(path)
    fractions = config.val_fraction, config.test_fraction
    encoded = [
        encode_all(split, template, tokenizer, context_length)
        for split in split_conversations(conversations, fractions, config.seed)
    ]
    splits = Splits(*(examples for examples, _ in encoded))
    if not splits.train:
        raise ValueError(
            f"data: no conversation fits the base's context of {context_length} tokens; give a base with a longer one, "
            "or a shorter template (--template chat)"
        )
    print(
        f"data      {config.data}: {len(conversations):,} conversations: {len(splits.train):,} to train on, "
        f"{len(splits.val):,} to choose the best checkpoint, {len(splits.test):,} to test it"
    )
    for note in [*notes, *count_notes(sum((counts for _, counts in encoded), Counter()))]:
        print(f"note      {note}")
    lengths = [len(example.ids) for example in splits.train]
    n_learned = sum(int(example.loss_mask.sum()) for example in splits.train)
    padding = padding_share(lengths, epoch_order(lengths, config.batch_size, config.seed, 0))
    print(
        f"tokens    {sum(lengths):,}, of which {n_learned:,} are learned: the responses; template {template.name}; "
        f"{padding:.1%} beside them is padding"
    )
    return splits


def instruction_objective(
    model: GPT, train: Sequence[Example], val: Sequence[Example], config: InstructConfig
) -> Objective:
    """Return the objective: the loss of responses, in batches of conversations of similar length."""
    indices = bucketed_batches([len(example.ids) for example in train], config.batch_size, config.seed)
    validation = evaluation_batches(val, config.batch_size)
    return make_objective(
        model, lambda number: pad_examples([train[i] for i in indices(number)]), next_token_loss, validation, config
    )


def evaluation_batches(examples: Sequence[Example], batch_size: int) -> list[Batch]:
    """Return every example once, the shortest first."""
    batches = batches_by_length([len(example.ids) for example in examples], batch_size)
    return [pad_examples([examples[i] for i in batch]) for batch in batches]


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
        batches = evaluation_batches(test, config.batch_size)
        loss = mean_loss(model, batches, next_token_loss, shards=config.shards)
        accuracy = token_accuracy(model, batches)
        print(
            f"{when:<9} response loss {loss:.4f} nats a token, token accuracy {accuracy:.1%}, of {len(test)} responses"
        )


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


def respond(
    model: GPT, tokenizer: Tokenizer, template: Template, examples: Sequence[Example], config: SampleConfig = GREEDY
) -> Iterator[Response]:
    """Yield the model's own answer to the last question of each example."""
    for example in examples:
        assert example.messages[-1].role == ASSISTANT
        yield Response(example, "".join(answer(model, tokenizer, template, example.messages[:-1], config)))


def stored_template(run: Run[Any, Any]) -> Template:
    """Return the template that a run was started with."""
    assert run.task is not None
    return Template.from_dict(run.task.template)
