"""Figures: well-formed SVG, the same bytes for the same numbers, everything inside the picture."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from gpt.guide.drawing import bars, cells, curves, diagram, ticks

FIGURES = {
    "curves": lambda: curves({"a <b>": ([0, 1, 2], [3.0, np.nan, 1.0]), "c": ([0, 2], [0.1, 5])}, "two lines", dots=True),
    "log": lambda: curves({"a": ([1, 10], [1e-6, 10.0])}, "decades", log=True),
    "flat": lambda: curves({"a": ([1, 1], [2.0, 2.0])}, "a point"),
    "bars": lambda: bars({"x": 1.0, "y": 0.0}, "bars", "count"),
    "cells": lambda: cells([[1.0, -2.0], [np.nan, 0.0]], "cells", ["a", "b"], ["c", "d"]),
    "diagram": lambda: diagram({"a": (0, 0, 4, "A & B"), "b": (6, 0, 4, "~C"), "c": (0, 4, 4, "D")},
                               [("a", "b"), ("a", "c", "down"), ("c", "b")], "boxes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_well_formed_and_inside_its_frame(name: str) -> None:
    picture = FIGURES[name]()
    assert picture == FIGURES[name]()
    root = ET.fromstring(picture)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for node in root.iter():
        for key, limit in (("x", width), ("y", height), ("cx", width), ("cy", height)):
            if key in node.attrib:
                assert 0 <= float(node.attrib[key]) <= limit, node.attrib
    assert "nan" not in re.sub(r"<style>.*?</style>", "", picture, flags=re.DOTALL)


def test_ticks_are_round_numbers() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0, 300) == [0, 100, 200, 300]
    assert ticks(-6, 1, whole=True) == [-6, -4, -2, 0]


def test_more_lines_than_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 6 lines fit one figure, got 7"):
        curves({str(i): ([0], [1]) for i in range(7)}, "too many")
