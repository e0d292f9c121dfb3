"""The book: one document without a script, the ops of a GPT first, exercises with solutions at the back, sources."""

import html
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanograd.inspect.player.html import number
from nanograd.op import OPS
from nanograd.study.book import book
from nanograd.study.book.chapters import is_hard
from nanograd.study.book.whole import NOTATION, order
from nanograd.study.course import STATIONS
from nanograd.study.helpers import HELPERS
from nanograd.study.notation import parse, to_text
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import run_example

CHOSEN = ["neg", "mul", "softmax", "rmsnorm"]


@pytest.fixture(scope="module")
def text() -> str:
    return book(CHOSEN)


def test_a_book_is_one_document_without_controls(text: str, whole_page: Callable[[str], Any]) -> None:
    read = whole_page(text)
    assert not [tag for tag, _ in read.tags if tag in ("script", "button", "input", "details")]
    assert "data-uses=" not in text
    assert book(["neg"]) == book(["neg"])


def test_the_ops_of_a_gpt_come_first_and_every_op_once() -> None:
    parts = order()
    names = [name for ops in parts.values() for name in ops]
    assert sorted(names) == sorted(OPS)
    course = [station.page for station in STATIONS if station.page in OPS]
    assert names[: len(course)] == course
    assert len(course) >= 20


def test_sections_are_numbered_in_the_order_of_the_book(text: str) -> None:
    found = re.findall(r'<h3 id="(\w+)-h"><span class="section">(\d+)</span>', text)
    assert found == [("mul", "1"), ("softmax", "2"), ("rmsnorm", "3"), ("neg", "4")]


def test_simple_ops_are_short_and_hard_ones_have_an_exercise(text: str, text_of: Callable[[str], str]) -> None:
    articles = dict(zip(re.findall(r'<article [^>]*id="(\w+)"', text), text.split("<article ")[1:], strict=True))
    for name, article in articles.items():
        study = study_op(name)
        parts = [f"{part}</h4>" in article for part in ("Worked example", "Mistakes")]
        assert parts == [is_hard(study)] * 2
        assert (f'id="exercise-{name}"' in article, f'id="solution-{name}"' in text) == (is_hard(study), is_hard(study))
        for i in study.worked.differentiated:
            assert all(number(v + 0.0) in text_of(article) for v in np.ravel(study.worked.gradients[i]))
    assert not is_hard(study_op("neg"))
    assert is_hard(study_op("attention"))


def test_solutions_stand_at_the_back_and_are_right(text: str, text_of: Callable[[str], str]) -> None:
    body, back = text.split('id="solutions"')
    worked = run_example("softmax", None, 1)
    wanted = [number(v + 0.0) for v in worked.gradients[0].ravel()]
    solution = text_of(back.partition('id="solution-softmax"')[2].partition('class="solution"')[0])
    assert all(value in solution for value in wanted)
    exercise = text_of(body.partition('id="exercise-softmax"')[2].partition("</div></div></div>")[0])
    assert not any(value in exercise.split() for value in wanted)


def test_what_every_op_shares_is_said_once(text: str) -> None:
    assert text.count("Error of finite differences over the step size") == 1  # the curve, in the introduction
    assert text.count("dy forgotten") == 1
    assert "Jacobian and shortcut" not in text
    assert all(text.count(f'<span class="d">{name}</span>') == 1 for name in HELPERS)


def test_citations_lead_to_sources_and_back(text: str) -> None:
    cited = dict(re.findall(r'<a href="#source-(\d+)">\[(\d+)\]</a>', text))
    listed = re.findall(r'<li id="source-(\d+)">(.*?)</li>', text)
    assert set(cited) == {n for n, _ in listed}
    assert all(n == shown for n, shown in cited.items())
    assert any('href="#rmsnorm"' in item and "1910.07467" in html.unescape(item) for _, item in listed)


def test_the_notation_is_that_of_the_formulas() -> None:
    for formula, _ in NOTATION:
        assert to_text(parse(formula)) == formula


def test_running_heads_name_the_op(text: str) -> None:
    assert '@page of-softmax { @top-right { content: "2  softmax"; } }' in text
    assert "size: A4" in text
