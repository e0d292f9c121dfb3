"""The line on the terminal that shows how long work proceeds, such as a run."""

import math
import shutil
import sys
import time
from typing import TextIO

from gpt.metrics import Record
from gpt.runs.checkpoint import TrainingState
from gpt.runs.estimate import duration

CELL = 90  # characters in a line of a notebook, whose width is unknown


def in_notebook(out: TextIO) -> bool:
    """Return whether this is the output of a cell in Jupyter, where \\r returns to the start of the line too."""
    return "ipykernel" in sys.modules and type(out).__module__.startswith("ipykernel.")


class LiveLine:
    """Show one live line on a terminal or in Jupyter, or plain lines at intervals if the output is no terminal."""

    def __init__(self, out: TextIO | None = None, every_s: float = 5.0) -> None:
        self.out = out or sys.stdout
        self.notebook = in_notebook(self.out)
        self.live = self.notebook or self.out.isatty()
        self.unfinished = False  # whether the cursor is still on the live line
        self.interval_s = 0.5 if self.notebook else 0.1 if self.live else every_s  # a notebook stores every line
        self.last_shown_s = -math.inf

    def due(self) -> bool:
        """Return whether the interval since the last line has passed."""
        return time.monotonic() - self.last_shown_s >= self.interval_s

    def write(self, line: str, shorter: str | None = None) -> None:
        """Show a line. On a terminal it replaces the last one, in its `shorter` form, or cut, if it would wrap."""
        self.last_shown_s = time.monotonic()
        if self.live:
            width = CELL if self.notebook else shutil.get_terminal_size().columns - 1  # a line as wide as that wraps
            line = line if shorter is None or len(line) <= width else shorter
            self.out.write("\r" + line[:width].ljust(width))
            self.unfinished = True
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def end_line(self) -> None:
        """End the live line, so that the next output begins below it."""
        if self.unfinished:
            self.out.write("\n")
            self.out.flush()
            self.unfinished = False


class Progress(LiveLine):
    """Show the steps of a run."""

    def __init__(
        self, state: TrainingState, max_steps: int, out: TextIO | None = None, every_s: float = 5.0, unit: str = "tok"
    ) -> None:
        super().__init__(out, every_s)
        self.first_step, self.elapsed_before = state.step, state.elapsed_s
        self.max_steps = max_steps
        self.unit = unit  # what the speed counts
        self.val_loss: float | None = None

    def show(self, record: Record) -> None:
        """Show a step. A step with an evaluation always gets its own line."""
        evaluated = record.val_loss is not None
        self.val_loss = record.val_loss if evaluated else self.val_loss
        if evaluated or self.due():
            self.write(self.line(record), shorter=self.line(record, gap=" "))  # fits 79 columns up to 999 steps
        if evaluated:
            self.end_line()

    def line(self, record: Record, gap: str = "  ") -> str:
        """Return the text for a step."""
        seconds_per_step = (record.elapsed_s - self.elapsed_before) / (record.step - self.first_step)
        val = f"{self.val_loss:.4f}" if self.val_loss is not None else "-"
        return gap.join(
            (
                f"step {record.step:>{len(str(self.max_steps))}}/{self.max_steps}",
                f"loss {record.loss:.4f}",
                f"val {val}",
                f"lr {record.lr:.1e}",
                f"grad {record.grad_norm:.2f}",
                f"{record.tokens_per_s:,.0f} {self.unit}/s",
                f"{duration(seconds_per_step * (self.max_steps - record.step))} left",
            )
        )
