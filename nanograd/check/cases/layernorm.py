"""Cases of layernorm."""

from nanograd.check.cases.case import Case, case, none, normal, strided, transposed

CASES: dict[str, list[Case]] = {
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
    ]
}
