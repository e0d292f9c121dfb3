"""The map: the stations with the learner's progress, a link for every op, and a drawing of what a GPT runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd.inspect.trace import reachable, trace
from nanograd.op import OPS
from nanograd.study.course import STATIONS
from nanograd.study.drills.command import Record
from nanograd.study.map import map_page
from nanograd.study.reasons import families
from nanograd.study.table_of_ops import defined, gradients, letters


def test_the_map_leads_to_every_op(whole_page: Callable[[str], Any]) -> None:
    text = map_page()
    read = whole_page(text)
    assert len(text.encode()) <= 300_000
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


def test_stations_are_done_when_all_their_drills_are_solved(text_of: Callable[[str], str]) -> None:
    solved, tried = Record(checks=3, solved=True), Record(checks=2)
    page = map_page({"mul": solved, "attention": solved, "flash": tried})
    assert page == map_page({"mul": solved, "attention": solved, "flash": tried})
    stations = page.split("<li value=")[1:]
    done = [s.partition('href="')[2].partition(".html")[0] for s in stations if s.partition(">")[0].endswith('"done"')]
    assert done == ["mul"]  # of attention, flash is missing
    text = text_of(page)
    assert "Go on with station 2: add →" in text
    assert "not solved yet" in text
    assert "Start here: chain_rule →" in text_of(map_page())
    assert "✓" not in map_page()


def test_stations_stand_in_the_order_of_the_course(whole_page: Callable[[str], Any]) -> None:
    read = whole_page(map_page())
    numbers = [int(a["value"]) for tag, a in read.tags if tag == "li" and "value" in a]
    assert numbers == list(range(len(STATIONS)))
    assert {a["data-read"] for _, a in read.tags if "data-read" in a} == {station.page for station in STATIONS}


def test_every_letter_in_the_table_is_defined_in_its_row() -> None:
    assert gradients("dropout") == []  # z is defined in words
    assert gradients("attention")[:3] == ["dv = (P ⊙ z)ᵀ dy", "dq = scale dS k", "dk = scale dSᵀ q"]
    for name in OPS:
        lines = gradients(name)
        known = {letter for line in lines for letter in defined(line)}
        assert all(letters(name, line) <= known for line in lines)
