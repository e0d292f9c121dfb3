"""Tests of gpt/runs/curves.py: how a history prints and draws itself."""

import xml.etree.ElementTree as ET

import pytest

from gpt.runs.curves import POINTS, History
from gpt.training import Record

SVG = "{http://www.w3.org/2000/svg}"


def history(losses: list[float], val_losses: dict[int, float] | None = None) -> History:
    val_losses = val_losses or {}
    return History(Record(i, y, val_losses.get(i), 1e-3, 0.5, 100.0, 1.0) for i, y in enumerate(losses, start=1))


def curves(records: History) -> list[list[tuple[float, float]]]:
    """Return the points of the curves of the picture, without the lines of its grid."""
    root = ET.fromstring(records._repr_html_())
    lines = [line for line in root.iter(f"{SVG}polyline") if line.get("stroke") != "#8884"]
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
    assert words == ["1.00", "2.00", "3.00", "4.00", "5.00", "step 1", "2", "training loss", "validation loss"]


def test_a_long_training_is_drawn_by_means() -> None:
    training, _ = curves(history([float(i % 2) for i in range(4 * POINTS)]))
    assert len(training) == POINTS
    assert len({y for _, y in training}) == 1


@pytest.mark.parametrize("losses", [[], [2.0], [2.0, 2.0]])
def test_few_steps_or_equal_losses_are_drawn_too(losses: list[float]) -> None:
    picture = history(losses)._repr_html_()
    assert "nan" not in picture.lower()
    assert ET.fromstring(picture).tag == (f"{SVG}svg" if losses else "pre")
