"""Tests of gpt/runs/curves.py: how a history prints and draws itself."""

import xml.etree.ElementTree as ET

import pytest

from gpt.runs.curves import POINTS, Curve, History, chart, layer_curves, means
from gpt.training import Record

SVG = "{http://www.w3.org/2000/svg}"


def history(losses: list[float], val_losses: dict[int, float] | None = None) -> History:
    val_losses = val_losses or {}
    return History(Record(i, y, val_losses.get(i), 1e-3, 0.5, 100.0, 1.0) for i, y in enumerate(losses, start=1))


def curves(records: History) -> list[list[tuple[float, float]]]:
    """Return the points of the curves of the picture."""
    lines = ET.fromstring(records._repr_html_()).iter(f"{SVG}polyline")
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.get("points", "").split())] for line in lines]


def test_it_prints_its_length_its_loss_and_its_best_step() -> None:
    assert repr(History()) == "History: no step yet"
    assert repr(history([3.0, 2.5])) == "History of 2 steps: loss 2.5000"
    several = history([3.0, 2.5, 2.0], {1: 3.25, 2: 2.75, 3: 2.8})
    assert repr(several) == "History of 3 steps: loss 2.0000; best validation loss 2.7500, at step 2"


def test_the_picture_has_a_curve_of_each_loss() -> None:
    training, validation = curves(history([5.0, 4.0, 3.0, 1.0], {2: 4.0, 4: 3.0}))
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = training
    assert x2 - x1 == pytest.approx(x4 - x3, abs=0.11)  # rounded to a tenth of a pixel
    assert (y2 - y1, y4 - y3) == pytest.approx(((y4 - y1) / 4, (y4 - y1) / 2), abs=0.11)
    assert validation == [(x2, y2), (x4, y3)]
    words = [text.text for text in ET.fromstring(history([5.0, 1.0], {2: 2.0})._repr_html_()).iter(f"{SVG}text")]
    assert words[:3] == ["loss (nats per token)", "training", "validation"]
    assert words[3:8] == ["1", "2", "3", "4", "5"]
    assert words[8:] == ["1", "1.2", "1.4", "1.6", "1.8", "2", "step"]


def test_a_long_training_is_drawn_by_means() -> None:
    (training,) = curves(history([float(i % 2) for i in range(4 * POINTS)]))
    assert len(training) == POINTS
    assert len({y for _, y in training}) == 1


@pytest.mark.parametrize("losses", [[], [2.0], [2.0, 2.0]])
def test_few_steps_or_equal_losses_are_drawn_too(losses: list[float]) -> None:
    picture = history(losses)._repr_html_()
    assert "nan" not in picture.lower()
    assert ET.fromstring(picture).tag == (f"{SVG}svg" if losses else "pre")


# Charts


def texts(svg: str) -> list[tuple[str, float, float]]:
    return [(t.text or "", float(t.get("x", 0)), float(t.get("y", 0))) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors() -> None:
    curve = Curve("a", [(1, 0.001), (2, 0.0), (3, 0.1), (4, 10.0)], "#000000")  # 0 has no place on it
    svg = chart([curve], title="t", x="step", y="norm", log=True)
    (line,) = ET.fromstring(svg).iter(f"{SVG}polyline")
    (x1, y1), (x3, y3), (x4, y4) = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    assert y1 - y3 == pytest.approx(y3 - y4, abs=0.2)
    assert x3 - x1 == pytest.approx(2 * (x4 - x3), abs=0.2)
    at = {words: y for words, x, y in texts(svg) if x < 58}
    assert at["0.1"] == pytest.approx(y3 + 4, abs=0.2)


def test_a_level_is_drawn_at_its_value_and_named() -> None:
    svg = chart([Curve("a", [(0, 1.0), (10, 3.0)], "#000000")], title="t", x="x", y="y", level=(2.0, "limit"))
    level, line = ET.fromstring(svg).iter(f"{SVG}polyline")
    (_, a), (_, b) = [tuple(map(float, p.split(","))) for p in line.get("points", "").split()]
    assert {p.split(",")[1] for p in level.get("points", "").split()} == {f"{(a + b) / 2:.1f}"}
    assert "limit" in [words for words, _, _ in texts(svg)]


def test_a_legend_stays_in_the_picture_and_overlaps_nothing() -> None:
    names = [f"run with a long name {i}, training" for i in range(7)]
    svg = chart([Curve(name, [(0, 1.0), (1, 2.0)], "#000000") for name in names], title="t", x="x", y="y")
    entries = [(words, x, y) for words, x, y in texts(svg) if words in names]
    assert len({(x, y) for _, x, y in entries}) == 7
    assert all(x + 6.6 * len(words) < 640 for words, x, _ in entries)
    top = max(y for _, _, y in entries)
    points = [
        p.split(",") for line in ET.fromstring(svg).iter(f"{SVG}polyline") for p in line.get("points", "").split()
    ]
    assert all(float(y) > top + 5 for _, y in points)


def test_layers_are_in_order_and_blocks_coloured_by_depth() -> None:
    layers = [(1.0, {"tok_emb": 1.0, "blocks.10": 2.0, "blocks.2": 3.0, "norm": 4.0}), (2.0, {"tok_emb": 5.0})]
    curves = layer_curves(layers)
    assert [c.name for c in curves] == ["tok_emb", "norm", "blocks.2", "blocks.10"]
    assert curves[0].points == [(1.0, 1.0), (2.0, 5.0)]
    assert [c.colour for c in curves] == ["#808080", "#808080", "#5a5fc0", "#c0a000"]
    assert curves[0].dash != curves[1].dash


def test_means_keep_the_end() -> None:
    points = [(float(i), float(i % 2)) for i in range(2 * POINTS + 1)]
    thinned = means(points)
    assert len(thinned) <= POINTS
    assert thinned[-1] == (2.0 * POINTS, 0.5)  # of two points
    assert thinned[0] == (2.0, 1 / 3)


def test_a_chart_without_points_is_none() -> None:
    assert chart([Curve("a", [], "#000000"), Curve("b", [(1, 0.0)], "#000000")], title="", x="", y="", log=True) == ""
