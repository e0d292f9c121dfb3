"""The interface of a fine-tuning task, its options, the parameters that it trains, and how its runs begin and resume.

A task reads its data, builds its model, names its objective, and evaluates the result. Everything else is the same for all
tasks: the base, freezing and adapters here; the run's folder in gpt/runs; and the training loop in gpt/training.py.

A frozen parameter costs no gradient, no moments of the optimizer, and no memory for either. Every op asks which of its
inputs need a gradient (`needs`): for a frozen matrix the product dyᵀ x is not computed, and x is not saved for it. Below
the first trainable parameter nothing is recorded at all, as under `no_grad`.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from gpt.config import LoopConfig, ModelConfig, known_fields, option
from gpt.finetune.batching import IndexBatches, batches_by_length, bucketed_batches
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT, find_gpt
from gpt.runs.checkpoint import Checkpoint, Task, TrainingState, find_checkpoint, load_checkpoint
from gpt.runs.estimate import available_memory, check_memory, memory_line
from gpt.runs.presets import tuning_rate
from gpt.runs.run import Run
from gpt.runs.start import new_folder, open_base, resume_run, storable_options, unstarted_options
from gpt.tokenizer import Tokenizer
from gpt.training import Batch, Objective, make_optimizer
from nanograd._tensor import Tensor
from nanograd.nn import Module, Parameter, count_parameters
from nanograd.parallel.shards import choose_shards
from nanograd.runtime.files import file_sha256
from nanograd.seeds import INIT, generator

E = TypeVar("E", bound=Sized)  # an example
Content = Path | Callable[[Path], None]  # a file to copy, or a function that writes to a path
FREEZES = ("none", "all_but_last_block", "all_but_head")
SCORES = "scores.json"  # in a run's folder: what `evaluate` measured
COLUMNS = "columns of the data by field, if they have other names: instruction=question,output=answer"
ADAPTERS = 1  # with INIT: a random base has already drawn from INIT alone


@dataclass(frozen=True)
class FinetuneConfig(LoopConfig):
    """How a trained model is fine-tuned for a task; a task adds options of its own."""

    data: str | None = option(None, "the file of examples")
    max_steps: int = option(200, "updates of the parameters", least=1)
    lr: float = option(5e-4, "highest learning rate", least=0)
    min_lr: float = option(0.0, "learning rate at the end of the cosine schedule", least=0)
    warmup_steps: int = option(10, "updates over which the learning rate rises", least=0)
    eval_every: int = option(20, "updates between evaluations; the last one is always evaluated", least=1)
    init: str | None = option(None, "the checkpoint or run to start from")
    epochs: float | None = option(None, "passes over the examples, instead of max_steps", above=0)
    freeze: str = option("none", "parameters that are frozen: none, all_but_last_block or all_but_head", among=FREEZES)
    lora_rank: int | None = option(None, "rank of LoRA adapters; all other weights are frozen; off if none", least=1)
    lora_alpha: float = option(16.0, "scale of the adapters: their update is multiplied by alpha/rank", above=0)
    lora_target: str = option("w_qkv,out_proj", "matrices with an adapter: of w_qkv, out_proj, up, down and gate")

    def resolve(self, n_examples: int, length: int) -> Self:
        """Return the config with max_steps computed from its epochs, and with its shards chosen: results depend on both.

        length is the mean number of tokens in an example.
        """
        steps, shards = self.max_steps, self.shards
        if self.epochs is not None:
            steps = math.ceil(self.epochs * n_examples / (self.batch_size * self.grad_accum_steps))
        if shards is None:
            shards = choose_shards(self.batch_size, length)
        return dataclasses.replace(self, max_steps=max(1, steps), shards=shards)


@dataclass(frozen=True)
class Start:
    """What a new run starts from.

    config    with max_steps and shards resolved
    data      ready to form batches
    files     the run's own copy of its data, by file name
    labels    of a classifier
    template  how a prompt is written, where the task has one
    """

    model: Module
    config: FinetuneConfig
    tokenizer: Tokenizer
    data: Any
    files: Mapping[str, Content]
    labels: tuple[str, ...] = ()
    template: Any = None


class FinetuneTask(ABC):
    """One thing that a model is fine-tuned for; a subclass names the types of its model, config and data.

    kind          its name on the command line and in checkpoints
    config_type   its options
    data_name     what --data is
    allow_random  whether it can start from random weights
    unit          what the loss is a mean over, for the speed that is shown
    results       the files that `evaluate` writes to the run's folder
    """

    kind: str
    config_type: type[FinetuneConfig]
    data_name: str
    allow_random = False
    unit = "tok"
    results: tuple[str, ...] = ()

    def rate(self, base: ModelConfig, *, adapters: bool) -> float:
        """Return the learning rate of a base if the user gives none."""
        return tuning_rate(base, adapters=adapters)

    def open_base(self, config: FinetuneConfig, adapters_base: str | None = None) -> Checkpoint | None:
        """Return the checkpoint to start from, or None for random weights; ValueError where no data or none is named."""
        if config.data is None:
            raise ValueError(f"data: give {self.data_name}: --data FILE")
        if config.init == "random" and self.allow_random:
            return None
        if config.init is None or config.init == "random":
            hint = ", or --init random" if self.allow_random else "; random weights have no tokenizer"
            raise ValueError(f"init: give the run or checkpoint to start from: --init RUN{hint}")
        return open_base(config.init, adapters_base)

    @abstractmethod
    def start(self, config: Any, base: Checkpoint | None, flags: Mapping[str, Any]) -> Start:
        """Read the data that the config names, and build the model; print what there is, and what is left out."""

    def empty_model(self, checkpoint: Checkpoint) -> Module:
        """Return a model of a checkpoint's shape, whose weights are to be loaded."""
        return checkpoint.gpt()

    @abstractmethod
    def read(self, run: Run[Any, Any]) -> Any:
        """Read the data of a run that is resumed, from its folder."""

    @abstractmethod
    def objective(self, run: Run[Any, Any], data: Any) -> Objective:
        """Return batches, loss and validation loss."""

    def longest(self, data: Any) -> int:
        """Return the tokens of the longest example to train on: all that the model reads of it at once."""
        return max(map(len, data.train))

    @abstractmethod
    def evaluate(self, run: Run[Any, Any], data: Any, flags: Mapping[str, Any]) -> None:
        """Evaluate the best checkpoint on the test data; print the result and write it to the run's folder."""


def begin(task: FinetuneTask, flags: Mapping[str, Any], *, folder: Path | None = None) -> tuple[Run[Any, Any], Any]:
    """Start a run and its folder: freeze, add adapters, make the optimizer, and store the data.

    With `folder`, the run begins again in that folder, which exists.
    """
    config = task.config_type(**known_fields(task.config_type, flags))
    if "max_steps" in flags and "epochs" not in flags:
        config = dataclasses.replace(config, epochs=None)
    folder = folder or new_folder(flags.get("out"))
    base = task.open_base(config, flags.get("base"))
    if base is not None and "lr" not in flags:
        config = dataclasses.replace(config, lr=task.rate(base.model_config, adapters=config.lora_rank is not None))
    start = task.start(config, base, flags)
    config, model = start.config, start.model
    lora = set_trainable(model, config, generator(config.seed, INIT, ADAPTERS))
    trainable, total = count_trainable(model)
    print(f"trained   {trainable:,} of {total:,} parameters: {trainable / total:.1%}")
    choose_recompute(task, model, config, start.data)
    path, sha256 = ("", "") if base is None else (str(base.path.resolve()), file_sha256(base.path))
    stored = Task(task.kind, config.to_dict(), start.labels, start.template, lora, path, sha256)
    optimizer = make_optimizer(model, config)
    run = Run(folder, model, optimizer, config, start.tokenizer, TrainingState(), stored, unit=task.unit)
    run.create(start.files, storable_options(flags))
    return run, start.data


def resume(task: FinetuneTask, path: str, flags: Mapping[str, Any]) -> tuple[Run[Any, Any], Any]:
    """Continue a run from its last checkpoint, as `gpt.runs.start.resume_run` does, with its data.

    A run without a checkpoint begins again.
    """
    if (options := unstarted_options(path, task.kind)) is not None:
        options = {**options, **known_fields(task.config_type, flags), **known_fields(ModelConfig, flags)}
        return begin(task, options, folder=Path(path))

    def load_model(checkpoint: Checkpoint, config: FinetuneConfig) -> Module:
        model = checkpoint.load_into(task.empty_model(checkpoint), adapters=True)
        if config.lora_rank is None:
            freeze(model, config.freeze)
        return model

    run = resume_run(path, task.kind, task.config_type, flags, load_model, unit=task.unit, results=task.results)
    data = task.read(run)
    choose_recompute(task, run.model, run.config, data)
    return run, data


def choose_recompute(task: FinetuneTask, model: Module, config: FinetuneConfig, data: Any) -> None:
    """Let the model compute activations again if memory asks for it, or the config; MemoryError if it would not fit.

    The memory is printed if it is more than half of what is free, or if activations are computed again.
    """
    gpt, (trained, _) = find_gpt(model), count_trainable(model)
    smaller = "leave the longest examples out, or begin from a smaller model"
    memory = check_memory(
        gpt.config,
        config,
        tokens=task.longest(data),
        trained=trained,
        command=f"finetune {task.kind}",
        smaller=smaller if config.lora_rank else f"train adapters alone, --lora-rank 8; or {smaller}",
    )
    gpt.recompute = memory.recompute
    if memory.recompute or memory.bytes > (available_memory() or math.inf) / 2:
        print(memory_line(memory, config))


def set_trainable(model: Module, config: FinetuneConfig, rng: np.random.Generator) -> LoRASettings | None:
    """Freeze parameters and add adapters as the config says, before the optimizer is made; return the adapters' settings.

    LoRA freezes the whole GPT except for its adapters; a task head outside of the GPT always trains.
    """
    if config.lora_rank is None:
        freeze(model, config.freeze)
        return None
    if config.freeze != "none":
        raise ValueError(f"freeze={config.freeze} and lora_rank exclude each other: with LoRA the whole base is frozen")
    targets = tuple(name.strip() for name in config.lora_target.split(",") if name.strip())
    settings = LoRASettings(config.lora_rank, config.lora_alpha, targets)
    add_lora(find_gpt(model), settings.rank, settings.alpha, settings.targets, rng)
    return settings


def freeze(model: Module, policy: str) -> None:
    """Freeze nothing (none), all but the last block, or all but the head, of a GPT or of a model built around one.

    all_but_last_block  trains the last block, the final normalisation and the head
    all_but_head        trains the head alone

    The head is the task's own, or the lm_head of an untied GPT. The head of a tied GPT is its token embedding, which the
    first layer reads: it is frozen with that layer. Raises ValueError where nothing would be left to train.
    """
    gpt = find_gpt(model)
    trainable: set[int] = set(map(id, _head(model, gpt)))
    if policy == "all_but_last_block":
        trainable |= {id(p) for module in (gpt.blocks[-1], gpt.norm) for p in module.parameters()}
    elif policy == "none":
        trainable |= set(map(id, model.parameters()))
    elif policy != "all_but_head":
        raise ValueError(f"freeze must be none, all_but_last_block or all_but_head, got {policy!r}")
    if not trainable:
        way_out = "choose all_but_last_block, or --lora-rank 8"
        raise ValueError(f"freeze=all_but_head leaves nothing to train: the head is the token embedding; {way_out}")
    for parameter in model.parameters():
        parameter.requires_grad = id(parameter) in trainable


def _head(model: Module, gpt: GPT) -> list[Parameter]:
    """Return the parameters above the final normalisation: a task's own outside of the GPT, else an untied lm_head."""
    gpt_ids = set(map(id, gpt.parameters()))
    task_head = [p for p in model.parameters() if id(p) not in gpt_ids]
    return task_head or ([] if gpt.head is None else list(gpt.head.parameters()))


def count_trainable(model: Module) -> tuple[int, int]:
    """Return the number of trainable parameters, and of all."""
    return count_parameters(p for p in model.parameters() if p.requires_grad), count_parameters(model.parameters())


def load_best(run: Run[Any, Any]) -> Checkpoint:
    """Return the best checkpoint of a run, or its last one where nothing was evaluated."""
    assert run.task is not None
    base = run.task.base if run.task.lora is not None else ""
    return load_checkpoint(find_checkpoint(run.folder), base or None)


def make_objective(
    train: Sequence[E],
    val: Sequence[E],
    collate: Callable[[Sequence[E]], Batch],
    loss_of: Callable[..., Tensor],
    config: FinetuneConfig,
    make_batches: Callable[[Sequence[int], int, int], IndexBatches] = bucketed_batches,
) -> Objective:
    """Return the objective of a task: `collate` makes a batch of examples, `make_batches` chooses which they are."""
    indices = make_batches(list(map(len, train)), config.batch_size, config.seed)

    def batch_of(step: int, micro: int) -> Batch:
        return collate([train[i] for i in indices(step * config.grad_accum_steps + micro)])

    batches = evaluation_batches(val, collate, config.batch_size)
    return Objective(batch_of, loss_of, (lambda: batches) if batches else None)


def evaluation_batches(examples: Sequence[E], collate: Callable[[Sequence[E]], Batch], batch_size: int) -> list[Batch]:
    """Return batches of every example once, the shortest first."""
    batches = batches_by_length(list(map(len, examples)), batch_size)
    return [collate([examples[i] for i in indices]) for indices in batches]
