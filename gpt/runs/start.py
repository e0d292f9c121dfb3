"""Begin a run or resume one: what pretraining and every fine-tuning have in common."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from gpt.config import LoopConfig, ModelConfig, known_fields
from gpt.runs.checkpoint import LAST, Checkpoint, find_checkpoint, load_checkpoint
from gpt.runs.run import Run, check_data_files, truncate_metrics
from gpt.training import make_optimizer
from nanograd.nn import Module
from nanograd.runtime import blas
from nanograd.runtime.files import check_new_folder

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=LoopConfig)
MUTABLE_ON_RESUME = {  # the weights so far and the order of the data depend on all other options
    "max_steps", "lr", "min_lr", "warmup_steps", "weight_decay", "beta1", "beta2", "grad_clip",
    "eval_every", "eval_batches", "save_every", "patience",
}  # fmt: skip


def new_folder(out: str | None) -> Path:
    """Return the folder of a new run, named after date and time if `out` is None; ValueError if it is not empty."""
    folder = Path(time.strftime("runs/%Y-%m-%d_%H-%M-%S") if out is None else out)
    check_new_folder(folder, "go on with --resume, or choose another --out")
    return folder


def open_base(path: str, adapters_base: str | None = None) -> Checkpoint:
    """Read the checkpoint that a run begins from; ValueError if it is no language model.

    adapters_base is the path of the base of LoRA adapters, if it has moved since they were trained.
    """
    base = load_checkpoint(find_checkpoint(path), adapters_base)
    if not base.is_language_model:
        raise ValueError(f"init: {base.path} was fine-tuned to {base.kind}; begin from a language model")
    return base


def resume_run(
    path: str,
    kind: str,
    config_type: type[C],
    flags: Mapping[str, Any],
    load_model: Callable[[Checkpoint, C], M],
    *,
    unit: str = "tok",
) -> Run[M, C]:
    """Restore a run from its last checkpoint; its folder is changed only after every check.

    kind         the kind of the run's task; "" for pretraining
    flags        the options of this call, by name; `base` is the new path of the LoRA base, if it has moved
    load_model   (checkpoint, updated config) -> the model with the checkpoint's weights
    Raises ValueError if a flag changes an option that the weights or the data depend on, or if no step is left.
    """
    if flags.get("out") is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    checkpoint = load_checkpoint(find_checkpoint(path, LAST), flags.get("base"))
    checkpoint.check_resumable(kind)
    folder, state, task = checkpoint.path.parent, checkpoint.state, checkpoint.task
    if task is not None and task.lora is not None and checkpoint.base is not None:
        task = dataclasses.replace(task, base=str(checkpoint.base_checkpoint().path.resolve()))
    stored = checkpoint.train_config.to_dict() if task is None else task.config
    config = changed_config(config_type.from_dict(stored), checkpoint.model_config, flags)
    if task is not None:
        task = dataclasses.replace(task, config=config.to_dict())
    if state.step >= config.max_steps:
        raise ValueError(f"the run is at step {state.step} of {config.max_steps}; go on with a larger --max-steps")
    check_data_files(folder, state)
    print(f"resume    {checkpoint.path} at step {state.step} of {config.max_steps}")
    if state.machine != blas.description():
        print(f"note      begun with {state.machine}, now {blas.description()}: not the same to the last bit")
    model = load_model(checkpoint, config)
    optimizer = make_optimizer(model, config)
    checkpoint.load_optimizer(optimizer)
    run = Run(folder, model, optimizer, config, checkpoint.tokenizer, state, task, unit=unit)
    if run.out_of_patience():
        raise ValueError(f"the run stopped early, at step {state.step}; go on with a larger --patience, or none")
    for unfinished in folder.glob(".*.tmp"):  # left by a save that was killed
        unfinished.unlink()
    truncate_metrics(folder, state.step)
    run.write_config()
    return run


def changed_config(config: C, model_config: ModelConfig, flags: Mapping[str, Any]) -> C:
    """Return the run's config, changed by the flags; ValueError for a change that MUTABLE_ON_RESUME does not allow."""
    mutable = set(MUTABLE_ON_RESUME)
    # In epochs the batch size determines, with the step, which examples were seen.
    if getattr(config, "sampling", "epochs") == "random":
        mutable |= {"batch_size", "grad_accum_steps"}
    stored = {**model_config.to_dict(), **config.to_dict()}
    for name, value in flags.items():
        if name in stored and name not in mutable and value != stored[name]:
            change = f"was {stored[name]} and cannot change to {value}"
            raise ValueError(f"resume: --{name.replace('_', '-')} {change}; start a new run for that")
    changes = known_fields(type(config), flags)
    return dataclasses.replace(config, **changes) if changes else config
