"""Cases of sin, cos, tanh and sigmoid."""

from nanograd.check.cases.case import Case, case, exactly, normal, on_shapes

_SATURATED = case("saturated", exactly([-800.0, -40.0, -15.0, 15.0, 40.0, 800.0]))
_ZERO = case("at zero", exactly([0.0, -0.0]))
_TURNS = case("several turns", exactly([-10.0, -3.0, 3.0, 7.0, 25.0]))

CASES: dict[str, list[Case]] = {
    "sin": [*on_shapes(normal), _ZERO, _TURNS],
    "cos": [*on_shapes(normal), _ZERO, _TURNS],
    "tanh": [*on_shapes(normal), _ZERO, _SATURATED],
    "sigmoid": [*on_shapes(normal), _ZERO, _SATURATED],
}
