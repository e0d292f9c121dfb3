"""The folder of a run: its settings, its tokens, its metrics and its checkpoints."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

from gpt.config import LoopConfig
from gpt.data.batches import Tokens
from gpt.data.dataset import MANIFEST, TRAIN, VAL, Dataset, open_dataset, read_tokens, write_tokens
from gpt.model import find_gpt
from gpt.runs.checkpoint import BEST, LAST, Position, save_checkpoint
from gpt.runs.estimate import duration
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer
from gpt.training import NotFiniteError, Record
from nanograd.nn import Module
from nanograd.optim import AdamW
from nanograd.runtime.files import atomic_write, file_sha256, write_text

CONFIG, METRICS, SAMPLE = "config.json", "metrics.jsonl", "sample.txt"
TRAIN_TOKENS, VAL_TOKENS = "train.tokens", "val.tokens"
M = TypeVar("M", bound=Module)
C = TypeVar("C", bound=LoopConfig)
SPLITS = {TRAIN_TOKENS: TRAIN, VAL_TOKENS: VAL}


class Interrupted(Exception):
    """The run was asked to stop, and has saved."""


class EarlyStop(Exception):
    """The validation loss has not improved for as long as the config is patient; the run has saved."""


class Progress:
    """Show one live line on a terminal, or plain lines at intervals where the output goes elsewhere."""

    def __init__(
        self, position: Position, max_steps: int, out: TextIO | None = None, every_s: float = 5.0, unit: str = "tok"
    ) -> None:
        self.start, self.since = position.step, position.elapsed_s
        self.max_steps = max_steps
        self.out = out or sys.stdout
        self.live = self.out.isatty()
        self.unfinished = False  # whether the live line waits for its end
        self.every_s = every_s
        self.unit = unit  # of what the loss is a mean over
        self.last = 0.0
        self.val_loss: float | None = None

    def show(self, record: Record) -> None:
        """Show a step; one that was evaluated always gets a line of its own."""
        evaluated = record.val_loss is not None
        self.val_loss = record.val_loss if evaluated else self.val_loss
        now = time.monotonic()
        if not evaluated and now - self.last < (0.1 if self.live else self.every_s):
            return
        self.last = now
        line = self.line(record)
        if self.live:
            width = shutil.get_terminal_size().columns - 1  # a line as wide as the terminal would wrap
            line = line if len(line) <= width else self.line(record, gap=" ")  # 79 columns hold a run of 999 steps
            self.out.write("\r" + line[:width].ljust(width))
            self.unfinished = True
            if evaluated:
                self.end_line()
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def end_line(self) -> None:
        """Leave the live line as it is: what comes next begins below it."""
        if self.unfinished:
            self.out.write("\n")
            self.unfinished = False

    def line(self, record: Record, gap: str = "  ") -> str:
        """Return the line that a step shows."""
        pace = (record.elapsed_s - self.since) / (record.step - self.start)
        val = f"{self.val_loss:.4f}" if self.val_loss is not None else "-"
        return gap.join(
            (
                f"step {record.step:>{len(str(self.max_steps))}}/{self.max_steps}",
                f"loss {record.loss:.4f}",
                f"val {val}",
                f"lr {record.lr:.1e}",
                f"grad {record.grad_norm:.2f}",
                f"{record.tokens_per_s:,.0f} {self.unit}/s",
                f"{duration(pace * (self.max_steps - record.step))} left",
            )
        )


class Run(Generic[M, C]):
    """Log each step to metrics.jsonl and the terminal, and save checkpoints when they are due."""

    def __init__(
        self,
        folder: Path,
        model: M,
        optimizer: AdamW,
        config: C,
        tokenizer: Tokenizer,
        position: Position,
        task: Task | None = None,
        *,
        unit: str = "tok",
        patience: int | None = None,
    ) -> None:
        self.folder = folder
        self.task = task
        self.patience = patience  # evaluations without a better one, after which to stop
        self.model = model
        self.optimizer = optimizer
        self.config = config
        self.tokenizer = tokenizer
        self.position = position
        self.progress = Progress(position, config.max_steps, unit=unit)
        self.stop_asked = False
        self.saved_step = position.step

    def create(self, train_tokens: Tokens, val_tokens: Tokens, dataset: Dataset | None = None) -> None:
        """Make the folder, with the tokens, config.json and a first checkpoint; on an error nothing of it stays.

        Of tokens that a prepared dataset holds, only its place is noted.
        """

        def write() -> None:
            if dataset is not None:
                self.position.dataset = str(dataset.path.resolve())
                self.position.tokens_sha256[MANIFEST] = dataset.sha256
                return
            for name, tokens in ((TRAIN_TOKENS, train_tokens), (VAL_TOKENS, val_tokens)):
                write_tokens(self.folder / name, tokens[:], self.tokenizer.vocab_size, self.tokenizer.sha256)
                self.position.tokens_sha256[name] = file_sha256(self.folder / name)

        self._create(write)

    def create_with(self, files: Mapping[str, Path]) -> None:
        """Make the folder, with a copy of each file under the name given for it, config.json and a first checkpoint."""

        def write() -> None:
            for name, path in files.items():
                shutil.copyfile(path, self.folder / name)
                self.position.tokens_sha256[name] = file_sha256(self.folder / name)

        self._create(write)

    def _create(self, write_data: Callable[[], None]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / METRICS).touch(exist_ok=False)  # of two runs that chose this folder just now, one stops here
        try:
            write_data()
            self.write_config()
            self.save(LAST)  # a run can be resumed, and a disk turns out to be too small, from the first moment
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def tokens(self) -> tuple[Tokens, Tokens | None]:
        """Map the tokens to train on, and those to validate with where there are any."""
        train_tokens, val_tokens = (run_tokens(self.folder, name, self.position) for name in SPLITS)
        return train_tokens, val_tokens if len(val_tokens) else None

    def write_config(self) -> None:
        """Write config.json, for people and for `gpt info`; the checkpoint carries the same."""
        settings: dict[str, Any] = {
            "model": find_gpt(self.model).config.to_dict(),
            "train": self.config.to_dict(),
            "text_sha256": self.position.text_sha256,
            "tokenizer_sha256": self.tokenizer.sha256,
            "machine": self.position.machine,
        }
        if self.task is not None:
            settings["task"] = self.task.to_dict()
        write_text(self.folder / CONFIG, json.dumps(settings, indent=2) + "\n")

    def log(self, record: Record) -> None:
        """Take in one step: the `log` that `train` is handed.

        Raises Interrupted, after saving, if a stop was asked, and EarlyStop at the end of its patience; NotFiniteError,
        before the step leaves anything on disk, if its update spoiled the model so that the validation loss is no number.
        """
        if record.val_loss is not None and not math.isfinite(record.val_loss):
            raise NotFiniteError(
                f"step {record.step}: the validation loss is {record.val_loss:g} after an update with learning rate "
                f"{record.lr:g} and gradient norm {record.grad_norm:g}. Try a lower --lr or a longer --warmup-steps"
            )
        with open(self.folder / METRICS, "a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(record.to_dict()) + "\n")
        self.progress.show(record)
        position = self.position
        position.step, position.elapsed_s, position.val_loss = record.step, record.elapsed_s, record.val_loss
        if record.val_loss is not None and (position.best_val_loss is None or record.val_loss < position.best_val_loss):
            position.best_val_loss, position.best_step = record.val_loss, record.step
            self.save(BEST)
        last = record.step == self.config.max_steps
        enough = record.val_loss is not None and self.out_of_patience()
        stop = self.stop_asked  # read once: Ctrl-C may come between the two questions below
        if last or stop or enough or record.step % self.config.save_every == 0:
            self.save(LAST)
            self.saved_step = record.step
        if enough and not last:
            raise EarlyStop
        if stop and not last:
            raise Interrupted

    def out_of_patience(self) -> bool:
        """Tell whether the last evaluations were all worse than one before them, as many as the patience says."""
        since = self.position.step - self.position.best_step
        return self.patience is not None and since >= self.patience * self.config.eval_every

    def save(self, name: str) -> None:
        """Write a checkpoint; a failure leaves the one that was there."""
        save_checkpoint(
            self.folder / name, self.model, self.optimizer, self.config, self.tokenizer, self.position, self.task
        )


def truncate_metrics(folder: Path, step: int) -> None:
    """Drop the lines that came after `step`, and one that was cut off in the middle: resuming writes them again."""
    path = folder / METRICS
    if not path.exists():
        return
    kept = []
    for line in path.read_bytes().split(b"\n"):
        try:
            if line and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            break
    with atomic_write(path) as file:
        file.write(b"".join(line + b"\n" for line in kept))


def read_metrics(folder: Path) -> list[Record]:
    """Return the records of a run, without a last line that was cut off; ValueError names the first that is none."""
    path = folder / METRICS
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no {METRICS}; give the folder of a run")
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            raise ValueError(f"{path}: line {number} is no record of a step; take it out") from None
    return records


def run_tokens(folder: Path, name: str, position: Position) -> Tokens:
    """Map the tokens (n,) of a run; ValueError where they are not those that the checkpoint was trained with."""
    folder = Path(position.dataset) if position.dataset else folder
    path = run_file(folder, MANIFEST if position.dataset else name, position)
    return open_dataset(path.parent).tokens(SPLITS[name]) if position.dataset else read_tokens(path)


def run_file(folder: Path, name: str, position: Position) -> Path:
    """Return a file of data of a run; ValueError where it is not the one that the checkpoint was trained with."""
    path = folder / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: this checkpoint was trained with it; put it back")
    if file_sha256(path) != position.tokens_sha256.get(name):
        raise ValueError(
            f"{path} is not the file that this checkpoint was trained with: its SHA-256 differs; put it back"
        )
    return path
