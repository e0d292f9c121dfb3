"""Find the bug: the code shown has exactly one wrong line; its number and its correction are graded."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nanograd.__main__ import main
from nanograd.study.drills import BUGS
from nanograd.study.drills.bugs import bug_file, bug_solution, grade_bug
from nanograd.study.drills.calls import make_call, near, observe
from nanograd.study.drills.check_file import grade_file


def test_the_ops_of_a_gpt_have_a_bug_to_find() -> None:
    wanted = {"mul", "matmul", "softmax", "layernorm", "attention", "cross_entropy", "embedding"}
    assert {bug.drill.name for bug in BUGS.values()} >= wanted


@pytest.mark.parametrize("name", BUGS)
def test_one_line_is_wrong_and_its_correction_is_right(name: str) -> None:
    bug = BUGS[name]
    changed = [i for i, (a, b) in enumerate(zip(bug.right, bug.wrong, strict=True), start=1) if a != b]
    assert changed == [bug.line]
    assert 1 < bug.line < len(bug.wrong)  # neither the def nor the return
    right = bug.right[bug.line - 1].strip()
    verdict = grade_bug(bug, bug.line, right)
    assert verdict.ok, verdict.message
    assert bug.mutant.wrong in verdict.notes[0]
    for line in range(2, len(bug.wrong) + 1):
        assert (grade_bug(bug, line, right).failed == "the line") == (line != bug.line)


@pytest.mark.parametrize("name", BUGS)
def test_a_line_for_each_gradient_changes_no_number(name: str) -> None:
    bug = BUGS[name]
    for case in bug.drill.cases:
        call = make_call(bug.drill, case)
        ours, reference = (observe(bug.drill, f, call).gradients for f in (bug.backward(bug.right), bug.drill.backward))
        assert all(x is y or near(x, y) for x, y in zip(ours, reference, strict=True))


@pytest.mark.parametrize("name", BUGS)
def test_the_file_shows_code_and_numbers_and_no_answer(name: str) -> None:
    bug = BUGS[name]
    text = bug_file(bug)
    assert max(map(len, text.splitlines())) <= 124
    assert bug.right[bug.line - 1].strip() not in text
    assert f"{bug.line}  {bug.wrong[bug.line - 1]}" in text
    wrong = [gradient for gradient, (ours, right) in bug.gradients.items() if not near(ours, right)]
    assert wrong
    assert all((f"{gradient} by this code:" in text) == (gradient in wrong) for gradient in bug.gradients)
    verdict = grade_file(bug, text.encode())
    assert (verdict.failed, verdict.message) == (
        "the line", f"set `line` to a number from 2 to {len(bug.wrong) - 1}, got 0"
    )  # fmt: skip
    assert f"# Line {bug.line} was: " in bug_solution(bug)


ANSWERS = [
    ("'4'", "''", "the line", "set `line` to a number from 2 to 4, got '4'"),
    ("True", "''", "the line", "set `line` to a number from 2 to 4, got True"),
    (
        "4",
        "''",
        "the line",
        "line 4 is right, though it may use a wrong value; dx is wrong because of a line further up",
    ),
    ("2", "''", "the line", "line 2 is right, and so is all that it uses; dx is wrong because of a line further down"),
    ("3", "''", "the correction", "line 3 it is. Now set `correction` to this line as it should be"),
    ("3", "7", "the correction", "line 3 it is."),
    ("3", "'row = ('", "the correction", "SyntaxError: "),
    ("3", "'row = dy.sum(axis=-1, keepdims=True)'", "the correction", "this is line 3 as it stands"),
    ("3", "'row = dyy'", "the correction", "with it, the stage “shape and dtype” fails: NameError: name 'dyy' is not"),
    ("3", "'row = (dy * y).mean(axis=-1, keepdims=True)'", "the correction", "with it, the stage “random dy” fails"),
    ("3", "'  row = np.einsum(\"...j,...j\", dy, y)[..., None]  # any right line'", "", ""),
]


@pytest.mark.parametrize(("line", "correction", "failed", "message"), ANSWERS, ids=[f"{a[0]} {a[1]}" for a in ANSWERS])
def test_answers_to_softmax(line: str, correction: str, failed: str, message: str) -> None:
    verdict = grade_file(BUGS["bug-softmax"], f"line = {line}\ncorrection = {correction}\n".encode())
    assert verdict.failed == failed
    assert verdict.message.startswith(message)
    if "mean" in correction:
        assert verdict.mistakes == [
            "“a mean for the sum”: Σ_j dy_j y_j is a sum, not a mean: the y_j already add up to 1"
        ]


def test_a_bug_from_start_to_solved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["drill", "start", "bug-mul"]) == 0
    assert "bug-mul.py is created. Find the wrong line in it" in capsys.readouterr().out
    path = Path("drills/bug-mul.py")
    answered = path.read_text(encoding="utf-8").replace("line = 0 ", "line = 4 ").replace('= ""', '= "db = dy * a"')
    path.write_text(answered, encoding="utf-8")
    assert main(["drill", "check", "bug-mul"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("bug-mul: right.\n  ✓ the line\n  ✓ the correction\n  line 4: ")
    assert output.endswith("; next: python -m nanograd drill start add\n")
    assert main(["drill", "show", "bug-mul"]) == 0
    assert main(["drill", "hint", "bug-mul"]) == 0
    assert "Hint 1 of 4: Which gradients are wrong?" in capsys.readouterr().out


def test_a_mistake_that_no_case_shows_is_refused() -> None:
    bug = BUGS["bug-embedding"]
    hidden = dataclasses.replace(bug, drill=dataclasses.replace(bug.drill, repeated_ids=(), odd_shapes=()))
    with pytest.raises(AssertionError, match="no case of the drill shows the mistake"):
        bug_file(hidden)


def test_rounded_numbers_still_differ() -> None:
    for bug in BUGS.values():
        pairs = [pair for pair in bug.gradients.values() if not near(*pair)]
        assert all(np.abs(np.subtract(*pair)).max() > 1e-2 for pair in pairs), bug.name
