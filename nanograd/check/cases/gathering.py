"""Cases of ops that choose, copy and move entries: where to triu, pad to scatter_add, and embedding."""

import numpy as np

from nanograd.check.cases.case import Case, booleans, case, exactly, integers, normal, on_pairs, strided, transposed

_DIAGONAL = exactly([[True, False, False], [False, True, False]])
_TRIANGLES = [
    case("square", normal(3, 3)),
    case("wide", normal(2, 4)),
    case("tall", normal(4, 2)),
    case("one diagonal up", normal(3, 3), k=1),
    case("one diagonal down", normal(3, 3), k=-1),
    case("beyond the corner", normal(2, 3), k=5),
    case("below the corner", normal(2, 3), k=-5),
    case("batch", normal(2, 2, 3)),
    case("one entry", normal(1, 1)),
    case("no rows", normal(0, 3)),
    case("no columns", normal(3, 0)),
    case("column order", transposed(normal(3, 3))),
    case("strided", strided(normal(2, 3)), k=1),
]
_TWICE = exactly([[0, 0, 2], [1, 1, 1]])  # positions that repeat
_SCATTERED = [
    case("last axis", normal(2, 4), integers(0, 4, 2, 3), normal(2, 3), axis=-1),
    case("first axis", normal(4, 2), integers(0, 4, 3, 2), normal(3, 2), axis=0),
    case("repeated", normal(2, 3), _TWICE, normal(2, 3), axis=1),
    case("from the end", normal(2, 3), exactly([[-1], [-3]]), normal(2, 1), axis=1),
    case("nothing scattered", normal(2, 3), exactly(np.zeros((2, 0), np.int64)), normal(2, 0), axis=1),
]

CASES: dict[str, list[Case]] = {
    "where": [
        *[case(pair.label, exactly(True), *pair.makes) for pair in on_pairs(normal, normal)],
        *[case(f"not {pair.label}", exactly(False), *pair.makes) for pair in on_pairs(normal, normal)[:10]],
        case("condition of one shape", _DIAGONAL, normal(2, 3), normal(2, 3)),
        case("condition gets an axis", booleans(3), normal(2, 3), normal(2, 3)),
        case("condition is stretched", booleans(2, 1), normal(2, 3), normal(1, 3)),
        case("condition stretches both", _DIAGONAL, normal(3), normal(2, 1)),
        case("condition stretches numbers", _DIAGONAL, normal(), normal()),
        case("integers as condition", integers(0, 2, 2, 3), normal(2, 3), normal(2, 3)),
        case("constant else", _DIAGONAL, normal(2, 3), exactly(0)),
        case("constant then", _DIAGONAL, exactly([[1, 2, 3]]), normal(2, 3)),
        case("strided condition", strided(booleans(2, 3)), strided(normal(2, 3)), normal(2, 3)),
    ],
    "masked_fill": [
        case("one shape", normal(2, 3), _DIAGONAL, value=0.5),
        case("minus infinity", normal(2, 3), _DIAGONAL, value=-np.inf),
        case("mask gets an axis", normal(2, 3), exactly([True, False, True]), value=-1.0),
        case("mask is stretched", normal(2, 3), exactly([[True], [False]]), value=-1.0),
        case("a number as mask", normal(2, 3), exactly(True), value=2),
        case("nothing masked", normal(2, 3), exactly(np.zeros((2, 3), bool)), value=2.0),
        case("integers as mask", normal(2, 3), integers(0, 2, 2, 3), value=2.0),
        case("a number", normal(), exactly(False), value=2.0),
        case("no entries", normal(0, 3), booleans(3), value=2.0),
        case("column order", transposed(normal(2, 3)), _DIAGONAL, value=0.0),
        case("strided", strided(normal(2, 3)), strided(booleans(2, 3)), value=0.0),
    ],
    "tril": _TRIANGLES,
    "triu": _TRIANGLES,
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
    "scatter": _SCATTERED,
    "scatter_add": _SCATTERED,
    "embedding": [
        case("each row once", normal(3, 2), exactly([2, 0, 1])),
        case("repeated ids", normal(3, 2), exactly([1, 1, 0, 1])),
        case("batch of repeated ids", normal(4, 2), integers(0, 3, 2, 5)),
        case("one id", normal(3, 2), exactly(1)),
        case("no ids", normal(3, 2), exactly(np.zeros((2, 0), np.int64))),
        case("no ids, no rows", normal(0, 2), exactly(np.zeros(0, np.int64))),
        case("one row", normal(1, 3), exactly([0, 0])),
        case("one feature", normal(3, 1), exactly([2, 2])),
        case("no features", normal(3, 0), exactly([2, 2])),
        case("small integers", normal(3, 2), exactly(np.array([2, 0, 2], np.uint8))),
        case("column order", transposed(normal(3, 2)), transposed(integers(0, 3, 2, 2))),
        case("strided", strided(normal(3, 2)), strided(integers(0, 3, 4))),
    ],
}

EQUIVALENT = {
    ("embedding", "1 → 2 in np.add.at(dweight, ids.reshape(-1), dy.reshape(ids.size, shape[1]))"): (
        "reshape computes an unknown size from any negative number, and -2 is as good as -1"
    )
}
