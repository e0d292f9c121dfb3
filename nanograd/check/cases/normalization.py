"""Cases of softmax, log_softmax, layernorm and rmsnorm."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, none, normal, strided, transposed

_ROWS = [
    case("two rows", normal(2, 4)),
    case("first axis", normal(3, 4), axis=0),
    case("middle axis of three", normal(2, 3, 4), axis=1),
    case("one entry a row", normal(3, 1)),
    case("one row", normal(5)),
    case("no rows", normal(0, 4)),
    case("empty rows", normal(3, 0)),
    case("column order", transposed(normal(3, 4))),
    case("strided", strided(normal(3, 4))),
    case("scores of minus infinity", exactly([[0.5, -np.inf, 1.0], [-np.inf, 2.0, -np.inf]])),
    case("large scores", exactly([[1000.0, 999.0, 998.5], [-1000.0, -1001.0, -999.5]])),
]

CASES: dict[str, list[Case]] = {
    "softmax": [
        case("masked", normal(3, 4), exactly([[True, True, False, True], [False, False, False, True], [True] * 4])),
        case("masked, a row that sees nothing", normal(2, 3), exactly([[True], [False]])),
        case("masked along the first axis", normal(3, 2), exactly([True, False]), axis=0),
        *_ROWS,
        case("a row that sees nothing", exactly([[0.5, 1.0], [-np.inf, -np.inf]])),
    ],
    "log_softmax": _ROWS,
    "layernorm": [
        case("weight and bias", normal(2, 4), normal(4), normal(4)),
        case("no weight and bias", normal(2, 4)),
        case("no bias", normal(2, 4), normal(4)),
        case("no weight", normal(2, 4), none(), normal(4)),
        case("sequences", normal(2, 2, 3), normal(3), normal(3)),
        case("one token", normal(4), normal(4), normal(4)),
        case("one token, no weight", normal(4)),
        case("two features", normal(3, 2), normal(2), normal(2)),
        case("one feature", normal(3, 1), normal(1), normal(1)),
        case("no tokens", normal(0, 3), normal(3), normal(3)),
        case("large eps", normal(2, 4), normal(4), normal(4), eps=0.5),
        case("column order", transposed(normal(3, 4)), normal(4), normal(4)),
        case("strided", strided(normal(2, 3)), strided(normal(3)), strided(normal(3))),
    ],
    "rmsnorm": [
        case("tokens", normal(3, 4), normal(4)),
        case("sequences", normal(2, 3, 4), normal(4)),
        case("one token", normal(4), normal(4)),
        case("no weight", normal(3, 4)),
        case("weight left out by None", normal(3, 4), none()),
        case("large epsilon", normal(3, 4), normal(4), eps=0.5),
        case("one feature", normal(3, 1), normal(1), eps=0.5),
        case("no tokens", normal(0, 4), normal(4)),
        case("a token of zeros", exactly([[0.0, 0.0], [1.0, -2.0]]), normal(2), eps=0.5),
        case("column order", transposed(normal(3, 4)), normal(4)),
        case("strided", strided(normal(3, 4)), strided(normal(4))),
    ],
}

_EMPTY = "differs only in rows of -∞, for which (1) has no derivative; tests/nanograd/ops/test_softmax.py tests them"

EQUIVALENT = {
    ("log_softmax", "np.where(empty, 0, dx) → np.where(0, empty, dx) in return (np.where(empty, 0, dx),)"): _EMPTY,
    ("log_softmax", "0 → 1 in return (np.where(empty, 0, dx),)"): _EMPTY,
}
