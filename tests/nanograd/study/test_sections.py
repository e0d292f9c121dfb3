"""The first half of a page: the derivation and the worksheet."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nanograd.op import OPS
from nanograd.study.derivation import CHAIN_RULE, UPSTREAM, derivation
from nanograd.study.notation import parse, to_mathml
from nanograd.study.page import study_page
from nanograd.study.sections import derivation_section, worksheet_section
from nanograd.study.study_data import study_op
from nanograd.study.text import to_text_page


def test_a_line_that_does_not_hold_is_told_so(text_of: Callable[[str], str]) -> None:
    known = study_op("softmax")
    step = known.steps[2]
    assert step.checked is not None
    wrong = step._replace(checked=step.checked._replace(error=0.25))
    text = text_of(derivation_section(replace(known, steps=(wrong,))))
    assert "✗ WRONG: is not" in text
    assert "off by 2.5e-01" in text


def test_the_paper_drill_is_the_ops_gradient(text_of: Callable[[str], str], by_hand: Callable[..., Any]) -> None:
    worked = by_hand("mul", [[1.0, 2.0]], [3.0, 4.0], dy=[[10.0, 100.0]])
    drill = worksheet_section(worked)
    assert re.findall(r'aria-label="([^"]*)" .*? data-answer="([^"]*)"', drill.replace("<input", "\n<input")) == [
        ("da[0, 0]", "30"),
        ("da[0, 1]", "400"),
    ]
    assert 'data-tolerance="4"' in drill
    assert "db (2,) 0 1 0 10 200" in text_of(drill.partition("<details>")[2])


def test_a_page_begins_with_what_dy_is_and_with_the_chain_rule() -> None:
    page = study_page("tanh", linked=True)
    head = page.partition("<header>")[2].partition("</header>")[0]
    assert UPSTREAM in head
    plain = re.compile(' class="[^"]*"')  # a page colours the symbols of its example
    assert plain.sub("", f'{to_mathml(parse(CHAIN_RULE))} (*) <a href="chain_rule.html">') in plain.sub("", head)
    assert "chain_rule.html" not in study_page("tanh")
    text = to_text_page(study_op("tanh"))
    assert text.index("dy is ∂L/∂y") < text.index(f"The chain rule: {CHAIN_RULE}   (*)") < text.index("FORWARD")


def test_a_derivation_that_uses_the_chain_rule_quotes_it() -> None:
    prose = {name: "\n".join(inspect.getdoc(f) or "" for f in OPS[name].pair) for name in OPS}
    assert [name for name, text in prose.items() if re.search(r"chain rule(?!\s\(\*\))", text)] == []
    assert {name for name, text in prose.items() if "chain rule" in text} >= {
        "softmax",
        "layernorm",
        "linear",
        "matmul",
    }


def test_an_indicator_is_explained_where_it_is_first_used() -> None:
    for name in ("softmax", "layernorm", "tril", "max"):
        said = [bool(step.line.indicator) and step.line.indicator in step.check.why for step in study_op(name).steps]
        first = [bool(line.indicator) for line in derivation(name)].index(True)
        assert said[first]
        assert sum(said) == 1
    assert derivation("max")[1].indicator == "1[x_i = y] is 1 where x_i = y, and 0 elsewhere."
    assert derivation("exp")[1].indicator == ""
