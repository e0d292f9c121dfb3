"""The guide in a real browser: its page at every width, dark and without a mouse; and its PDF."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.guide.chapter import chapters
from gpt.guide.html import build, convert
from gpt.guide.pdf import write_pdf

pytestmark = pytest.mark.browser
A4 = 595, 842  # points


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("guide") / "guide.html"
    build(chapters()).save(path)
    return path.as_uri()


@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_is_wider_than_the_window(quietly: Callable[..., Any], address: str, width: int) -> None:
    page = quietly(address, viewport={"width": width, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter((e) => !e.closest("svg, math, pre, .wide")
        && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert wide == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(
    quietly: Callable[..., Any], poor_contrast: Callable[[Any], list[Any]], address: str, scheme: str
) -> None:
    assert poor_contrast(quietly(address, color_scheme=scheme)) == []


def test_the_pdf_has_an_outline_and_right_page_numbers(tmp_path: Path) -> None:
    pypdf = pytest.importorskip("pypdf")
    guide = convert(chapters())
    path = tmp_path / "guide.pdf"
    count = write_pdf(guide, path)
    assert path.stat().st_size <= 15e6
    reader = pypdf.PdfReader(path)
    assert len(reader.pages) == count
    for one in reader.pages:
        assert (round(float(one.mediabox.width)), round(float(one.mediabox.height))) == pytest.approx(A4, abs=2)
    outline = [entry["/Title"] for entry in reader.outline if not isinstance(entry, list)]
    assert outline
    texts = [" ".join(one.extract_text().split()) for one in reader.pages]
    contents = re.sub(r"\s+", " ", " ".join(texts[1:8]))
    for heading in guide.headings:
        if heading.level > 2:
            continue
        number = re.search(rf"{re.escape(' '.join(heading.text.split()))} ?(\d+)", contents)
        if number is None:  # a formula in a heading is drawn, and is no text
            continue
        assert plain(heading.text) in plain(texts[int(number[1]) - 1]), (heading.text, number[1])
        assert number[1] in texts[int(number[1]) - 1].split()  # at the foot of the page


def plain(text: str) -> str:
    return re.sub(r"\W", "", text).lower()
