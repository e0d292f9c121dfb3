"""Cases of relu, gelu and gelu_tanh."""

from nanograd.check.cases.case import Case, apart, case, exactly, normal, on_shapes

_FAR = case("far from zero", exactly([-30.0, -8.0, -4.0, 4.0, 8.0, 30.0]))
_ZERO = case("at zero", exactly([0.0, -0.0]))

CASES: dict[str, list[Case]] = {
    "relu": [*on_shapes(apart), case("all off", exactly([-1.0, -2.0])), _FAR],
    "gelu": [*on_shapes(normal), _FAR, _ZERO],
    "gelu_tanh": [*on_shapes(normal), _FAR, _ZERO],
}
