"""Cases of cross_entropy."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, integers, normal, strided, transposed

_SOME_IGNORED = exactly([2, -100, 0, -100])
_ALL_IGNORED = exactly([-100, -100])


def _ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: dict[str, list[Case]] = {
    "cross_entropy": [
        case("mean", normal(3, 4), integers(0, 4, 3)),
        case("sum", normal(3, 4), integers(0, 4, 3), reduction="sum"),
        case("none", normal(3, 4), integers(0, 4, 3), reduction="none"),
        case("one class for all", normal(3, 4), exactly([1, 1, 1])),
        case("sequences", normal(2, 3, 4), integers(0, 4, 2, 3)),
        case("sequences, none", normal(2, 3, 4), integers(0, 4, 2, 3), reduction="none"),
        case("one target", normal(4), exactly(2)),
        case("one target, none", normal(4), exactly(2), reduction="none"),
        case("some ignored, mean", normal(4, 3), _SOME_IGNORED),
        case("some ignored, sum", normal(4, 3), _SOME_IGNORED, reduction="sum"),
        case("some ignored, none", normal(4, 3), _SOME_IGNORED, reduction="none"),
        case("all ignored, mean", normal(2, 3), _ALL_IGNORED),
        case("all ignored, sum", normal(2, 3), _ALL_IGNORED, reduction="sum"),
        case("all ignored, none", normal(2, 3), _ALL_IGNORED, reduction="none"),
        case("a class is ignored", normal(3, 3), exactly([0, 1, 2]), ignore_index=0),
        case("no targets, mean", normal(0, 3), exactly(_ids())),
        case("no targets, sum", normal(0, 3), exactly(_ids()), reduction="sum"),
        case("no targets, none", normal(0, 3), exactly(_ids()), reduction="none"),
        case("smoothed", normal(3, 4), integers(0, 4, 3), label_smoothing=0.2),
        case("smoothed, some ignored", normal(4, 3), _SOME_IGNORED, label_smoothing=0.1),
        case("smoothed sequences", normal(2, 3, 4), integers(0, 4, 2, 3), label_smoothing=0.2),
        case("smoothed, none", normal(3, 4), integers(0, 4, 3), label_smoothing=0.2, reduction="none"),
        case("z-loss", normal(3, 4), integers(0, 4, 3), z_loss=0.3),
        case("z-loss, smoothed, sum", normal(4, 3), _SOME_IGNORED, z_loss=0.1, label_smoothing=0.1, reduction="sum"),
        case("an ignored row of NaN", exactly([[0.5, 1.0], [np.nan, 2.0]]), exactly([1, -100])),
        case("one class", normal(2, 1), exactly([0, 0])),
        case("one class, one ignored", normal(2, 1), exactly([0, -100])),
        case("small integers", normal(2, 3), exactly(np.array([2, 0], np.uint8))),
        case("large scores", exactly([[800.0, 799.0, -800.0], [-900.0, -901.0, -899.0]]), exactly([1, 2])),
        case("column order", transposed(normal(3, 4)), integers(0, 4, 3)),
        case("strided", strided(normal(3, 4)), strided(integers(0, 4, 3))),
    ]
}

EQUIVALENT = {
    ("cross_entropy", "1 → 2 in w = dy.reshape(-1) * weight"): (
        "reshape computes an unknown size from any negative number, and -2 is as good as -1"
    )
}
