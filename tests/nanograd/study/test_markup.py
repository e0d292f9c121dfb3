"""Tables, source code and prose as HTML."""

import html
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanograd.op import OPS
from nanograd.study.markup import highlight, inline, rows, table

HOSTILE = "</script><script>alert(1)</script> \"'🦙 שלום \u202e"


def test_symbols_and_names_of_code_in_prose() -> None:
    prose = (
        "c_i² in Σ_j dy_j y_j, x_{2i}, dx_out; n_heads and z_loss as np.split_all and softmax_backward have it, `a_b`"
    )
    assert inline(prose) == (
        "<i>c</i><sub>i</sub>² in Σ<sub>j</sub> dy<sub>j</sub> <i>y</i><sub>j</sub>, <i>x</i><sub>2i</sub>, "
        "dx<sub>out</sub>; <code>n_heads</code> and <code>z_loss</code> as <code>np.split_all</code> and "
        "<code>softmax_backward</code> have it, <code>a_b</code>"
    )


def test_a_table_of_each_number_of_axes(text_of: Callable[[str], str]) -> None:
    assert text_of(table("loss", np.array(1.5))) == "loss () 0 0 1.5"
    assert text_of(table("a", np.array([1.0, -0.0]))) == "a (2,) 0 1 0 1 0"
    assert text_of(table("a", np.arange(4).reshape(2, 1, 2))) == "a[0] (2, 1, 2) 0 1 0 0 1 a[1] (2, 1, 2) 0 1 0 2 3"
    assert text_of(table("m", np.array([True, False]))) == "m (2,) 0 1 0 True False"
    assert "is empty" in table("a", np.zeros((0, 3)))
    assert "… and 52 more of (8, 8)" in table("a", np.zeros((53, 8, 8)))
    assert "… and 30 more rows" in table("a", np.zeros((32, 40)))


@pytest.mark.parametrize("name", ["softmax", "attention", "erf"])
def test_code_is_shown_to_the_letter(name: str) -> None:
    for function in (*OPS[name].pair, *(OPS[name].fast or ())):
        source = inspect.getsource(function)
        assert html.unescape(re.sub(r"<[^>]*>", "", highlight(source))) == source.rstrip()


def test_hostile_names_stay_text(read_html: Callable[[str], Any]) -> None:
    source = f"def f():\n    return {HOSTILE!r}  # {HOSTILE}\n"
    parts = [
        table(HOSTILE, np.ones((2, 2)), key=HOSTILE),
        rows(HOSTILE, ["a"], [["b"]]),
        inline(HOSTILE),
        highlight(source),
    ]
    assert not {tag for part in parts for tag, _ in read_html(part).tags} & {"script", "img"}
    assert all(HOSTILE in read_html(part).text for part in parts[:3])
    assert read_html(parts[3]).text == source.rstrip()
