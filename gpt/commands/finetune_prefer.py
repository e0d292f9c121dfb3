"""python -m gpt finetune prefer: teach a model which of two answers is preferred."""

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np

from gpt.commands.arguments import Parser, add_flags, take
from gpt.finetune.conversations import Conversation, split_conversations
from gpt.finetune.loop import begin_run, open_base, resolve, resume_run
from gpt.finetune.pairs import Pair, PairExample, encode_pairs, read_pairs
from gpt.finetune.preference import (
    Pairs,
    PreferConfig,
    judge,
    load_reference,
    log_probs_of,
    preference_objective,
    save_reference,
)
from gpt.finetune.templates import Template, load_template
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.run import Run, run_file
from gpt.runs.supervise import supervise
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer

DESCRIPTION = """Teach a model which of two answers is preferred, by DPO: without a reward model, and without sampling.

    python -m gpt finetune prefer --data pairs.jsonl --base runs/answers

FILE is a JSON list, or has one JSON object a line, of these:
    {"prompt": "Name a bird.", "chosen": "A robin.", "rejected": "A trout."}
    {"instruction": "Add the numbers.", "input": "2 and 3", "chosen": "5", "rejected": "6"}
The base should have learned to answer (finetune instruct). It is the reference too: what its answers' probabilities were
is computed once, before the first step, and kept in the run.
"""
KIND, DATA, REFERENCE = "prefer", "data.json", "reference.safetensors"
PARTS = ("train", "val", "held-out")
Preferring = Run[GPT, PreferConfig]
Parts = list[list[PairExample]]  # to train on, to choose the best checkpoint with, to judge


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt finetune prefer", description=DESCRIPTION)
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default runs/<date and time>)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped, to the same result")
    add_flags(parser, PreferConfig)
    given = parser.parse(arguments)
    run, parts = begin(given) if given.resume is None else resume(given)
    train, val, _ = (pairs if pairs.examples else None for pairs in parts)
    assert train is not None
    if not supervise(run, preference_objective(run.model, train, val, run.config), f"finetune {KIND}"):
        return 130
    print(f"\nsaved in {run.folder}\n")
    report(run, parts)
    print(f"\nTalk to it: python -m gpt chat {run.folder}")
    return 0


def begin(given: argparse.Namespace) -> tuple[Preferring, list[Pairs]]:
    """Compute the reference, and start a run and its folder."""
    config = take(PreferConfig, given)
    base, template = open_parts(config)
    path = Path(str(config.data))
    parts = read_parts(path, config, template, base.tokenizer, base.model_config.context_length)
    config = resolve(config, len(parts[0]), 2 * round(float(np.mean([len(each) for each in parts[0]]))))
    model = base.model()
    log_probs = log_probs_of(model, [*chain(*parts)], config.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder, REFERENCE)
        save_reference(reference, log_probs)
        files = {DATA: path, REFERENCE: reference}
        task = Task(KIND, template=template.to_dict())
        run = begin_run(given.out, model, config, base.tokenizer, task, files, base=base, unit="pairs")
    return run, with_reference(parts, log_probs)


def resume(given: argparse.Namespace) -> tuple[Preferring, list[Pairs]]:
    """Take a run up where its last checkpoint left it, with the reference that it began with.

    --base says where the base of adapters is, if it was moved.
    """
    if given.out is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    flags = {name: value for name, value in vars(given).items() if name != "base"}
    run: Preferring = resume_run(
        given.resume, KIND, PreferConfig, flags, lambda checkpoint: GPT(checkpoint.model_config, init=False),
        base=vars(given).get("base"), unit="pairs",
    )  # fmt: skip
    assert run.task is not None
    template = Template.from_dict(run.task.template)
    path = run_file(run.folder, DATA, run.position)
    parts = read_parts(path, run.config, template, run.tokenizer, run.model.config.context_length)
    log_probs = load_reference(run_file(run.folder, REFERENCE, run.position), sum(map(len, parts)))
    return run, with_reference(parts, log_probs)


def open_parts(config: PreferConfig) -> tuple[Checkpoint, Template]:
    """Return the base and the template that a config names; ValueError where it names none."""
    if config.data is None:
        raise ValueError("data: give a file of pairs: --data FILE")
    if config.base is None or config.base == "random":
        raise ValueError(
            "base: give the run or checkpoint to begin from: --base RUN; it is also the reference, and has the tokenizer"
        )
    base = open_base(config.base)
    stored = base.task.template if base.task is not None else None
    if config.template is None and config.end is None and stored:
        return base, Template.from_dict(stored)
    return base, load_template(config.template or "alpaca", end=config.end)


def read_parts(
    path: Path, config: PreferConfig, template: Template, tokenizer: Tokenizer, context_length: int
) -> Parts:
    """Read and split the pairs, and make examples of them; print what there is, and what is left out."""
    pairs, counts = read_pairs(path)
    fractions = config.val_fraction, config.test_fraction
    split: list[list[Conversation]] = split_conversations(pairs, fractions, config.seed)
    encoded = [encode_pairs(cast(list[Pair], part), template, tokenizer, context_length) for part in split]
    parts = [examples for examples, _ in encoded]
    counts = sum((each for _, each in encoded), Counter(counts))
    train, val, test = map(len, parts)
    print(
        f"data      {config.data}: {train:,} pairs to train on, {val:,} to choose the best checkpoint, {test:,} to judge it"
    )
    for rule, n in counts.items():
        print(f"note      {n:,} with {rule}")
    if not train:
        raise ValueError(
            f"data: no pair to train on fits the base's context of {context_length} tokens; give a base with a longer "
            "one, or a shorter template (--template chat)"
        )
    return parts


def with_reference(parts: Parts, log_probs: np.ndarray) -> list[Pairs]:
    """Deal the reference's log-probabilities (n, 2) out to the parts."""
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return [Pairs(*each) for each in zip(parts, np.split(log_probs, ends), strict=True)]


def report(run: Preferring, parts: Sequence[Pairs]) -> None:
    """Print how the best checkpoint judges the pairs it was trained on, and those it has not seen."""
    checkpoint = load_checkpoint(find_checkpoint(run.folder), run.task.base if run.task and run.task.lora else None)
    model = checkpoint.model()
    print_judgements("before", parts, [each.reference for each in parts], run.config)
    policies = [log_probs_of(model, each.examples, run.config.batch_size) for each in parts]
    print_judgements("after", parts, policies, run.config)


def print_judgements(when: str, parts: Sequence[Pairs], policies: Sequence[np.ndarray], config: PreferConfig) -> None:
    """Print a line for each part that has pairs."""
    for name, pairs, policy in zip(PARTS, parts, policies, strict=True):
        if pairs.examples:
            print(f"{when:<9} {name:<8}  {judge(policy, pairs.reference, config.beta)}")
