"""Which numbers a number is computed from."""

import numpy as np

from nanograd.study.provenance import cells_used, provenance_of
from nanograd.study.study_data import study_op


def test_cells_that_were_used() -> None:
    a, b = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    assert cells_used(lambda s: s["a"] * s["b"], {"a": a, "b": b}, ["a", "b"]) == [
        {"a": [i], "b": [i]} for i in range(3)
    ]
    assert cells_used(lambda s: s["a"].sum(), {"a": a}, ["a"]) == [{"a": [0, 1, 2]}]
    assert cells_used(lambda s: s["a"][::-1], {"a": a}, ["a"]) == [{"a": [2]}, {"a": [1]}, {"a": [0]}]
    # a comparison takes NaN for False: of a number below the kink only a huge one tells
    relu = cells_used(
        lambda s: np.where(s["x"] > 0, s["dy"], 0), {"x": np.array([-1.0, 1.0]), "dy": a[:2]}, ["x", "dy"]
    )
    assert relu == [{"x": [0]}, {"x": [1], "dy": [1]}]
    ids = cells_used(lambda s: s["a"][s["ids"]], {"a": a, "ids": np.array([2, 0])}, ["a", "ids"])
    assert ids == [{"a": [2], "ids": [0]}, {"a": [0], "ids": [1]}]
    assert cells_used(lambda s: np.where(s["m"], s["a"], 0), {"m": np.array([True, False, True]), "a": a}, ["m"])[
        1
    ] == {"m": [1]}


def test_a_line_is_made_of_what_stands_one_line_back() -> None:
    known = study_op("softmax", (1, 3))
    made = [provenance_of(known.worked, step) for step in known.steps]
    assert made[0]["y"][0] == {"x": [0, 1, 2]}
    assert made[1]["dy_dx"][1] == {"y": [0, 1]}  # dy_0/dx_1
    assert made[2]["dx"][2] == {"dy": [0, 1, 2], "y": [0, 1, 2]}  # and of x only through y
    several = study_op("concat", (1, 2))
    assert provenance_of(several.worked, several.steps[0])["y"] == [{"x1": [0]}, {"x1": [1]}, {"x2": [0]}, {"x2": [1]}]


def test_a_gradient_that_is_picked_by_an_index_comes_from_the_entries_that_name_it() -> None:
    study = study_op("getitem", (3, 1))  # rows 2, 0 and 2
    assert provenance_of(study.worked, study.steps[1])["dx"] == [{"dy": [1]}, {}, {"dy": [0, 2]}]
