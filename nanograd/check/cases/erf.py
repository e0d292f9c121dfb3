"""Cases of erf."""

from nanograd.check.cases.case import Case, case, exactly, normal, on_shapes

CASES: dict[str, list[Case]] = {
    "erf": [
        *on_shapes(normal),
        case("every interval", exactly([-7.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 7.0])),
        case("where intervals meet", exactly([0.84375, -0.84375, 1.25, -1.25, 1 / 0.35, 6.0])),
        case("at zero", exactly([0.0, -0.0])),
    ]
}
