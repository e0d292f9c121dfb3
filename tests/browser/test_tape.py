"""The tape player in a real browser: from disk, by keyboard, narrow, zoomed, dark, and without script."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect.player.drawing import Playback
from nanograd.inspect.player.html import heatmap, number
from nanograd.inspect.trace import Summary, leaf_names, reachable

pytestmark = pytest.mark.browser
HOSTILE = "</script><script>alert(1)</script> \"'🦙 שלום \u202e"


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Playback]:
    """Return the address of a page, and what it plays."""
    config = ModelConfig(vocab_size=65, context_length=16, d_model=64, n_layers=3, n_heads=4)
    model = GPT(config, np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(0, 65, (2, 17))
    gain = Tensor(np.float32(2), requires_grad=True)
    with ng.trace():
        loss = model.loss(ids[:, :-1], ids[:, 1:]) * gain
    path = tmp_path_factory.mktemp("tape") / "tape #1.html"
    words = [HOSTILE, *map(str, range(39))]  # a map that is wider than a telephone
    heat = heatmap("dS", np.random.default_rng(2).uniform(-1, 1, (40, 40)), words, words)
    appendix = f'<section class="card"><div class="heads">{heat}</div></section>'
    ng.graph(loss, path, names={HOSTILE: gain}, title=HOSTILE, appendix=appendix)
    assert loss.node is not None
    nodes = reachable(loss.node)
    return path.as_uri(), Playback(nodes, leaf_names(nodes))


@pytest.fixture
def opened(quietly: Any, tape: tuple[str, Playback]) -> Callable[..., Any]:
    """Return a function that opens the page, at a fragment of its address."""
    return lambda fragment="", **options: quietly(tape[0] + fragment, **options)


def cells(a: Summary) -> list[str]:
    """Return what a table of an array says in its cells."""
    return [number(value) for row in a.corner for value in row]


def shown(page: Any, selector: str) -> list[str]:
    texts: list[str] = page.locator(selector).all_inner_texts()
    return texts


def test_the_keyboard_alone_steps_to_the_end(opened: Any, tape: tuple[str, Playback]) -> None:
    playback = tape[1]
    page = opened(reduced_motion="reduce")
    for i, node in enumerate(playback.steps, start=1):
        page.keyboard.press("ArrowRight")
        said = page.locator("#status").inner_text()
        assert said.startswith(f"Step {i} of {len(playback.steps) + 1}: backward of {playback.name(node)}")
        assert page.url.endswith(f"#step={i}")
        assert page.locator(".step:visible").count() == 1
        visit = node.record.backward
        tables = [cells(visit.dy)] if visit.dy.shape else []
        for contribution in visit.contributions:
            tables += [cells(a) for a in (contribution.dx, *[contribution.total] * (contribution.nth > 1)) if a.shape]
        assert shown(page, ".step:visible td:not(.more):not(thead td)") == [cell for table in tables for cell in table]
        hows = ["SET" if contribution.nth == 1 else "ADDED" for contribution in visit.contributions]
        assert shown(page, ".step:visible .badge") == hows
        current = page.locator("svg:not([hidden]) .row.now")
        assert playback.keys[node] in (current.get_attribute("data-keys") or "").split()
        assert current.locator(".mark").text_content() == "▶"
        targets = page.locator("svg:not([hidden]) .row.target").count()
        assert targets == len({node.record.parents[contribution.slot] for contribution in visit.contributions})
        assert page.locator("svg:not([hidden]) .edge.flow").count() == targets
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # nothing comes after the end
    assert page.url.endswith(f"#step={len(playback.steps) + 1}")
    assert "all gradients are complete" in page.locator("#status").inner_text()
    assert page.locator("svg:not([hidden]) .row.op:not(.done)").count() == 0
    page.keyboard.press("Home")
    assert page.locator("#status").inner_text().startswith("Step 0 of")
    page.keyboard.press("End")
    assert page.url.endswith(f"#step={len(playback.steps) + 1}")


def test_tied_weights_receive_two_contributions(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(f"#step={len(tape[1].steps)}")
    row = page.locator("svg:not([hidden]) .row.leaf", has_text="tok_emb.weight").first
    assert row.locator(".mark").text_content() == "●●"
    assert row.locator(".shape").text_content() == "◀ ADDED"
    page.keyboard.press("ArrowLeft")
    assert row.locator(".mark").text_content() == "●○"
    assert "contribution 2 of 2" not in page.locator("#status").inner_text()


def test_links_to_steps_and_back(opened: Any) -> None:
    page = opened("#step=12")
    assert page.locator("#status").inner_text().startswith("Step 12 of")
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("ArrowRight")
    page.locator(".step:visible h4 a").first.click()
    assert page.locator("#status").inner_text().startswith("Step 14 of")
    page.go_back()
    assert page.locator("#status").inner_text().startswith("Step 13 of")
    page.go_back()
    assert page.locator("#status").inner_text().startswith("Step 12 of")
    page.locator("svg:not([hidden]) a").last.focus()
    page.keyboard.press("Enter")
    page.locator("#status", has_text="Step 1 of").wait_for(state="attached")  # the address changes first
    assert opened("#step=99999").locator("#status").inner_text().count("all gradients are complete") == 1
    assert opened("#nonsense").locator("#status").inner_text().startswith("Step 0 of")


def test_modules_close_and_open(opened: Any) -> None:
    page = opened("#step=8")
    rows = page.locator("svg:not([hidden]) .row")
    full = rows.count()
    for _ in range(3):
        page.keyboard.press("-")
    assert rows.count() < full / 4
    assert page.locator("svg:not([hidden]) .row.now").get_attribute("class") == "row closed now"
    assert page.locator("[data-go=less]").get_attribute("aria-disabled") == "true"
    for _ in range(3):
        page.get_by_role("button", name="Open modules").click()
    assert rows.count() == full


@pytest.mark.parametrize("options", [
    {"viewport": {"width": 375, "height": 700}},
    {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},  # 1280 wide at 200 %
    {"viewport": {"width": 320, "height": 500}},
], ids=["375 px", "200 %", "320 px"])  # fmt: skip
def test_the_page_never_scrolls_sideways(opened: Any, tape: tuple[str, Playback], options: dict[str, Any]) -> None:
    page = opened(**options)
    for _ in range(len(tape[1].steps) + 1):
        assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]
        page.keyboard.press("ArrowRight")


def test_without_script_every_number_is_there(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(java_script_enabled=False)
    playback = tape[1]
    assert page.locator(".step:visible").count() == len(playback.steps) + 2
    assert [drawing.is_visible() for drawing in page.locator("svg.graph").all()] == [False, False, False, True]
    assert not page.locator(".controls").is_visible()
    text = page.locator("#steps").inner_text()
    for node in playback.steps:
        for value in cells(node.record.backward.dy):
            assert value in text


def test_hostile_names_stay_text(opened: Any) -> None:
    page = opened("#step=1")
    assert page.title() == HOSTILE.strip()
    assert page.locator("script").count() == 1
    assert HOSTILE in (page.locator(".step:visible").text_content() or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Any, poor_contrast: Any, tape: tuple[str, Playback], scheme: str) -> None:
    page = opened(color_scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 23, 29)") == (scheme == "dark")
    for i in (0, 2, 9, len(tape[1].steps), len(tape[1].steps) + 1):
        page.evaluate(f"location.hash = 'step={i}'")
        page.wait_for_timeout(250)
        assert poor_contrast(page) == []


def test_forced_colours_and_reduced_motion(opened: Any) -> None:
    page = opened("#step=5", forced_colors="active", reduced_motion="reduce")
    assert page.locator("svg:not([hidden]) .row.now .mark").text_content() == "▶"
    width = "getComputedStyle(document.querySelector('svg:not([hidden]) .now .box')).strokeWidth"
    assert page.evaluate(width) == "4px"
    assert page.evaluate("getComputedStyle(document.querySelector('.box')).transitionDuration") == "0s"
