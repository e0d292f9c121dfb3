"""Cases of dropout."""

from nanograd.check.cases.case import Case, case, normal, on_shapes

CASES: dict[str, list[Case]] = {
    "dropout": [
        *on_shapes(normal, p=0.5, seed=0),
        case("nothing dropped", normal(2, 3), p=0.0, seed=1),
        case("nearly all dropped", normal(3, 5), p=0.9, seed=2),
    ]
}
