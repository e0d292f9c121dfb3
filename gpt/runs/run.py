"""A run: its folder, the checkpoints and metrics in it, and the training loop that writes them."""

import json
import math
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np

from gpt.config import LoopConfig
from gpt.data.batches import Tokens
from gpt.data.dataset import MANIFEST, TRAIN, VAL, open_dataset, read_shard, write_tokens
from gpt.generation.generate import write_line
from gpt.model import GPT, find_gpt
from gpt.runs.checkpoint import BEST, LAST, STABLE, Task, TrainingState, save_checkpoint, with_average
from gpt.runs.lock import FolderLock
from gpt.runs.progress import Progress
from gpt.tokenizer import Tokenizer
from gpt.training import NotFiniteError, Record, decay_start
from nanograd.nn import Module
from nanograd.optim import AdamW
from nanograd.runtime.files import atomic_write, file_sha256, name_full, read_input, write_text
from nanograd.runtime.typed_json import read_json

CONFIG, METRICS, SAMPLE = "config.json", "metrics.jsonl", "sample.txt"
TRAIN_TOKENS, VAL_TOKENS = "train.tokens", "val.tokens"
SPLITS = {TRAIN_TOKENS: TRAIN, VAL_TOKENS: VAL}
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
    lock: FolderLock | None = None  # of the folder, until the run ends

    def __post_init__(self) -> None:
        self.patience = self.config.patience
        self.progress = Progress(self.state, self.config.max_steps, unit=self.unit)
        self.saved_step = self.state.step
        self.stop_asked = False  # by Ctrl-C or another signal, or because nobody reads the output any longer
        self.stop_signal: int | None = None
        self.output_error: OSError | None = None  # why nothing more can be printed
        self.stopped_early = False  # at the end of its patience

    def create(
        self, data: Mapping[str, Path | Tokens | Callable[[Path], None]], options: Mapping[str, Any] | None = None
    ) -> None:
        """Create and lock the folder, with config.json, the data and a first checkpoint; on an error, delete those again.

        data     maps the names of files in the folder to tokens, a file that is copied, or a function that writes to a path
        options  what the user asked for: config.json stores it, so that a run that dies in here can begin again
        """
        new_folders = [folder for folder in (self.folder, *self.folder.parents) if not folder.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FolderLock(self.folder)  # if two runs chose this folder at once, one of them stops here
        new_files: list[Path] = []
        try:
            if (self.folder / LAST).exists():  # of a run that began, and ended, while this one read its data
                raise ValueError(f"out: {self.folder} already holds a run; choose another --out")
            names = (CONFIG, *data, METRICS, LAST)
            new_files += [self.folder / name for name in names if not (self.folder / name).exists()]
            remove_unfinished(self.folder)
            self.write_config(options)
            for name, content in data.items():
                path = self.folder / name
                if isinstance(content, Path):
                    shutil.copyfile(content, path)
                elif callable(content):
                    content(path)
                else:
                    write_tokens(path, content[:], self.tokenizer.vocab_size, self.tokenizer.sha256)
                self.state.tokens_sha256[name] = file_sha256(path)
            (self.folder / METRICS).touch()
            self.save(LAST)  # the run can be resumed from its first moment, and a full disk shows now
        except BaseException:
            for path in new_files:
                path.unlink(missing_ok=True)
            self.unlock()
            with suppress(OSError):  # what others put there stays
                for folder in new_folders:
                    folder.rmdir()
            raise

    def unlock(self) -> None:
        """Release the lock of the folder: others may write in it now."""
        if self.lock is not None:
            self.lock.release()

    def tokens(self) -> tuple[Tokens, Tokens | None]:
        """Map the tokens for training, and those for validation if there are any, without a second check of the files."""
        train_tokens, val_tokens = (map_tokens(self.folder, name, self.state) for name in SPLITS)
        return train_tokens, val_tokens if len(val_tokens) else None

    def write_config(self, options: Mapping[str, Any] | None = None) -> None:
        """Write config.json, for people; the checkpoint stores the same, except for the user's options of a new run."""
        content: dict[str, Any] = {
            "model": find_gpt(self.model).config.to_dict(),
            "train": self.config.to_dict(),
            "text_sha256": self.state.text_sha256,
            "tokenizer_sha256": self.tokenizer.sha256,
            "machine": self.state.machine,
        }
        if self.task is not None:
            content["task"] = self.task.to_dict()
        if options is not None:
            content["options"] = dict(options)
        write_text(self.folder / CONFIG, json.dumps(content, indent=2) + "\n")

    def after_step(self, record: Record) -> bool:
        """Log a step, show it, and save the checkpoints that are due; return whether training must stop.

        A signal, an output that nobody reads and early stopping save a checkpoint, then stop training. Raises
        NotFiniteError, and writes nothing, if the validation loss is not finite.
        """
        if record.val_loss is not None and not math.isfinite(record.val_loss):
            update = f"an update with learning rate {record.lr:g} and gradient norm {record.grad_norm:g}"
            problem = f"step {record.step}: the validation loss is {record.val_loss:g} after {update}"
            raise NotFiniteError(f"{problem}. Try a lower --lr or a longer --warmup-steps")
        self.log(record)
        try:
            self.progress.show(record)
        except OSError as error:  # `… | head`, a terminal that was closed, a full disk: first save, then report it
            self.output_error, self.stop_asked = error, True
        state = self.state
        state.step, state.elapsed_s, state.val_loss = record.step, record.elapsed_s, record.val_loss
        if record.val_loss is not None and (state.best_val_loss is None or record.val_loss < state.best_val_loss):
            state.best_val_loss, state.best_step = record.val_loss, record.step
            self.save(BEST)
        if record.step == decay_start(self.config):
            self.save(STABLE)
        is_last = record.step == self.config.max_steps
        stop_asked = self.stop_asked  # read once: Ctrl-C may come between the two uses below
        self.stopped_early = not is_last and record.val_loss is not None and self.out_of_patience()
        stop = not is_last and (stop_asked or self.stopped_early)
        if is_last or stop or record.step % self.config.save_every == 0:
            self.save(LAST)
            self.saved_step = record.step
        return stop

    def writer(self) -> Callable[[], str | None] | None:
        """Return a function that returns a line which the model writes, for pretraining alone."""
        model = self.model
        if self.task is not None or not isinstance(model, GPT):
            return None

        def write() -> str | None:
            try:
                return write_line(model, self.tokenizer)
            except ValueError:  # its logits are not finite: the next step reports it, with a way out
                return None

        return write

    def is_finished(self) -> bool:
        """Whether no step is left: the last one is done, or patience has ended the run."""
        return self.state.step >= self.config.max_steps or self.out_of_patience()

    def exit_code(self) -> int:
        """Return the exit code of a program that a signal stopped, by default Ctrl-C: 128 and the signal's number."""
        return 128 + (self.stop_signal or signal.SIGINT)

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

    def create(
        self, data: Mapping[str, Path | Tokens | Callable[[Path], None]], options: Mapping[str, Any] | None = None
    ) -> None:
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
            self.best = {name: array.copy() for name, array in self.weights().items()}

    def weights(self) -> dict[str, np.ndarray]:
        """Return the arrays of the model, averaged if the optimizer keeps an average."""
        return with_average(self.model.state_dict(), self.optimizer)[0]


def remove_unfinished(folder: Path) -> None:
    """Remove what a save that was killed has left; the folder must be locked."""
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink(missing_ok=True)


def truncate_metrics(folder: Path, step: int) -> None:
    """Keep one line for each step up to `step`: a resumed run writes those after it again.

    Damaged and repeated lines are dropped, and missing ones counted, with a note; the last line may be incomplete.
    """
    path = folder / METRICS
    if not path.exists():
        return
    *lines, incomplete = read_input(path, 1 << 40).split(b"\n")
    kept: dict[int, bytes] = {}
    dropped = 0
    for line in [*lines, *([incomplete] if incomplete else [])]:
        try:
            at = read_json(line, Record).step
        except ValueError:
            dropped += line is not incomplete
            continue
        dropped += at in kept
        if at <= step:
            kept[at] = line
    with atomic_write(path) as file:
        file.write(b"".join(kept[at] + b"\n" for at in sorted(kept)))
    missing = step - len(kept)
    if dropped or missing > 0:
        print(f"note      {path}: {dropped} damaged or repeated lines dropped, {missing} of {step} steps are missing")


def read_metrics(folder: Path) -> list[Record]:
    """Return the records of a run, without an incomplete last line; ValueError names the first line that is no record."""
    path = folder / METRICS
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no {METRICS}; give the folder of a run")
    records = []
    for number, line in enumerate(read_input(path, 1 << 40).split(b"\n")[:-1], start=1):
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
