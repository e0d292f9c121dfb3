"""The error of finite differences over the step size."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from nanograd.study.markup import error
from nanograd.study.step_size_plot import describe, step_errors, svg
from nanograd.study.step_size_plot import table as plot_table
from nanograd.study.worked_example import run_example


def test_errors_of_differences_by_hand(by_hand: Callable[..., Any]) -> None:
    steps = step_errors(by_hand("square", [3.0], dy=[2.0]), 0)  # slope 12; (y(x + h) - y(x)) dy / h = 12 + 2 h
    assert steps[0].forward == pytest.approx(2 / 12)
    assert steps[1].forward == pytest.approx(0.2 / 12)
    assert max(step.central for step in steps[:5]) < 1e-10
    assert steps[-1].central > 1e-6  # 16 digits, of which 13 cancel
    assert "no third derivative" in describe(steps)
    cube = step_errors(by_hand("exp", [0.0], dy=[1.0]), 0)
    assert cube[0].central == pytest.approx(math.sinh(1) - 1)
    assert "like h²" in describe(cube)
    assert "linear in this input" in describe(step_errors(by_hand("neg", [1.0]), 0))


def test_a_step_out_of_the_domain(text_of: Callable[[str], str], by_hand: Callable[..., Any]) -> None:
    steps = step_errors(by_hand("log", [0.5], dy=[1.0]), 0)
    assert steps[0].central == math.inf
    assert "A step larger than 0.1 leaves the op's domain" in describe(steps)
    assert "not finite" in text_of(plot_table(steps))
    assert "inf" not in svg(steps)


def test_the_curve_has_a_table_of_the_same_numbers(
    text_of: Callable[[str], str], read_html: Callable[[str], Any]
) -> None:
    steps = step_errors(run_example("softmax"), 0)
    text = text_of(plot_table(steps))
    assert all(error(value) in text for step in steps for value in (step.forward, step.central))
    drawn = svg(steps)
    assert drawn.count("<circle") == drawn.count("<rect") == len(steps) == 14
    read_html(drawn)
