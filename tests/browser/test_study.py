"""The study pages in a real browser: from disk, by keyboard, narrow, zoomed, dark, on paper, and without script."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanograd.inspect.player.html import number
from nanograd.op import OPS
from nanograd.study.book import book
from nanograd.study.course import STATIONS, crumbs, pages
from nanograd.study.map import map_page
from nanograd.study.page import study_page
from nanograd.study.worked_example import run_example

pytestmark = pytest.mark.browser
KINDS = ("softmax", "layernorm", "attention", "concat", "map", "book")
NARROW = [
    {"viewport": {"width": 375, "height": 700}},
    {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},  # 1280 wide at 200 %
    {"viewport": {"width": 320, "height": 500}},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write one page of each kind, in a folder whose name is a nuisance in an address."""
    home = tmp_path_factory.mktemp("study") / "pages #1 ½"
    home.mkdir()
    for kind in KINDS:
        text = {"map": map_page, "book": lambda: book(["mul", "softmax"])}.get(
            kind, lambda name=kind: study_page(name, linked=True)
        )()
        (home / f"{kind}.html").write_text(text, encoding="utf-8")
    return home


@pytest.fixture
def opened(quietly: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Return a function that opens a page by its kind."""
    return lambda kind, fragment="", **options: quietly((folder / f"{kind}.html").as_uri() + fragment, **options)


def minus(value: float) -> str:
    return number(value).replace("-", "−")


def lit(page: Any, of: str) -> list[str]:
    texts: list[str] = page.locator(f"[data-of={of}] td.lit").all_inner_texts()
    return texts


def test_a_cell_lights_up_what_it_was_made_of(opened: Any) -> None:
    page, worked = opened("softmax"), run_example("softmax", (2, 4))
    row = [number(v) for v in worked.y[1]], [number(v) for v in worked.dy[1]]
    page.locator("[data-of=dx] tbody td").nth(6).click()
    assert (lit(page, "y"), lit(page, "dy")) == row  # the whole of its own row, as the sum in (3) runs over it
    assert lit(page, "x") == []
    said = page.locator(".readout p").all_inner_texts()
    y, dy = worked.y[1], worked.dy[1]
    numbers = f"{minus(y[2])} × ({minus(dy[2])} − {minus(dy @ y)})"
    assert said[0].startswith(f"dx1,2 = y1,2 (dy1,2 − Σ dy y) = {numbers} = ")
    assert said[0].endswith(f" = {minus(worked.gradients[0][1, 2])}")
    assert said[1].startswith("where Σ dy y = ")
    assert said[1].count(" × ") == 4
    assert page.locator(".picked").all_inner_texts() == [number(worked.gradients[0][1, 2])]


def test_the_keyboard_alone_reaches_every_cell(opened: Any) -> None:
    page = opened("layernorm")
    page.locator("[data-of=dx] tbody td").first.focus()
    seen = []
    for key in ("", *["ArrowRight"] * 7):  # over the end of the first row into the second
        if key:
            page.keyboard.press(key)
        seen.append(page.evaluate("document.activeElement.textContent"))
    assert seen == [number(v) for v in run_example("layernorm", (2, 4)).gradients[0].reshape(-1)]
    page.keyboard.press("ArrowUp")
    assert page.locator(".readout").inner_text().startswith("dx0,3 = r0,0 (dn0,3 − ⟨dn⟩")
    outline = "getComputedStyle(document.activeElement)"
    assert page.evaluate(f"{outline}.outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat({outline}.outlineWidth)") >= 3
    page.locator("[data-of=dbias] tbody td").nth(2).click()
    assert page.locator(".readout").inner_text().startswith("dbias2 = dy0,2 + dy1,2 = ")
    page.locator("[data-of=dx] tbody td").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('[data-of=dx]')") is None  # a table is one stop


def test_only_what_scrolls_is_a_stop(opened: Any, until: Any) -> None:
    stops = "[...document.querySelectorAll('[role=region][tabindex]')].map((e) => e.scrollWidth > e.clientWidth)"
    wide = opened("layernorm").evaluate(stops)
    assert wide == [True] * len(wide)
    assert len(wide) <= 1
    narrow = opened("layernorm", viewport={"width": 375, "height": 700})
    assert len(narrow.evaluate(stops)) > len(wide)
    region = narrow.locator("#mistakes .wide").first
    region.focus()
    narrow.keyboard.press("ArrowRight")
    until(narrow, "document.querySelector('#mistakes .wide').scrollLeft > 0")
    assert opened("layernorm", java_script_enabled=False).locator("[role=region]:not([tabindex])").count() == 0


def test_tables_of_a_stack_are_one_array(opened: Any) -> None:
    page = opened("softmax")
    cell = page.locator("[data-of='∂y/∂x'] tbody td").nth(16 + 4 + 2)  # dy_dx[1, 1, 2]
    cell.click()
    worked = run_example("softmax", (2, 4))
    assert lit(page, "y") == [number(worked.y[1, 1]), number(worked.y[1, 2])]
    assert page.locator(".readout").inner_text().startswith("∂y/∂x1,1,2 = y1,1 (0 − y1,2) = ")


def test_the_paper_drill_is_graded(opened: Any) -> None:
    page, right = opened("softmax"), run_example("softmax", (2, 4), 1).gradients[0].reshape(-1)
    fields = page.locator(".paper input")
    assert fields.count() == 8
    status = page.locator(".grade [role=status]")
    page.get_by_role("button", name="Check").click()
    assert status.inner_text() == "0 of 8 right. 8 still empty."
    for i, value in enumerate(right):
        fields.nth(i).fill(f"{value:.4f}".replace("-", "−"))
    fields.nth(0).fill(f"{right[0] + 0.2:.3f}".replace(".", ","))
    fields.nth(1).fill("one half")
    fields.nth(1).press("Enter")
    assert status.inner_text() == "6 of 8 right. 0 still empty."
    assert page.locator(".paper td span").all_inner_texts() == ["✗", "✗", *"✓✓✓✓✓✓"]
    assert [fields.nth(i).get_attribute("aria-invalid") for i in (0, 7)] == ["true", "false"]
    for i in (0, 1):
        fields.nth(i).fill(f"{right[i]:.4f}")
    fields.nth(1).press("Enter")
    assert status.inner_text() == "8 of 8 right. All right: this is the gradient."


def test_the_solution_can_be_shown(opened: Any) -> None:
    page = opened("softmax", java_script_enabled=False)
    solution = page.locator("#paper details .array").last
    assert not solution.is_visible()
    page.locator("#paper summary").click()
    assert solution.is_visible()
    assert number(run_example("softmax", (2, 4), 1).gradients[0][0, 0]) in solution.inner_text()


def test_boxes_of_the_map_lead_to_pages(opened: Any) -> None:
    page = opened("map")
    page.locator("svg a", has_text="softmax").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/softmax.html")
    assert page.locator("h1").inner_text() == "softmax, backward by hand"
    page.get_by_role("link", name="The course").click()
    page.wait_for_url("**/map.html")
    page.locator("summary", has_text="concat").click()
    page.locator("table.ops a", has_text=re.compile("^concat$")).click()
    page.wait_for_url("**/concat.html")
    page.go_back()
    assert page.locator("h1").inner_text() == "Backward passes by hand: the course"


def test_the_whole_model_is_seen_on_the_map_at_once(opened: Any) -> None:
    page = opened("map", viewport={"width": 1280, "height": 800})
    box = page.locator("svg.block").bounding_box()
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 800
    assert (
        page.evaluate(
            "[...document.querySelectorAll('main *')].filter((e) => /auto|scroll|hidden/.test(getComputedStyle(e).overflow)"
            " && (e.scrollHeight > e.clientHeight + 1 || e.scrollWidth > e.clientWidth + 1) && !e.matches('.unseen, svg'))"
            ".map((e) => e.outerHTML.slice(0, 80))"
        )
        == []
    )
    page.evaluate("scrollTo(0, 700)")
    assert page.evaluate("scrollY") > 0
    assert page.locator("svg.block").bounding_box()["y"] >= 0  # it stays in view


def test_next_leads_through_all_stations(quietly: Callable[..., Any], tmp_path: Path) -> None:
    order = pages()
    for name in order[: len(STATIONS) + 1]:
        (tmp_path / f"{name}.html").write_text(f"<p>{crumbs(name)}</p>", encoding="utf-8")
    page = quietly((tmp_path / "chain_rule.html").as_uri())
    for name in order[1 : len(STATIONS) + 1]:
        page.locator("a[rel=next]").click()
        page.wait_for_url(f"**/{name}.html")
    for name in reversed(order[: len(STATIONS)]):
        page.locator("a[rel=prev]").click()
        page.wait_for_url(f"**/{name}.html")


def test_pages_read_are_ticked_when_the_map_is_opened_again(opened: Any) -> None:
    page = opened("map")
    page.locator("[data-read=add]").check()
    page.reload()
    assert page.locator("[data-read]:checked").evaluate_all("(boxes) => boxes.map((box) => box.dataset.read)") == [
        "add"
    ]
    assert opened("map", java_script_enabled=False).locator("[data-read]:visible").count() == 0


def test_a_link_to_a_folded_section_shows_it(opened: Any) -> None:
    page = opened("softmax")
    assert not page.locator("#cost table").first.is_visible()
    page.locator(".contents a", has_text="Cost").click()
    assert page.locator("#cost table").first.is_visible()


def test_links_into_a_page_and_back(opened: Any) -> None:
    page = opened("softmax", "#mistakes")
    assert 0 <= page.locator("#mistakes").bounding_box()["y"] < 100
    page.locator(".contents a", has_text="Code").click()
    assert page.url.endswith("#code")
    page.go_back()
    assert page.url.endswith("#mistakes")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", NARROW, ids=["375 px", "200 %", "320 px"])
def test_no_page_scrolls_sideways(opened: Any, options: dict[str, Any], kind: str) -> None:
    page = opened(kind, **options)
    assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Any, poor_contrast: Any, kind: str, scheme: str) -> None:
    page = opened(kind, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    if cells := page.locator(".worked td.computed").all():
        cells[-1].click()
        page.locator(".paper input").first.fill("99")
        page.get_by_role("button", name="Check").click()
    assert poor_contrast(page) == []


def test_formulas_are_drawn_with_a_math_font(chromium: Any, folder: Path) -> None:
    page = chromium.new_page()  # not `opened`: some versions of Chromium complain of DOM.enable on a file
    page.goto((folder / "softmax.html").as_uri())
    assert page.evaluate("document.fonts.ready.then(() => [...document.fonts].map((font) => font.family))") == [
        "Embedded Math"
    ]
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument")["root"]["nodeId"]
    node = session.send("DOM.querySelector", {"nodeId": root, "selector": "#derivation math"})["nodeId"]
    fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
    assert {font["familyName"] for font in fonts} <= {"STIX Two Math", "Cambria Math", "Latin Modern Math"}
    heights = page.evaluate(
        "[...document.querySelectorAll('#derivation mo')].filter((e) => '()'.includes(e.textContent))"
        ".map((e) => e.getBoundingClientRect().height)"
    )
    assert max(heights) > 2 * min(heights)  # the parentheses around the sum of (3) grow with it


CUT = """() => {
  const outside = [...document.querySelectorAll("math")].filter((math) =>
    math.getBoundingClientRect().right > math.closest("div, p, td").getBoundingClientRect().right + 1);
  const cut = [...document.querySelectorAll("pre, .math, .title")].filter((e) => e.scrollWidth > e.clientWidth + 1);
  return [...outside, ...cut].map((e) => e.textContent.slice(0, 60));
}"""


def test_formulas_and_code_are_whole_on_a_phone(opened: Any, tmp_path: Path) -> None:
    page = opened("softmax", viewport={"width": 375, "height": 700})
    cut = {}
    for name in OPS:
        (tmp_path / f"{name}.html").write_text(study_page(name), encoding="utf-8")
        page.goto((tmp_path / f"{name}.html").as_uri())
        cut[name] = page.evaluate(CUT)
    assert {name: texts for name, texts in cut.items() if texts} == {}


def test_without_script_every_number_is_there(opened: Any) -> None:
    page, worked = opened("softmax", java_script_enabled=False), run_example("softmax", (2, 4))
    text = page.locator("#example").inner_text()
    for a in (worked.arrays[0], worked.y, worked.dy, worked.gradients[0]):
        assert all(number(v) in text for v in np.asarray(a).reshape(-1))
    assert not page.locator(".readout").is_visible()
    assert not page.locator(".grade").is_visible()
    assert not page.locator(".tools").is_visible()


def test_forced_colours(opened: Any) -> None:
    page = opened("softmax", forced_colors="active")
    page.locator("[data-of=dx] tbody td").first.click()
    style = "getComputedStyle(document.querySelector('{}')).outlineStyle"
    assert page.evaluate(style.format(".picked")) == "solid"
    assert page.evaluate(style.format(".lit")) == "dashed"
    words = page.locator("#mistakes td b").all_inner_texts()
    assert words == ["unseen"]  # said in words


def test_nothing_moves(opened: Any) -> None:
    page = opened("softmax", reduced_motion="reduce")
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s').length"
    assert page.evaluate(moving) == 0


def test_on_paper_all_is_dark_on_light(opened: Any, poor_contrast: Any) -> None:
    page = opened("book", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 34, 48)"
    assert poor_contrast(page) == []
    assert page.locator("#softmax").evaluate("(e) => getComputedStyle(e).breakBefore") == "page"


def test_printing_opens_the_solution(opened: Any) -> None:
    page = opened("softmax")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#paper details .array").last.is_visible()
    assert page.locator("#differences .heat").first.is_visible()  # of a section that is folded on the screen
    assert page.locator("#differences-h").is_visible()
    assert not page.locator(".contents").is_visible()
