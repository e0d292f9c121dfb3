"""Grading learners' files: files that cannot be graded, code that raises, hangs or ends the process."""

import os
import re
import time
import tracemalloc
from pathlib import Path

import pytest

from nanograd.study.drills import DRILLS
from nanograd.study.drills.check_file import YOUR_FILE, check, grade_file
from nanograd.study.drills.drill import learner_file


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


BROKEN = [
    ("def exp_backward(dy, saved:\n    return dy", r"^line 1: SyntaxError: "),
    ("if True:\nx = 1", r"^line 2: IndentationError: expected an indented block"),
    ("x = 1\n\0", r"null byte"),
    ("x = 1", r"^it defines no function exp_backward$"),
    ("exp_backward = 3", r"^it defines no function exp_backward"),
    (
        "def exp_backward(dy): pass",
        r"^exp_backward must be callable as exp_backward\(dy, saved\), but is exp_backward\(dy\)$",
    ),
    ("import nothing_of_that_name", r"^line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'$"),
    ("import sys\nsys.exit(0)", r"^line 2: sys\.exit\(\) ends the program"),
    ("\n1 / 0", r"^line 2: ZeroDivisionError: division by zero$"),
]


@pytest.mark.parametrize(("source", "message"), BROKEN, ids=[source for source, _ in BROKEN])
def test_a_file_that_cannot_be_graded(source: str, message: str) -> None:
    verdict = grade_file(DRILLS["exp"], source.encode())
    assert verdict.failed == YOUR_FILE
    assert re.search(message, verdict.message)
    assert "\n" not in verdict.message


RAISING = [
    ("raise ValueError('two\\nlines')", "line 2: ValueError: two lines, with x (2, 3)"),
    ("import sys; sys.exit()", "line 2: sys.exit() ends the program; a backward returns gradients, with x (2, 3)"),
    ("return exp_backward(dy, saved)", "line 2: RecursionError: maximum recursion depth exceeded"),
    ("return input()", "line 2: "),
    ("raise MemoryError", "line 2: asks for more memory than a drill may have (MemoryError)"),
    ("dy *= saved; return dy,", "line 2: dy was written into: others still need it"),
]


@pytest.mark.parametrize(("line", "message"), RAISING, ids=[line for line, _ in RAISING])
def test_a_backward_that_raises(line: str, message: str) -> None:
    verdict = grade_file(DRILLS["exp"], f"def exp_backward(dy, saved):\n    {line}\n".encode())
    assert verdict.message.startswith(message)
    assert "\n" not in verdict.message


def test_a_backward_that_raises_only_sometimes() -> None:
    verdict = grade_file(
        DRILLS["exp"], b"n = [0] * 3\ndef exp_backward(dy, saved):\n    n.pop()\n    return dy * saved"
    )
    assert (verdict.failed, verdict.message) == ("mutation", "line 3: IndexError: pop from empty list")


def test_printing_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = grade_file(
        DRILLS["exp"], b"def exp_backward(dy, saved):\n    print('here', dy)\n    return dy * saved,\n"
    )
    assert verdict.ok
    assert verdict.notes == ["line 2 prints 'here'; output is not shown"]
    assert capsys.readouterr().out == ""


def test_a_file_of_an_earlier_version_is_graded() -> None:
    """The file for `train` imported from a module that has another name now."""
    source = learner_file(DRILLS["train"]).replace("nanograd.study.drills.attention", "nanograd.drills.attend")
    assert "from nanograd.drills.attend import attention_forward" in source
    verdict = grade_file(DRILLS["train"], source.encode())
    assert verdict.failed == "shape and dtype"
    assert verdict.message.endswith("the backward is not written yet")


# In a process of its own


def checked(body: str, limit: float = 20.0) -> str:
    path = Path("exp.py")
    path.write_text(f"import numpy as np, os\n\ndef exp_backward(dy, saved):\n    {body}\n", encoding="utf-8")
    verdict = check(DRILLS["exp"], path, limit)
    assert verdict.ok == (not verdict.message)
    return verdict.message or "right"


def test_a_right_answer_through_the_process() -> None:
    assert checked("return dy * saved,") == "right"


def test_a_loop_that_never_ends() -> None:
    assert checked("while True: pass", limit=0.3) == (
        "line 4: it did not finish within 0.3 seconds: is there an endless loop?"
    )


def test_a_process_that_ends_by_itself() -> None:
    assert checked("os._exit(3)") == "the process exited (code 3) before the check was complete"


def test_a_report_that_the_file_writes_itself_does_not_count() -> None:
    line = "import json, glob, sys, tempfile; "
    line += "paths = sys.argv[3:] or [f[:-6] for f in glob.glob(tempfile.gettempdir() + '/*/report.json.trace')]; "
    line += "[open(path, 'w').write(chr(10) + json.dumps({})) for path in paths]; os._exit(0)"
    assert checked(line) == "it wrote a report of its own, which does not count"


def test_endless_output_is_not_kept() -> None:
    tracemalloc.start()
    message = checked("while True: os.write(1, bytes(1 << 16)), os.write(2, bytes(1 << 16))", limit=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message == "line 4: it did not finish within 0.5 seconds: is there an endless loop?"
    assert peak < 1_000_000


def test_the_end_of_stderr_is_shown() -> None:
    assert checked("os.write(2, b'x' * 99_999 + bytes([10]) + b'the end'); os._exit(3)").endswith("complete: the end")


@pytest.mark.skipif(os.name == "nt", reason="a process group, and fork")
def test_a_process_that_the_file_starts_ends_with_the_check() -> None:
    start = time.monotonic()
    start_one = "if (pid := os.fork()) == 0:\n    time.sleep(60)\nopen('pid', 'w').write(str(pid))\n"
    source = f"import os, time\n{start_one}def exp_backward(dy, saved):\n    return dy * saved,\n"
    Path("exp.py").write_text(source, encoding="utf-8")
    assert check(DRILLS["exp"], Path("exp.py")).ok
    assert time.monotonic() - start < 30
    pid = int(Path("pid").read_text(encoding="utf-8"))
    for _ in range(100):  # until it is reaped, by whom it was left to
        stat = Path(f"/proc/{pid}/stat")
        if not Path("/proc").exists() or not stat.exists() or stat.read_text(encoding="utf-8").split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} is still there")


@pytest.mark.skipif(os.name == "nt", reason="Windows sets no limit to a process from inside")
def test_huge_memory() -> None:
    message = checked("return np.zeros((10**6, 10**6)),")
    assert message.startswith("line 4: asks for more memory than a drill may have (Unable to allocate 7.28 TiB")
