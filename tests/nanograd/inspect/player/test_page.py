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
from nanograd.inspect.player.html import heatmap, number
from nanograd.inspect.player.page import array, broadcast_axes
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
    assert "Step 0 of 4: the loss" in text
    assert "∂L/∂L () = 1" in text
    assert "Step 2 of 4: backward of add 1 add(a (2, 2), b (2,)) → (2, 2)" in text
    assert "b was broadcast to (2, 2), so its gradient is summed over axis 0 to (2,)." in text
    assert "db (2,) 0 1 0 2 2 min 2 · mean 2 · max 2" in text
    assert "db → x ADDED , contribution 2 of 2" in text
    assert "sum so far of x (2, 2) 0 1 0 2 4 1 6 8 min 2 · mean 5 · max 8" in text
    assert "x (2, 2) 2 2 5 8 b (2,) 1 2 2 2" in text  # the last step: contributions, min, mean, max
    assert "da = U(dy) (2)" in text


def test_a_backward_inside_the_trace_is_shown() -> None:
    x = leaf([1.0, 2.0])
    with ng.trace():
        before = (x * x).sum()
        after = (x * x).sum()
        after.backward()
    assert ng.graph(before) == ng.graph(after)
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
    for name, p in model.named_parameters():
        assert p.grad is not None
        row = f"<bdi>{name}</bdi></th><td>{p.shape}</td><td>{2 if name == 'tok_emb.weight' else 1}</td>"
        row += "".join(f"<td>{f(p.grad):.4g}</td>" for f in (np.min, np.mean, np.max))
        assert row in page
    assert array("sum so far of tok_emb.weight", summarise(model.tok_emb.weight.grad)) in page
    assert page.count('data-how="ADDED"') == 2 * 2 + 1  # two residual joins a block, and the tied table


def test_gradients_are_summed_over_broadcast_axes_only() -> None:
    loss = traced()
    ng.graph(loss)
    assert loss.node is not None
    summed = {
        (node.op.name, node.record.inputs[slot]): fold
        for node in reachable(loss.node)
        for slot in range(len(node.record.inputs))
        if (fold := broadcast_axes(node, slot)) is not None
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
    assert len(page.encode()) <= 1_000_000
    assert ng.graph(traced(12, 64)) == page


def test_empty_and_nonfinite_arrays_have_tables() -> None:
    assert "2 not finite" in array("a", summarise(np.array([np.nan, np.inf, 1])))
    assert "(0, 3)" in array("a", summarise(np.zeros((0, 3))))
    assert number(-1.23456e-9) == "-1.235e-09"


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
    assert "Step 1 of 3" in ng.graph(loss)
