"""The book on paper: A4, white, nothing cut at the right edge, numbered pages, running heads, an outline."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanograd.op import OPS
from nanograd.study.book import book

pytestmark = pytest.mark.browser
INCH = 96  # CSS pixels
TEXT_WIDTH = (210 - 2 * 16) / 25.4 * INCH  # between the margins
OVER = """(width) => [...document.querySelectorAll("body *")].filter((e) => !e.closest("svg")
  && (e.getBoundingClientRect().right > width + 1 || (e.matches("pre, .math, table") && e.scrollWidth > e.clientWidth + 1)))
  .map((e) => [e.closest("article")?.id, e.tagName, e.textContent.slice(0, 60)])"""
STRANDED = """() => [...document.querySelectorAll("h2, h3, h4, thead")]
  .filter((e) => getComputedStyle(e).breakAfter !== "avoid").map((e) => e.textContent)"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.html"
    book().save(path)
    return path


@pytest.fixture
def page(quietly: Callable[..., Any], path: Path) -> Any:
    page = quietly(path.as_uri(), color_scheme="dark", viewport={"width": round(TEXT_WIDTH), "height": 1000})
    page.emulate_media(media="print")
    return page


def test_nothing_is_cut_at_the_right_edge(page: Any) -> None:
    assert page.evaluate(OVER, TEXT_WIDTH) == []


def test_paper_is_white_and_no_heading_stays_behind(page: Any, poor_contrast: Callable[[Any], list[Any]]) -> None:
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert poor_contrast(page) == []
    assert page.evaluate(STRANDED) == []


def test_as_a_pdf(page: Any) -> None:
    pdf = page.pdf(outline=True, tagged=True, prefer_css_page_size=True, print_background=True)
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
    assert {(round(float(w)), round(float(h))) for w, h in boxes} == {(595, 842)}  # A4 in points
    pages = len(re.findall(rb"/Type /Page\b(?!s)", pdf))
    assert len(OPS) < pages <= 130
    assert len(pdf) < 12_000_000
    assert b"/Outlines" in pdf
    assert pdf.count(b"/Title") > len(OPS)  # a bookmark for every op, and more
