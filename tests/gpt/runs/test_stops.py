"""What ends a program in the middle of a training, signals and closed pipes: the step is finished and saved first."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gpt
from gpt.__main__ import main
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.lock import LOCK
from gpt.runs.run import METRICS, read_metrics

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes of POSIX")
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(gpt.__file__).parents[1])}
LONG = "--save-every 9999 --eval-every 9999 --max-steps 9999"
CHILD = """
import sys, time
from gpt.runs.run import Run
after_step = Run.after_step

def slow_step(self, record):  # so that the parent can act before the run ends
    time.sleep(0.01)
    return after_step(self, record)

Run.after_step = slow_step
"""
CLI = CHILD + "from gpt.__main__ import main\nsys.exit(main(sys.argv[1:]))"
API = CHILD + "import gpt\nmodel = gpt.train('text.txt', out=sys.argv[1] or None, {options})\nprint('after it')"
OPTIONS = "tokenizer='char', d_model=8, n_heads=1, n_layers=1, max_steps=9999, save_every=9999, eval_every=9999"


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    for path in inputs.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "base").symlink_to(inputs / "base")
    return tmp_path


def start(folder: Path, program: str, *arguments: str, **streams: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", program, *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, env=ENV, cwd=folder, **streams)  # type: ignore[call-overload, no-any-return]


def wait_for_steps(process: "subprocess.Popen[bytes]", run: Path, steps: int = 3) -> None:
    wait_for(process, lambda: (run / METRICS).exists() and (run / METRICS).read_bytes().count(b"\n") >= steps)


def wait_for(process: "subprocess.Popen[bytes]", happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.001)


def check_saved(run: Path) -> int:
    """Check that the last step is saved, and that the folder is free; return the step."""
    step = load_checkpoint(run / LAST).state.step
    assert step == len(read_metrics(run)) > 0
    assert not (run / LOCK).exists()
    return step


CODES = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 130}
COMMANDS = ("train", "classify", "instruct", "prefer")


@pytest.mark.parametrize(
    ("name", "stop"), [*(("train", stop) for stop in CODES), *((n, "SIGTERM") for n in COMMANDS[1:])]
)
def test_a_signal_finishes_the_step_saves_and_exits(
    folder: Path, trainings: dict[str, str], name: str, stop: str
) -> None:
    process = start(folder, CLI, *trainings[name].split(), *LONG.split(), "--out", "run")
    wait_for_steps(process, folder / "run")
    process.send_signal(getattr(signal, stop))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == CODES[stop]
    step = check_saved(folder / "run")
    command = "train" if name == "train" else f"finetune {name}"
    assert output.endswith(f"stopped after step {step}; go on with: python -m gpt {command} --resume run\n".encode())
    again = "Ctrl-C" if stop == "SIGINT" else stop
    assert errors.decode() == f"\nfinishing the step, then saving; {again} again stops at once\n"


def test_a_hangup_that_is_ignored_is_ignored(folder: Path, trainings: dict[str, str]) -> None:
    """As with nohup."""
    program = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{CLI}"
    process = start(folder, program, *trainings["train"].split(), *LONG.split(), "--out", "run")
    wait_for_steps(process, folder / "run")
    process.send_signal(signal.SIGHUP)
    wait_for_steps(process, folder / "run", len(read_metrics(folder / "run")) + 5)
    process.send_signal(signal.SIGTERM)
    assert b"SIGTERM again" in process.communicate(timeout=60)[1]
    assert process.returncode == 143
    check_saved(folder / "run")


def test_a_terminal_that_is_closed_saves_too(folder: Path, trainings: dict[str, str]) -> None:
    """Its output and its errors can no longer be written then."""
    controller, terminal = os.openpty()
    words = [*trainings["train"].split(), *LONG.split(), "--out", "run"]
    process = start(folder, CLI, *words, stdout=terminal, stderr=terminal)
    os.close(terminal)
    wait_for_steps(process, folder / "run")
    os.close(controller)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    check_saved(folder / "run")


@pytest.mark.parametrize("name", ["train", "prefer"])
def test_a_reader_that_goes_away_saves_too(folder: Path, trainings: dict[str, str], name: str) -> None:
    words = [*trainings[name].split(), *LONG.split(), "--eval-every", "1", "--out", "run"]  # shows every step
    process = start(folder, CLI, *words)
    assert process.stdout is not None
    assert process.stderr is not None
    wait_for_steps(process, folder / "run")
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 141
    step = check_saved(folder / "run")
    command = "train" if name == "train" else f"finetune {name}"
    way_on = f"go on with: python -m gpt {command} --resume run"
    assert errors == f"\nrun has the checkpoint of step {step}; {way_on}\n"


def test_in_python_a_signal_saves_and_then_does_what_it_does(folder: Path) -> None:
    program = API.replace("{options}", OPTIONS)
    process = start(folder, program, "run")
    wait_for_steps(process, folder / "run")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    step = check_saved(folder / "run")
    assert f"stopped after step {step}" in output.decode()
    assert b"saved in run; go on with: gpt.train(resume='run')" in output
    assert b"after it" not in output


def test_in_python_without_a_folder_a_signal_is_left_alone(folder: Path) -> None:
    process = start(folder, API.replace("{options}", OPTIONS), "")
    assert process.stdout is not None
    while b"step" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM


def test_a_signal_in_the_last_step_leaves_the_rest_to_a_resumption(
    folder: Path, trainings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    evaluate = gpt.training.mean_over_targets

    def ask(*arguments: object, **options: object) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("gpt.training.mean_over_targets", ask)
        assert main([*trainings["train"].split(), "--eval-every", "99", "--out", "run"]) == 143
    assert check_saved(folder / "run") == 6
    assert "stopped after step 6; go on with: python -m gpt train --resume run" in capsys.readouterr().out
    assert not (folder / "run" / "sample.txt").exists()
    assert main(["train", "--resume", "run"]) == 0
    assert (folder / "run" / "sample.txt").exists()
