"""python -m nanograd drill: files, hints, progress, and learners' code in a process of its own."""

import json
import os
import re
from pathlib import Path

import pytest

from nanograd.__main__ import main
from nanograd.study.drills import DRILLS, EXERCISES, command
from nanograd.study.drills.check_file import grade_file
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
    assert "tanh.py is created. Write tanh_backward in it" in capsys.readouterr().out
    assert drill("check tanh") == 1
    assert re.search(
        r"✗ shape and dtype\n    line \d+: the backward is not written yet\n"
        r"  read: python -m nanograd study tanh; python -m gpt guide 6$",
        capsys.readouterr().out.strip(),
    )
    path = solve("tanh", "    return (dy * (1 - y),)\n")
    assert drill("check tanh") == 1
    output = capsys.readouterr().out
    assert "tanh: not yet.\n  ✓ shape and dtype\n  ✓ mutation\n  ✗ random dy\n    dx, with x (2, 3): " in output
    assert "This is the mistake “not squared”: the derivative is 1 - y², not 1 - y." in output
    path.write_text(path.read_text(encoding="utf-8").replace("(1 - y)", "(1 - y * y)"), encoding="utf-8")
    assert drill("check tanh") == 0
    output = capsys.readouterr().out
    assert output.startswith("tanh: right.\n  ✓ shape and dtype")
    assert "\n  read: python -m nanograd study tanh; python -m gpt guide 6\n" in output
    assert f"1 of {len(EXERCISES)} solved; next: python -m nanograd drill start gelu_tanh" in output
    assert drill("list") == 0
    output = capsys.readouterr().out
    assert "  tanh              ✓ solved" in output
    assert output.endswith("\nNext: python -m nanograd drill start gelu_tanh\n")
    assert drill("show tanh") == 0
    assert "dx = dy (1 - y²)" in capsys.readouterr().out
    assert json.loads(Path("drills/progress.json").read_text(encoding="utf-8"))["tanh"] == {
        "checks": 3,
        "hints": 0,
        "solved": True,
    }


def test_an_existing_file_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("start mul --folder mine") == 0
    path = Path("mine/mul.py")
    path.write_text("precious", encoding="utf-8")
    assert drill("start mul --folder mine") == 2
    assert f"{path} exists already and is not changed" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "precious"


def test_hints_come_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    for n in (1, 2, 3, 4):
        assert drill("hint softmax") == 0
        output = capsys.readouterr().out
        assert output.startswith(f"Hint {n} of 4: ")
        assert output.count("Hint") == 1
    assert drill("hint softmax") == 0
    output = capsys.readouterr().out
    assert output.count("Hint") == 4
    assert "There are no more hints. To see the reference: python -m nanograd drill show softmax --yes" in output
    drill("list")
    assert re.search(r"softmax +4 of 4 hints", capsys.readouterr().out)
    assert os.listdir("drills") == ["progress.json"]  # and no temporary file


def test_an_unsolved_reference_needs_yes(capsys: pytest.CaptureFixture[str]) -> None:
    assert drill("show flash") == 1
    assert "flash is not solved yet; to see the reference anyway, add --yes" in capsys.readouterr().out
    assert drill("show flash --yes") == 0
    assert "def flash_backward(" in capsys.readouterr().out


WRONG = [
    ("check", "drill check needs a NAME, one of: mul, bug-mul, add, "),
    ("check softmx", "there is no drill softmx; did you mean softmax?"),
    ("check zzz", "there is no drill zzz; see drill list"),
    ("check mul", "mul.py; create it with: python -m nanograd drill start mul"),
    ("watch mul", "mul.py; create it with: python -m nanograd drill start mul"),
    ("chekc mul", "got 'chekc'; did you mean check?"),
    ("frob mul", "must be list, start, check, watch, hint or show, got 'frob'"),
    ("check mul --seconds 0", "--seconds must be above 0, got 0"),
    ("check mul --seconds x", "argument --seconds: must be a number, got 'x'"),
]


@pytest.mark.parametrize(("words", "output"), WRONG, ids=[words for words, _ in WRONG])
def test_wrong_command_lines(words: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert drill(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert output in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"mul": {"solved": 3}}', '{"mul": {"hints": "x"}}', '{"mul": {"more": 1}}']
)
def test_damaged_progress(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("drills").mkdir()
    Path("drills/progress.json").write_text(text, encoding="utf-8")
    assert drill("hint mul") == 2
    assert (
        "progress.json is damaged; delete it to start again (this does not delete your solutions)"
        in capsys.readouterr().err
    )
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
    output = capsys.readouterr().out
    assert output.count("exp: not yet.") == 2  # empty, then without dy; not again while nothing is saved
    assert output.count("exp: right.") == 1


def test_the_next_drill_follows_the_course() -> None:
    """After attention come its bug and flash, not the first drill that was skipped; at the end, what was skipped."""
    names = [*EXERCISES]
    solved = command.Record(solved=True)
    assert command.next_drill({"attention": solved}, names.index("attention")) == "bug-attention"
    assert command.next_drill({"attention": solved}, names.index("bug-attention")) == "flash"
    assert command.next_drill({}, -1) == "mul"
    assert command.next_drill({"train": solved}, names.index("train")) == "mul"
    assert command.next_drill(dict.fromkeys(names, solved), 3) == ""


@pytest.mark.parametrize("name", DRILLS)
def test_hints_begin_with_a_question(name: str) -> None:
    hints = DRILLS[name].hints
    assert hints[0].endswith("?")
    assert "dx =" not in hints[0]
    assert len(set(hints)) == 4
