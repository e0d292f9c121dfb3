"""The line on the terminal that shows how long work proceeds, such as a run."""

import math
import shutil
import sys
import time
from typing import TextIO

from gpt.runs.checkpoint import TrainingState
from gpt.runs.estimate import duration
from gpt.training import Record

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

    def write(self, line: str, *shorter: str) -> None:
        """Show a line. On a terminal it replaces the last one, in the first form that does not wrap; the last is cut."""
        self.last_shown_s = time.monotonic()
        if self.live:
            width = CELL if self.notebook else shutil.get_terminal_size().columns - 1  # a line as wide as that wraps
            line = next((form for form in (line, *shorter) if len(form) <= width), (line, *shorter)[-1])
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
        self.best_val_loss = math.inf if state.best_val_loss is None else state.best_val_loss

    def show(self, record: Record) -> None:
        """Show a step. A step with an evaluation or a sample always gets its own line, and a sample one below it."""
        evaluated = record.val_loss is not None or record.sample is not None
        if record.val_loss is not None:
            self.val_loss, self.best_val_loss = record.val_loss, min(record.val_loss, self.best_val_loss)
        if evaluated or self.due():
            self.write(*self.lines(record))
        if evaluated:
            self.end_line()
        if record.sample is not None:
            encoding = getattr(self.out, "encoding", None) or "utf-8"  # of a terminal, which may lack characters
            self.out.write(f"sample    {record.sample}\n".encode(encoding, "replace").decode(encoding))
            self.out.flush()

    def lines(self, record: Record) -> list[str]:
        """Return the texts for a step, from long to short: what matters least is left out first, the time left never."""
        seconds_per_step = (record.elapsed_s - self.elapsed_before) / (record.step - self.first_step)
        seconds = seconds_per_step * (self.max_steps - record.step)
        val = "-" if self.val_loss is None else f"{self.val_loss:.4f}{'*' * (self.val_loss == self.best_val_loss)}"
        parts = {
            "step": f"step {record.step:>{len(str(self.max_steps))}}/{self.max_steps}",
            "loss": f"loss {record.loss:.4f}",
            "val": f"val {val}",
            "lr": f"lr {record.lr:.1e}",
            "grad": f"grad {record.grad_norm:.2f}",
            "speed": f"{record.tokens_per_s:,.0f} {self.unit}/s",
            "left": f"{duration(seconds)} left",
        }
        lines = ["  ".join(parts.values()), " ".join(parts.values())]
        for name in ("grad", "lr", "speed", "loss"):
            del parts[name]
            lines.append(" ".join(parts.values()))
        days = f"{seconds / 86400:,.0f} days left" if seconds > 86400 else parts["left"]
        return [*lines, f"{parts['step']} {parts['left']}", f"{parts['step']} {days}", f"{record.step} {days}", days]
