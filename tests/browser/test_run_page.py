"""The page of a run in a real browser: its charts, its switches, at every width, dark and on paper."""

from collections.abc import Callable
from typing import Any

import pytest

import gpt
from gpt.runs.page import run_page

pytestmark = pytest.mark.browser
VISIBLE = """() => [...document.querySelectorAll(".charts svg[role=img]")].filter((e) => e.getClientRects().length)
  .map((e) => e.querySelector("title").textContent)"""
OVERLAPS = """() => [...document.querySelectorAll("svg[role=img]")].flatMap((svg) => {
  const boxes = [...svg.querySelectorAll("text")].map((e) => [e.textContent, e.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) => p.width && q.width
    && p.left < q.right && q.left < p.right && p.top + 3 < q.bottom && q.top + 3 < p.bottom).map(([b]) => [a, b]));
})"""
OUTSIDE = """() => [...document.querySelectorAll("svg[role=img]")].flatMap((svg) => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll(":not(title)")].filter((e) => e.getBoundingClientRect().right > frame.right + 1
    || e.getBoundingClientRect().left < frame.left - 1).map((e) => e.outerHTML);
})"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the page of two runs, of which one has the name that a careless page would run."""
    folder = tmp_path_factory.mktemp("runs")
    text = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
    names = "first run", "<script>alert(1)<\u2044script>"
    for i, name in enumerate(names):
        gpt.train(
            text, out=folder / name, quiet=True, max_steps=30, eval_every=5, d_model=16, n_layers=2 + 5 * i, n_heads=2,
            context_length=8, batch_size=2, tokenizer="char",
        )  # fmt: skip
    run_page([str(folder / name) for name in names]).save(folder / "page.html")
    return (folder / "page.html").as_uri()


def test_the_charts_are_there_and_follow_the_switches(quietly: Callable[..., Any], address: str) -> None:
    page = quietly(address)
    shown = page.evaluate(VISIBLE)
    assert len(shown) == 3 + 2 * 2
    assert all(title.endswith("by step") for title in shown)
    page.check("#time")
    assert page.evaluate(VISIBLE) == [title.replace("step", "wall-clock time (seconds)") for title in shown]
    first = page.locator(".charts svg[role=img]:visible").first
    before = first.inner_html()
    page.check("#log")
    assert len(page.evaluate(VISIBLE)) == len(shown)
    assert first.inner_html() != before


@pytest.mark.parametrize("width", [1280, 375])
def test_nothing_overlaps_or_is_cut(quietly: Callable[..., Any], address: str, width: int) -> None:
    page = quietly(address, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    if width == 1280:
        assert page.evaluate(OVERLAPS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(
    quietly: Callable[..., Any], poor_contrast: Callable[[Any], list[Any]], address: str, scheme: str
) -> None:
    assert poor_contrast(quietly(address, color_scheme=scheme)) == []


def test_on_paper_it_is_white_and_has_no_switches(quietly: Callable[..., Any], address: str) -> None:
    page = quietly(address, color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator(".switch").is_visible()
    assert len(page.evaluate(VISIBLE)) == 3 + 2 * 2
