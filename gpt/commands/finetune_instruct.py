"""python -m gpt finetune instruct: teach a model to answer."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import Parser, add_flags, reader, take
from gpt.finetune.buckets import Buckets
from gpt.finetune.conversations import Conversation, read_conversations, split_conversations
from gpt.finetune.instruct import (
    InstructConfig,
    exact_match,
    examples_of,
    instruction_objective,
    respond,
    response_loss,
    responses_jsonl,
    token_accuracy,
)
from gpt.finetune.loop import begin_run, open_base, resolve, resume_run
from gpt.finetune.loss_mask import Example, has_colour, show_mask
from gpt.finetune.templates import Template, load_template
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.run import Run, run_file
from gpt.runs.supervise import supervise
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer
from nanograd.runtime.files import write_text

DESCRIPTION = """Teach a model to answer, from instructions and conversations.

    python -m gpt finetune instruct --data instructions.json --base runs/mine
    python -m gpt finetune instruct --data instructions.json --base runs/mine --show-mask 2

FILE is a JSON list, or has one JSON object a line, of these:
    {"instruction": "Add the numbers.", "input": "2 and 3", "output": "5"}
    {"messages": [{"role": "user", "content": "2 and 3?"}, {"role": "assistant", "content": "5"}]}
Only the responses are learned. Some conversations are kept aside: of what the model answers there, responses.jsonl has a
line each. Then: python -m gpt chat RUN
"""
KIND, DATA, RESPONSES = "instruct", "data.json", "responses.jsonl"
SHOWN = 3  # answers that are printed at the end
Instructing = Run[GPT, InstructConfig]
Parts = list[list[Example]]  # to train on, to choose the best checkpoint with, to judge


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt finetune instruct", description=DESCRIPTION)
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default runs/<date and time>)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped, to the same result")
    parser.add_argument(
        "--show-mask", metavar="N", type=reader(int, least=1),
        help="show of N conversations what is trained on, green or in [brackets], and stop there",
    )  # fmt: skip
    add_flags(parser, InstructConfig)
    given = parser.parse(arguments)
    if given.show_mask is not None:
        show_masks(given)
        return 0
    run, parts = begin(given) if given.resume is None else resume(given)
    train, val, _ = (Buckets(part, run.config.batch_size, run.config.seed) if part else None for part in parts)
    assert train is not None
    if not supervise(run, instruction_objective(run.model, train, val, run.config), f"finetune {KIND}"):
        return 130
    print(f"\nsaved in {run.folder}\n")
    judge(run, parts[2])
    print(f"\nTalk to it: python -m gpt chat {run.folder}")
    return 0


def show_masks(given: argparse.Namespace) -> None:
    """Print the first conversations that would be trained on, and what of them is learned."""
    for flag in ("resume", "out"):
        if getattr(given, flag) is not None:
            raise ValueError(f"--show-mask starts from the flags and leaves no folder behind; leave --{flag} away")
    config = take(InstructConfig, given)
    base, template = open_parts(config)
    parts = read_parts(Path(str(config.data)), config, template, base.tokenizer, base.model_config.context_length)
    for number, example in enumerate(parts[0][: given.show_mask], start=1):
        learned = int(example.learned.sum())
        print(f"\n=== {number}: {learned} of {len(example.tokens)} tokens are learned ===")
        print(show_mask(example, base.tokenizer, colour=has_colour(sys.stdout)))


def begin(given: argparse.Namespace) -> tuple[Instructing, Parts]:
    """Start a run and its folder."""
    config = take(InstructConfig, given)
    base, template = open_parts(config)
    path = Path(str(config.data))
    parts = read_parts(path, config, template, base.tokenizer, base.model_config.context_length)
    lengths = [len(example.ids) for example in parts[0]]
    config = resolve(config, len(lengths), round(float(np.mean(lengths))))
    print(f"epoch     {len(Buckets(parts[0], config.batch_size, config.seed)):,} batches; {config.max_steps:,} steps")
    model, task = base.model(), Task(KIND, template=template.to_dict())
    print_score("before", model, parts[2], config)
    run = begin_run(given.out, model, config, base.tokenizer, task, {DATA: path}, base=base)
    return run, parts


def resume(given: argparse.Namespace) -> tuple[Instructing, Parts]:
    """Take a run up where its last checkpoint left it; --base says where the base of adapters is, if it was moved."""
    if given.out is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    flags = {name: value for name, value in vars(given).items() if name != "base"}
    run: Instructing = resume_run(
        given.resume, KIND, InstructConfig, flags, lambda checkpoint: GPT(checkpoint.model_config, init=False),
        base=vars(given).get("base"),
    )  # fmt: skip
    path = run_file(run.folder, DATA, run.position)
    return run, read_parts(path, run.config, template_of(run), run.tokenizer, run.model.config.context_length)


def open_parts(config: InstructConfig) -> tuple[Checkpoint, Template]:
    """Return the base and the template that a config names; ValueError where it names none."""
    if config.data is None:
        raise ValueError("data: give a file of instructions or conversations: --data FILE")
    if config.base is None or config.base == "random":
        raise ValueError(
            "base: give the run or checkpoint to begin from: --base RUN; it brings the tokenizer, so random weights are "
            "none: `python -m gpt train --max-steps 1` makes some"
        )
    end = None if config.end is None else config.end.replace(r"\n", "\n")  # which is hard to type in a shell
    return open_base(config.base), load_template(config.template, end=end)


def read_parts(
    path: Path, config: InstructConfig, template: Template, tokenizer: Tokenizer, context_length: int
) -> Parts:
    """Read and split the conversations, and make examples of them; print what there is, and what is left out."""
    reading = read_conversations(path)
    fractions = config.val_fraction, config.test_fraction
    split: list[list[Conversation]] = split_conversations(reading.conversations, fractions, config.seed)
    parts, counts = examples_of(split, template, tokenizer, context_length)
    train, val, test = map(len, parts)
    print(
        f"data      {config.data}: {len(reading.conversations):,} conversations: {train:,} to train on, {val:,} to choose "
        f"the best checkpoint, {test:,} to judge it"
    )
    for note in [*reading.notes(), *(f"{n:,} with {rule}" for rule, n in counts.items())]:
        print(f"note      {note}")
    tokens, learned = sum(len(e.ids) for e in parts[0]), sum(int(e.learned.sum()) for e in parts[0])
    padding = Buckets(parts[0], config.batch_size, config.seed).padding()
    print(
        f"tokens    {tokens:,}, of which {learned:,} are learned: the responses; template {template.name}; "
        f"{padding:.1%} beside them is padding"
    )
    return parts


def judge(run: Instructing, test: Sequence[Example]) -> None:
    """Print how the best checkpoint answers what it has not seen, and write its answers for another judge."""
    if not test:
        return
    checkpoint = load_checkpoint(find_checkpoint(run.folder), run.task.base if run.task else None)
    model = checkpoint.model()
    print_score("after", model, test, run.config)
    responses = list(respond(model, run.tokenizer, template_of(run), test))
    exact = sum(response.is_exact for response in responses)
    write_text(run.folder / RESPONSES, responses_jsonl(responses))
    print(f"exact     {exact} of {len(test)} answers are the expected ones: {exact_match(responses):.1%}")
    print(f"answers   {run.folder / RESPONSES}")
    for response in responses[:SHOWN]:
        question = response.example.messages[-2]
        print(f"\n{question.content}{' | ' if question.input else ''}{question.input}")
        print(f"    expected: {response.expected}\n    answered: {response.text}")


def print_score(when: str, model: GPT, test: Sequence[Example], config: InstructConfig) -> None:
    """Print the loss of the responses that judge, and how many of their tokens are the likeliest."""
    if test:
        buckets = Buckets(test, config.batch_size, config.seed)
        loss, accuracy = response_loss(model, buckets, shards=config.shards), token_accuracy(model, buckets.in_order())
        print(
            f"{when:<9} response loss {loss:.4f} nats a token, token accuracy {accuracy:.1%}, of {len(test)} responses"
        )


def template_of(run: Instructing) -> Template:
    """Return the template that a run was begun with."""
    assert run.task is not None
    return Template.from_dict(run.task.template)
