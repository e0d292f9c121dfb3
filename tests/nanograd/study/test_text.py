"""A study as text: the derivation, its checks and its numbers, of every op."""

import re

import pytest

from nanograd.__main__ import main
from nanograd.op import OPS
from nanograd.study.line_code import op_code
from nanograd.study.reasons import REASONS, Reasons
from nanograd.study.study_data import study_op
from nanograd.study.text import to_text_page


def study(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["study", *arguments])
    expected = capsys.readouterr()
    return code, expected.out, expected.err


def test_text_without_an_op_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = study(capsys, "--format", "text")
    assert code == 0
    lines = out.splitlines()
    assert "square                y = x²" in lines
    assert [line.split()[0] for line in lines[: len(OPS)]] == sorted(OPS)
    assert max(map(len, lines)) <= 80


def test_a_wrong_shape_is_no_infinite_error(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = study(capsys, "embedding", "--format", "text")
    assert "    wrong shape, or not finite\n" in out
    assert "error inf" not in out


def test_text_holds_the_derivation_its_checks_and_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = study(capsys, "softmax", "--format", "text")
    assert (code, err) == (0, "")
    for expected in (
        "\n  (5)   dx_i = y_i (dy_i - Σ_j dy_j y_j)\n",
        "✓ equals the result of the op, to ",
        "✓ equals finite differences of (1), to ",
        "  Check: dx sums to zero along `axis`: a number added to all",
        "a test with y.sum()",
        "nanograd/ops/softmax.py:",
    ):
        assert expected in out
    assert "WRONG" not in out
    assert out == study(capsys, "softmax", "--format", "text")[1]
    assert out != study(capsys, "softmax", "--format", "text", "--seed", "1")[1]


def test_every_op_as_text(op_name: str) -> None:
    study = study_op(op_name)
    assert study.right, [step.verdict for step in study.steps]
    text = to_text_page(study)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"({step.line.number})" in text for step in study.steps)


def test_a_line_that_does_not_hold_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = REASONS["square"]
    wrong = reasons.line(2)._replace(words="1.01 * ({})")
    monkeypatch.setitem(REASONS, "square", Reasons(reasons.line(1), wrong))
    op_code.cache_clear()
    code, out, _ = study(capsys, "square", "--format", "text")
    op_code.cache_clear()
    assert code == 1
    assert re.search(r"✗ WRONG: is not finite differences of the op.*off by 1\.0e-02", " ".join(out.split()))
