"""Cases of rmsnorm."""

from nanograd.check.cases.case import Case, case, exactly, none, normal, strided, transposed

CASES: dict[str, list[Case]] = {
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
    ]
}
