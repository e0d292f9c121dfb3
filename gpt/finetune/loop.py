"""Begin a fine-tuning run, or take one up; `gpt.runs.supervise` then carries it out with the loop of all training."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpt.finetune.config import FinetuneConfig
from gpt.finetune.freeze import choose_trained, freeze, trained_share
from gpt.runs.checkpoint import LAST, Checkpoint, Position, find_checkpoint, load_checkpoint
from gpt.runs.run import Run, run_file, truncate_metrics
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, make_optimizer
from nanograd.nn import Module
from nanograd.parallel.shards import choose_shards
from nanograd.runtime import blas
from nanograd.runtime.files import file_sha256
from nanograd.seeds import DATA, INIT, generator

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=FinetuneConfig)
ADAPTERS = 1  # with INIT: a random base has drawn from it already
LOOSE = (
    "max_steps",
    "lr",
    "min_lr",
    "warmup_steps",
    "weight_decay",
    "beta1",
    "beta2",
    "grad_clip",
    "eval_every",
    "save_every",
    "patience",
)  # fmt: skip - may change when a run is resumed; on the others, its weights or its data depend


def resolve(config: C, n_examples: int, length: int) -> C:
    """Return the config with max_steps for its epochs, and with its shards chosen: what results depend on is stored.

    length is about how many tokens an example has.
    """
    steps, shards = config.max_steps, config.shards
    if config.epochs is not None:
        steps = math.ceil(config.epochs * n_examples / (config.batch_size * config.grad_accum_steps))
    if shards is None:
        shards = choose_shards(config.batch_size, length)
    return dataclasses.replace(config, max_steps=max(1, steps), shards=shards)


def draw_examples(n_examples: int, config: FinetuneConfig, step: int, micro: int) -> np.ndarray:
    """Return the numbers (B,) of the examples in a micro-batch: each once, in a new order every time round.

    They follow from (seed, step, micro) alone. A batch that reaches over the end of an epoch goes on in the next one.
    """
    first = (step * config.grad_accum_steps + micro) * config.batch_size
    epochs, places = np.divmod(np.arange(first, first + config.batch_size), n_examples)
    orders = {int(e): generator(config.seed, DATA, int(e)).permutation(n_examples) for e in np.unique(epochs)}
    return np.array([orders[int(e)][place] for e, place in zip(epochs, places, strict=True)])


def in_batches(
    n_examples: int, batch_size: int, make_batch: Callable[[np.ndarray], Batch], order: Sequence[int] | None = None
) -> Sequence[Batch]:
    """Return batches of all examples, once each, for an evaluation; in an order of lengths they need less padding."""
    numbers = np.arange(n_examples) if order is None else np.asarray(order)
    return [make_batch(numbers[i : i + batch_size]) for i in range(0, n_examples, batch_size)]


def open_base(path: str, base: str | None = None) -> Checkpoint:
    """Read the checkpoint that a fine-tuning begins from; a classifier is none."""
    checkpoint = load_checkpoint(find_checkpoint(path), base)
    if checkpoint.inside:
        raise ValueError(
            f"base: {checkpoint.path} was fine-tuned to {checkpoint.kind}; begin from a model that writes text"
        )
    return checkpoint


def begin_run(
    out: str | None,
    model: M,
    config: C,
    tokenizer: Tokenizer,
    task: Task,
    files: Mapping[str, Path],
    *,
    base: Checkpoint | None,
    unit: str = "tok",
) -> Run[M, C]:
    """Start a run and its folder: freeze, add adapters, make the optimizer, and copy the files of data under their names.

    The model has its base's weights already; task needs only kind, labels and template, the rest is filled in.
    """
    folder = new_folder(out)
    lora = choose_trained(model, config, generator(config.seed, INIT, ADAPTERS))
    trained, total = trained_share(model)
    print(f"trained   {trained:,} of {total:,} parameters: {trained / total:.1%}")
    task = dataclasses.replace(
        task,
        config=config.to_dict(),
        lora=lora,
        base="" if base is None else str(base.path.resolve()),
        base_sha256="" if base is None else file_sha256(base.path),
    )
    optimizer, position = make_optimizer(model, config), Position()
    run = Run(folder, model, optimizer, config, tokenizer, position, task, unit=unit, patience=config.patience)
    run.create_with(files)
    return run


def new_folder(out: str | None) -> Path:
    """Return the folder of a new run; ValueError where something is in it."""
    folder = Path(time.strftime("runs/%Y-%m-%d_%H-%M-%S") if out is None else out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out: {folder} is there already and not empty; go on with --resume, or choose another --out")
    return folder


def resume_run(
    path: str,
    kind: str,
    config_type: type[C],
    given: Mapping[str, Any],
    make_model: Callable[[Checkpoint], M],
    *,
    base: str | None = None,
    unit: str = "tok",
) -> Run[M, C]:
    """Take a run up where its last checkpoint left it; nothing in its folder changes before all is checked.

    make_model returns a model of the checkpoint's shape, whose weights are then loaded; `given` holds the flags of now.
    base, or the flag of that name, says where the base of adapters is, if it has moved.
    The data is in the run's folder: `run_file(run.folder, name, run.position)` finds it. Raises ValueError where a flag
    would change what the weights or the data depend on, and where there is nothing left to do.
    """
    given = dict(given) if base is None else {**given, "base": base}
    checkpoint = load_checkpoint(find_checkpoint(path, LAST), given.get("base"))
    checkpoint.check_resumable(kind)
    assert checkpoint.task is not None
    task, folder, position = checkpoint.task, checkpoint.path.parent, checkpoint.position
    if task.lora is not None and checkpoint.base is not None:
        task = dataclasses.replace(task, base=str(checkpoint.base_checkpoint().path.resolve()))
        del given["base"]  # the same model, at another place
    config = changed_config(config_type.from_dict(task.config), given)
    for name in position.tokens_sha256:
        run_file(folder, name, position)
    model = checkpoint.model(make_model(checkpoint), adapters=True)
    if task.lora is None:
        freeze(model, config.freeze)
    optimizer = make_optimizer(model, config)
    checkpoint.load_optimizer(optimizer)
    task = dataclasses.replace(task, config=config.to_dict())
    run = Run(
        folder, model, optimizer, config, checkpoint.tokenizer, position, task, unit=unit, patience=config.patience
    )
    if position.step >= config.max_steps:
        raise ValueError(f"the run is at step {position.step} of {config.max_steps}; go on with a larger --max-steps")
    if run.out_of_patience():
        raise ValueError(f"the run stopped early, at step {position.step}; go on with a larger --patience, or none")
    print(f"resume    {checkpoint.path} at step {position.step} of {config.max_steps}")
    if position.machine != blas.description():
        print(f"note      begun with {position.machine}, now {blas.description()}: not the same to the last bit")
    for unfinished in folder.glob(".*.tmp"):  # of a save that was killed
        unfinished.unlink()
    truncate_metrics(folder, position.step)
    run.write_config()
    return run


def changed_config(config: C, given: Mapping[str, Any]) -> C:
    """Return the run's config with the flags given now; what the weights or the data depend on cannot change."""
    old = config.to_dict()
    flags = {name: value for name, value in given.items() if name in old}
    for name, value in flags.items():
        if name not in LOOSE and value != old[name]:
            raise ValueError(
                f"resume: --{name.replace('_', '-')} was {old[name]} and cannot change to {value}; "
                "start a new run for that"
            )
    return dataclasses.replace(config, **flags)
