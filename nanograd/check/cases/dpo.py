"""Cases of dpo."""

from nanograd.check.cases.case import Case, Make, case, exactly, normal, strided


def _four(*shape: int) -> tuple[Make, ...]:
    """Log-probabilities of chosen and rejected answers: the policy's two, and the reference's."""
    return tuple(normal(*shape) for _ in range(4))


_CLEAR = tuple(exactly(each) for each in ([-1.0, -900.0], [-1001.0, -1.0], [-2.0, -3.0], [-4.0, -5.0]))

CASES: dict[str, list[Case]] = {
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
        case("no pairs, mean", *_four(0)),
        case("no pairs, sum", *_four(0), reduction="sum"),
        case("no pairs, none", *_four(0), reduction="none"),
        case("won and lost for sure", *_CLEAR, beta=1.0),
        case("won and lost for sure, smoothed", *_CLEAR, beta=1.0, label_smoothing=0.1, reduction="none"),
        case("strided", *(strided(each) for each in _four(3)), beta=1.0),
    ]
}
