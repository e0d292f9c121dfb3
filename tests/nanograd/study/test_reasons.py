"""The reasons of every op: one for each numbered line, and definitions that the lines use."""

import pytest

from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.evaluator import parse_code
from nanograd.study.helpers import HELPERS, helpers_used
from nanograd.study.line_code import op_code
from nanograd.study.program import outputs
from nanograd.study.reasons import REASONS, families


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_numbered_line_has_its_own_reason(name: str) -> None:
    lines = [line.number for line in derivation(name)]
    reasons = [REASONS[name].line(number).why for number in lines]
    assert len(REASONS[name].lines) == len(lines)
    assert len(set(reasons)) == len(lines)


def test_reasons_and_chapters_are_those_of_the_ops() -> None:
    assert set(REASONS) == set(OPS)
    assert list(families())[:3] == ["arithmetic", "power", "trig"]
    assert sorted(name for names in families().values() for name in names) == sorted(OPS)


def test_every_definition_and_helper_is_used() -> None:
    """A definition is used by a line, a reference or another definition; `mean` also by the name of ⟨x⟩."""
    used: set[str] = set()
    for name in OPS:
        code = op_code(name)
        expressions = [e for line in code.lines.values() for e in (line.code, line.reference or "0", *line.also)]
        read = set().union(*(parse_code(e)[1] for e in (*expressions, *code.definitions.values())))
        assert set(REASONS[name].definitions) <= read | set(outputs(name)), name
        used |= read
    assert set(helpers_used(frozenset(used))) == set(HELPERS)
