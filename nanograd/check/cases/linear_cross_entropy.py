"""Cases of linear_cross_entropy."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, integers, normal, strided, transposed

CASES: dict[str, list[Case]] = {
    "linear_cross_entropy": [
        case("mean", normal(3, 2), normal(4, 2), integers(0, 4, 3)),
        case("sum", normal(3, 2), normal(4, 2), integers(0, 4, 3), reduction="sum"),
        case("two and a half chunks", normal(5, 3), normal(4, 3), integers(0, 4, 5)),
        case("sequences", normal(2, 3, 2), normal(4, 2), integers(0, 4, 2, 3)),
        case("one target", normal(2), normal(4, 2), exactly(2)),
        case("some ignored", normal(5, 2), normal(3, 2), exactly([2, -100, 0, -100, -100])),
        case("some ignored, sum", normal(4, 2), normal(3, 2), exactly([2, -100, 0, -100]), reduction="sum"),
        case("all ignored", normal(2, 2), normal(3, 2), exactly([-100, -100])),
        case("a class is ignored", normal(3, 2), normal(3, 2), exactly([0, 1, 2]), ignore_index=0),
        case("no targets", normal(0, 2), normal(3, 2), exactly(np.zeros(0, np.int64))),
        case("one class", normal(2, 2), normal(1, 2), exactly([0, 0])),
        case("no features", normal(2, 0), normal(3, 0), exactly([0, 2])),
        case("small integers", normal(2, 2), normal(3, 2), exactly(np.array([2, 0], np.uint8))),
        case(
            "large scores", exactly([[30.0, 1.0], [-30.0, 2.0]]), exactly([[30.0, 1.0], [-20.0, 3.0]]), exactly([1, 1])
        ),
        case("column order", transposed(normal(3, 2)), transposed(normal(4, 2)), integers(0, 4, 3)),
        case("strided", strided(normal(3, 2)), strided(normal(4, 2)), integers(0, 4, 3)),
    ]
}
