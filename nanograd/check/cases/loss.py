"""Cases of mse."""

from nanograd.check.cases.case import Case, case, normal, strided

CASES: dict[str, list[Case]] = {
    "mse": [
        case("mean", normal(2, 3), normal(2, 3)),
        case("sum", normal(2, 3), normal(2, 3), reduction="sum"),
        case("none", normal(2, 3), normal(2, 3), reduction="none"),
        case("a number", normal(), normal()),
        case("nothing", normal(0, 3), normal(0, 3)),
        case("strided", strided(normal(2, 3)), normal(2, 3)),
    ]
}
