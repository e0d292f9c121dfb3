"""Begin a run or resume one: what pretraining and every fine-tuning have in common."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from gpt.config import LoopConfig, ModelConfig, known_fields
from gpt.runs.checkpoint import BEST, LAST, STABLE, Checkpoint, Task, find_checkpoint, load_checkpoint
from gpt.runs.estimate import duration, step_operations, step_seconds
from gpt.runs.lock import FolderLock, check_unlocked
from gpt.runs.progress import LiveLine
from gpt.runs.run import CONFIG, METRICS, Run, check_data_files, remove_unfinished, truncate_metrics
from gpt.runs.team import OPTIONS
from gpt.training import Objective, decay_start, learning_rate, make_optimizer
from nanograd.nn import Module
from nanograd.runtime import blas
from nanograd.runtime.files import check_new_folder, read_input
from nanograd.runtime.typed_json import read_json

M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=LoopConfig)
MUTABLE_ON_RESUME = {  # the weights so far and the order of the data depend on all other options
    "max_steps", "lr", "min_lr", "warmup_steps", "schedule", "decay_steps", "weight_decay", "beta1", "beta2", "grad_clip",
    "eval_every", "eval_batches", "sample_every", "save_every", "patience", "recompute",
}  # fmt: skip


class Begun(TypedDict):
    """What a run that begins again needs of its config.json."""

    options: dict[str, Any]
    task: NotRequired[Task]


MEASURED = 1e11  # operations of a step that takes about a second: it is said that it is measured
UNSTARTED = "holds a run that ended before its first checkpoint: nothing was trained"


def new_folder(out: str | None) -> Path:
    """Return the folder of a new run, named after date and time if `out` is None; ValueError if it is not empty."""
    folder = Path(time.strftime("runs/%Y-%m-%d_%H-%M-%S") if out is None else out)
    check_unlocked(folder)
    if is_unstarted(folder):
        raise ValueError(f"out: {folder} {UNSTARTED}; begin it again with --resume {folder}, or delete the folder")
    check_new_folder(folder, "go on with --resume, or choose another --out")
    return folder


def is_unstarted(folder: Path) -> bool:
    """Whether a folder has files of a run, and no checkpoint."""
    begun = any((folder / name).is_file() for name in (CONFIG, METRICS))
    return begun and not any((folder / name).exists() for name in (LAST, BEST))


def unstarted_options(path: str, kind: str) -> dict[str, Any] | None:
    """Return the options with which a run that ended before its first checkpoint can begin again; None for other runs.

    kind is that of the run's task, "" for pretraining. Raises ValueError if config.json does not have the options.
    """
    folder = Path(path)
    if not is_unstarted(folder):
        return None
    check_unlocked(folder)
    try:
        content = read_json(read_input(folder / CONFIG), Begun)
    except (OSError, ValueError):
        raise ValueError(f"{folder} {UNSTARTED}; delete the folder, and begin again") from None
    task = content.get("task")
    if (stored_kind := "" if task is None else task.kind) != kind:
        command = f"finetune {stored_kind}" if stored_kind else "train"
        raise ValueError(f"{folder} {UNSTARTED}; begin it again with python -m gpt {command} --resume {folder}")
    print(f"note      {folder} {UNSTARTED}; it begins again")
    return content["options"]


def storable_options(flags: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the options of a new run that `unstarted_options` needs; None if they do not suffice to begin it again."""
    if flags.get("text") is not None:  # a text in Python, and no file
        return None
    options = {name: value for name, value in flags.items() if name not in ("out", "resume", "text", *OPTIONS)}
    return {name: value.item() if hasattr(value, "item") else value for name, value in options.items()}  # NumPy's


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
    results: Sequence[str] = (),
) -> Run[M, C]:
    """Lock a run and restore it from its last checkpoint; its folder is changed only after every check.

    kind         the kind of the run's task; "" for pretraining
    flags        the options of this call, by name; `base` is the new path of the LoRA base, if it has moved
    load_model   (checkpoint, updated config) -> the model with the checkpoint's weights
    results      files that are made after the last step: a finished run can be resumed if one is missing
    Raises ValueError if a flag changes an option that the weights or the data depend on, or if nothing is left to do.
    """
    if flags.get("out") is not None:
        raise ValueError("--out and --resume exclude each other: a resumed run goes on in its own folder")
    folder = find_checkpoint(path, LAST).parent
    with ExitStack() as on_error:
        lock = FolderLock(folder)
        on_error.callback(lock.release)
        checkpoint = load_checkpoint(find_checkpoint(path, LAST), flags.get("base"))
        checkpoint.check_resumable(kind)
        state, task = checkpoint.state, checkpoint.task
        if task is not None and task.lora is not None and checkpoint.base is not None:
            task = dataclasses.replace(task, base=str(checkpoint.base_checkpoint().path.resolve()))
        stored = config_type.from_dict(checkpoint.train_config.to_dict() if task is None else task.config)
        config = changed_config(stored, checkpoint.model_config, flags)
        if config.max_steps > stored.max_steps and state.step > decay_start(stored) and (folder / STABLE).exists():
            checkpoint = load_checkpoint(folder / STABLE, flags.get("base"))
            state = checkpoint.state
            print(f"note      prolonged from step {state.step}, before the rate began to fall")
        if task is not None:
            task = dataclasses.replace(task, config=config.to_dict())
        complete = not any(is_outdated(folder / name, checkpoint.path) for name in results)
        if state.step > config.max_steps or (state.step == config.max_steps and complete):
            raise ValueError(
                f"the run is finished, at step {state.step} of {config.max_steps}; go on with a larger --max-steps"
            )
        check_data_files(folder, state)
        print(f"resume    {checkpoint.path} at step {state.step} of {config.max_steps}")
        for change in changes(stored, config, state.step):
            print(f"changed   {change}")
        if machine := differences(state.machine, blas.description()):
            print(f"note      {', '.join(machine)}: the result will not be the same to the last bit")
        model = load_model(checkpoint, config)
        optimizer = make_optimizer(model, config)
        checkpoint.load_optimizer(optimizer)
        run = Run(folder, model, optimizer, config, checkpoint.tokenizer, state, task, unit=unit)
        if run.out_of_patience() and complete:
            raise ValueError(f"the run stopped early, at step {state.step}; go on with a larger --patience, or none")
        remove_unfinished(folder)
        truncate_metrics(folder, state.step)
        if config != stored or task != checkpoint.task or not (folder / CONFIG).exists():
            run.write_config()
        run.lock = lock
        on_error.pop_all()  # the lock is the run's now
        return run


def print_time(
    model: Module, objective: Objective, config: LoopConfig, *, start: int = 0, only_long: bool = False
) -> None:
    """Time a step that changes nothing, and print about how long the steps from `start` on will take.

    only_long: not where a step takes less than about a second.
    """
    steps, line = config.max_steps - start, LiveLine()
    long = step_operations(model, objective, config, start) > MEASURED
    if only_long and not long:
        return
    if line.live or long:
        line.write("time      measuring a step …")
    seconds = step_seconds(model, objective, config, start)
    each = f", {seconds:.1f} s each" if seconds >= 1 else ""
    line.write(f"time      about {duration(seconds * steps)} for {steps} steps{each}")
    line.end_line()
    print(flush=True)


def is_outdated(result: Path, checkpoint: Path) -> bool:
    """Whether a file that is made after the last step is missing, or is of an earlier end of the run."""
    return not result.exists() or result.stat().st_mtime_ns < checkpoint.stat().st_mtime_ns


def changes(old: LoopConfig, new: LoopConfig, step: int) -> list[str]:
    """Return what differs between the options of before and of now, among it the learning rate of the step after `step`."""
    lines = differences(old.to_dict(), new.to_dict())
    rates = [f"{learning_rate(step, config):.2e}" for config in (old, new)]
    if rates[0] != rates[1] and step < new.max_steps:
        lines.append(f"learning rate of step {step + 1}: {rates[0]} → {rates[1]}")
    return lines


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ, as in "lr 0.001 → 0.002"; one that is stored on one side only is "unknown".

    >>> differences({"lr": 0.001, "seed": 0}, {"lr": 0.002, "seed": 0, "sums": 2})
    ['lr 0.001 → 0.002', 'sums unknown → 2']
    """
    both = ((name, before.get(name, "unknown"), now.get(name, "unknown")) for name in {**now, **before})
    return [f"{name} {old} → {new}" for name, old, new in both if old != new]


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
