"""The study pages: their numbers by hand, what they find out, and what every page owes."""

import base64
import hashlib
import html
import inspect
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.inspect.player.html import number
from nanograd.inspect.trace import reachable, trace
from nanograd.op import OPS
from nanograd.study import curve, evidence
from nanograd.study.book import book
from nanograd.study.code import highlight
from nanograd.study.drills import DRILLS
from nanograd.study.facts import facts
from nanograd.study.families import LADDER, families
from nanograd.study.map import map_page
from nanograd.study.mistakes import DULL, RIGHT, blind_spot, describe, mistakes
from nanograd.study.page import page
from nanograd.study.paper import paper
from nanograd.study.prose import inline
from nanograd.study.saving import saved_by
from nanograd.study.sections import the_derivation
from nanograd.study.tables import error, rows, table
from nanograd.study.uses import made_of, uses
from nanograd.study.worked import Worked, work, work_on

SOME = (
    "softmax",
    "mul",
    "layernorm",
    "attention",
    "concat",
    "einsum",
    "embedding",
    "cross_entropy",
    "where",
    "getitem",
)
VOID = {"meta", "br", "input"}
HOSTILE = "</script><script>alert(1)</script> \"'🦙 שלום \u202e"


class Page(HTMLParser):
    """A page's tags and text; every tag that is opened must be closed, and in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), tag
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def by_hand(name: str, *arrays: object, dy: object = None, **options: object) -> Worked:
    """Work an op on these numbers, with this dy."""
    worked = work_on(name, [np.array(a, np.float64) if a is not None else None for a in arrays], dict(options))
    if dy is None:
        return worked
    op, up = worked.op, np.array(dy, np.float64)
    gradients = op.run_backward(op.pair.backward, up, worked.saved, worked.needs)
    return replace(worked, dy=up, gradients=gradients)


def text_of(part: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())


# Which numbers a number was made of


def test_cells_that_were_used() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    assert uses(lambda s: s["a"] * s["b"], {"a": a, "b": b}, ["a", "b"]) == [{"a": [i], "b": [i]} for i in range(3)]
    assert uses(lambda s: s["a"].sum(), {"a": a}, ["a"]) == [{"a": [0, 1, 2]}]
    assert uses(lambda s: s["a"][::-1], {"a": a}, ["a"]) == [{"a": [2]}, {"a": [1]}, {"a": [0]}]
    # a comparison takes NaN for False: of a number below the kink only a huge one tells
    relu = uses(lambda s: np.where(s["x"] > 0, s["dy"], 0), {"x": np.array([-1.0, 1.0]), "dy": a[:2]}, ["x", "dy"])
    assert relu == [{"x": [0]}, {"x": [1], "dy": [1]}]
    ids = uses(lambda s: s["a"][s["ids"]], {"a": a, "ids": np.array([2, 0])}, ["a", "ids"])
    assert ids == [{"a": [2], "ids": [0]}, {"a": [0], "ids": [1]}]
    assert uses(lambda s: np.where(s["m"], s["a"], 0), {"m": np.array([True, False, True]), "a": a}, ["m"])[1] == {
        "m": [1]
    }


def test_a_line_is_made_of_what_stands_one_line_back() -> None:
    known = facts("softmax", (1, 3))
    made = [made_of(known.worked, step) for step in known.steps]
    assert made[0]["y"][0] == {"x": [0, 1, 2]}
    assert made[1]["dy_dx"][1] == {"y": [0, 1]}  # dy_0/dx_1
    assert made[2]["dx"][2] == {"dy": [0, 1, 2], "y": [0, 1, 2]}  # and of x only through y
    several = facts("concat", (1, 2))
    assert made_of(several.worked, several.steps[0])["y"] == [{"x1": [0]}, {"x1": [1]}, {"x2": [0]}, {"x2": [1]}]


# The V-curve


def test_errors_of_differences_by_hand() -> None:
    steps = curve.step_errors(by_hand("square", [3.0], dy=[2.0]), 0)  # slope 12; (y(x + h) - y(x)) dy / h = 12 + 2 h
    assert steps[0].forward == pytest.approx(2 / 12)
    assert steps[1].forward == pytest.approx(0.2 / 12)
    assert max(step.central for step in steps[:5]) < 1e-10
    assert steps[-1].central > 1e-6  # 16 digits, of which 13 cancel
    assert "no third derivative" in curve.said(steps)
    cube = curve.step_errors(by_hand("exp", [0.0], dy=[1.0]), 0)
    assert cube[0].central == pytest.approx(math.sinh(1) - 1)
    assert "like h²" in curve.said(cube)
    assert "linear in this input" in curve.said(curve.step_errors(by_hand("neg", [1.0]), 0))


def test_a_step_out_of_the_domain() -> None:
    steps = curve.step_errors(by_hand("log", [0.5], dy=[1.0]), 0)
    assert steps[0].central == math.inf
    assert "A step larger than 0.1 leaves the op's domain" in curve.said(steps)
    assert "not finite" in text_of(curve.table(steps))
    assert "inf" not in curve.svg(steps)


def test_the_curve_has_a_table_of_the_same_numbers() -> None:
    steps = curve.step_errors(work("softmax"), 0)
    told = text_of(curve.table(steps))
    assert all(error(each) in told for step in steps for each in (step.forward, step.central))
    drawn = curve.svg(steps)
    assert drawn.count("<circle") == drawn.count("<rect") == len(steps) == 14
    Page(drawn)


# Mistakes


@pytest.mark.parametrize("name", ["softmax", "mul", "tanh", "embedding"])
def test_named_mistakes_are_the_drills(name: str) -> None:
    found, drill = mistakes(work(name)), DRILLS[name]
    assert [each.name for each in found[: len(drill.mutants)]] == [mutant.name for mutant in drill.mutants]
    assert all(each.caught.startswith("drill, ") for each in found[: len(drill.mutants)])


def test_the_blind_spot_of_softmax() -> None:
    spot = blind_spot(mistakes(work("softmax")))
    assert spot is not None
    assert spot.name == "y left out"
    assert spot.uniform is not None
    assert spot.random is not None
    np.testing.assert_allclose(spot.uniform.got[0], 0, atol=1e-12)  # dy - Σ dy y = 1 - 1
    np.testing.assert_allclose(spot.uniform.right[0], 0, atol=1e-9)
    y = DRILLS["softmax"].forward(*DRILLS["softmax"].cases[0].arrays())[0]
    dy = spot.random.dy
    np.testing.assert_allclose(spot.random.got[0], dy - (dy * y).sum(-1, keepdims=True), atol=1e-12)
    np.testing.assert_allclose(spot.random.right[0], y * (dy - (dy * y).sum(-1, keepdims=True)), atol=1e-8)
    assert spot.random.error > 0.1


def test_a_mistake_that_a_uniform_cotangent_sees() -> None:
    sign = next(each for each in mistakes(work("mul")) if each.name == "a minus")
    assert not sign.hides
    assert sign.uniform is not None
    assert sign.uniform.error > 1


def test_mutants_are_told_in_words() -> None:
    told = describe("return (dy * b,) → return (None if dy * b is None else dy * b * 0,) in return (dy * b,)")
    assert told == ("all zeros", "nothing goes back", ("return (dy * b,)", "return (dy * b * 0,)"))
    assert describe("np.flip(dy, axis) → dy in return (np.flip(dy, axis),)")[0] == "left out"
    assert describe("-t → t in db = -t")[0] == "a sign"
    assert describe("dy * y → dy / y in dx = dy * y")[2] == ("dy * y", "dy / y")


@pytest.mark.parametrize("name", ["cumsum", "rope", "max", "stack", "packed_attention"])
def test_ops_without_a_drill_have_mistakes_too(name: str) -> None:
    found = mistakes(work(name))
    spot = blind_spot(found)
    assert spot is not None
    assert spot.name not in DULL
    assert all(each.random and each.random.error > RIGHT for each in found)
    assert all("no Case" not in each.caught for each in found)


# Cost


def test_what_is_saved_and_why() -> None:
    (y, axis) = saved_by(work("softmax"))
    assert (y.name, y.bytes, y.source, axis.value) == ("y", 32, "the result y itself, no copy", -1)
    assert y.used == ("row = (dy * y).sum(axis=axis, keepdims=True)", "return (y * (dy - row), None)")
    saved = {each.name: each for each in saved_by(work("mul"))}
    assert saved["b"].source == "the input b itself, no copy"
    assert [(each.name, each.source) for each in saved_by(work("square"))] == [("x", "the input x itself, no copy")]
    assert [each.name for each in saved_by(work("maximum"))] == ["larger_a", "larger_b", "a_shape", "b_shape"]
    inner = saved_by(work("packed_attention"))[0]
    assert len(inner.arrays) >= 4  # q, k, v, P: of the attention inside
    assert any(line.startswith("for ") for line in inner.used)
    assert "Forward saves nothing" in evidence.the_cost(work("neg"))
    told = text_of(evidence.the_cost(work("softmax")))
    assert "y (2, 4) , 32 bytes" in told
    assert "Backward needs no x" in told


def test_the_jacobian_beside_the_shortcut() -> None:
    told = text_of(evidence.jacobian(by_hand("square", [1.0, 2.0], dy=[10.0, 100.0])))  # dy/dx = diag(2, 4)
    assert "y[0] 20 0 y[1] 0 40" in told  # in units of 0.1
    assert told.count("0 20 400") == 2  # dy J, and dx
    assert "a matrix of 4, of which 2 are 0" in told


# Pieces of pages


def test_a_table_of_each_number_of_axes() -> None:
    assert text_of(table("loss", np.array(1.5))) == "loss () 0 0 1.5"
    assert text_of(table("a", np.array([1.0, -0.0]))) == "a (2,) 0 1 0 1 0"
    assert text_of(table("a", np.arange(4).reshape(2, 1, 2))) == "a[0] (2, 1, 2) 0 1 0 0 1 a[1] (2, 1, 2) 0 1 0 2 3"
    assert text_of(table("m", np.array([True, False]))) == "m (2,) 0 1 0 True False"
    assert "is empty" in table("a", np.zeros((0, 3)))
    assert "… and 52 more of (8, 8)" in table("a", np.zeros((53, 8, 8)))
    assert "… and 30 more rows" in table("a", np.zeros((32, 40)))


def test_the_paper_drill_is_the_ops_gradient() -> None:
    worked = by_hand("mul", [[1.0, 2.0]], [3.0, 4.0], dy=[[10.0, 100.0]])
    drill = paper(worked, "")
    assert re.findall(r'aria-label="([^"]*)" .*? data-answer="([^"]*)"', drill.replace("<input", "\n<input")) == [
        ("da[0, 0]", "30"),
        ("da[0, 1]", "400"),
    ]
    assert 'data-tolerance="4"' in drill
    assert "db (2,) 0 1 0 10 200" in text_of(drill.partition("<details>")[2])
    assert "<input" not in paper(worked, "", printed=True)


@pytest.mark.parametrize("name", ["softmax", "attention", "erf"])
def test_code_is_shown_to_the_letter(name: str) -> None:
    for function in (*OPS[name].pair, *(OPS[name].fast or ())):
        source = inspect.getsource(function)
        assert html.unescape(re.sub(r"<[^>]*>", "", highlight(source))) == source.rstrip()


def test_indices_stand_below() -> None:
    assert inline("x_i and dy_j of `x_i`, n_heads") == (
        "<i>x</i><sub>i</sub> and <i>dy</i><sub>j</sub> of <code>x_i</code>, n_heads"
    )


def test_hostile_names_stay_text() -> None:
    source = f"def f():\n    return {HOSTILE!r}  # {HOSTILE}\n"
    parts = [
        table(HOSTILE, np.ones((2, 2)), key=HOSTILE),
        rows(HOSTILE, ["a"], [["b"]]),
        inline(HOSTILE),
        highlight(source),
    ]
    assert not {tag for part in parts for tag, _ in Page(part).tags} & {"script", "img"}
    assert all(HOSTILE in Page(part).text for part in parts[:3])
    assert Page(parts[3]).text == source.rstrip()


# Whole pages


def owes(text: str, *, files: bool = True) -> Page:
    """Check what every page owes; return it read."""
    read = Page(text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none';")
    for tag in ("style", "script"):
        if f"<{tag}>" in text:
            body = text.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, a in read.tags:
        assert not [name for name in a if name in ("style", "src") or name.startswith("on")]
        assert tag != "th" or a.get("scope") in ("row", "col")
        assert a.get("aria-labelledby", "main") in (*ids, "main")
        link = a.get("href") or "#"
        if link.startswith("#"):
            assert link == "#" or link[1:] in ids, link
        else:
            assert link.removesuffix(".html") in (*OPS, "map"), link
    assert "xmlns" not in text
    assert "<td>nan" not in text.lower()
    return read


@pytest.mark.parametrize("name", SOME)
def test_a_page_is_whole_small_and_quick(name: str) -> None:
    began = time.process_time()
    text = page(name)
    assert time.process_time() - began < 2
    assert len(text.encode()) <= 250_000
    read = owes(text)
    worked = work(name)
    for i in worked.wanted:
        for value in np.asarray(worked.gradients[i]).reshape(-1):
            assert number(value + 0.0) in read.text
    checks = re.findall(r'class="check"><span aria-hidden="true">(.)', text)
    assert len(checks) == len(facts(name).steps) + 1  # and that of the Jacobian
    assert set(checks) <= {"✓", "·"}


def test_a_line_that_does_not_hold_is_told_so() -> None:
    known = facts("softmax")
    step = known.steps[2]
    assert step.checked is not None
    wrong = step._replace(checked=step.checked._replace(error=0.25))
    told = text_of(the_derivation(replace(known, steps=(wrong,))))
    assert "✗ WRONG: is not" in told
    assert "off by 2.5e-01" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_a_page(name: str) -> None:
    for shape, seed in ((None, 0), ((4, 8), 3)):
        began = time.process_time()
        text = page(name, shape, seed)
        assert time.process_time() - began < 2
        assert len(text.encode()) <= 250_000
        owes(text)
        assert page(name, shape, seed) == text


def test_shapes_and_seeds_are_followed() -> None:
    assert "dx (3, 5)" in text_of(page("softmax", (3, 5)))
    assert page("softmax", seed=1) != page("softmax")
    assert "too small to show one" in page("log_softmax", (1,))
    assert len(page("layernorm", (1, 64)).encode()) <= 250_000  # the largest that there is
    assert "stack" in page("stack", ())
    with pytest.raises(ValueError, match="has 10000 numbers; choose a shape of at most 64"):
        page("softmax", (100, 100))
    with pytest.raises(ValueError, match="there is no op softmacks"):
        page("softmacks")


def test_the_same_to_the_byte_in_another_process() -> None:
    code = "import sys; from nanograd.study.page import page; sys.stdout.buffer.write(page('div').encode())"
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert said == [page("div").encode()] * 2


def test_the_map_leads_to_every_op() -> None:
    text = map_page()
    read = owes(text)
    assert len(text.encode()) <= 250_000
    links = [a["href"] for tag, a in read.tags if tag == "a"]
    assert {f"{name}.html" for name in OPS} <= set(links)
    drawn = text.partition("<svg")[2].partition("</svg>")[0]
    config = ModelConfig(vocab_size=5, context_length=4, d_model=4, n_layers=1, n_heads=2, dropout=0.1)
    with trace():
        loss = GPT(config).loss(np.zeros((1, 4), np.int64), np.zeros((1, 4), np.int64))
    assert loss.node is not None
    for name in {node.op.name for node in reachable(loss.node)}:
        assert f'href="{name}.html"' in drawn


def test_the_ladder_has_every_family() -> None:
    assert list(families()) == list(LADDER)
    assert sorted(name for names in families().values() for name in names) == sorted(OPS)


def test_a_book_is_one_document() -> None:
    text = book(["mul", "softmax"])
    read = owes(text)
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert ids.index("mul") < ids.index("softmax")
    assert {"softmax-derivation", "mul-paper", "contents"} <= set(ids)
    assert not [tag for tag, _ in read.tags if tag in ("script", "button", "input", "details")]
    assert "data-uses=" not in text
    assert book(["mul", "softmax"]) == text
