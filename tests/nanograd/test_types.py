"""A typed user's program passes mypy --strict, which knows the types of its results; and a wrong one does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USER = Path(__file__).parent / "typed" / "user.py"

WRONG = """
import numpy as np
import nanograd as ng

def use(x: ng.Tensor) -> None:
    ng.softmax(x, axes=1)
    ng.gelu("text", 1)
    x.sum(axes=1)
    x.no_such_name
    ng.no_such_name
    ng.zeros(3).backward(grad=1)
    n: np.ndarray = ng.exp(x)
"""


@pytest.fixture(scope="module")
def mypy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what mypy says about both programs; they are checked in one run, which saves time."""
    pytest.importorskip("mypy", reason="the types are checked with mypy", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("typed")
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={folder}", "--no-error-summary"]
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(USER), str(folder / "wrong.py")],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.stderr == ""
    return run.stdout


@pytest.mark.slow
def test_a_typed_program_passes(mypy: str) -> None:
    assert not [line for line in mypy.splitlines() if "user.py" in line], mypy


@pytest.mark.slow
def test_every_wrong_line_is_an_error(mypy: str) -> None:
    lines = {int(line.split("wrong.py:")[1].split(":")[0]) for line in mypy.splitlines() if "error: " in line}
    assert lines == set(range(6, 13)), mypy


def test_the_typed_program_runs() -> None:
    run = subprocess.run(
        [sys.executable, str(USER)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    losses = [float(loss) for loss in run.stdout.strip("[]\n").split(", ")]
    assert losses[-1] < losses[0] / 4
