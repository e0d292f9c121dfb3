"""Prose and comments write a local derivative with ∂, as the numbered lines do, whose parser refuses the other spelling."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
SYMBOL = r"(?:\w|weight|bias|logits)(?:_[a-z]{1,2})?\b"
OLD = re.compile(rf"(?<![\w/.])d(?:{SYMBOL}(?:\[[^\]]*\])?|⟨\w⟩)/d(?:{SYMBOL}|⟨| |\{{)")
SOURCES = [
    ROOT / "README.md",
    *(path for folder in ("nanograd", "gpt", "examples") for path in (ROOT / folder).rglob("*.py")),
]


def test_local_derivatives_are_written_with_a_curly_d() -> None:
    for path in SOURCES:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if path.name != "parser.py":
                assert not OLD.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


@pytest.mark.parametrize(
    "text", ["dy/dx", "so dn_j/dx_i = r", "d⟨x⟩/dx_i", "dL/dweight[5, 0]", "dL/d {name}", "(dy/d{name})"]
)
def test_the_old_spelling_is_seen(text: str) -> None:
    assert OLD.search(text)


@pytest.mark.parametrize("text", ["∂y/∂x", "dy/b", "x, d/2", "data/documents", "nanograd/drills", "dy / dim"])
def test_what_only_looks_alike_is_not(text: str) -> None:
    assert not OLD.search(text)
