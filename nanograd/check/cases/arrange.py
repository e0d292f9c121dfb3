"""Cases of pad, repeat, flip, roll, take_along_axis, scatter and scatter_add."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, integers, normal, strided, transposed

_TWICE = exactly([[0, 0, 2], [1, 1, 1]])  # positions that repeat

CASES: dict[str, list[Case]] = {
    "pad": [
        case("each axis its own", normal(2, 3), width=((1, 0), (2, 1))),
        case("all sides", normal(2, 3), width=1),
        case("with a value", normal(3), width=((0, 2),), value=7.0),
        case("no border", normal(2, 3), width=0),
        case("of nothing", normal(0, 2), width=1),
        case("strided", strided(normal(2, 3)), width=((0, 1), (1, 0))),
    ],
    "repeat": [
        case("first axis", normal(2, 3), repeats=2, axis=0),
        case("last axis", normal(2, 3), repeats=3, axis=-1),
        case("middle axis", normal(2, 3, 2), repeats=2, axis=1),
        case("once", normal(2, 3), repeats=1, axis=0),
        case("of nothing", normal(0, 3), repeats=2, axis=0),
        case("column order", transposed(normal(3, 2)), repeats=2, axis=1),
    ],
    "flip": [
        case("all axes", normal(2, 3)),
        case("one axis", normal(2, 3), axis=-1),
        case("two of three axes", normal(2, 3, 2), axis=(0, 2)),
        case("of nothing", normal(0, 3), axis=0),
    ],
    "roll": [
        case("forward", normal(4), shift=1),
        case("backward along an axis", normal(2, 3), shift=-2, axis=1),
        case("two axes", normal(2, 3), shift=(1, 2), axis=(0, 1)),
        case("flattened", normal(2, 3), shift=2),
        case("all the way round", normal(3), shift=3),
    ],
    "take_along_axis": [
        case("last axis", normal(2, 4), integers(0, 4, 2, 3), axis=-1),
        case("first axis", normal(4, 2), integers(0, 4, 3, 2), axis=0),
        case("middle axis", normal(2, 3, 2), integers(0, 3, 2, 2, 2), axis=1),
        case("repeated", normal(2, 3), _TWICE, axis=1),
        case("from the end", normal(2, 3), exactly([[-1], [-3]]), axis=1),
        case("nothing taken", normal(2, 3), exactly(np.zeros((2, 0), np.int64)), axis=1),
        case("strided", strided(normal(2, 3)), integers(0, 3, 2, 2), axis=1),
    ],
    "scatter": [
        case("last axis", normal(2, 4), integers(0, 4, 2, 3), normal(2, 3), axis=-1),
        case("first axis", normal(4, 2), integers(0, 4, 3, 2), normal(3, 2), axis=0),
        case("repeated", normal(2, 3), _TWICE, normal(2, 3), axis=1),
        case("from the end", normal(2, 3), exactly([[-1], [-3]]), normal(2, 1), axis=1),
        case("nothing written", normal(2, 3), exactly(np.zeros((2, 0), np.int64)), normal(2, 0), axis=1),
    ],
    "scatter_add": [
        case("last axis", normal(2, 4), integers(0, 4, 2, 3), normal(2, 3), axis=-1),
        case("first axis", normal(4, 2), integers(0, 4, 3, 2), normal(3, 2), axis=0),
        case("repeated", normal(2, 3), _TWICE, normal(2, 3), axis=1),
        case("from the end", normal(2, 3), exactly([[-1], [-3]]), normal(2, 1), axis=1),
        case("nothing added", normal(2, 3), exactly(np.zeros((2, 0), np.int64)), normal(2, 0), axis=1),
    ],
}
