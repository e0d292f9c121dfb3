"""The page of a computation: its numbers, its text, and hostile names."""

import base64
import hashlib
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect.player.drawing import Playback, edges, layout
from nanograd.inspect.player.html import heatmap
from nanograd.inspect.player.steps import broadcast_axes
from nanograd.inspect.player.tables import number_format, table
from nanograd.inspect.trace import leaf_names, reachable, summarise
from nanograd.nn import Linear, Module

HOSTILE = ["</script><script>alert(1)</script>", "\"><img src=x onerror='alert(1)'>", "שלום", "🦙\u202e‮x", "a\0\ud800"]


class Page(HTMLParser):
    """A page's tags, and the text of every element that has an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def leaf(values: object) -> Tensor:
    return Tensor(np.array(values, np.float64), requires_grad=True)


def playback_of(loss: Tensor) -> Playback:
    assert loss.node is not None
    nodes = reachable(loss.node)
    return Playback(nodes, leaf_names(nodes))


def gpt(n_layers: int = 2, d_model: int = 8) -> tuple[GPT, np.ndarray]:
    config = ModelConfig(vocab_size=11, context_length=16, d_model=d_model, n_layers=n_layers, n_heads=2)
    return GPT(config, np.random.default_rng(0)), np.random.default_rng(1).integers(0, 11, (2, 17))


def traced(n_layers: int = 2, d_model: int = 8) -> Tensor:
    model, ids = gpt(n_layers, d_model)
    with ng.trace():
        return model.loss(ids[:, :-1], ids[:, 1:])


def test_a_page_by_hand(tmp_path: Path) -> None:
    x, b = leaf([[1, 2], [3, 4]]), leaf([10, 20])
    with ng.trace():
        loss = (x * x + b).sum()
    page = ng.graph(loss, tmp_path / "tape.html", names={"x": x, "b": b})
    assert (tmp_path / "tape.html").read_bytes() == page.encode()
    assert x.grad is None
    text = re.sub(r"<[^>]*>", " ", page.partition("<header>")[2])
    text = " ".join(text.split())
    assert (
        "Step 1 of 7: forward of mul 0 mul(a (2, 2), b (2, 2)) → (2, 2) Its numbered lines a (2, 2) x b (2, 2) x →"
        in text
    )
    assert "→ y (2, 2) 0 1 0 1.0 4.0 1 9.0 16.0" in text
    assert "Step 3 of 7: forward of sum 2" in text
    assert "Step 4 of 7: backward of sum 2 Its numbered lines Derivation: python -m nanograd study sum" in text
    assert "Upstream gradient dy () 1.00 Gradients of its inputs" in text
    assert "Step 5 of 7: backward of add 1" in text
    assert "dy (2, 2) from step 4" in text
    assert "b was broadcast to (2, 2), so its gradient is summed over axis 0 to (2,)." in text
    assert "db (2,) 0 1 0 2.00 2.00" in text
    assert "Saved by the forward, used here a (2, 2) x" in text
    assert "db → x ADDED , contribution 2 of 2" in text
    assert "sum so far of x (2, 2) 0 1 0 2.00 4.00 1 6.00 8.00" in text
    end = text[text.index("Step 7 of 7: all gradients are complete") :]
    assert "x (2, 2) 0 1 0 1.00 2.00 1 3.00 4.00 its gradient (2, 2) from step 6" in end
    assert "<mi>da</mi>" in page  # the rules are MathML


def test_a_backward_inside_the_trace_is_shown() -> None:
    x = leaf([1.0, 2.0])
    with ng.trace():
        before = (x * x).sum()
        after = (x * x).sum()
        after.backward()
    shown, again = ng.graph(before), ng.graph(after)
    assert shown.partition("<aside")[0] == again.partition("<aside")[0]
    assert "A click or Enter on a number" in shown
    assert "the tape was freed" in again  # and with it the derivatives
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_losses_without_a_traced_backward_are_errors() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match="the loss is a leaf"):
        ng.graph(x)
    with pytest.raises(ValueError, match="was not traced"):
        ng.graph(x.sum())
    with ng.trace():
        loss = (x * x).sum()
    loss.backward()
    with pytest.raises(ValueError, match="backward ran outside of the trace"):
        ng.graph(loss)


def test_modules_close_level_by_level() -> None:
    loss = traced()
    ng.graph(loss)
    tape = playback_of(loss)
    kinds = [[row.label for row in layout(tape, level) if row.kind == "closed"] for level in range(4)]
    assert kinds == [["GPT"], ["blocks.0", "blocks.1"], ["attn", "mlp", "attn", "mlp"], []]
    rows = layout(tape, 1)
    assert [row.label for row in rows if row.kind == "leaf"] == [
        "tok_emb.weight",
        "pos_emb.weight",
        "norm.weight",
        "norm.bias",
    ]
    assert [row.label for row in layout(tape, 3) if row.kind == "leaf"][2:5] == [
        "norm1.weight",
        "norm1.bias",
        "w_qkv.weight",
    ]
    tied = [edge for edge in edges(tape, rows) if rows[edge.start].label == "tok_emb.weight"]
    assert [rows[edge.end].label for edge in tied] == ["embedding tok_emb", "linear_cross_entropy"]


def test_every_number_is_the_engines() -> None:
    model, ids = gpt()
    with ng.trace():
        loss = model.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
    page = ng.graph(loss)
    tape = playback_of(loss)
    for leaf, name in tape.leaves.items():
        p = dict(model.named_parameters())[name]
        assert p is leaf
        assert p.grad is not None
        key, nth = tape.keys[leaf], 2 if p is model.tok_emb.weight else 1
        assert table(name, summarise(p.data), id=f"value-{key}") in page
        if nth == 2:
            total = table(f"sum so far of {name}", summarise(p.grad), id=f"sum-{key}-2")
        else:
            slot = next(s for s, parent in enumerate(tape.uses[p][0].record.parents) if parent is p)
            slot_name = tape.uses[p][0].record.inputs[slot]
            total = table(f"d{slot_name}", summarise(p.grad), id=f"made-{key}-1")
        assert total in page
    assert page.count('data-how="ADDED"') == 2 * 2 + 1  # two residual joins a block, and the tied table


def test_gradients_are_summed_over_broadcast_axes_only() -> None:
    loss = traced()
    ng.graph(loss)
    assert loss.node is not None
    summed = {
        (node.op.name, node.record.inputs[slot]): fold
        for node in reachable(loss.node)
        for slot, a in enumerate(node.record.values)
        if a is not None and (fold := broadcast_axes(node, slot)) is not None
    }
    assert summed == {
        ("add", "b"): [0],  # the positions
        ("linear", "bias"): [0, 1],
        ("layernorm", "weight"): [0, 1],
        ("layernorm", "bias"): [0, 1],
    }


def test_an_index_is_no_broadcast() -> None:
    table = leaf(np.ones((4, 3)))
    with ng.trace():
        loss = ng.embedding(table, np.zeros((2, 4), np.int64)).sum()  # (4, 3) would broadcast to (2, 4, 3)
    assert "Summed" not in ng.graph(loss)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    x = leaf([1.0, 2.0])
    with ng.trace():
        loss = type(
            name.replace("\0", "").replace("\ud800", ""), (Module,), {"forward": lambda self, x: x.exp() * x}
        )()(x).sum()
    page = ng.graph(loss, names={name: x}, title=name)
    plain = ng.graph(loss, names={"x": x}, title="x")
    assert [tag for tag, _ in Page(page).tags] == [tag for tag, _ in Page(plain).tags]
    assert page.encode()  # which lone surrogates would not
    shown = name.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert Page(page).text.count(shown) >= 3


def test_the_policy_names_the_style_and_the_script() -> None:
    page = ng.graph(traced())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    for tag in ("style", "script"):
        body = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none';")
    for _, attributes in Page(page).tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on") or name == "src"]
        assert (attributes.get("href") or "#").startswith("#")
        assert attributes.get("type") != "text/javascript"


def test_links_lead_somewhere_and_tables_have_scopes() -> None:
    page = Page(ng.graph(traced()))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert (link["href"] or "")[1:] in ids
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert all(th.get("scope") in ("row", "col") for th in page.all("th"))


def test_a_tape_of_twelve_blocks_is_small_quick_and_always_the_same() -> None:
    began = time.process_time()
    page = ng.graph(traced(12, 64))
    assert time.process_time() - began < 2
    assert len(page.encode()) <= 1_200_000
    assert ng.graph(traced(12, 64)) == page
    assert len(ng.graph(traced(12, 8)).encode()) <= 1_200_000  # small arrays, too many to be shown whole


def test_empty_and_nonfinite_arrays_have_tables() -> None:
    assert "<td>nan</td><td>∞</td>" in table("a", summarise(np.array([np.nan, np.inf, 1])))
    assert "2 not finite" in table("a", summarise(np.r_[np.nan, np.inf, np.ones(200)]))
    assert "(0, 3)" in table("a", summarise(np.zeros((0, 3))))


@pytest.mark.parametrize(
    ("values", "shown", "unit"),
    [
        ([0.5, -0.0123, 0.0], ["0.500", "-0.012", "0"], ""),
        ([1234.0, 1.0], ["1234", "1"], ""),
        ([3.21e-6, -1e-8], ["3.21", "-0.01"], "1e-6"),
        ([2.5e7, 0.0], ["2.50", "0"], "1e7"),
        ([0.0, 0.0], ["0", "0"], ""),
    ],
)
def test_entries_of_a_table_have_the_same_decimals(values: list[float], shown: list[str], unit: str) -> None:
    entry, its_unit = number_format(max(map(abs, values)))
    assert ([entry(v) for v in values], its_unit) == (shown, unit)


def test_rows_of_a_stack_have_their_indices() -> None:
    html = table("a", summarise(np.arange(12.0).reshape(1, 2, 2, 3)))
    assert re.findall(r'<th scope="row">([^<]*)', html) == ["0,0", "0,1", "1,0", "1,1"]
    assert re.findall(r'<th scope="row">([^<]*)', table("a", summarise(np.zeros((1, 3, 2))))) == ["0", "1", "2"]
    large = table("a", summarise(np.zeros((2, 2, 40))))
    assert "the corner [0, :2, :4]" in large
    assert large.count("<tr>") == 1 + 2
    assert "the corner [:3, :4]" in table("a", summarise(np.zeros((5, 5))), whole=False)


def test_a_leaf_of_the_drawing_leads_to_the_step_that_completes_its_gradient() -> None:
    loss = traced(1)
    page = ng.graph(loss)
    tape = playback_of(loss)
    model_leaf = {name: leaf for leaf, name in tape.leaves.items()}
    for name in ("tok_emb.weight", "blocks.0.attn.w_qkv.weight"):
        leaf = model_leaf[name]
        step = tape.backward_step[tape.uses[leaf][0]]  # the oldest use contributes last
        assert tape.finished(leaf) == step
        assert f'<a href="#step={step}"><g class="row leaf" data-keys="{tape.keys[leaf]}"' in page


def test_steps_link_to_the_study_pages_if_there_are_any() -> None:
    loss = traced(1)
    assert 'href="study/softmax.html"' not in ng.graph(loss, pages="study/")  # packed_attention is one step
    assert '<a href="study/linear.html">the page of linear</a>' in ng.graph(loss, pages="study/")
    assert ".html" not in ng.graph(loss)


def test_an_op_of_the_user_states_its_own_lines() -> None:
    def odd_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        """Do as it likes.
        y = whatever ∮ you like                                (1)
        """
        return x * 2, None

    def odd_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
        return (dy * 2,)

    x = leaf([1.0, 2.0])
    with ng.trace():
        loss = ng.Op(odd_forward, odd_backward)(x).sum()
    page = ng.graph(loss, pages="study/")
    assert "<code>y = whatever ∮ you like</code>" in page
    assert "The backward of odd states no numbered line." in page
    assert "docstring of <code>odd_backward</code>" in page
    assert "odd.html" not in page


def test_a_heatmap_shows_signs_and_sizes() -> None:
    table = heatmap("dS <b>", np.array([[1.0, np.nan], [-0.5, 0.01]]), ["a", "b"], ["<", "d"])
    assert '<td class="p4">10</td><td class="none">·</td>' in table
    assert '<td class="n2">-5</td><td>0</td>' in table
    assert "dS &lt;b&gt;, in units of 0.1</caption>" in table
    assert "<td>0</td>" in heatmap("0", np.zeros((1, 1)), ["a"], ["b"])
    assert '<td class="p4">62</td>' in heatmap("P", np.array([[0.62]]), ["a"], ["b"], unit=0.01)
    assert "<bdi>&lt;</bdi>" in table


def test_linear_maps_alone_need_no_module() -> None:
    x = leaf([[1.0, 2.0]])
    with ng.trace():
        loss = Linear(2, 3, bias=False).astype(np.float64)(x).sum()
    assert "Step 1 of 5" in ng.graph(loss)
