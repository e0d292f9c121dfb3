"""The tape player in a real browser: from disk, by keyboard, narrow, zoomed, dark, and without script."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.study.example import example_page
from gpt.study.tiny import EXAMPLE, tiny_model
from nanograd import Tensor
from nanograd.inspect.player.drawing import Playback
from nanograd.inspect.player.html import heatmap
from nanograd.inspect.player.tables import number_format
from nanograd.inspect.trace import Summary, leaf_names, reachable

pytestmark = pytest.mark.browser
HOSTILE = "</script><script>alert(1)</script> \"'🦙 שלום \u202e"


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Playback]:
    """Return the address of a page, and what it plays."""
    config = ModelConfig(vocab_size=65, context_length=16, d_model=64, n_layers=2, n_heads=4)
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
    """Return what the table of an array says in its cells."""
    entry, _ = number_format(max(abs(a.low), abs(a.high)))
    return [entry(value) for row in a.rows for value in row]


def shown(page: Any, selector: str) -> list[str]:
    texts: list[str] = page.locator(selector).all_inner_texts()
    return texts


def test_the_keyboard_alone_steps_to_the_end(opened: Any, tape: tuple[str, Playback]) -> None:
    playback = tape[1]
    page = opened(reduced_motion="reduce")
    for i, node in enumerate([*playback.nodes, *playback.backwards], start=1):
        if i > 1:
            page.keyboard.press("ArrowRight")
        side = "forward" if i <= len(playback.nodes) else "backward"
        said = page.locator("#status").inner_text()
        assert said.startswith(f"Step {i} of {playback.last}: {side} of {playback.name(node)}")
        assert i == 1 or page.url.endswith(f"#step={i}")
        assert page.locator("#scrubber").input_value() == str(i)
        assert page.locator(".step:visible").count() == 1
        current = page.locator("svg:not([hidden]) .row.now")
        assert playback.keys[node] in (current.get_attribute("data-keys") or "").split()
        assert current.locator(".mark").text_content() == "▶"
        record = node.record
        numbers = shown(page, ".step:visible td:not(.more):not(thead td)")
        assert page.locator(".step:visible math").count() > 0
        parents = {parent for parent in record.parents if parent is not None}
        if side == "forward":
            arrays = [*(a for a in record.values if a is not None), record.y]
            assert numbers == [cell for a in arrays for cell in cells(a)]
            assert page.locator("svg:not([hidden]) .edge.feed").count() == len(parents)
            continue
        own = {-1: record.y, **dict(enumerate(record.values))}  # what is not of its own is shown as it was computed
        arrays = [record.backward.dy, *(a.value if a.source is None else own[a.source] for a in record.saved)]
        for contribution in record.backward.contributions:
            arrays += [contribution.dx, *[contribution.total] * (contribution.nth > 1)]
        assert numbers == [cell for a in arrays for cell in cells(a)]
        hows = ["SET" if contribution.nth == 1 else "ADDED" for contribution in record.backward.contributions]
        assert shown(page, ".step:visible .badge") == hows
        targets = page.locator("svg:not([hidden]) .row.target").count()
        assert targets == len({record.parents[contribution.slot] for contribution in record.backward.contributions})
        assert page.locator("svg:not([hidden]) .edge.flow").count() == targets
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # nothing comes after the end
    assert page.url.endswith(f"#step={playback.last}")
    assert "all gradients are complete" in page.locator("#status").inner_text()
    assert page.locator("svg:not([hidden]) .row.op:not(.done)").count() == 0
    page.keyboard.press("Home")
    assert page.locator("#status").inner_text().startswith("Step 1 of")
    page.keyboard.press("End")
    assert page.url.endswith(f"#step={playback.last}")


def test_the_scrubber_goes_to_any_step(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened()
    page.locator("#scrubber").fill(str(len(tape[1].nodes) + 3))
    assert page.locator("#status").inner_text().startswith(f"Step {len(tape[1].nodes) + 3} of")
    page.locator("#scrubber").focus()
    page.keyboard.press("ArrowLeft")  # once, not by the input and again by the page
    assert page.locator("#scrubber").input_value() == str(len(tape[1].nodes) + 2)
    page.keyboard.press("Home")
    assert page.locator("#status").inner_text().startswith("Step 1 of")


def test_a_row_of_the_drawing_leads_to_its_step_of_the_same_side(opened: Any, tape: tuple[str, Playback]) -> None:
    playback = tape[1]
    page = opened()
    row = f"svg:not([hidden]) a:has(.op[data-keys='{playback.keys[playback.nodes[5]]}'])"
    assert page.locator(row).get_attribute("href") == "#step=6"
    page.keyboard.press("End")
    assert page.locator(row).get_attribute("href") == f"#step={playback.backward_step[playback.nodes[5]]}"
    leaf = next(leaf for leaf, name in playback.leaves.items() if name == "blocks.1.attn.w_qkv.weight")
    page.locator(f"svg:not([hidden]) a:has(.leaf[data-keys='{playback.keys[leaf]}'])").click()
    step = playback.backward_step[playback.uses[leaf][0]]
    page.locator("#status", has_text=f"Step {step} of").wait_for(state="attached")
    assert "dweight → blocks.1.attn.w_qkv.weight SET" in page.locator("#status").inner_text()


def test_tied_weights_receive_two_contributions(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(f"#step={tape[1].last - 1}")
    row = page.locator("svg:not([hidden]) .row.leaf", has_text="tok_emb.weight").first
    assert row.locator(".mark").text_content() == "●●"
    assert row.locator(".shape").text_content() == "◀ ADDED"
    page.keyboard.press("ArrowLeft")
    assert row.locator(".mark").text_content() == "●○"
    assert "contribution 2 of 2" not in page.locator("#status").inner_text()


def test_links_to_steps_and_back(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened("#step=12")
    assert page.locator("#status").inner_text().startswith("Step 12 of")
    assert page.evaluate("scrollY") == 0
    page.keyboard.press("ArrowRight")
    page.locator(".step:visible .from a").first.click()  # the first operand
    operand = next(parent for parent in tape[1].nodes[12].record.parents if parent is not None)
    assert page.locator("#status").inner_text().startswith(f"Step {tape[1].forward_step.get(operand)} of")
    page.go_back()
    assert page.locator("#status").inner_text().startswith("Step 13 of")
    page.go_back()
    assert page.locator("#status").inner_text().startswith("Step 12 of")
    page.locator("svg:not([hidden]) a:has(.op)").first.focus()
    page.keyboard.press("Enter")
    page.locator("#status", has_text="Step 1 of").wait_for(state="attached")  # the address changes first
    assert opened("#step=99999").locator("#status").inner_text().count("all gradients are complete") == 1
    assert opened("#nonsense").locator("#status").inner_text().startswith("Step 1 of")


def test_modules_close_and_open(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(f"#step={tape[1].last - 30}")
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
    for _ in range(tape[1].last):
        assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]
        page.keyboard.press("ArrowRight")


def test_without_script_every_number_is_there(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(java_script_enabled=False)
    playback = tape[1]
    assert page.locator(".step:visible").count() == playback.last
    assert [drawing.is_visible() for drawing in page.locator("svg.graph").all()] == [False, False, False, True]
    assert not page.locator(".controls").is_visible()
    text = page.locator("#steps").inner_text()
    for node in playback.nodes:
        for contribution in node.record.backward.contributions:
            for a in (node.record.y, contribution.dx, contribution.total):
                assert all(value in text for value in cells(a))
    target = page.locator(".step .copy a").first.get_attribute("href") or ""
    assert page.locator(f"[id='{target[1:]}']").count() == 1  # a copy is a link without script


def test_hostile_names_stay_text(opened: Any, tape: tuple[str, Playback]) -> None:
    page = opened(f"#step={tape[1].last}")
    assert page.title() == HOSTILE.strip()
    assert page.locator("script:not([type='application/json'])").count() == 1
    assert HOSTILE in (page.locator(".step:visible").text_content() or "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Any, poor_contrast: Any, tape: tuple[str, Playback], scheme: str) -> None:
    page = opened(color_scheme=scheme)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(20, 23, 29)") == (scheme == "dark")
    for i in (1, 2, 9, tape[1].last - 2, tape[1].last):
        page.evaluate(f"location.hash = 'step={i}'")
        page.wait_for_timeout(250)
        assert poor_contrast(page) == []


def test_forced_colours_and_reduced_motion(opened: Any) -> None:
    page = opened("#step=5", forced_colors="active", reduced_motion="reduce")
    assert page.locator("svg:not([hidden]) .row.now .mark").text_content() == "▶"
    width = "getComputedStyle(document.querySelector('svg:not([hidden]) .now .box')).strokeWidth"
    assert page.evaluate(width) == "4px"
    assert page.evaluate("getComputedStyle(document.querySelector('.box')).transitionDuration") == "0s"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, GPT, Tensor, Playback]:
    """Return the address of the page of a model small enough to be explained, and what it plays."""
    model = GPT(ModelConfig(vocab_size=6, context_length=3, d_model=4, n_layers=1, n_heads=1), np.random.default_rng(0))
    with ng.trace(unfused=True):
        loss = model.loss(np.array([[1, 2, 4]]), np.array([[2, 4, 5]]))
    path = tmp_path_factory.mktemp("small") / "small.html"
    ng.graph(loss, path, heading='<p class="strip">the sentence</p>')
    assert loss.node is not None
    nodes = reachable(loss.node)
    return path.as_uri(), model, loss, Playback(nodes, leaf_names(nodes))


def rows_of(page: Any, caption: str) -> list[list[str]]:
    """Return the cells of a table of the explanation, with ASCII signs."""
    table = page.locator("#explain table", has_text=caption).locator("tbody tr")
    return [[text.replace("−", "-") for text in row.locator("td").all_inner_texts()] for row in table.all()]


def test_a_click_on_a_number_explains_it(quietly: Any, small: tuple[str, GPT, Tensor, Playback]) -> None:
    address, model, loss, playback = small
    weight = model.blocks[0].attn.w_qkv.weight
    page = quietly(f"{address}#step={playback.finished(weight)}")
    cells = page.locator(f".step:visible table[data-of='{playback.keys[weight]}']").last.locator("tbody td")
    cells.nth(5 * 4 + 2).click()
    assert "chosen" in cells.nth(5 * 4 + 2).get_attribute("class")
    explanation = ng.explain(loss, weight, (5, 2))
    for _ in range(30):  # down to the loss, always by the largest term
        rows = rows_of(page, "Its terms")
        assert len(rows) == len(explanation.terms)
        for row, term in zip(rows, explanation.terms, strict=True):
            assert [float(text) for text in row[:3]] == pytest.approx([term.value, term.dy, term.derivative], rel=1e-3)
            entry = str(list(term.entry)) if term.entry else ""
            assert row[3] == f"y{entry} of {explanation.tape.label(term.node)}"
        page.locator("#explain table", has_text="Its terms").locator("button").first.click()
        explanation = explanation.drill(0)
        if explanation.is_loss:
            break
    assert "where the backward begins" in page.locator("#explain").inner_text()
    page.locator("#explain").get_by_role("button", name="← Back").click()
    assert rows_of(page, "Its terms")[0][1] == "+1"
    page.keyboard.press("Escape")
    assert not page.locator("#explain").is_visible()


def test_the_value_of_a_number_leads_down_to_the_inputs(quietly: Any, small: tuple[str, GPT, Tensor, Playback]) -> None:
    address, *_, playback = small
    page = quietly(f"{address}#step={len(playback.nodes)}")  # the loss
    page.locator(".step:visible table").last.locator("td").click()
    for _ in range(40):
        depends = page.locator("#explain table", has_text="Its value depends on")
        if not depends.count():
            break
        depends.locator("button").last.click()
    assert page.locator("#explain h3").inner_text().split("[")[0] in playback.leaves.values()


def test_one_contribution_has_the_terms_of_one_op(quietly: Any, small: tuple[str, GPT, Tensor, Playback]) -> None:
    address, model, _, playback = small
    page = quietly(f"{address}#step={playback.finished(model.tok_emb.weight)}")
    tables = page.locator(f".step:visible .contribution table[data-of='{playback.keys[model.tok_emb.weight]}']")
    one, total = tables.first.locator("tbody td").nth(4 * 2), tables.last.locator("tbody td").nth(4 * 2)
    one.click()
    assert "contribution 2 of 2" in page.locator("#explain").inner_text()
    assert len(rows_of(page, "Its terms")) == 1
    total.click()
    assert len(rows_of(page, "Its terms")) == 1 + 3  # also the logits of three tokens


def test_numbers_are_explained_by_keyboard(quietly: Any, small: tuple[str, GPT, Tensor, Playback]) -> None:
    page = quietly(f"{small[0]}#step=5")
    cells = page.locator(".step:visible table.clickable").first.locator("tbody td")
    cells.nth(0).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent") == cells.nth(5).inner_text()
    assert page.url.endswith("#step=5")
    page.keyboard.press("Enter")
    assert "[0, 1, 1]" in page.locator("#explain h3").inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == cells.nth(5).inner_text()
    page.keyboard.press("Home")
    assert page.locator("#status").inner_text().startswith("Step 1 of")


def test_the_first_view_has_the_heading_the_drawing_and_the_numbers(
    quietly: Any, small: tuple[str, GPT, Tensor, Playback]
) -> None:
    page = quietly(small[0], viewport={"width": 1280, "height": 800})
    for selector in (".strip", "#scrubber", "svg:not([hidden]) .row.now", ".step:visible table >> nth=-1"):
        box = page.locator(selector).bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= 800, selector
    page.evaluate("scrollTo(0, 400)")
    assert page.locator(".strip").bounding_box()["y"] >= 0  # it stays


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of the page of `python -m gpt study tiny`."""
    model = tiny_model()
    assert model.tokenizer is not None
    path = tmp_path_factory.mktemp("tiny") / "tiny.html"
    example_page(model, model.tokenizer, model.tokenizer.encode(EXAMPLE), [0], unfused=True).save(path)
    return path.as_uri()


def test_every_forward_step_of_the_tiny_model_fits_on_the_screen(quietly: Any, tiny: str) -> None:
    page = quietly(tiny, viewport={"width": 1280, "height": 800})
    strip = page.locator(".strip").inner_text().split()
    assert [word for word in strip if len(word) == 1 and word != "→"] == list("elll" + "lo")
    for i in range(1, 25):
        page.evaluate(f"location.hash = 'step={i}'")
        page.locator("#status", has_text=f"Step {i} of").wait_for(state="attached")
        box = page.locator(".step:visible").bounding_box()
        assert box["y"] + box["height"] <= 800, i
        for table in page.locator(".step:visible .array").all():
            assert table.evaluate("e => e.scrollWidth <= e.clientWidth + 1")  # no column is cut
        assert page.locator(".strip").bounding_box()["y"] >= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_text_of_the_tiny_page_stands_out(quietly: Any, poor_contrast: Any, tiny: str, scheme: str) -> None:
    page = quietly(f"{tiny}#step=36", color_scheme=scheme, reduced_motion="reduce")
    page.locator(".step:visible .contribution td").nth(5).click()
    for i in (36, 5, 49):
        page.evaluate(f"location.hash = 'step={i}'")
        page.locator("#status", has_text=f"Step {i} of").wait_for(state="attached")
        page.wait_for_timeout(250)
        assert poor_contrast(page) == []


def test_the_tiny_page_never_scrolls_sideways(quietly: Any, tiny: str) -> None:
    page = quietly(tiny, viewport={"width": 375, "height": 700})
    for i in range(1, 50):
        page.evaluate(f"location.hash = 'step={i}'")
        page.locator("#status", has_text=f"Step {i} of").wait_for(state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, i
    page.locator(".step:visible table.clickable td").last.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


def test_in_forced_colours_the_chosen_number_is_marked(quietly: Any, tiny: str) -> None:
    page = quietly(f"{tiny}#step=5", forced_colors="active")
    page.locator(".step:visible table.clickable td").nth(3).click()
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.step:not([hidden]) .chosen')).outlineStyle") == "solid"
    )
    assert page.locator("svg:not([hidden]) .edge.feed").count() == 3
