"""The derivatives in a page give the terms that `nanograd.explain` lists."""

import json
import math
import re
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect.player import explanations

CONFIG = ModelConfig(vocab_size=5, context_length=3, d_model=4, n_layers=1, n_heads=2, d_ff=4)
IDS = np.array([[1, 2, 4, 0]])


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="local">(.*?)</script>', page)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def terms_of(data: dict[str, Any], key: str, index: int) -> list[tuple[float, float, str]]:
    """Return dy, derivative and op of the terms of an entry, as the script of the page finds them."""
    terms = []
    for op in data["ops"]:
        dy = data["targets"][op["key"]]["dy"]
        for a in (a for a in op["inputs"] if a["target"] == key):
            for j, i, derivative in zip(*[iter(a["local"])] * 3, strict=True):
                if i == index and dy[j]:
                    terms.append((dy[j], derivative, op["name"]))
    return sorted(terms, key=lambda term: -abs(term[0] * term[1]))


@pytest.fixture(scope="module")
def played() -> tuple[GPT, Tensor, dict[str, Any]]:
    model = GPT(CONFIG, np.random.default_rng(0)).astype(np.float64)
    with ng.trace(unfused=True):
        loss = model.loss(IDS[:, :-1], IDS[:, 1:])
    return model, loss, data_of(ng.graph(loss))


def test_the_terms_of_every_kind_of_parameter_are_those_of_explain(played: tuple[GPT, Tensor, dict[str, Any]]) -> None:
    model, loss, data = played
    keys = {target["name"]: key for key, target in data["targets"].items()}
    for name, parameter in model.named_parameters():
        index = tuple(n // 2 for n in parameter.shape)
        flat = int(np.ravel_multi_index(index, parameter.shape))
        expected = ng.explain(loss, parameter, index)
        terms = terms_of(data, keys[name], flat)
        assert len(terms) == len(expected.terms)
        np.testing.assert_allclose([dy for dy, *_ in terms], [t.dy for t in expected.terms], rtol=1e-6)
        np.testing.assert_allclose([d for _, d, _ in terms], [t.derivative for t in expected.terms], rtol=1e-6)
        assert [op for *_, op in terms] == [expected.tape.label(t.node) for t in expected.terms]
        assert data["targets"][keys[name]]["dy"][flat] == pytest.approx(expected.value, rel=1e-7)


def test_the_terms_of_every_entry_add_up(played: tuple[GPT, Tensor, dict[str, Any]]) -> None:
    *_, data = played
    for key, target in data["targets"].items():
        size = max(map(abs, target["dy"]))
        for index, value in enumerate(target["dy"]):
            terms = terms_of(data, key, index)
            if key == data["ops"][0]["key"]:
                assert (value, terms) == (1, [])
            else:
                assert sum(dy * derivative for dy, derivative, _ in terms) == pytest.approx(value, abs=1e-6 * size)


def test_a_page_says_which_ops_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Tensor(np.arange(1.0, 201), requires_grad=True)
    with ng.trace():
        loss = ((x * 2).reshape(20, 10).sum(axis=0) ** 2).sum()
    page = ng.graph(loss)
    local = {op["name"]: [a["local"] for a in op["inputs"]] for op in data_of(page)["ops"]}
    assert [name for name, of_inputs in local.items() if of_inputs[0] is None] == ["sum 2", "reshape 1", "mul 0"]
    assert "The terms through these ops are left out: sum 2, reshape 1, mul 0;" in page
    monkeypatch.setattr(explanations, "DERIVATIVES", 15)
    again = data_of(ng.graph(loss))["ops"]
    assert [op["name"] for op in again if op["inputs"][0]["local"] is None] == [op["name"] for op in again][1:]


def test_numbers_that_json_does_not_know_are_text() -> None:
    x = Tensor([0.0, 1.0], requires_grad=True)
    with np.errstate(all="ignore"), ng.trace():
        data = data_of(ng.graph(x.log()[1]))
    assert data["targets"]["n0"]["y"] == ["-∞", 0]
    assert all(not isinstance(v, float) or math.isfinite(v) for v in data["targets"]["l0"]["dy"])


def test_a_page_of_too_many_numbers_explains_none() -> None:
    x = Tensor(np.ones((8, 16)), requires_grad=True)
    with ng.trace():
        y = x
        for _ in range(60):
            y = y * 1.01
        loss = y.sum()
    page = ng.graph(loss)
    assert "There are too many numbers to explain them here" in page
    assert 'id="local"' not in page
    assert "the corner [:3, :4]" in page


def test_a_checkpoint_is_left_out() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with ng.trace():
        loss = ng.checkpoint(lambda x: x * x, x).sum()
    page = ng.graph(loss)
    assert "The terms through these ops are left out: checkpoint 0;" in page
    assert x.grad is None
