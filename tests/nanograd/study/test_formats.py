"""A study as text, LaTeX and JSON: the derivation, its checks and its numbers, of every op."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nanograd.__main__ import main
from nanograd.op import OPS

KEYS = {
    "op", "call", "summary", "check", "seed", "right", "inputs", "options", "y", "dy", "gradients", "lines", "remarks",
    "cost", "mistakes", "code",
}  # fmt: skip


def study(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["study", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_text_without_an_op_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = study(capsys, "--format", "text")
    assert code == 0
    lines = out.splitlines()
    assert "square                y = x²" in lines
    assert [line.split()[0] for line in lines[: len(OPS)]] == sorted(OPS)
    assert max(map(len, lines)) <= 80


def test_text_holds_the_derivation_its_checks_and_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = study(capsys, "softmax", "--format", "text")
    assert (code, err) == (0, "")
    for said in (
        "\n  (3)   dx_i = y_i (dy_i - Σ_j dy_j y_j)\n",
        "✓ equals what the op computes, to ",
        "✓ equals finite differences of (1), to ",
        "  Check: dx sums to zero along `axis`, since shifting x changes nothing.",
        "a test with y.sum()",
        "nanograd/ops/softmax.py:",
    ):
        assert said in out
    assert "WRONG" not in out
    assert out == study(capsys, "softmax", "--format", "text")[1]
    assert out != study(capsys, "softmax", "--format", "text", "--seed", "1")[1]


def test_numbers_follow_from_those_of_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = study(capsys, "square", "--format", "json", "--shape", "3")
    assert code == 0
    data = json.loads(out)
    assert set(data) == KEYS
    (x,) = data["inputs"]
    assert (x["name"], x["shape"], x["dtype"]) == ("x", [3], "float64")
    dy = data["dy"]["values"]
    assert len(set(dy)) == 3  # never uniform
    np.testing.assert_allclose(data["y"]["values"], [value * value for value in x["values"]])
    np.testing.assert_allclose(
        data["gradients"]["x"]["values"], [2 * a * b for a, b in zip(x["values"], dy, strict=True)]
    )
    one, two = data["lines"]
    assert (one["number"], one["side"], one["text"], one["latex"]) == (1, "forward", "y = x²", "y = x^{2}")
    assert (two["number"], two["side"], two["text"], two["tail"]) == (2, "backward", "dx = 2 x dy", "")
    assert two["mathml"].startswith("<math")
    assert two["values"]["dx"]["values"] == pytest.approx(data["gradients"]["x"]["values"])
    assert two["check"]["right"] is True
    assert data["right"] is True


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_in_every_format(name: str) -> None:
    from nanograd.study.data import to_json
    from nanograd.study.facts import facts
    from nanograd.study.latex import document
    from nanograd.study.text import to_text_page

    studied = facts(name)
    assert studied.right, [step.verdict for step in studied.steps]
    text = to_text_page(studied)
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"({step.line.number})" in text for step in studied.steps)
    data = json.loads(to_json(studied), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert set(data) == KEYS
    assert [line["number"] for line in data["lines"]] == [step.line.number for step in studied.steps]
    latex = document([studied])
    assert latex.isascii()
    assert "[U+" not in latex
    braces = re.sub(r"\\[\\{}]|\\begin\{verbatim\}.*?\\end\{verbatim\}", "", latex, flags=re.DOTALL)
    assert braces.count("{") == braces.count("}")
    environments = re.findall(r"\\(begin|end)\{(\w+\*?)\}", latex)
    opened = []
    for what, environment in environments:
        if what == "begin":
            opened.append(environment)
        else:
            assert opened.pop() == environment
    assert not opened


def test_a_line_that_does_not_hold_is_seen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from nanograd.study.twins import TWINS

    right = TWINS["square"][2]
    monkeypatch.setitem(TWINS["square"], 2, right._replace(code=f"1.01 * ({right.code})"))
    code, out, _ = study(capsys, "square", "--format", "text")
    assert code == 1
    assert re.search(r"✗ WRONG: is not finite differences of the op.*off by 1\.0e-02", " ".join(out.split()))
    code, out, _ = study(capsys, "square", "--format", "json")
    assert code == 1
    assert json.loads(out)["lines"][1]["check"]["right"] is False


def test_numbers_that_json_has_not_are_words() -> None:
    from nanograd.study.data import _plain

    assert _plain([1.5, float("nan"), float("inf"), -np.inf, None, True, np.float32(2), (slice(1, 2),)]) == [
        1.5, "NaN", "Infinity", "-Infinity", None, True, 2.0, ["slice(1, 2, None)"],
    ]  # fmt: skip


@pytest.mark.slow
def test_latex_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex: apt-get install texlive-latex-base")
    monkeypatch.chdir(tmp_path)
    assert study(capsys, "--book", "--format", "latex", "--out", "book.tex")[0] == 0
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "book.tex"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in (tmp_path / "book.log").read_text(encoding="latin-1")
