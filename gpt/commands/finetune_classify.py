"""python -m gpt finetune classify: learn to put texts into classes, then say how well."""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt.commands.arguments import Parser, add_flags, take
from gpt.config import ModelConfig
from gpt.finetune.classifier import (
    ClassifyConfig,
    GPTClassifier,
    Texts,
    choose_context,
    classification,
    encode_texts,
    load_classifier,
    probabilities,
)
from gpt.finetune.labelled import Split, balance, count_labels, read_labelled, split
from gpt.finetune.loop import begin_run, open_base, resolve, resume_run
from gpt.finetune.metrics import confusion_matrix, draw, report, scores
from gpt.finetune.rows import Row, read_rows
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.estimate import count
from gpt.runs.run import Run, run_file
from gpt.runs.supervise import supervise
from gpt.runs.task import Task
from gpt.tokenizer import EOT, BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer
from nanograd.runtime.files import write_text
from nanograd.seeds import INIT, generator

DESCRIPTION = """Learn to put texts into classes: a small head on what a GPT has understood at the last token of a text.

    python -m gpt finetune classify --data SMSSpamCollection.tsv --base random --balance
    python -m gpt finetune classify --data reviews.csv --base runs/mine --lora-rank 8
    python -m gpt classify RUN "a text"

Columns called label and text are found by name, or named with --label-column and --text-column. Duplicates and empty texts
are left out, and counted. 70 % of each class are trained on; 10 % say which checkpoint is best and when to stop early; with
20 % the best is tested. They stay in the run's folder, as train.jsonl, val.jsonl and test.jsonl, beside scores.json.
"""
HEAD = 2  # with INIT, which the random base (nothing) and the adapters (1) have drawn from
VOCABULARY = 512  # of a tokenizer made from the training texts: they are few
SCORES = "scores.json"
PARTS = {"train": "train.jsonl", "val": "val.jsonl", "test": "test.jsonl"}
Classifying = Run[GPTClassifier, ClassifyConfig]


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt finetune classify", description=DESCRIPTION)
    parser.add_argument("--out", metavar="RUN", help="folder of the run (default runs/<date and time>)")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run that was stopped, to the same result")
    parser.add_argument("--plot", metavar="FILE", help="draw the confusion matrix into a picture; needs matplotlib")
    add_flags(parser, ClassifyConfig, ModelConfig)
    given = parser.parse(arguments)
    run = begin(given) if given.resume is None else resume(given)
    assert run.task is not None
    labels, parts = run.task.labels, {name: encode_part(run, name) for name in PARTS}
    objective = classification(run.model, parts["train"], parts["val"], run.config)
    if not supervise(run, objective, "finetune classify"):
        return 130
    base = run.task.base or None
    best = load_checkpoint(find_checkpoint(run.folder), base if run.task.lora is not None else None)
    p = probabilities(load_classifier(best), parts["test"])
    confusion = confusion_matrix(parts["test"].classes, p.argmax(axis=1), len(labels))
    print(f"\ntest      the best checkpoint, of step {best.position.step}, on texts that nothing else has seen\n")
    print(report(confusion, labels))
    found: dict[str, Any] = {"step": best.position.step, **scores(confusion).to_dict(labels)}
    found |= {"labels": labels, "confusion": confusion.tolist()}
    write_text(run.folder / SCORES, json.dumps(found, indent=2) + "\n")
    if given.plot:
        draw(confusion, labels, given.plot)
        print(f"\ndrawn: {given.plot}")
    print(f'\nsaved in {run.folder}; try: python -m gpt classify {run.folder} "a text"')
    return 0


def begin(given: argparse.Namespace) -> Classifying:
    """Read and split the texts, make the model or take it from its base, and start the run."""
    config = take(ClassifyConfig, given)
    take(ModelConfig, given)  # say what is wrong with the flags before any work is done
    start = config.base
    if start is None:
        raise ValueError("base: give a model to begin from, --base RUN, or --base random")
    if "max_steps" in given and "epochs" not in given:
        config = dataclasses.replace(config, epochs=None)
    base = None if start == "random" else open_base(start)
    if base is not None:
        check_flags(given)
    parts, labels = read_parts(config)
    tokenizer = make_tokenizer(config.tokenizer, given, parts.train) if base is None else base.tokenizer
    lengths = [len(tokenizer.encode_ordinary(row.text)) for row in parts.train]
    if base is None:
        context = getattr(given, "context_length", choose_context(lengths))
        shape = take(ModelConfig, given, vocab_size=tokenizer.vocab_size, context_length=context)
        gpt = GPT(shape, generator(config.seed, INIT))
    else:
        shape = dataclasses.replace(base.model_config, dropout=getattr(given, "dropout", base.model_config.dropout))
        gpt = base.model(GPT(shape, init=False))
    print(
        f"tokens    {tokenizer.kind} vocabulary of {tokenizer.vocab_size:,}; a training text has up to {max(lengths):,}, "
        f"the context is {shape.context_length:,}"
    )
    print(f"model     {count(shape):,} parameters, {'random' if base is None else f'from {base.path}'}")
    config = resolve(config, len(parts.train), sum(lengths) // len(lengths))
    model = GPTClassifier(gpt, len(labels), generator(config.seed, INIT, HEAD))
    with tempfile.TemporaryDirectory() as folder:
        files = write_parts(parts, Path(folder))
        task = Task("classify", labels=labels)
        return begin_run(given.out, model, config, tokenizer, task, files, base=base, unit="texts")


def read_parts(config: ClassifyConfig) -> tuple[Split, tuple[str, ...]]:
    """Read, clean, balance and split the texts, and say what that did; return the parts and the labels."""
    if config.data is None:
        raise ValueError("data: give the labelled texts, --data FILE")
    data = read_labelled(
        config.data, label_column=config.label_column, text_column=config.text_column, encoding=config.encoding
    )
    print("; ".join([f"data      {Path(config.data).name}: {data.counts()}", *data.notes]))
    seed = config.seed if config.split_seed is None else config.split_seed
    examples = data.examples
    if config.balance:
        examples = balance(examples, seed)
        print(f"balanced  {count_labels(examples)}; {len(data.examples) - len(examples):,} texts not drawn")
    parts = split(examples, seed)
    print(f"split     {len(parts.train):,} to train on, {len(parts.val):,} to validate, {len(parts.test):,} to test")
    return parts, data.labels


def check_flags(given: argparse.Namespace) -> None:
    """Raise ValueError for a flag that a base has settled; dropout is not one of its weights, and may change."""
    settled = {field.name for field in dataclasses.fields(ModelConfig)} - {"dropout"} | {"tokenizer"}
    for name in vars(given):
        if name in settled:
            raise ValueError(
                f"{name}: the base has settled it; leave --{name.replace('_', '-')} out, or use --base random"
            )


def make_tokenizer(kind: str, given: argparse.Namespace, train: Sequence[Row]) -> Tokenizer:
    """Make a tokenizer of the training texts alone, or load one."""
    if kind == "char":
        return CharTokenizer.train("".join(row.text for row in train))
    if kind == "bpe":
        return BPETokenizer.train(EOT.join(row.text for row in train), getattr(given, "vocab_size", VOCABULARY))
    return load_tokenizer(kind)


def write_parts(parts: Split, folder: Path) -> dict[str, Path]:
    """Write each part as a .jsonl; return them by the name that they get in the run's folder."""
    for name, file in PARTS.items():
        lines = [json.dumps({"label": row.label, "text": row.text}, ensure_ascii=False) for row in getattr(parts, name)]
        write_text(folder / file, "\n".join(lines) + "\n")
    return {file: folder / file for file in PARTS.values()}


def encode_part(run: Classifying, name: str) -> Texts:
    """Encode a part of the run's texts, and say what that cost."""
    assert run.task is not None
    context = run.model.gpt.config.context_length
    rows = read_rows(run_file(run.folder, PARTS[name], run.position), label_column="label", text_column="text").rows
    try:
        texts = encode_texts(run.tokenizer, rows, run.task.labels, context)
    except ValueError as error:
        raise ValueError(f"{run.folder / PARTS[name]}, {error}") from None
    for note in texts.notes(context):
        print(f"note      {name}: {note}")
    return texts


def resume(given: argparse.Namespace) -> Classifying:
    """Take a run up where its last checkpoint left it."""
    if given.out is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    flags = {name: value for name, value in vars(given).items() if name != "base"}
    for field in dataclasses.fields(ModelConfig):
        if field.name in flags:
            raise ValueError(f"resume: --{field.name.replace('_', '-')} cannot change; start a new run for that")

    def make_model(checkpoint: Checkpoint) -> GPTClassifier:
        assert checkpoint.task is not None
        return GPTClassifier(GPT(checkpoint.model_config, init=False), len(checkpoint.task.labels))

    base = getattr(given, "base", None)
    return resume_run(given.resume, "classify", ClassifyConfig, flags, make_model, base=base, unit="texts")
