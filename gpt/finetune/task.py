"""What a fine-tuning task is, and how a run of one is started and resumed.

A task reads its data, builds its model, names its objective, and evaluates the result. Everything else is the same for all
tasks: freezing and adapters, the run's folder, and the training loop (gpt/training.py).
"""

import dataclasses
import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from gpt.config import known_fields
from gpt.data.batches import Tokens
from gpt.finetune.trainable import FinetuneConfig, count_trainable, freeze, set_trainable
from gpt.runs.checkpoint import Checkpoint, Task, find_checkpoint, load_checkpoint
from gpt.runs.run import Run
from gpt.runs.start import begin_run, new_folder, resume_run
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, mean_loss
from nanograd._tensor import Tensor
from nanograd.nn import Module
from nanograd.parallel.shards import choose_shards
from nanograd.runtime.files import file_sha256
from nanograd.seeds import INIT, generator

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=FinetuneConfig)
D = TypeVar("D")
Source = Path | Callable[[Path], None]
ADAPTERS = 1  # with INIT: a random base has already drawn from INIT alone


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
    with tempfile.TemporaryDirectory() as temporary:
        files: dict[str, Path | Tokens] = {}
        for name, source in start.files.items():
            path = source if isinstance(source, Path) else Path(temporary, name)
            if not isinstance(source, Path):
                source(path)
            files[name] = path
        run = begin_run(folder, model, config, start.tokenizer, files, task=stored, unit=task.unit)
    return run, start.data


def resume(task: FinetuneTask[M, C, D], path: str, flags: Mapping[str, Any]) -> tuple[Run[M, C], D]:
    """Restore a run from its last checkpoint, as `gpt.runs.start.resume_run` does, and read its data."""

    def load_model(checkpoint: Checkpoint, config: C) -> M:
        model = checkpoint.load_into(task.empty_model(checkpoint), adapters=True)
        if config.lora_rank is None:
            freeze(model, config.freeze)
        return model

    run = resume_run(path, task.kind, task.config_type, flags, load_model, unit=task.unit)
    return run, task.read(run)


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
