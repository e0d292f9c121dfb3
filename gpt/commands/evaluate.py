"""python -m gpt eval: a trained model's loss on a text, or its answers to tasks."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gpt.commands.arguments import CHECKPOINT, Parser, add_base, run_path
from gpt.data.batches import Tokens
from gpt.evaluation.battery import battery
from gpt.evaluation.likelihood import Outcome, score_items
from gpt.evaluation.report import differences, item_line, json_lines, name_runs, page, summary
from gpt.evaluation.score import Score
from gpt.evaluation.tasks import Item, add_shots, fingerprint, read_items
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.estimate import plural
from gpt.runs.run import VAL_TOKENS, run_tokens
from gpt.text.read import read_text
from gpt.training import evaluate, first_token
from nanograd.parallel.shards import choose_shards
from nanograd.runtime.files import write_text

BLOCK = 1 << 16  # tokens decoded at once
PROGRESS_S = 10.0  # between two lines that say how many items are done
DESCRIPTION = """Measure a trained model on all tokens of a text, each predicted from those before it in its window, or on
tasks. Several runs are compared.

    python -m gpt eval runs/mine                  the run's own validation text
    python -m gpt eval runs/mine --data FILE      any text
    python -m gpt eval runs/mine --battery        small tasks, for small models
    python -m gpt eval runs/a runs/b --battery --html page.html
    python -m gpt eval runs/mine --tasks FILE     your own, or HellaSwag's

The first token of a text is predicted from the beginning of the model's own texts; if it has none, the first token is only
read. The loss is in nats per token; perplexity is its exponential; bits per byte compare models with different tokenizers.
The windows do not overlap; python -m gpt score lets them overlap, so that every token has context.

A file of tasks has an object a line:
    {"context": "Grass is", "choices": ["green", "loud"], "answer": 0}
    {"prompt": "2 + 3 =", "completion": "5"}
The model chooses the most probable choice (acc), or that with the largest ln p per byte (acc_norm); a completion is right
if greedy decoding writes it. Means come with their standard error.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt eval", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", nargs="+", type=run_path, help=CHECKPOINT)
    add_base(parser)
    parser.option("--data", "a UTF-8 text (default: the run's validation text)", metavar="FILE")
    parser.option("--batch-size", "windows of text at once", 32, least=1)
    parser.option("--battery", "small tasks made from templates: grammar, spelling, code, copying", False)
    parser.option("--tasks", "tasks, an object a line", metavar="FILE")
    parser.option("--shots", "other items, with their answers, before each; none if not given", kind=int, least=0)
    parser.option("--limit", "only the first items of each task (default: all)", kind=int, least=1)
    parser.option("--seed", "chooses the battery's items and the shots; 0 if not given", kind=int, least=0)
    parser.option("--items", "print a line for each item of the tasks", False)
    parser.option("-o --out", "write a JSON object a line for each item of the tasks", metavar="FILE")
    parser.option("--html", "write a page on the tasks, which compares the runs", metavar="FILE")
    options = parser.parse(arguments)
    chosen = [flag for flag in ("data", "battery", "tasks") if getattr(options, flag)]
    if len(chosen) > 1:
        parser.error(f"--{chosen[0]} and --{chosen[1]} are two measurements; give one of them")
    if options.battery or options.tasks is not None:
        return evaluate_tasks(options)
    for flag in ("shots", "limit", "seed", "items", "out", "html"):
        if getattr(options, flag) not in (None, False):
            parser.error(f"--{flag} is for tasks; give --battery or --tasks FILE too")
    names = name_runs(options.run)
    for run, name in zip(options.run, names, strict=True):
        text = f"{name}: " if len(names) > 1 else ""
        print(text + evaluate_text(load_checkpoint(find_checkpoint(run), options.base), options))
    return 0


def evaluate_text(checkpoint: Checkpoint, options: argparse.Namespace) -> str:
    """Return the loss of a checkpoint on a text, as two lines."""
    tokenizer = checkpoint.tokenizer
    tokens: Tokens
    if options.data is not None:
        text, begin = read_text(options.data), [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        tokens = np.array(begin + tokenizer.encode_data(text))
        n_bytes = len(text.encode("utf-8")) - (0 if begin else len(tokenizer.decode_bytes(tokens[:1].tolist())))
    else:
        try:
            tokens = run_tokens(checkpoint.path.parent, VAL_TOKENS, checkpoint.state)
        except (FileNotFoundError, ValueError) as error:
            raise ValueError(f"{error}, or give a text with --data") from None
        blocks = (tokens[i : i + BLOCK].tolist() for i in range(1, len(tokens), BLOCK))
        n_bytes = sum(len(tokenizer.decode_bytes(ids)) for ids in blocks)
    if len(tokens) < 2:
        raise ValueError(f"data: needs two tokens or more, one to predict from, got {len(tokens)}; give --data FILE")
    shards = choose_shards(options.batch_size, checkpoint.model_config.context_length)
    begin_id = first_token(checkpoint.train_config, tokenizer)
    loss = evaluate(checkpoint.model(), tokens, options.batch_size, begin=begin_id, shards=shards)
    score = Score(len(tokens) - 1, n_bytes, -loss * (len(tokens) - 1))
    name = "validation text" if options.data is None else Path(options.data).name
    return f"{name}: {score.tokens:,} tokens, {score.bytes:,} bytes\n{score}"


def evaluate_tasks(options: argparse.Namespace) -> int:
    """Let every run answer the tasks, and print, and write, what came of it."""
    notes: list[str] = []
    seed = options.seed or 0
    if options.out and options.tasks and Path(options.out).resolve() == Path(options.tasks).resolve():
        raise ValueError(f"out: {options.out} is the file of the tasks; choose another --out")
    items = battery(seed) if options.battery else read_items(options.tasks, Path(options.tasks).stem, warn=notes.append)
    if options.limit is not None:
        items = first_items(items, options.limit)
    if options.shots:
        items = list(add_shots(items, options.shots, seed))
    tasks = plural(len({item.task for item in items}), "task")
    source = f"the battery with seed {seed}" if options.battery else Path(options.tasks).name
    source = f"{source}: {plural(len(items), 'item')} in {tasks}, sha256 {fingerprint(items)}…"
    source += f", after {plural(options.shots, 'other')}" if options.shots else ""
    print(source)
    models: dict[str, list[Outcome]] = {}
    for run, name in zip(options.run, name_runs(options.run), strict=True):
        models[name] = answer(load_checkpoint(find_checkpoint(run), options.base), items, name, notes)
    for name, outcomes in models.items():
        lines = ["", name, *(map(item_line, outcomes) if options.items else ()), summary(outcomes)]
        print("\n".join(lines))
    if len(models) > 1:
        print(f"\n{differences(models)}")
    for note in notes:
        print(f"gpt eval: note: {note}", file=sys.stderr)
    if options.out is not None:
        write_text(options.out, "".join(f"{line}\n" for line in json_lines(models)))
        print(f"\n{options.out}: {plural(sum(map(len, models.values())), 'line')}")
    if options.html is not None:
        write_text(options.html, page(models, source, notes))
        print(f"\nopen {Path(options.html).resolve().as_uri()}")
    return 0


def first_items(items: Sequence[Item], limit: int) -> list[Item]:
    """Return at most `limit` items of each task."""
    counts: dict[str, int] = {}
    kept = []
    for item in items:
        counts[item.task] = counts.get(item.task, 0) + 1
        if counts[item.task] <= limit:
            kept.append(item)
    return kept


def answer(checkpoint: Checkpoint, items: Sequence[Item], name: str, notes: list[str]) -> list[Outcome]:
    """Return what a model makes of the items; add to the notes what was skipped or cut."""
    skipped: dict[str, list[str]] = {}

    def skip(item: Item, reason: str) -> None:
        skipped.setdefault(item.task, []).append(reason)

    outcomes = score_items(checkpoint.model(), checkpoint.tokenizer, with_progress(items), skip)
    for task, reasons in skipped.items():
        notes.append(f"{name}: {plural(len(reasons), 'item')} of {task} skipped, the first because: {reasons[0]}")
    if not outcomes:
        raise ValueError(f"tasks: {name} can be asked none of the {plural(len(items), 'item')}: {reasons[0]}")
    if cut := [outcome.n_cut for outcome in outcomes if outcome.n_cut]:
        context = f"the context of {checkpoint.model_config.context_length} tokens"
        most = plural(max(cut), "token")
        notes.append(f"{name}: {plural(len(cut), 'item')} longer than {context} lost their beginning, up to {most}")
    return outcomes


def with_progress(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items, and print now and then how many were taken."""
    printed = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() > printed + PROGRESS_S:
            print(f"{number:,} of {len(items):,} items", file=sys.stderr)
            printed = time.monotonic()
        yield item
