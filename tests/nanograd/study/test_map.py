"""The map: a link for every op, and a drawing of what a GPT runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.inspect.trace import reachable, trace
from nanograd.op import OPS
from nanograd.study.map import map_page
from nanograd.study.reasons import families


def test_the_map_leads_to_every_op(whole_page: Callable[[str], Any]) -> None:
    text = map_page()
    read = whole_page(text)
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


def test_every_op_has_a_family_and_an_order_to_learn_them() -> None:
    assert list(families())[:2] == ["arithmetic", "power"]
    assert sorted(name for names in families().values() for name in names) == sorted(OPS)
