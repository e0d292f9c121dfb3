"""What a fine-tuning task is, and how a run of one is started and resumed.

A task reads its data, builds its model, names its objective, and evaluates the result. Everything else is the same for all
tasks: freezing and adapters, the run's folder, and the training loop (gpt/training.py).
"""

import dataclasses
import math
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from gpt.config import ModelConfig
from gpt.finetune.trainable import FinetuneConfig, count_trainable, freeze, set_trainable
from gpt.runs.checkpoint import LAST, Checkpoint, Position, find_checkpoint, load_checkpoint
from gpt.runs.run import Run, run_file, truncate_metrics
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, make_optimizer, mean_loss
from nanograd._tensor import Tensor
from nanograd.nn import Module
from nanograd.parallel.shards import choose_shards
from nanograd.runtime import blas
from nanograd.runtime.files import file_sha256
from nanograd.seeds import INIT, generator

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=FinetuneConfig)
D = TypeVar("D")
Source = Path | Callable[[Path], None]
ADAPTERS = 1  # with INIT: a random base has already drawn from INIT alone
MUTABLE_ON_RESUME = (
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
)  # fmt: skip - the weights or the data depend on all other options


@dataclass(frozen=True)
class Start(Generic[M, C, D]):
    """What a new run starts from.

    config  with max_steps and shards resolved
    task    kind, labels and template; `begin` fills in the rest
    files   the run's own copy of its data: by file name, a file to copy or a function that writes to a path
    base    None for random weights
    """

    model: M
    config: C
    tokenizer: Tokenizer
    task: Task
    files: Mapping[str, Source]
    base: Checkpoint | None
    data: D


class FinetuneTask(ABC, Generic[M, C, D]):
    """One thing that a model is fine-tuned for. D is its data, ready to form batches.

    kind         its name on the command line and in checkpoints
    config_type  its options
    unit         what `tokens_per_s` counts: the targets that the loss is a mean over
    """

    kind: str
    config_type: type[C]
    unit = "tok"

    @abstractmethod
    def start(self, config: C, flags: Mapping[str, Any]) -> Start[M, C, D]:
        """Read the data that the config names, and build the model; print what there is, and what is left out."""

    @abstractmethod
    def empty_model(self, checkpoint: Checkpoint) -> M:
        """Return a model of a checkpoint's shape, whose weights are to be loaded."""

    @abstractmethod
    def read(self, run: Run[M, C]) -> D:
        """Read the data of a run that is resumed, from its folder."""

    @abstractmethod
    def objective(self, run: Run[M, C], data: D) -> Objective:
        """Return batches, loss and validation loss."""

    @abstractmethod
    def evaluate(self, run: Run[M, C], data: D, flags: Mapping[str, Any]) -> None:
        """Evaluate the best checkpoint on the test data; print the result and write it to the run's folder."""


def begin(task: FinetuneTask[M, C, D], out: str | None, flags: Mapping[str, Any]) -> tuple[Run[M, C], D]:
    """Start a run and its folder: freeze, add adapters, make the optimizer, and store the data."""
    config = task.config_type(**known_fields(task.config_type, flags))
    if "max_steps" in flags and "epochs" not in flags:
        config = dataclasses.replace(config, epochs=None)
    start = task.start(config, flags)
    config, model, base = start.config, start.model, start.base
    folder = new_folder(out)
    lora = set_trainable(model, config, generator(config.seed, INIT, ADAPTERS))
    trainable, total = count_trainable(model)
    print(f"trained   {trainable:,} of {total:,} parameters: {trainable / total:.1%}")
    stored = dataclasses.replace(
        start.task,
        config=config.to_dict(),
        lora=lora,
        base="" if base is None else str(base.path.resolve()),
        base_sha256="" if base is None else file_sha256(base.path),
    )
    run = Run(
        folder, model, make_optimizer(model, config), config, start.tokenizer, Position(), stored,
        unit=task.unit, patience=config.patience,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        files = {}
        for name, source in start.files.items():
            files[name] = source if isinstance(source, Path) else Path(temporary, name)
            if not isinstance(source, Path):
                source(files[name])
        run.create_with(files)
    return run, start.data


def resume(task: FinetuneTask[M, C, D], path: str, flags: Mapping[str, Any]) -> tuple[Run[M, C], D]:
    """Continue a run from its last checkpoint; nothing in its folder changes before everything is checked.

    The flag `base` names the new location of the adapters' base, if it was moved. Raises ValueError for a flag that the
    weights or the data depend on, and where there are no steps left.
    """
    flags = dict(flags)
    for name in known_fields(ModelConfig, flags):
        raise ValueError(f"resume: --{name.replace('_', '-')} cannot change; start a new run for that")
    checkpoint = load_checkpoint(find_checkpoint(path, LAST), flags.get("base"))
    checkpoint.check_resumable(task.kind)
    assert checkpoint.task is not None
    stored, folder, position = checkpoint.task, checkpoint.path.parent, checkpoint.position
    if stored.lora is not None and checkpoint.base is not None:
        stored = dataclasses.replace(stored, base=str(checkpoint.base_checkpoint().path.resolve()))
        del flags["base"]  # the same model at another path
    config = changed_config(task.config_type.from_dict(stored.config), flags)
    for name in position.tokens_sha256:
        run_file(folder, name, position)
    model = checkpoint.model(task.empty_model(checkpoint), adapters=True)
    if stored.lora is None:
        freeze(model, config.freeze)
    optimizer = make_optimizer(model, config)
    checkpoint.load_optimizer(optimizer)
    stored = dataclasses.replace(stored, config=config.to_dict())
    run = Run(
        folder, model, optimizer, config, checkpoint.tokenizer, position, stored,
        unit=task.unit, patience=config.patience,
    )  # fmt: skip
    if position.step >= config.max_steps:
        raise ValueError(f"the run is at step {position.step} of {config.max_steps}; go on with a larger --max-steps")
    if run.out_of_patience():
        raise ValueError(f"the run stopped early, at step {position.step}; go on with a larger --patience, or none")
    print(f"resume    {checkpoint.path} at step {position.step} of {config.max_steps}")
    if position.machine != blas.description():
        print(f"note      begun with {position.machine}, now {blas.description()}: not the same to the last bit")
    for unfinished in folder.glob(".*.tmp"):  # left by a save that was killed
        unfinished.unlink()
    truncate_metrics(folder, position.step)
    run.write_config()
    return run, task.read(run)


def changed_config(config: C, flags: Mapping[str, Any]) -> C:
    """Return a run's config with the flags of its resumption; ValueError for one that weights or data depend on."""
    stored = config.to_dict()
    changes = known_fields(type(config), flags)
    for name, value in changes.items():
        if name not in MUTABLE_ON_RESUME and value != stored[name]:
            raise ValueError(
                f"resume: --{name.replace('_', '-')} was {stored[name]} and cannot change to {value}; "
                "start a new run for that"
            )
    return dataclasses.replace(config, **changes)


def known_fields(config_type: type[Any], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that are fields of a config."""
    names = {field.name for field in dataclasses.fields(config_type)}
    return {name: value for name, value in flags.items() if name in names}


def new_folder(out: str | None) -> Path:
    """Return the folder of a new run; ValueError where it is not empty."""
    folder = Path(time.strftime("runs/%Y-%m-%d_%H-%M-%S") if out is None else out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out: {folder} is there already and not empty; go on with --resume, or choose another --out")
    return folder


def open_base(path: str) -> Checkpoint:
    """Read the checkpoint that fine-tuning starts from; ValueError for a classifier."""
    checkpoint = load_checkpoint(find_checkpoint(path))
    if checkpoint.inside:
        raise ValueError(
            f"base: {checkpoint.path} was fine-tuned to {checkpoint.kind}; begin from a model that generates text"
        )
    return checkpoint


def load_best(run: Run[Any, Any]) -> Checkpoint:
    """Return the best checkpoint of a run, or its last one where nothing was evaluated."""
    assert run.task is not None
    base = run.task.base if run.task.lora is not None else ""
    return load_checkpoint(find_checkpoint(run.folder), base or None)


def resolve(config: C, n_examples: int, length: int) -> C:
    """Return the config with max_steps computed from its epochs, and with its shards chosen: results depend on both.

    length is the mean number of tokens in an example.
    """
    steps, shards = config.max_steps, config.shards
    if config.epochs is not None:
        steps = math.ceil(config.epochs * n_examples / (config.batch_size * config.grad_accum_steps))
    if shards is None:
        shards = choose_shards(config.batch_size, length)
    return dataclasses.replace(config, max_steps=max(1, steps), shards=shards)


def make_objective(
    model: Module,
    batch: Callable[[int], Batch],
    loss_of: Callable[..., Tensor],
    validation: Sequence[Batch] | None,
    config: FinetuneConfig,
) -> Objective:
    """Return the objective of a task: `batch` maps the number of a micro-batch to it, from 0 on through all epochs."""

    def batch_of(step: int, micro: int) -> Batch:
        return batch(step * config.grad_accum_steps + micro)

    evaluate = partial(mean_loss, model, validation, loss_of, shards=config.shards) if validation else None
    return Objective(batch_of, loss_of, evaluate)
