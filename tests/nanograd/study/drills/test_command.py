"""python -m nanograd drill: files, hints, progress, and learners' code in a process of its own."""

import ast
import json
import os
import re
from pathlib import Path

import pytest

from nanograd.__main__ import main
from nanograd.study.drills import DRILLS, command
from nanograd.study.drills.check_file import YOUR_FILE, check, grade_file
from nanograd.study.drills.drill import learner_file


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drill(words: str) -> int:
    return main(["drill", *words.split()])


def solve(name: str, body: str) -> Path:
    """Write a body into the learner's file of a drill."""
    path = Path("drills") / f"{name}.py"
    text = path.read_text(encoding="utf-8")
    empty = "    raise NotImplementedError  # write the backward here\n"
    assert text.count(empty) == 1
    path.write_text(text.replace(empty, body), encoding="utf-8")
    return path


def test_from_start_to_solved(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("start tanh") == 0
    assert "tanh.py is made. Write tanh_backward in it" in capsys.readouterr().out
    assert drill("check tanh") == 1
    assert re.search(
        r"✗ shape and dtype\n    line \d+: the backward is not written yet$", capsys.readouterr().out.strip()
    )
    path = solve("tanh", "    return (dy * (1 - y),)\n")
    assert drill("check tanh") == 1
    said = capsys.readouterr().out
    assert "tanh: not yet.\n  ✓ shape and dtype\n  ✓ mutation\n  ✗ random cotangents\n    dx, with x (2, 3): " in said
    assert "This is the mistake “not squared”: the derivative is 1 - y², not 1 - y." in said
    path.write_text(path.read_text(encoding="utf-8").replace("(1 - y)", "(1 - y * y)"), encoding="utf-8")
    assert drill("check tanh") == 0
    said = capsys.readouterr().out
    assert said.startswith("tanh: right.\n  ✓ shape and dtype")
    assert f"1 of {len(DRILLS)} solved; next: python -m nanograd drill start mul" in said
    assert drill("list") == 0
    assert "  tanh           ✓ solved" in capsys.readouterr().out
    assert drill("show tanh") == 0
    assert "dx = dy (1 - y²)" in capsys.readouterr().out
    assert json.loads(Path("drills/progress.json").read_text(encoding="utf-8"))["tanh"] == {
        "checks": 3,
        "hints": 0,
        "solved": True,
    }


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("start mul --folder mine") == 0
    path = Path("mine/mul.py")
    path.write_text("precious", encoding="utf-8")
    assert drill("start mul --folder mine") == 2
    assert f"{path} is there already, and is left as it is" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "precious"


def test_hints_come_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    for n in (1, 2, 3):
        assert drill("hint softmax") == 0
        said = capsys.readouterr().out
        assert said.startswith(f"Hint {n} of 3: ")
        assert said.count("Hint") == 1
    assert drill("hint softmax") == 0
    said = capsys.readouterr().out
    assert said.count("Hint") == 3
    assert "There are no more; the reference: python -m nanograd drill show softmax --yes" in said
    drill("list")
    assert re.search(r"softmax +3 of 3 hints", capsys.readouterr().out)
    assert os.listdir("drills") == ["progress.json"]  # and no temporary file


def test_a_reference_is_not_shown_by_accident(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("show flash") == 1
    assert "flash is not solved yet; to see its reference all the same, add --yes" in capsys.readouterr().out
    assert drill("show flash --yes") == 0
    assert "def flash_backward(" in capsys.readouterr().out


WRONG = [
    ("check", "which drill? check NAME, with a name from: mul, add, "),
    ("check softmx", "there is no drill softmx; did you mean softmax?"),
    ("check zzz", "there is no drill zzz; see drill list"),
    ("check mul", "mul.py; make it with: python -m nanograd drill start mul"),
    ("watch mul", "mul.py; make it with: python -m nanograd drill start mul"),
    ("frob mul", "invalid choice: 'frob'"),
    ("check mul --seconds 0", "--seconds must be above 0, got 0"),
    ("check mul --seconds x", "invalid float value: 'x'"),
]


@pytest.mark.parametrize(("words", "said"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_calls(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert drill(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"mul": {"solved": 3}}', '{"mul": {"hints": "x"}}', '{"mul": {"more": 1}}']
)
def test_damaged_progress(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("drills").mkdir()
    Path("drills/progress.json").write_text(text, encoding="utf-8")
    assert drill("hint mul") == 2
    assert "progress.json is damaged; delete it to begin anew: your solutions stay" in capsys.readouterr().err
    assert Path("drills/progress.json").read_text(encoding="utf-8") == text


def test_watch_checks_again_when_saved(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    drill("start exp")
    turns = iter(["    return (y,)\n", None, "delete", "    return (dy * y,)\n"])

    def sleep(_: float) -> None:
        turn = next(turns, "stop")
        path = Path("drills/exp.py")
        if turn == "stop":
            raise KeyboardInterrupt
        if turn == "delete":
            path.unlink()
        elif turn is not None:
            text = learner_file(DRILLS["exp"]).replace(
                "    raise NotImplementedError  # write the backward here\n", turn
            )
            path.write_text(text, encoding="utf-8")

    def in_process(drill: object, path: Path, limit: float) -> object:
        return grade_file(drill, path.read_bytes())

    monkeypatch.setattr(command, "check", in_process)
    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr(command.watch, "__defaults__", (sleep,))
    assert drill("watch exp") == 0
    said = capsys.readouterr().out
    assert said.count("exp: not yet.") == 2  # empty, then without dy; not again while nothing is saved
    assert said.count("exp: right.") == 1


# What a learner's file may be


BROKEN = [
    ("def exp_backward(dy, saved:\n    return dy", r"^line 1: SyntaxError: "),
    ("if True:\nx = 1", r"^line 2: IndentationError: expected an indented block"),
    ("x = 1\n\0", r"null byte"),
    ("x = 1", r"^it defines no function exp_backward; that is the one to write$"),
    ("exp_backward = 3", r"^it defines no function exp_backward"),
    (
        "def exp_backward(dy): pass",
        r"^exp_backward must be callable as exp_backward\(dy, saved\), but is exp_backward\(dy\)$",
    ),
    ("import nothing_of_that_name", r"^line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'$"),
    ("import sys\nsys.exit(0)", r"^line 2: sys\.exit\(\) ends the program"),
    ("\n1 / 0", r"^line 2: ZeroDivisionError: division by zero$"),
]


@pytest.mark.parametrize(("source", "said"), BROKEN, ids=[source for source, _ in BROKEN])
def test_a_file_that_cannot_be_graded(source: str, said: str) -> None:
    verdict = grade_file(DRILLS["exp"], source.encode())
    assert verdict.failed == YOUR_FILE
    assert re.search(said, verdict.said)
    assert "\n" not in verdict.said


RAISING = [
    ("raise ValueError('two\\nlines')", "line 2: ValueError: two lines, with x (2, 3)"),
    ("import sys; sys.exit()", "line 2: sys.exit() ends the program; a backward returns gradients, with x (2, 3)"),
    ("return exp_backward(dy, saved)", "line 2: RecursionError: maximum recursion depth exceeded"),
    ("return input()", "line 2: "),
    ("raise MemoryError", "line 2: asks for more memory than a drill may have (MemoryError)"),
    ("dy *= saved; return dy,", "line 2: dy was written into: others still need it"),
]


@pytest.mark.parametrize(("line", "said"), RAISING, ids=[line for line, _ in RAISING])
def test_a_backward_that_raises(line: str, said: str) -> None:
    verdict = grade_file(DRILLS["exp"], f"def exp_backward(dy, saved):\n    {line}\n".encode())
    assert verdict.said.startswith(said)
    assert "\n" not in verdict.said


def test_what_raises_only_now_and_then() -> None:
    verdict = grade_file(
        DRILLS["exp"], b"n = [0] * 3\ndef exp_backward(dy, saved):\n    n.pop()\n    return dy * saved"
    )
    assert (verdict.failed, verdict.said) == ("mutation", "line 3: IndexError: pop from empty list")


def test_printing_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = grade_file(
        DRILLS["exp"], b"def exp_backward(dy, saved):\n    print('here', dy)\n    return dy * saved,\n"
    )
    assert verdict.ok
    assert verdict.notes == ["line 2 prints 'here': printing is free, and is not shown here"]
    assert capsys.readouterr().out == ""


def test_a_file_of_an_earlier_version_is_graded() -> None:
    """The file for `train` imported from a module that has another name now."""
    source = learner_file(DRILLS["train"]).replace("nanograd.study.drills.attention", "nanograd.drills.attend")
    assert "from nanograd.drills.attend import attention_forward" in source
    verdict = grade_file(DRILLS["train"], source.encode())
    assert verdict.failed == "shape and dtype"
    assert verdict.said.endswith("the backward is not written yet")


# In a process of its own


def checked(body: str, limit: float = 20.0) -> str:
    path = Path("exp.py")
    path.write_text(f"import numpy as np, os\n\ndef exp_backward(dy, saved):\n    {body}\n", encoding="utf-8")
    verdict = check(DRILLS["exp"], path, limit)
    assert verdict.ok == (not verdict.said)
    return verdict.said or "right"


def test_a_right_answer_through_the_process() -> None:
    assert checked("return dy * saved,") == "right"


def test_a_loop_that_never_ends() -> None:
    assert checked("while True: pass", limit=0.3) == (
        "line 4: it was not done after 0.3 seconds: is there a loop that never ends?"
    )


def test_a_process_that_ends_by_itself() -> None:
    assert checked("os._exit(3)") == "the process ended by itself (code 3) before the check was done"


@pytest.mark.skipif(os.name == "nt", reason="Windows sets no limit to a process from inside")
def test_huge_memory() -> None:
    said = checked("return np.zeros((10**6, 10**6)),")
    assert said.startswith("line 4: asks for more memory than a drill may have (Unable to allocate 7.28 TiB")


# The files that are handed out


@pytest.mark.parametrize("name", DRILLS)
def test_a_learners_file_stands_alone(name: str) -> None:
    text = learner_file(DRILLS[name])
    assert max(map(len, text.splitlines())) <= 124
    scope: dict[str, object] = {}
    exec(compile(text, f"{name}.py", "exec"), scope)
    given = DRILLS[name]
    for case in given.cases:
        y, saved = scope[given.forward.__name__](*case.arrays(), **case.options)
        assert y.tobytes() == given.forward(*case.arrays(), **case.options)[0].tobytes()
        with pytest.raises(NotImplementedError):
            scope[given.backward.__name__](y, saved)
    assert ast.get_docstring(ast.parse(text)).startswith(f"Drill {name}: write {given.backward.__name__}.")
