"""A run: its folder, the checkpoints and metrics in it, and the training loop that writes them."""

import json
import math
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np

from gpt.config import LoopConfig
from gpt.data.batches import Tokens
from gpt.data.dataset import MANIFEST, TRAIN, VAL, open_dataset, read_shard, write_tokens
from gpt.metrics import Record
from gpt.model import find_gpt
from gpt.runs.checkpoint import BEST, LAST, Task, TrainingState, save_checkpoint
from gpt.runs.progress import Progress
from gpt.tokenizer import Tokenizer
from gpt.training import NotFiniteError, Objective, fit, learning_rate
from nanograd.nn import Module
from nanograd.optim import AdamW
from nanograd.runtime.files import FULL, atomic_write, file_sha256, name_full, write_text
from nanograd.runtime.typed_json import read_json

CONFIG, METRICS, SAMPLE = "config.json", "metrics.jsonl", "sample.txt"
TRAIN_TOKENS, VAL_TOKENS = "train.tokens", "val.tokens"
SPLITS = {TRAIN_TOKENS: TRAIN, VAL_TOKENS: VAL}
RISEN = 1.02  # a validation loss this many times the best has risen; less may be chance
M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=LoopConfig)


@dataclass(eq=False)
class Run(Generic[M, C]):
    """A model in training and the folder of its run: logs every step, and saves checkpoints when they are due."""

    folder: Path
    model: M
    optimizer: AdamW
    config: C
    tokenizer: Tokenizer
    state: TrainingState
    task: Task | None = None
    unit: str = "tok"  # what the speed counts

    def __post_init__(self) -> None:
        self.patience = self.config.patience
        self.progress = Progress(self.state, self.config.max_steps, unit=self.unit)
        self.saved_step = self.state.step
        self.stop_asked = False  # by Ctrl-C
        self.stopped_early = False  # at the end of its patience

    def create(self, data: Mapping[str, Path | Tokens | Callable[[Path], None]]) -> None:
        """Create the folder with the data, config.json and a first checkpoint; on an error, delete it again.

        data maps the names of files in the folder to tokens, a file that is copied, or a function that writes to a path.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / METRICS).touch(exist_ok=False)  # if two runs chose this folder at once, one of them stops here
        try:
            for name, content in data.items():
                path = self.folder / name
                if isinstance(content, Path):
                    shutil.copyfile(content, path)
                elif callable(content):
                    content(path)
                else:
                    write_tokens(path, content[:], self.tokenizer.vocab_size, self.tokenizer.sha256)
                self.state.tokens_sha256[name] = file_sha256(path)
            self.write_config()
            self.save(LAST)  # the run can be resumed from its first moment, and a full disk shows now
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def tokens(self) -> tuple[Tokens, Tokens | None]:
        """Map the tokens for training, and those for validation if there are any, without a second check of the files."""
        train_tokens, val_tokens = (map_tokens(self.folder, name, self.state) for name in SPLITS)
        return train_tokens, val_tokens if len(val_tokens) else None

    def write_config(self) -> None:
        """Write config.json, for people and for `gpt info`; the checkpoint stores the same."""
        content: dict[str, Any] = {
            "model": find_gpt(self.model).config.to_dict(),
            "train": self.config.to_dict(),
            "text_sha256": self.state.text_sha256,
            "tokenizer_sha256": self.tokenizer.sha256,
            "machine": self.state.machine,
        }
        if self.task is not None:
            content["task"] = self.task.to_dict()
        write_text(self.folder / CONFIG, json.dumps(content, indent=2) + "\n")

    def after_step(self, record: Record) -> bool:
        """Log a step, show it, and save the checkpoints that are due; return whether training must stop.

        Ctrl-C and early stopping save a checkpoint, then stop training. Raises NotFiniteError, and writes nothing,
        if the validation loss is not finite.
        """
        if record.val_loss is not None and not math.isfinite(record.val_loss):
            update = f"an update with learning rate {record.lr:g} and gradient norm {record.grad_norm:g}"
            problem = f"step {record.step}: the validation loss is {record.val_loss:g} after {update}"
            raise NotFiniteError(f"{problem}. Try a lower --lr or a longer --warmup-steps")
        self.log(record)
        self.progress.show(record)
        state = self.state
        state.step, state.elapsed_s, state.val_loss = record.step, record.elapsed_s, record.val_loss
        if record.val_loss is not None and (state.best_val_loss is None or record.val_loss < state.best_val_loss):
            state.best_val_loss, state.best_step = record.val_loss, record.step
            self.save(BEST)
        is_last = record.step == self.config.max_steps
        stop_asked = self.stop_asked  # read once: Ctrl-C may come between the two uses below
        self.stopped_early = not is_last and record.val_loss is not None and self.out_of_patience()
        stop = not is_last and (stop_asked or self.stopped_early)
        if is_last or stop or record.step % self.config.save_every == 0:
            self.save(LAST)
            self.saved_step = record.step
        return stop

    def log(self, record: Record) -> None:
        """Append a record to the metrics."""
        path = self.folder / METRICS
        try:
            with open(path, "a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(record.to_dict()) + "\n")
        except OSError as error:
            name_full(error, path)
            raise

    def out_of_patience(self) -> bool:
        """Whether the last `patience` evaluations all failed to improve on an earlier one."""
        since_best = self.state.step - self.state.best_step
        return self.patience is not None and since_best >= self.patience * self.config.eval_every

    def save(self, name: str) -> None:
        """Write a checkpoint; if that fails, the previous one remains."""
        save_checkpoint(
            self.folder / name, self.model, self.optimizer, self.config, self.tokenizer, self.state, self.task
        )


class MemoryRun(Run[M, C]):
    """A run that writes nothing: its records and its best weights stay in memory."""

    def create(self, data: Mapping[str, Path | Tokens | Callable[[Path], None]]) -> None:
        self.data, self.records = data, list[Record]()
        self.best: dict[str, np.ndarray] = {}  # empty before the first evaluation

    def tokens(self) -> tuple[Tokens, Tokens | None]:
        if self.state.dataset:
            return super().tokens()
        train_tokens, val_tokens = (cast(Tokens, self.data[name]) for name in SPLITS)
        return train_tokens, val_tokens if len(val_tokens) else None

    def log(self, record: Record) -> None:
        self.records.append(record)

    def save(self, name: str) -> None:
        if name == BEST:
            self.best = {name: array.copy() for name, array in self.model.state_dict().items()}


def run_training(run: Run[Any, Any], objective: Objective, command: str = "") -> bool:
    """Train a run from its current step; return False if Ctrl-C stopped it, after printing how to resume with `command`.

    Raises NotFiniteError, which names the checkpoint that is left.
    """
    state = run.state
    if (n := run.config.warmup_steps) >= run.config.max_steps:
        highest = f"{learning_rate(run.config.max_steps - 1, run.config):.1e}, and lr is {run.config.lr:.1e}"
        print(
            f"note      the warmup of {n} steps is not over at step {run.config.max_steps}: the rate ends at {highest}"
        )
    try:
        with stop_between_steps(run):
            fit(
                run.model, run.optimizer, objective, run.config,
                after_step=run.after_step, start=state.step, elapsed=state.elapsed_s,
            )  # fmt: skip
    except NotFiniteError as error:
        if isinstance(run, MemoryRun):
            raise
        raise NotFiniteError(f"{error}; {run.folder} has the checkpoint of step {run.saved_step}") from None
    except OSError as error:
        if command and error.errno in FULL:
            error.add_note(f"go on with: python -m gpt {command} --resume {run.folder}")
        raise
    finally:
        run.progress.end_line()
    if run.stopped_early:
        print(f"early stop after step {state.step}: nothing was better than step {state.best_step}")
    elif state.step < run.config.max_steps:
        way_on = f"; go on with: python -m gpt {command} --resume {run.folder}" if command else ""
        print(f"\nstopped after step {state.step}{way_on}")
        return False
    if has_risen(state):
        source, remedy = "examples", "more examples or fewer steps"
        if run.task is None:
            source, remedy = "text", f"more text, fewer steps or {'--dropout 0.1' if command else 'dropout=0.1'}"
        rise = f"best val {state.best_val_loss:.4f} at step {state.best_step}, and it has risen since"
        print(f"{rise}: the model learns the {source} by heart; {remedy}")
    return True


def has_risen(state: TrainingState) -> bool:
    """Whether the last validation loss is clearly above the best."""
    last, best = state.val_loss, state.best_val_loss
    return last is not None and best is not None and last > best * RISEN


@contextmanager
def stop_between_steps(run: Run[Any, Any]) -> Iterator[None]:
    """Let Ctrl-C stop the run after the current step, and a second Ctrl-C at once; in a thread, Ctrl-C does not arrive."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: Any) -> None:
        run.stop_asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        then = "" if isinstance(run, MemoryRun) else ", then saving"
        print(f"\nfinishing the step{then}; Ctrl-C again stops at once", file=sys.stderr)

    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def truncate_metrics(folder: Path, step: int) -> None:
    """Remove the lines after `step`, and an incomplete last line: a resumed run writes them again."""
    path = folder / METRICS
    if not path.exists():
        return
    lines = []
    for line in path.read_bytes().split(b"\n"):
        try:
            if line and read_json(line, Record).step <= step:
                lines.append(line)
        except ValueError:
            break
    with atomic_write(path) as file:
        file.write(b"".join(line + b"\n" for line in lines))


def read_metrics(folder: Path) -> list[Record]:
    """Return the records of a run, without an incomplete last line; ValueError names the first line that is no record."""
    path = folder / METRICS
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no {METRICS}; give the folder of a run")
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            records.append(read_json(line, Record))
        except ValueError as error:
            raise ValueError(f"{path}: line {number} is no record of a step: {error}; take it out") from None
    return records


def run_tokens(folder: Path, name: str, state: TrainingState) -> Tokens:
    """Map the tokens (n,) of a run, from its folder or its dataset; ValueError if they have changed since training."""
    run_file(folder, MANIFEST if state.dataset else name, state)
    return map_tokens(folder, name, state)


def map_tokens(folder: Path, name: str, state: TrainingState) -> Tokens:
    """Map the tokens (n,) of a run, from its folder or its dataset, without a check that hashes the file."""
    return open_dataset(state.dataset).tokens(SPLITS[name]) if state.dataset else read_shard(folder / name).tokens


def run_file(folder: Path, name: str, state: TrainingState) -> Path:
    """Return a data file of a run, from its folder or its dataset; ValueError if it has changed since training."""
    path = Path(state.dataset or folder) / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this checkpoint was trained with it; put it back")
    if file_sha256(path) != state.tokens_sha256.get(name):
        raise ValueError(f"{path} is not the file this checkpoint was trained with: its SHA-256 differs; put it back")
    return path


def check_data_files(folder: Path, state: TrainingState) -> None:
    """Raise FileNotFoundError or ValueError if a data file of a run is missing or has changed since training."""
    for name in state.tokens_sha256:
        run_file(folder, name, state)
    if state.dataset:
        for name in SPLITS:
            map_tokens(folder, name, state)  # opens the shards that the manifest lists
