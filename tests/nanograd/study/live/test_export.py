"""What pages get as data: small, safe, and with the ranges of whole numbers and masks."""

import json

import numpy as np

from nanograd.study.live.colours import colour_classes, coloured
from nanograd.study.live.export import drawn_masks, live_graph
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import run_example


def test_the_graph_of_softmax() -> None:
    study = study_op("softmax", (2, 4))
    graph = live_graph(study.worked, study.mistakes)
    assert list(graph.shown) == ["x", "dy", "y", "quotient_rule", "two_cases", "∂y/∂x", "dx"]
    assert graph.gradients == {"x": graph.shown["dx"]}
    assert None not in graph.mistakes
    assert len(graph.to_json()) < 3000
    assert graph == live_graph(study.worked, study.mistakes)


def test_inputs_have_their_range() -> None:
    assert live_graph(run_example("embedding", (5, 2))).inputs["ids"]["choices"] == [0, 1, 2, 3, 4]
    assert live_graph(run_example("where")).inputs["condition"]["choices"] == [0, 1]
    dropout = run_example("dropout")
    assert live_graph(dropout).inputs["z"]["choices"] == [0.0, 2.0]
    np.testing.assert_array_equal(dropout.arrays[0] * drawn_masks(dropout)["z"], dropout.y)
    assert "choices" not in live_graph(dropout).inputs["x"]


def test_json_holds_infinities_and_no_markup() -> None:
    text = live_graph(run_example("attention")).to_json()
    assert "-Infinity" in json.loads(text)["nodes"].__repr__()
    assert "<" not in text


def test_one_colour_per_symbol() -> None:
    classes = colour_classes(["x", "weight", "dy", "n", "y", "∂n/∂x", "dx", "dn"])
    assert classes["dx"] == classes["x"]
    assert classes["dn"] == classes["n"]
    assert len({classes[name] for name in ("x", "weight", "dy", "n", "y")}) == 5
    marked = coloured("<math><mi>dx</mi></math><pre><code>dx = np.exp(dx_a)</code></pre>", {"dx": "s0"})
    assert marked == (
        '<math><mi class="symbol s0">dx</mi></math>'
        '<pre><code><span class="symbol s0">dx</span> = np.exp(dx_a)</code></pre>'
    )
