"""Cases of pow, square, reciprocal, sqrt, rsqrt, exp and log."""

from collections.abc import Callable

import numpy as np

from nanograd.check.cases.case import Case, Make, case, exactly, normal, on_pairs, on_shapes, positive


def _negative(*shape: int) -> Make:
    return lambda rng: -rng.uniform(0.5, 2, shape)


def _near(center: float) -> Callable[..., Make]:
    return lambda *shape: lambda rng: center + 0.1 * rng.standard_normal(shape)


_SIGNS = exactly([-2.0, -0.5, 0.5, 2.0])

# An integer exponent or base is a constant: ids and integers are never differentiated.
CASES: dict[str, list[Case]] = {
    "pow": [
        *on_pairs(positive, normal),
        case("exponents one half", positive(3), exactly([0.5, 0.5, -0.5])),
        *[case(f"any base to the {n}", _SIGNS, exactly(n)) for n in (0, 1, 2, 3, -1, -2)],
        *[case(f"zero to the {n}", exactly([0.0, -0.0]), exactly(n)) for n in (0, 1, 2, 3)],
        case("each base its whole exponent", _SIGNS, exactly([3, -1, 0, 2])),
        case("a constant base", exactly([1, 2, 3]), normal(3)),
        case("a constant base of zero", exactly([0, 0]), positive(2)),
        case("a constant base of one", exactly(1), normal(2)),
    ],
    "square": [*on_shapes(normal), case("at zero", exactly([0.0, -0.0]))],
    "reciprocal": [*on_shapes(positive), case("below zero", _negative(3))],
    "sqrt": [*on_shapes(positive), case("near four", _near(4.0)(3))],
    "rsqrt": [*on_shapes(positive), case("near four", _near(4.0)(3))],
    "exp": [*on_shapes(normal), case("far below zero", exactly([-800.0, -40.0, -np.inf]))],
    "log": [*on_shapes(positive), case("large", exactly([1e3, 1e6, 1e9]))],
}

EQUIVALENT = {
    (
        "pow",
        "1 → 2 in log = np.log(np.where((a == 0) & (b >= 0), 1, a))",
    ): "where a = 0 < b, y = 0 too, and y ln 2 is y ln 1; tests/nanograd/ops/test_power.py tests the jump at a = b = 0",
    (
        "pow",
        "(a == 0) & (b >= 0) → a == 0 in log = np.log(np.where((a == 0) & (b >= 0), 1, a))",
    ): "differs only where a = 0 > b and y is infinite, without a derivative; tests/nanograd/ops/test_power.py tests it",
}
