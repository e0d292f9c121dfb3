"""The first half of a page: the derivation and the worksheet."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nanograd.study.sections import derivation_section, worksheet_section
from nanograd.study.study_data import study_op


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
    drill = worksheet_section(worked, "")
    assert re.findall(r'aria-label="([^"]*)" .*? data-answer="([^"]*)"', drill.replace("<input", "\n<input")) == [
        ("da[0, 0]", "30"),
        ("da[0, 1]", "400"),
    ]
    assert 'data-tolerance="4"' in drill
    assert "db (2,) 0 1 0 10 200" in text_of(drill.partition("<details>")[2])
    assert "<input" not in worksheet_section(worked, "", printed=True)
