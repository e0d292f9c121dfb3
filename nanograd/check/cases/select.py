"""Cases of where, masked_fill, tril and triu."""

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

CASES: dict[str, list[Case]] = {
    "where": [
        *[Case(each.label, (exactly(True), *each.makes)) for each in on_pairs(normal, normal)],
        *[Case(f"not {each.label}", (exactly(False), *each.makes)) for each in on_pairs(normal, normal)[:10]],
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
}
