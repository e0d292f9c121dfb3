"""Tests of gpt/runs/progress.py: the line that shows a step, on a terminal and elsewhere."""

import dataclasses
import io
import os
import sys
from collections.abc import Callable

import pytest

from gpt.runs import progress as progress_module
from gpt.runs.checkpoint import TrainingState
from gpt.runs.progress import Progress
from gpt.training import Record


def record(step: int, val_loss: float | None = None, elapsed_s: float = 1.0) -> Record:
    return Record(step, 2.5, val_loss, 1e-3, 0.75, 1234.5, elapsed_s)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that moves the clock of the progress line on."""
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])

    def advance(seconds: float) -> None:
        now[0] += seconds

    return advance


def test_the_line_shows_all_measurements_of_a_step() -> None:
    progress = Progress(TrainingState(), 200, io.StringIO())
    progress.show(Record(5, 2.5, 2.25, 1.5e-3, 0.75, 12345.6, 10.0))
    line = progress.lines(Record(50, 1.5, None, 1e-3, 0.5, 12345.6, 100.0))[0]
    assert line == (
        "step  50/200  loss 1.5000  val 2.2500*  lr 1.0e-03  grad 0.50  12,346 tok/s  5:00 left"  # 150 · 2 s
    )


def test_the_time_left_is_known_from_the_first_step_on() -> None:
    assert Progress(TrainingState(), 61, io.StringIO()).lines(record(1, elapsed_s=2.0))[0].endswith("2:00 left")
    resumed = TrainingState(step=40, elapsed_s=1000.0)  # what it took to get there says nothing about now
    assert Progress(resumed, 61, io.StringIO()).lines(record(41, elapsed_s=1003.0))[0].endswith("1:00 left")


def test_a_sample_has_a_line_of_its_own(clock: Callable[[float], None]) -> None:
    for out in (io.StringIO(), Terminal()):
        progress = Progress(TrainingState(), 9, out)
        for step in (1, 2, 3):
            progress.show(dataclasses.replace(record(step), sample="to be …" if step == 2 else None))
        steps, sample, _ = out.getvalue().rsplit("\n", 2)
        assert sample == "sample    to be …"  # below the line of its step, which stays
        assert steps.rstrip().endswith("0:04 left")
        assert "step 2/9" in steps
    ascii_terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Progress(TrainingState(), 9, ascii_terminal).show(dataclasses.replace(record(1), sample="où …"))
    ascii_terminal.seek(0)
    assert ascii_terminal.read().endswith("\nsample    o? ?\n")


def test_without_a_terminal_plain_lines_come_at_intervals(clock: Callable[[float], None]) -> None:
    out = io.StringIO()
    progress = Progress(TrainingState(), 9, out, every_s=5.0)
    for step in range(1, 7):
        progress.show(record(step, val_loss=2.0 if step == 5 else None))
        clock(2.0)
    lines = out.getvalue().split("\n")
    assert [line.split("/")[0] for line in lines] == ["step 1", "step 4", "step 5", ""]  # 5 was evaluated
    assert "\r" not in out.getvalue()
    progress.end_line()
    assert out.getvalue().endswith("left\n")


def test_a_terminal_shows_one_live_line(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    out = Terminal()
    progress = Progress(TrainingState(), 9, out)
    for step in range(1, 6):
        progress.show(record(step, val_loss=2.0 if step == 3 else None))
        clock(0.06)
    progress.end_line()
    progress.end_line()  # only once
    shown = [line.split("\r") for line in out.getvalue().split("\n")]
    assert [[part.split("/")[0] for part in line] for line in shown] == [
        ["", "step 1", "step 3"],  # 2 and 4 came too soon; 3 was evaluated, and stays
        ["", "step 5"],
        [""],
    ]
    assert {len(part) for line in shown for part in line} == {0, 119}  # each covers the one before


@pytest.mark.parametrize(("columns", "shown"), [(20, 19), (500, 499), (0, 79)])  # some terminals say 0
def test_a_terminal_of_any_width_is_not_wrapped(monkeypatch: pytest.MonkeyPatch, columns: int, shown: int) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda handle: os.terminal_size((columns, 0)))
    out = Terminal()
    Progress(TrainingState(), 9, out).show(record(1))
    assert len(out.getvalue()) == len("\r") + shown


def test_a_terminal_of_80_columns_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = Terminal()
    Progress(TrainingState(), 99, out).show(Record(98, 2.5, 2.25, 1.5e-3, 0.75, 12345.6, 98 * 60.0))
    assert out.getvalue() == ("\rstep 98/99 loss 2.5000 val 2.2500* lr 1.5e-03 grad 0.75 12,346 tok/s 1:00 left \n")


@pytest.mark.parametrize("max_steps", [9, 600, 20_000, 10_000_000])
@pytest.mark.parametrize("seconds_per_step", [1e-3, 1.0, 12.5, 400.0])
@pytest.mark.parametrize("val_loss", [None, 2.25])
def test_a_line_of_any_width_says_how_much_time_is_left(
    monkeypatch: pytest.MonkeyPatch, max_steps: int, seconds_per_step: float, val_loss: float | None
) -> None:
    step, lengths = max_steps // 3, []
    for columns in range(40, 201, 4):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = Terminal()
        Progress(TrainingState(), max_steps, out).show(
            Record(step, 7.7712, val_loss, 3.3e-5, 15.42, 461.0, step * seconds_per_step)
        )
        line = out.getvalue().strip("\r\n")
        assert len(line) == columns - 1
        assert line.rstrip().endswith(" left")
        assert str(step) in line
        assert ("val 2.2500*" in line) == (val_loss is not None) or columns < 70
        lengths.append(len(line.rstrip()))
    assert lengths == sorted(lengths)  # a wider terminal never shows less


def test_jupyter_shows_one_live_line_too(clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    lines = Progress(TrainingState(), 9, cell())  # a stream of that name, where no kernel runs
    assert not lines.live
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    out = cell()
    assert not Progress(TrainingState(), 9, io.StringIO()).live  # a file, in a kernel
    progress = Progress(TrainingState(), 10_000, out)
    for step in range(9_000, 9_004):
        progress.show(record(step))
        clock(0.3)  # a notebook stores every line, so they come at half a second
    progress.end_line()
    shown = out.getvalue().removesuffix("\n").split("\r")[1:]
    assert [line.split("/")[0] for line in shown] == ["step  9000", "step  9002"]
    assert {len(line) for line in shown} == {90}
    assert all(line.rstrip().endswith("left") for line in shown)
