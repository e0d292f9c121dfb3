"""Page 0, From one number to arrays: its numbers are computed, agree with measured ones, and wrong ones would show."""

import html
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanograd.inspect.player.html import number
from nanograd.study.lesson import Beside, Rows, Section
from nanograd.study.topics import chain_rule


def rows_of(section: Section) -> dict[str, list[str]]:
    """Return the rows of the tables of a section by their headers."""
    tables = [block.rows if isinstance(block, Beside) else block for block in section.blocks]
    return {line[0]: list(line[1:]) for block in tables if isinstance(block, Rows) for line in block.body}


def arrays_of(section: Section) -> dict[str, np.ndarray]:
    return {name: a for block in section.blocks if isinstance(block, dict) for name, a in block.items()}


def measured_and_computed() -> list[tuple[Any, Any]]:
    """Return what the page measures by finite differences beside what it computes by the rules that it teaches."""
    chain, fork = rows_of(chain_rule.chain()), rows_of(chain_rule.fan_out())
    many, moves = arrays_of(chain_rule.jacobian()), rows_of(chain_rule.shapes())
    pairs = [
        (chain["the same, measured"][-1], chain["dx = ∂L/∂x"][-1]),
        (fork["dx, measured"][-1], fork["dx"][-1]),
        (many["dx, measured"].round(6).tolist(), many["dx = Jᵀ dy"].round(6).tolist()),
    ]
    return pairs + [(float(a), pytest.approx(float(b), rel=0.02)) for a, b in moves.values()]


def test_what_is_computed_is_what_is_measured() -> None:
    assert all(measured == computed for measured, computed in measured_and_computed())


@pytest.mark.parametrize("wrong", ["cos", "jacobian"])
def test_a_wrong_derivative_would_show(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong == "cos":
        cos = math.cos
        monkeypatch.setattr(math, "cos", lambda x: 1.01 * cos(x))
    else:
        right = chain_rule.products_jacobian
        monkeypatch.setattr(chain_rule, "products_jacobian", lambda x: -right(x))
    assert not all(measured == computed for measured, computed in measured_and_computed())


def test_numbers_are_computed_when_the_page_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chain_rule.topic().text()
    monkeypatch.setattr(chain_rule, "X", 0.7)
    monkeypatch.setattr(chain_rule, "EXAMPLE", np.array([1.0, 3.0, -2.0]))
    after = chain_rule.topic().text()
    assert number(math.cos(1.5**2) * 3) in before
    assert number(math.cos(0.7**2) * 1.4) in after
    digits = r"-?\d+\.\d{3,}"
    common = set(re.findall(digits, before)) & set(re.findall(digits, after))
    assert len(common) < len(set(re.findall(digits, before))) / 2


def test_the_table_of_tests_tells_right_from_wrong() -> None:
    right, swapped, forgotten = rows_of(chain_rule.random_dy()).values()
    assert [right[1], right[3]] == ["no error", "no error"]
    for wrong in (swapped, forgotten):
        assert wrong[0] == right[0]
        assert wrong[1] == "no error"  # dy = 1 does not see it
        assert wrong[3].startswith("off by ")


def test_the_jacobian_is_counted() -> None:
    counts = rows_of(chain_rule.counted())
    n = chain_rule.TOKENS * chain_rule.FEATURES
    big = counts[f"y = x², {chain_rule.TOKENS} tokens of {chain_rule.FEATURES} features"]
    assert big == [f"{n:,}", f"{n:,}", f"{n * n:,}", f"{n:,}", "4.4 TB"]
    J = chain_rule.products_jacobian(chain_rule.EXAMPLE)
    assert counts["products of neighbours, as above"][2:4] == [str(J.size), str(np.count_nonzero(J))]


def test_the_page(whole_page: Callable[[str], Any], text_of: Callable[[str], str]) -> None:
    alone, linked = chain_rule.topic().page(), chain_rule.topic().page(linked=True)
    assert ".html" not in alone
    read = whole_page(linked)
    assert len(linked.encode()) < 100_000
    assert "script" not in {tag for tag, _ in read.tags}
    assert linked == chain_rule.topic().page(linked=True)
    for section in chain_rule.topic().sections:
        assert section.title.endswith("?")
        assert section.title in html.unescape(text_of(linked))
        for line in rows_of(section).values():
            assert all(cell in read.text or "_" in cell for cell in line), line


def test_the_text_has_80_columns() -> None:
    text = chain_rule.topic().text()
    assert max(map(len, text.splitlines())) <= 80
    assert "dx_i = Σ_j dy_j ∂y_j/∂x_i   (*)" in text
