"""Cases of silu and swiglu."""

from nanograd.check.cases.case import Case, case, exactly, normal, on_shapes, strided, transposed

_SATURATED = exactly([-800.0, -30.0, 30.0, 800.0])
CASES: dict[str, list[Case]] = {
    "silu": [*on_shapes(normal), case("saturated", _SATURATED), case("at zero", exactly([0.0, -0.0]))],
    "swiglu": [
        case("a matrix", normal(2, 3), normal(2, 3)),
        case("sequences", normal(2, 2, 3), normal(2, 2, 3)),
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("saturated", _SATURATED, normal(4)),
        case("column order", transposed(normal(3, 2)), transposed(normal(3, 2))),
        case("strided", strided(normal(2, 3)), strided(normal(2, 3))),
    ],
}
