"""The pages of topics in a real browser: every table follows the reader's numbers, and equals NumPy."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.study import cache, merges, sampling
from nanograd.study.topics import adamw, clipping, initialisation, muon, schedule

pytestmark = pytest.mark.browser
LIVE = ("adamw", "clipping", "initialisation", "schedule", "muon", "sampling", "cache")
NARROW = [{"viewport": {"width": 375, "height": 700}}, {"viewport": {"width": 640, "height": 400}}]
Values = dict[str, Any]

# Enter numbers as a reader does, one field after the other; tables follow with the last one.
ENTER = """(values) => {
  for (const [name, value] of Object.entries(values)) {
    const fields = [...document.querySelectorAll(`[data-in="${name}"]`)];
    [value].flat(Infinity).forEach((number, i) => (fields[i].value = String(number)));
  }
  document.querySelector("[data-in]").dispatchEvent(new Event("input"));
  const shown = {};
  for (const cell of document.querySelectorAll("[data-out]")) {
    (shown[cell.dataset.out] ??= []).push(cell.dataset.value);
  }
  return shown;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("topics")
    for name in LIVE[:5]:
        importlib.import_module(f"nanograd.study.topics.{name}").topic().page(linked=True).save(home / f"{name}.html")
    for name, topic in (("sampling", sampling.topic()), ("cache", cache.topic()), ("merges", merges.topic())):
        topic.page().save(home / f"{name}.html")
    return home


@pytest.fixture
def opened(quietly: Callable[..., Any], folder: Path) -> Callable[..., Any]:
    """Return a function that opens the page of a topic."""
    return lambda name, **options: quietly((folder / f"{name}.html").as_uri(), **options)


def adamw_case(rng: np.random.Generator) -> tuple[Values, Values]:
    p, g = rng.standard_normal((1, 3)), rng.standard_normal((4, 3)) * 10.0 ** rng.integers(-3, 3, (1, 3))
    options = {
        "lr": 10.0 ** rng.uniform(-5, 0),
        "beta1": rng.uniform(0, 0.999),
        "beta2": rng.uniform(0, 0.9999),
        "eps": 10.0 ** rng.uniform(-12, -1),
        "weight_decay": rng.uniform(0, 2),
    }
    return {"p": p, "g": g, **options}, adamw.steps(p[0], g, **options)


def clipping_case(rng: np.random.Generator) -> tuple[Values, Values]:
    weight, bias, limit = rng.standard_normal((2, 3)), rng.standard_normal((1, 2)), 10.0 ** rng.uniform(-2, 1)
    return {"weight": weight, "bias": bias, "limit": limit}, clipping.clip(weight, bias, limit)


def initialisation_case(rng: np.random.Generator) -> tuple[Values, Values]:
    std, branch = 10.0 ** rng.uniform(-2, 0, 2)
    depth, n_layers = int(rng.integers(2, 61)), int(rng.integers(1, 31))
    layers, branches = initialisation.stack(std, depth), initialisation.stream(branch, n_layers)
    shown = {"stack": initialisation.three(layers), "stream": initialisation.three(branches)}
    return {"std": std, "depth": depth, "branch": branch, "n_layers": n_layers}, shown


def schedule_case(rng: np.random.Generator) -> tuple[Values, Values]:
    options = {
        "lr": 10.0 ** rng.uniform(-5, -1),
        "min_lr": rng.uniform(0, 0.01),
        "warmup_steps": int(rng.integers(0, 1001)),
        "max_steps": int(rng.integers(1, 10001)),
    }
    return options, {"marks": schedule.marks(**options)}  # type: ignore[arg-type]


def muon_case(rng: np.random.Generator) -> tuple[Values, Values]:
    a, b, c = rng.uniform(1, 5), rng.uniform(-8, 0), rng.uniform(0.01, 5)
    s = rng.uniform(0, 1, muon.S.shape)
    shown = {"after": np.concatenate(muon.repeated(s, (a, b, c))), **muon.marks(a, b, c)}
    return {"a": a, "b": b, "c": c, "s": s}, shown


def sampling_case(rng: np.random.Generator) -> tuple[Values, Values]:
    words, logits, _ = sampling.counted_candidates()
    options = {
        "temperature": float(rng.choice([0.0, rng.uniform(0.1, 3)])),
        "top_k": int(rng.integers(1, len(words) + 1)),
        "top_p": rng.uniform(0.01, 1),
        "min_p": rng.uniform(0, 0.6),
        "u": rng.uniform(0, 0.999),
    }
    values = sampling.choose(logits, **options)  # type: ignore[arg-type]
    removed = [sampling.removed_by(values, i) for i in range(len(words))]
    shown = {name: values[name] for name in ("tempered", "sums", "p")}
    return options, {**shown, "removed_by": removed, "word": [words[int(values["drawn"])]]}


def cache_case(rng: np.random.Generator) -> tuple[Values, Values]:
    most = {"T": 3000, "L": 128, "C": 16384, "H": 128, "K": 128, "D": 512, "F": 65536, "V": 300000, "bytes": 8}
    shape = {name: int(rng.integers(1, n + 1)) for name, n in most.items()}
    return shape, {"counts": cache.counts(shape), **cache.totals(shape)}  # type: ignore[arg-type]


CASES = {
    "sampling": sampling_case,
    "cache": cache_case,
    "adamw": adamw_case,
    "clipping": clipping_case,
    "initialisation": initialisation_case,
    "schedule": schedule_case,
    "muon": muon_case,
}


@pytest.mark.parametrize("name", CASES)
def test_every_table_equals_numpy_under_random_edits(opened: Any, name: str) -> None:
    page, rng = opened(name), np.random.default_rng(0)
    for _ in range(100 if name != "initialisation" else 25):
        entered, expected = CASES[name](rng)
        values = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in entered.items()}
        shown = page.evaluate(ENTER, values)
        assert shown.keys() == expected.keys()
        for key, value in expected.items():
            if key in ("removed_by", "word"):
                assert shown[key] == value
            else:
                np.testing.assert_allclose(np.array(shown[key], float), np.ravel(value), rtol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", LIVE)
def test_the_script_changes_nothing_before_the_reader_does(opened: Any, name: str) -> None:
    parts = (
        "[...document.querySelectorAll('[data-out], [data-x], [data-y]')].map((e) => e.textContent)"
        ".concat([...document.querySelectorAll('[data-line]')].map((e) => e.getAttribute('d')))"
    )
    assert opened(name).evaluate(parts) == opened(name, java_script_enabled=False).evaluate(parts)


@pytest.mark.parametrize("name", [*LIVE, "merges"])
@pytest.mark.parametrize("options", NARROW, ids=["375 px", "200 %"])
def test_no_page_scrolls_sideways(opened: Any, options: Values, name: str) -> None:
    page = opened(name, **options)
    assert page.evaluate("document.documentElement.scrollWidth") <= options["viewport"]["width"]


@pytest.mark.parametrize("name", [*LIVE, "merges"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(opened: Any, poor_contrast: Any, name: str, scheme: str) -> None:
    page = opened(name, color_scheme=scheme)
    if name != "merges":
        page.locator("[data-in]").first.fill("")  # an error is shown
    assert poor_contrast(page) == []


@pytest.mark.parametrize("name", LIVE)
def test_a_slider_moves_by_the_keyboard_and_the_tables_follow(opened: Any, name: str) -> None:
    page = opened(name)
    outputs = "[...document.querySelectorAll('[data-out]')].map((e) => e.textContent)"
    before = page.evaluate(outputs)
    slider = page.locator("input[type=range]").first
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate(outputs) != before
    field = page.locator(f"#in-{slider.get_attribute('data-slides')}")
    assert field.input_value() != field.get_attribute("value")
    page.get_by_role("button", name="Reset").first.press("Enter")
    assert page.evaluate(outputs) == before


def test_merges_are_made_one_by_one(opened: Any) -> None:
    page = opened("merges")
    visible = page.locator(".state:visible")
    assert visible.count() == 1
    assert visible.locator(".chip").count() == len(merges.TEXT.encode())
    assert (
        page.get_by_role("button", name="back").get_attribute("aria-disabled") == "true"
    )  # before the bytes is nothing
    page.get_by_role("button", name="merge →").click()
    assert visible.locator("h3").inner_text().startswith("Merge 1: a + t → at, 5 times")
    assert visible.locator(".new").all_inner_texts() == ["at"] * 5
    page.locator("[data-scrub]").focus()
    page.keyboard.press("End")
    assert visible.locator("h3").inner_text().startswith("Merge 20: ")
    assert opened("merges", java_script_enabled=False).locator(".state:visible").count() == 21


def test_a_number_that_is_not_allowed_is_said_and_the_tables_stay(opened: Any) -> None:
    page = opened("adamw")
    after = page.locator("[data-out=after]")
    before = after.all_inner_texts()
    page.locator("#in-beta1").fill("1.5")
    assert (
        page.locator(".problem").inner_text() == "β1 must be a number from 0 to 0.9999; the tables show the last one."
    )
    assert page.locator("#in-beta1").get_attribute("aria-invalid") == "true"
    assert after.all_inner_texts() == before
    page.locator("#in-beta1").fill("0.5")
    assert page.locator(".problem").inner_text() == ""
    assert after.all_inner_texts() != before


@pytest.mark.parametrize("name", LIVE)
def test_on_paper_and_without_script_there_are_no_controls_that_do_nothing(opened: Any, name: str) -> None:
    page = opened(name, java_script_enabled=False)
    assert page.locator("input[type=range]:visible, button:visible").count() == 0
    assert page.locator("[data-out]").count() > 3
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).display") != "none"
