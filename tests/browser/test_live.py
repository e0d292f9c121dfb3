"""The numbers of every op's page in a real browser, after edits: they are NumPy's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanograd.inspect.player.html import number, resource
from nanograd.op import OPS
from nanograd.study import page as study_pages
from nanograd.study.evaluator import Evaluator
from nanograd.study.line_check import difference
from nanograd.study.live.export import LiveGraph, drawn_masks, live_graph
from nanograd.study.notation import printed_name
from nanograd.study.page import study_page
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import WorkedExample, run_example

pytestmark = pytest.mark.browser
EDITS = 100
CLOSE = 1e-12  # relative to the largest entry of an array
MEASURED = 1e-7  # the error of finite differences
STRANGE = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e6]
EDIT = """(edits) => edits.map((edit) => {
  setAll(Object.fromEntries(Object.entries(edit).map(([name, list]) => [name, list.map(Number)])));
  return Object.fromEntries(Object.entries(program.shown).map(
    ([name, k]) => [name, [graph.nodes[k].shape, values[k].map(String)]]));
})"""
TEXTS = "Object.fromEntries([...cells].map(([name, list]) => [name, list.map((cell) => cell.textContent)]))"


def edits_of(graph: LiveGraph, count: int = EDITS) -> list[dict[str, list[float]]]:
    """Draw edits of all inputs: half of the entries are new, in every tenth edit some are not finite."""
    random, drawn = np.random.default_rng(7), []
    for n in range(count):
        edit = {}
        for name, given in graph.inputs.items():
            data = np.array(given["data"], np.float64)
            new = random.choice(given["choices"], data.size) if "choices" in given else random.normal(0, 2, data.size)
            if n % 10 == 9 and "choices" not in given:
                new = np.where(random.random(data.size) < 0.3, random.choice(STRANGE, data.size), new)
            edit[name] = np.where(random.random(data.size) < 0.5, new, data).tolist()
        drawn.append(edit)
    return drawn


def by_numpy(worked: WorkedExample, edit: dict[str, list[float]]) -> dict[str, Any]:
    """Return the value of every line with these inputs."""
    shapes = dict(zip(worked.names, worked.arrays, strict=True))
    arrays = [
        None if a is None else np.array(edit[name]).reshape(a.shape).astype(a.dtype) for name, a in shapes.items()
    ]
    masks = {name: np.array(edit[name]).reshape(mask.shape) for name, mask in drawn_masks(worked).items()}
    dy = np.array(edit["dy"]).reshape(worked.y.shape)
    evaluator = Evaluator(worked.op.name, arrays, worked.options, dy, replaced=masks)
    values = {}
    with np.errstate(all="ignore"):
        for line in evaluator.code.lines.values():
            for name in line.names:
                value = evaluator.native(name, evaluator[name])
                parts = {f"{name}[{i}]": a for i, a in enumerate(value)} if isinstance(value, tuple) else {}
                values |= parts or {printed_name(name): value}
    return values


def agree(got: np.ndarray, right: Any) -> float:
    """Return the largest difference; infinite where the shapes differ, or one is NaN and the other is not."""
    right = np.asarray(right, np.float64)
    if got.shape != right.shape or not np.array_equal(np.isnan(got), np.isnan(right)):
        return np.inf
    return difference(np.nan_to_num(got, nan=0), np.nan_to_num(right, nan=0)) if got.size else 0.0


def worst_of(worked: WorkedExample, edits: list[dict[str, list[float]]], answers: list[dict[str, Any]]) -> float:
    """Return the largest difference of any array from NumPy's, over all edits."""
    worst = 0.0
    for edit, answer in zip(edits, answers, strict=True):
        numbers = {
            name: ([v.replace("undefined", "nan") for v in data], shape) for name, (shape, data) in answer.items()
        }
        got = {name: np.array(data, np.float64).reshape(shape) for name, (data, shape) in numbers.items()}
        for name, right in by_numpy(worked, edit).items():
            worst = max(worst, agree(got[name], right))
    return worst


def as_json(edit: dict[str, list[float]]) -> dict[str, list[str]]:
    return {
        name: [repr(v).replace("inf", "Infinity").replace("nan", "NaN") for v in data] for name, data in edit.items()
    }


@pytest.fixture
def opened(quietly: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the page of an op and opens it."""

    def open_page(name: str, **options: Any) -> Any:
        path = tmp_path / f"{name}.html"
        path.write_text(study_page(name), encoding="utf-8")
        return quietly(path.as_uri(), **options)

    return open_page


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_table_is_that_of_numpy_after_every_edit(opened: Any, name: str) -> None:
    worked, page = run_example(name, (2, 4)), opened(name)
    graph = live_graph(worked, study_op(name, (2, 4)).mistakes)
    text = page.locator("main").inner_html()
    edits = edits_of(graph)
    answers = page.evaluate(EDIT, [as_json(edit) for edit in edits])
    assert worst_of(worked, edits, answers) <= CLOSE
    assert set(answers[0]) - set(graph.inputs) == set(by_numpy(worked, edits[0])) - set(graph.inputs)
    page.evaluate("reset()")
    assert page.locator("main").inner_html() == text
    page.evaluate(EDIT, [as_json({key: given["data"] for key, given in graph.inputs.items()})])
    shown = page.evaluate(TEXTS)
    for key, value in by_numpy(worked, {key: given["data"] for key, given in graph.inputs.items()}).items():
        flat = np.asarray(value, np.float64).reshape(-1) + 0.0
        assert shown[key] == [number(v) for v in flat[: len(shown[key])]]


@pytest.mark.parametrize("name", sorted(OPS))
def test_jacobian_and_finite_differences_follow(opened: Any, name: str) -> None:
    page = opened(name)
    page.evaluate("newDy(); finish()")
    errors = page.evaluate(
        """Object.entries(program.gradients).map(([name, k]) => {
          const numeric = graph.gradient(program.y, name, given, given.dy);
          const errors = numeric.map((v, i) => Math.abs(v - values[k][i]));
          return [Math.max(...errors), Math.max(1, ...numeric.map(Math.abs))];
        })"""
    )
    assert all(error <= MEASURED * size for error, size in errors)
    assert float(page.locator("[data-error]").text_content()) <= 1e-12
    cells = page.locator("[data-live=jacobian] [data-of=product] tbody td").all_text_contents()
    assert cells == page.locator("[data-live=jacobian] [data-of=gradient] tbody td").all_text_contents()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("softmax", "?? Math[op]", "?? ((x) => Math[op](x) * (1 + 1e-11 * x))"),
        ("layernorm", "total(list) / list.length", "total(list) / (list.length - 1)"),
        ("matmul", "shape[axis] === 1 ? 0 : step", "step"),
        ("where", "(values[c][k] ? values[a]", "(!values[c][k] ? values[a]"),
        ("embedding", "a === b", "a !== b"),
    ],
)
def test_a_wrong_primitive_is_caught(
    opened: Any, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str
) -> None:
    scripts = "".join(resource(*file) for file in study_pages.SCRIPTS)
    assert scripts.count(old) == 1
    monkeypatch.setattr(study_pages, "resource", lambda *file: resource(*file).replace(old, new))
    worked = run_example(name, (2, 4))
    page, edits = opened(name), edits_of(live_graph(worked), 5)
    assert worst_of(worked, edits, page.evaluate(EDIT, [as_json(edit) for edit in edits])) > CLOSE


def test_the_program_is_data_and_the_script_is_small() -> None:
    text = study_page("attention")
    assert json.loads(text.partition('id="program">')[2].partition("</script>")[0])["shown"]["P"]
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    assert len(script.encode()) <= 30_000
    assert "eval(" not in script
    assert "Function(" not in script


# What a user does


def texts(page: Any, of: str) -> list[str]:
    cells: list[str] = page.locator(f".worked [data-of='{of}'] tbody td").all_inner_texts()
    return cells


def test_a_number_is_edited_in_place(opened: Any) -> None:
    page = opened("softmax")
    right = by_numpy(run_example("softmax", (2, 4)), {"x": [2.5, 0, 0, 0, 1, 1, 1, 1], "dy": [1.0] * 8})["y"]
    before = texts(page, "dx")
    page.locator("[data-of=x] td.editable").first.click()
    page.keyboard.type("2.5")
    page.keyboard.press("Enter")
    for i, value in enumerate(("0", "0", "0", "1", "1", "1", "1"), 1):
        cell = page.locator("[data-of=x] td.editable").nth(i)
        cell.focus()
        page.keyboard.press("Enter")
        page.keyboard.type(value)
        page.keyboard.press("Enter")
    assert texts(page, "x") == ["2.5", "0", "0", "0", "1", "1", "1", "1"]
    assert texts(page, "y") == [number(v) for v in right.reshape(-1)]
    assert texts(page, "dx") != before
    assert page.locator(".tools .note").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("given.x.at(-1)") == 1.1
    page.keyboard.press("Escape")
    assert texts(page, "x")[-1] == "1"
    page.get_by_role("button", name="Reset").click()
    assert texts(page, "dx") == before
    assert not page.locator(".tools .note").is_visible()


def test_a_drag_changes_a_number(opened: Any) -> None:
    page = opened("mul")
    cell = page.locator("[data-of=a] td.editable").nth(1)
    cell.scroll_into_view_if_needed()
    old, box = page.evaluate("given.a[1]"), cell.bounding_box()
    page.mouse.move(box["x"] + 9, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 9 + 40, box["y"] + 5, steps=5)
    page.mouse.up()
    assert page.evaluate("given.a[1]") == pytest.approx(old + 0.5)
    assert page.locator(".editable input").count() == 0


@pytest.mark.parametrize(
    ("name", "of", "choices"),
    [
        ("embedding", "ids", ["0", "1"]),
        ("cross_entropy", "targets", ["0", "1", "2", "3"]),
        ("dropout", "z", ["0", "2"]),
        ("where", "condition", ["False", "True"]),
    ],
)
def test_whole_numbers_and_masks_stay_in_range(opened: Any, name: str, of: str, choices: list[str]) -> None:
    page, seen = opened(name), set()
    cell = page.locator(f".worked [data-of={of}] td.editable").first
    for _ in choices:
        seen.add(cell.inner_text())
        cell.click()
    assert sorted(seen) == choices
    assert cell.inner_text() in choices


def test_a_new_dy_is_the_same_on_every_visit(opened: Any) -> None:
    drawn = []
    for _ in range(2):
        page = opened("layernorm")
        page.get_by_role("button", name="New dy").click()
        drawn.append(texts(page, "dy"))
    assert drawn[0] == drawn[1] != [number(v) for v in run_example("layernorm", (2, 4)).dy.reshape(-1)]
    assert len(set(drawn[0])) > 4


def test_mistakes_follow(opened: Any, poor_contrast: Any, until: Any) -> None:
    page = opened("softmax")
    errors = page.locator(".mistakes tbody tr td:nth-child(5)")
    before = errors.all_inner_texts()
    page.get_by_role("button", name="New dy").click()
    until(page, "due === 0")
    after = errors.all_inner_texts()
    assert sum(a != b for a, b in zip(before, after, strict=True)) > len(before) / 2  # two digits may be the same
    assert all(text.endswith(" seen") for text in after)
    assert page.locator(".stale").count() == 0
    clip = opened("clip")
    clip.get_by_role("button", name="New dy").click()
    until(clip, "due === 0")
    assert poor_contrast(clip) == []
    assert clip.locator(".mistakes .stale").count() == clip.locator(".mistakes tbody tr").count()


def test_a_symbol_is_lit_everywhere(opened: Any) -> None:
    page = opened("softmax", forced_colors="active")
    page.locator("#derivation mi", has_text="dy").first.hover()
    lit = page.locator(".hot")
    assert lit.count() > 4
    assert set(lit.evaluate_all("(all) => all.map(symbolOf)")) == {"dy"}
    assert page.evaluate("getComputedStyle(document.querySelector('span.hot')).outlineStyle") == "solid"
    colours = page.evaluate("symbols.map((e) => [symbolOf(e), getComputedStyle(e).color, e.tagName])")
    assert {tag for _, _, tag in colours} >= {"mi", "SPAN", "TABLE"}


def test_hover_shows_the_arithmetic_and_leaves_the_choice(opened: Any) -> None:
    page = opened("relu")
    page.locator("[data-of=y] tbody td").first.click()
    page.locator("[data-of=dx] tbody td").nth(1).hover()
    assert page.locator(".readout").inner_text().startswith("dx0,1 = dy0,1 1[x0,1 > 0] = −0.98 × ")
    page.locator("h1").hover()
    assert page.locator(".readout").inner_text().startswith("y0,0 = max(x0,0, 0) = ")
