"""Cases of losses: cross_entropy, linear_cross_entropy, dpo and mse."""

import numpy as np

from nanograd.check.cases.case import Case, Make, case, exactly, integers, normal, strided, transposed

_SOME_IGNORED = exactly([2, -100, 0, -100])


def _reduced(label: str, *makes: Make) -> list[Case]:
    """Make a case for each reduction of the losses of all targets to y."""
    return [case(f"{label}, {reduction}", *makes, reduction=reduction) for reduction in ("mean", "sum", "none")]


def _four(*shape: int) -> tuple[Make, ...]:
    """Log-probabilities of chosen and rejected answers: the policy's two, and the reference's."""
    return tuple(normal(*shape) for _ in range(4))


_CLEAR = tuple(exactly(values) for values in ([-1.0, -900.0], [-1001.0, -1.0], [-2.0, -3.0], [-4.0, -5.0]))

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
        *_reduced("some ignored", normal(4, 3), _SOME_IGNORED),
        *_reduced("all ignored", normal(2, 3), exactly([-100, -100])),
        case("a class is ignored", normal(3, 3), exactly([0, 1, 2]), ignore_index=0),
        *_reduced("no targets", normal(0, 3), exactly(np.zeros(0, np.int64))),
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
    ],
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
        case("large scores", exactly([[30.0, 1], [-30, 2]]), exactly([[30.0, 1], [-20, 3]]), exactly([1, 1])),
        case("column order", transposed(normal(3, 2)), transposed(normal(4, 2)), integers(0, 4, 3)),
        case("strided", strided(normal(3, 2)), strided(normal(4, 2)), integers(0, 4, 3)),
    ],
    "dpo": [
        case("mean", *_four(3)),
        case("sum", *_four(3), reduction="sum"),
        case("none", *_four(3), reduction="none"),
        case("steep", *_four(3), beta=2.0),
        case("pairs in a table", *_four(2, 3), beta=0.5, reduction="none"),
        case("smoothed", *_four(3), beta=1.0, label_smoothing=0.2),
        case("smoothed, none", *_four(3), label_smoothing=0.1, reduction="none"),
        case("labels that say nothing", *_four(3), beta=1.0, label_smoothing=0.5, reduction="sum"),
        case("labels the wrong way round", *_four(3), beta=1.0, label_smoothing=1.0),
        case("a pair", *_four(), beta=1.0),
        *_reduced("no pairs", *_four(0)),
        case("won and lost for sure", *_CLEAR, beta=1.0),
        case("won and lost for sure, smoothed", *_CLEAR, beta=1.0, label_smoothing=0.1, reduction="none"),
        case("strided", *(strided(draw) for draw in _four(3)), beta=1.0),
    ],
    "mse": [
        case("mean", normal(2, 3), normal(2, 3)),
        case("sum", normal(2, 3), normal(2, 3), reduction="sum"),
        case("none", normal(2, 3), normal(2, 3), reduction="none"),
        case("a number", normal(), normal()),
        case("nothing", normal(0, 3), normal(0, 3)),
        case("strided", strided(normal(2, 3)), normal(2, 3)),
    ],
}

EQUIVALENT = {
    ("cross_entropy", "1 → 2 in w = dy.reshape(-1) * weight"): (
        "reshape computes an unknown size from any negative number, and -2 is as good as -1"
    )
}
