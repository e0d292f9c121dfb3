"""Cases of embedding."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, integers, normal, strided, transposed

CASES: dict[str, list[Case]] = {
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
    ]
}

EQUIVALENT = {
    ("embedding", "1 → 2 in np.add.at(dweight, ids.reshape(-1), dy.reshape(ids.size, shape[1]))"): (
        "reshape computes an unknown size from any negative number, and -2 is as good as -1"
    )
}
