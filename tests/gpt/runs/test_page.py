"""Tests of gpt/runs/page.py: what the page of one run and of several shows."""

import dataclasses
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from gpt.runs.curves import COLOURS
from gpt.runs.page import SAMPLES, names_of, run_page
from gpt.training import Record

LAYERS = {"tok_emb": 0.25, "blocks.0": 0.5, "blocks.1": 0.125}


def record(step: int, loss: float, every: int = 5) -> Record:
    plain = Record(step, loss, None, 1e-3, 0.75, 1000.0, step * 2.0)
    if step % every:
        return plain
    ratios = {"tok_emb": 0.002, "blocks.0": 0.001, "blocks.1": 0.004}
    return dataclasses.replace(plain, val_loss=loss + 0.5, grad_norms=LAYERS, update_ratios=ratios, sample=f"<b>{step}")


def write(folder: Path, records: list[Record], config: dict[str, Any] | None) -> str:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r.to_dict()) + "\n" for r in records), encoding="utf-8")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def make(folder: Path, lr: float = 1e-3, steps: int = 20, **config: Any) -> str:
    options = {
        "model": {"d_model": 16},
        "train": {"lr": lr, "grad_clip": 1.0, "ema": None},
        "tokenizer_sha256": "ab" * 32,
    }
    return write(folder, [record(step, 4 - step / 10) for step in range(1, steps + 1)], {**options, **config})


def titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def charts(page: str) -> dict[str, ET.Element]:
    """Return the charts by what they say to those who do not see them."""
    found = {}
    for svg in re.findall(r"<svg xmlns.*?</svg>", page):
        root = ET.fromstring(svg)
        title = root.find("{http://www.w3.org/2000/svg}title")
        assert title is not None
        found.setdefault(title.text or "", root)
    return found


def test_the_page_of_a_run(tmp_path: Path) -> None:
    page = run_page([make(tmp_path / "mine")])
    assert titles(page) == [
        "Loss", "Learning rate", "Gradient norm", "Summary", "Gradient norm by layer", "Update to weight by layer",
        "What it wrote, by step", "Options",
    ]  # fmt: skip
    names = "loss", "learning rate", "gradient norm", "Gradient norm by layer", "Update to weight by layer"
    axes = "step", "wall-clock time (seconds)"
    assert charts(page).keys() == {f"{name}, by {axis}" for name in names for axis in axes}
    assert page.count("loss (nats per token)") == 4  # by step and by time, linear and logarithmic
    assert "2.5000, at step 20" in page
    assert "&lt;b&gt;20" in page
    assert "<b>" not in page
    assert "0.001, a usual size" in page
    assert "clipped above 1" in page
    assert '<th scope="row">ema</th><td class="words">none</td>' in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "<script" not in page


def test_the_curves_are_those_of_the_records(tmp_path: Path) -> None:
    by_step, by_time = (
        charts(run_page([make(tmp_path / name)]))[f"Update to weight by layer, by {axis}"]
        for name, axis in (("a", "step"), ("b", "wall-clock time (seconds)"))
    )
    for root in (by_step, by_time):
        *curves, _ = [e.get("points", "").split() for e in root.iter() if e.tag.endswith("polyline")][1:] + [[]]
        heights = [float(points[0].split(",")[1]) for points in curves]
        tok_emb, first, second = heights  # 0.002, 0.001 and 0.004; y grows downwards
        assert second < tok_emb < first
        assert first - tok_emb == pytest.approx(tok_emb - second, abs=0.2)  # factors of two, on a logarithmic axis
        assert [len(points) for points in curves] == [4, 4, 4]  # steps 5, 10, 15 and 20


def test_several_runs_are_compared(tmp_path: Path) -> None:
    page = run_page([make(tmp_path / "one"), make(tmp_path / "two", lr=2e-3, steps=10)])
    assert "<title>2 runs: one, two</title>" in page
    differ = page[page.index("Options that differ") : page.index("<h2>Options</h2>")]
    assert re.findall(
        r'<th scope="row">(.*?)</th><td class="words">(.*?)</td><td class="words">(.*?)</td>', differ
    ) == [("lr", "0.001", "0.002")]
    loss = charts(page)["loss, by step"]
    strokes = [e.get("stroke") for e in loss.iter() if e.tag.endswith("polyline")]
    assert strokes == [COLOURS[0], COLOURS[0], COLOURS[1], COLOURS[1]]
    assert [e.text for e in loss.iter() if e.tag.endswith("text")][1:5] == [
        "one, training", "one, validation", "two, training", "two, validation",
    ]  # fmt: skip
    assert "Update to weight by layer, two" in titles(page)
    assert "cannot be compared" not in page
    other = make(tmp_path / "three", tokenizer_sha256="cd" * 32, task={"kind": "classify"})
    assert "different tokenizers: their losses per token cannot be compared" in run_page([str(tmp_path / "one"), other])
    assert "three: nats per text" in run_page([str(tmp_path / "one"), other])


def test_a_run_of_an_earlier_version_is_shown_and_what_lacks_is_said(tmp_path: Path) -> None:
    old = [Record(step, 3.0, None, 1e-3, 0.0, 10.0, 1.0) for step in (1, 2)]
    page = run_page([write(tmp_path / "old", old, None)])
    assert titles(page) == ["Loss", "Learning rate", "Summary"]  # no gradient norm is above 0
    assert "old has no measurements by layer" in page
    assert "old has no config.json" in page


def test_many_samples_are_thinned_and_the_last_is_kept(tmp_path: Path) -> None:
    records = [record(step, 3.0, every=1) for step in range(1, 2 * SAMPLES + 2)]
    page = run_page([write(tmp_path / "long", records, {})])
    assert f"27 of {2 * SAMPLES + 1} samples" in page
    assert f"&lt;b&gt;{2 * SAMPLES + 1}<" in page
    assert "&lt;b&gt;2<" not in page


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    empty = write(tmp_path / "empty", [], {})
    with pytest.raises(ValueError, match="empty has no steps yet"):
        run_page([empty])
    with pytest.raises(ValueError, match="6 runs fit one page, got 7"):
        run_page([empty] * 7)
    damaged = make(tmp_path / "damaged")
    (tmp_path / "damaged" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json is no config of a run"):
        run_page([damaged])


def test_names_tell_runs_apart(tmp_path: Path) -> None:
    assert names_of(["runs/a", "other/a", "b"]) == ["runs/a", "other/a", "b"]
    assert names_of(["runs/a", "runs/a"]) == ["runs/a (1)", "runs/a (2)"]
