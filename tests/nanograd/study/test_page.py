"""Whole pages and the book: well-formed, small, quick, the same for the same seed."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nanograd.inspect.player.html import number
from nanograd.op import OPS
from nanograd.study.page import link_ops, study_page
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import run_example

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


@pytest.mark.parametrize("name", SOME)
def test_a_page_is_whole_small_and_quick(name: str, whole_page: Callable[[str], Any]) -> None:
    began = time.process_time()
    text = study_page(name)
    assert time.process_time() - began < 2
    assert len(text.encode()) <= 300_000
    read = whole_page(text)
    worked = run_example(name)
    for i in worked.differentiated:
        for value in np.asarray(worked.gradients[i]).reshape(-1):
            assert number(value + 0.0) in read.text
    checks = re.findall(r'class="check"><span aria-hidden="true">(.)', text)
    assert len(checks) == len(study_op(name).steps) + 1  # and that of the Jacobian
    assert set(checks) <= {"✓", "·"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_has_a_page(name: str, whole_page: Callable[[str], Any]) -> None:
    for shape, seed in ((None, 0), ((4, 8), 3)):
        began = time.process_time()
        text = study_page(name, shape, seed)
        assert time.process_time() - began < 2
        assert len(text.encode()) <= 300_000
        whole_page(text)
        assert study_page(name, shape, seed) == text


def test_shapes_and_seeds_are_followed(text_of: Callable[[str], str]) -> None:
    assert "dx (3, 5)" in text_of(study_page("softmax", (3, 5)))
    assert study_page("softmax", seed=1) != study_page("softmax")
    assert "too small to show one" in study_page("log_softmax", (1,))
    assert len(study_page("layernorm", (1, 64)).encode()) <= 300_000  # the largest that there is
    assert "stack" in study_page("stack", ())
    with pytest.raises(ValueError, match="has 10000 numbers; choose a shape of at most 64"):
        study_page("softmax", (100, 100))
    with pytest.raises(ValueError, match="there is no op softmacks"):
        study_page("softmacks")


def test_the_same_to_the_byte_in_another_process() -> None:
    names = ["div", "rope", "max", "cross_entropy"]  # the last three compute several names for one line
    code = "import sys; from nanograd.study.page import study_page as page; "
    code += f"sys.stdout.buffer.write(''.join(map(page, {names})).encode())"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs == ["".join(map(study_page, names)).encode()] * 2


def test_a_derivation_links_the_ops_that_it_rests_on() -> None:
    linked, alone = study_page("attention", linked=True), study_page("attention")
    for name in ("matmul", "softmax"):
        assert f'<a href="{name}.html"><code>{name}</code></a>' in linked
    assert ".html" not in alone
    assert link_ops("<code>exp</code> <code>sum</code> <code>x</code>", "exp") == (
        '<code>exp</code> <a href="sum.html"><code>sum</code></a> <code>x</code>'
    )
