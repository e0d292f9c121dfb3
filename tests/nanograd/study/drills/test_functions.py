"""Drills on functions that are no backward: the reference is right, mistakes are named, the file stands alone."""

import ast
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanograd.__main__ import main
from nanograd.nn import Parameter
from nanograd.optim import Muon
from nanograd.optim import newton_schulz as stacked
from nanograd.study.drills import EXERCISES
from nanograd.study.drills.check_file import grade_file
from nanograd.study.drills.drill import Mutant
from nanograd.study.drills.functions import FunctionDrill, function_file, grade_function, plant_in

FUNCTIONS = {name: drill for name, drill in EXERCISES.items() if isinstance(drill, FunctionDrill)}
MUTANTS = [(name, mutant) for name, drill in FUNCTIONS.items() for mutant in drill.mutants]
EMPTY = "    raise NotImplementedError  # write the function here\n"


def by_svd(g: np.ndarray) -> np.ndarray:
    u, s, vh = np.linalg.svd(g, full_matrices=False)
    s /= math.sqrt(np.square(s).sum()) + 1e-7
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return np.asarray((u * s @ vh).astype(g.dtype))


def step(w: np.ndarray, g: np.ndarray, m: np.ndarray, *, lr: float, weight_decay: float) -> list[np.ndarray]:
    m = m + 0.05 * (g - m)
    o = stacked((m + 0.05 * (g - m))[None])[0]
    return [w * (1 - lr * weight_decay) - o * (lr * 0.2 * max(w.shape) ** 0.5), m]


ALTERNATIVES: dict[str, Callable[..., Any]] = {"newton_schulz": by_svd, "muon_step": step}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_reference_and_an_alternative_are_right(name: str) -> None:
    drill = FUNCTIONS[name]
    for function in (drill.function, ALTERNATIVES[name]):
        verdict = grade_function(drill, function)
        assert verdict.ok, verdict.message
        assert verdict.passed == ["shape and dtype", "mutation", *drill.properties, "numbers", *drill.more]


@pytest.mark.parametrize(("name", "mutant"), MUTANTS, ids=[f"{name}: {mutant.name}" for name, mutant in MUTANTS])
def test_a_named_mistake_is_recognised(name: str, mutant: Mutant) -> None:
    verdict = grade_function(FUNCTIONS[name], plant_in(FUNCTIONS[name], mutant))
    assert not verdict.ok
    assert verdict.mistakes == [f"“{mutant.name}”: {mutant.wrong}"]


def test_the_references_are_the_product() -> None:
    rng = np.random.default_rng(0)
    for shape in ((4, 9), (9, 4), (5, 5)):
        g = rng.standard_normal(shape)
        np.testing.assert_allclose(FUNCTIONS["newton_schulz"].function(g), stacked(g[None])[0], atol=1e-12)
        w, m = rng.standard_normal(shape), np.zeros(shape)
        p = Parameter(w.copy())
        muon = Muon([("w", p)], 0.1, matrices={"w": shape[:1]}, weight_decay=0.3)
        for _ in range(3):
            p.grad = rng.standard_normal(shape)
            w, m = FUNCTIONS["muon_step"].function(w, p.grad, m, lr=0.1, weight_decay=0.3)
            muon.step()
            np.testing.assert_allclose(p.data, w, atol=1e-12)


BODIES = [
    ("newton_schulz", "return np.linalg.qr(g)[0] if g.shape[0] > 4 else np.linalg.qr(g.T)[0].T",
     ["✗ singular vectors\n    the result has other singular vectors than g"]),
    ("newton_schulz", "x = g / math.sqrt((g * g).sum())\nfor _ in range(12):\n"
     "    x = (15 * x - 10 * x @ x.T @ x + 3 * x @ x.T @ x @ x.T @ x) / 8\nreturn x",
     ["✓ singular values\n  ✗ numbers\n    y differs, most at ["]),
    ("newton_schulz", "return g / math.sqrt((g * g).sum())",
     ["✗ singular values\n    the singular values should be from 0.65 to 1.25, got 0."]),
    ("newton_schulz", "g /= math.sqrt((g * g).sum()) + 1e-7\nfor _ in range(5):\n    xx = g @ g.T\n"
     "    g = 3.4445 * g + (2.0315 * xx @ xx - 4.775 * xx) @ g\nreturn g",
     ["✗ mutation\n    g was written into: return new arrays, with g (4, 16)"]),
    ("newton_schulz", "return g @ g.T", ["✗ shape and dtype\n    y must have the shape (4, 16), got (4, 4)"]),
    ("newton_schulz", "return g.astype(float)",
     ["y must have the dtype of the arguments, float32, got float64"]),
    ("newton_schulz", "return g.tolist()", ["return (y), got 4 results"]),
    ("newton_schulz", "return 1.0", ["y must be an array, got float"]),
    ("newton_schulz", "import sys; sys.exit()",
     ["line 21: sys.exit() ends the program; a function returns arrays, with g (4, 16)"]),
    ("newton_schulz", "return g @ g", ["line 21: ValueError: matmul"]),
    ("muon_step", "return w", ["return (w, m), got 1 results"]),
    ("muon_step", "m = 0.95 * m + 0.05 * g\no = orthogonalise(m[None])[0]\n"
     "return w - lr * (weight_decay * w + 0.2 * math.sqrt(max(w.shape)) * o), m",
     ["w differs, most at [", "; m is right, with w (4, 6)", "lr=0.1", "“no looking ahead”"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "body", "wanted"), BODIES, ids=[body[:40] for _, body, _ in BODIES])
def test_a_typical_answer_gets_the_right_reply(name: str, body: str, wanted: list[str]) -> None:
    from nanograd.study.drills.command import report

    text = function_file(FUNCTIONS[name])
    assert text.count(EMPTY) == 1
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    reply = report(FUNCTIONS[name], grade_file(FUNCTIONS[name], text.replace(EMPTY, indented).encode()))
    for words in wanted:
        assert words in reply, reply


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_file_stands_alone(name: str) -> None:
    text = function_file(FUNCTIONS[name])
    assert max(map(len, text.splitlines())) <= 124
    assert ast.get_docstring(ast.parse(text)).startswith(f"Drill {name}: write {name}.")
    verdict = grade_file(FUNCTIONS[name], text.encode())
    assert verdict.message.partition(": ")[2].startswith("the function is not written yet")
    for source, message in (
        ("x = 1", f"it defines no function {name}"),
        (f"def {name}(): pass", f"{name} must be callable as {name}("),
    ):
        assert grade_file(FUNCTIONS[name], source.encode()).message.startswith(message)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_hints_begin_with_a_question(name: str) -> None:
    hints = FUNCTIONS[name].hints
    assert hints[0].endswith("?")
    assert len(set(hints)) == 4


def test_from_start_to_solved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["drill", "start", "newton_schulz"]) == 0
    assert "Write newton_schulz in it" in capsys.readouterr().out
    assert main(["drill", "show", "newton_schulz", "--yes"]) == 0
    shown = capsys.readouterr().out
    path = Path("drills/newton_schulz.py")
    code = shown[shown.index("    x = g /") :]
    path.write_text(path.read_text(encoding="utf-8").replace(EMPTY, code), encoding="utf-8")
    assert main(["drill", "check", "newton_schulz"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("newton_schulz: right.\n  ✓ shape and dtype")
    assert "read: python -m nanograd study muon; python -m gpt guide 8" in output
    assert "next: python -m nanograd drill start muon_step" in output
