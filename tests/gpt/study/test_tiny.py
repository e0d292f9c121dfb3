"""The tiny model: it is made by one command, it has learnt a little, and every number of it is on its page."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.study.example import example_page
from gpt.study.tiny import EXAMPLE, tiny_model
from nanograd.inspect.trace import is_whole


def test_the_page_has_every_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tiny.html"
    assert main(["study", "tiny", "--out", str(out)]) == 0
    assert f"{out}: 3 tokens predicted" in capsys.readouterr().out
    page = out.read_text(encoding="utf-8")
    assert len(page.encode()) <= 400_000
    assert "A click or Enter on a number" in page
    assert "left out" not in page
    assert "the corner [" not in page
    for name in ("softmax", "masked_fill", "matmul", "cross_entropy"):
        assert f"forward of <bdi>{name} " in page
        assert f"backward of <bdi>{name} " in page
    assert 'href="study/' not in page
    strip = re.sub("<[^>]*>", "", page.partition('<ol class="strip"')[2].partition("</ol>")[0])
    assert re.findall("(.) → (.) [01]", strip) == list(itertools.pairwise(EXAMPLE))


def test_it_learnt_a_little_and_always_the_same() -> None:
    model, again = tiny_model(), tiny_model()
    ids = np.array([again.tokenizer.encode(EXAMPLE)])  # type: ignore[union-attr]
    assert 0.1 < model.loss(ids[:, :-1], ids[:, 1:]).item() < 1.2  # ln 8 = 2.08 before
    for (name, p), q in zip(model.named_parameters(), again.parameters(), strict=True):
        assert is_whole(p.shape), name
        np.testing.assert_array_equal(p.data, q.data)
    pages = [example_page(m, m.tokenizer, ids[0], [0], unfused=True) for m in (model, again)]  # type: ignore[arg-type]
    assert pages[0] == pages[1]


def test_pages_beside_it_are_linked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "softmax.html").touch()
    assert main(["study", "tiny", "--out", str(tmp_path / "tiny.html"), "--text", "hell"]) == 0
    assert '<a href="study/softmax.html">the page of softmax</a>' in (tmp_path / "tiny.html").read_text("utf-8")
    assert "links to the pages" not in capsys.readouterr().out
