"""Cases of elementwise ops: arithmetic, powers, waves, extrema, activations and dropout."""

from collections.abc import Callable

import numpy as np

from nanograd.check.cases.case import (
    Case,
    Make,
    apart,
    case,
    exactly,
    normal,
    on_pairs,
    on_shapes,
    positive,
    strided,
    transposed,
)


def _negative(*shape: int) -> Make:
    return lambda rng: -rng.uniform(0.5, 2, shape)


def _near_four(*shape: int) -> Make:
    return lambda rng: 4.0 + 0.1 * rng.standard_normal(shape)


def _shifted(*shape: int) -> Make:
    """Draw distinct numbers that are no nearer than 0.025 to those of `apart`."""
    draw: Callable[[np.random.Generator], np.ndarray] = apart(*shape)
    return lambda rng: draw(rng) + 0.025


_SIGNS = exactly([-2.0, -0.5, 0.5, 2.0])
_GATES = exactly([-800.0, -30.0, 30.0, 800.0])  # where a sigmoid is 0 or 1
_ZERO = case("at zero", exactly([0.0, -0.0]))
_WAVE = [*on_shapes(normal), _ZERO, case("several turns", exactly([-10.0, -3.0, 3.0, 7.0, 25.0]))]
_STEP = [*on_shapes(normal), _ZERO, case("saturated", exactly([-800.0, -40.0, -15.0, 15.0, 40.0, 800.0]))]
_FAR = case("far from zero", exactly([-30.0, -8.0, -4.0, 4.0, 8.0, 30.0]))
_GELU = [*on_shapes(normal), _FAR, _ZERO]
_ROOT = [*on_shapes(positive), case("near four", _near_four(3))]
_TIES = case("ties", exactly([1.0, 2.0, 3.0]), exactly([1.0, 2.5, 3.0]))  # central differences see ½, our choice
_EXTREMUM = [*on_pairs(apart, _shifted), _TIES]

CASES: dict[str, list[Case]] = {
    "add": on_pairs(normal, normal),
    "sub": on_pairs(normal, normal),
    "mul": [*on_pairs(normal, normal), case("a factor of zero", exactly([0.0, 2.0]), exactly([3.0, 0.0]))],
    "div": [
        *on_pairs(normal, positive),
        case("signs", exactly([2.0, -2.0, -2.0, 0.0]), exactly([-0.5, 0.5, -0.5, -2.0])),
    ],
    "neg": on_shapes(normal),
    "astype": [*on_shapes(normal, dtype=np.float64), case("to the widest float", normal(2, 3), dtype=np.longdouble)],
    "pow": [  # an integer exponent or base is a constant: ids and integers are never differentiated
        *on_pairs(positive, normal),
        case("exponents one half", positive(3), exactly([0.5, 0.5, -0.5])),
        *[case(f"any base to the {n}", _SIGNS, exactly(n)) for n in (0, 1, 2, 3, -1, -2)],
        *[case(f"zero to the {n}", exactly([0.0, -0.0]), exactly(n)) for n in (0, 1, 2, 3)],
        case("each base its whole exponent", _SIGNS, exactly([3, -1, 0, 2])),
        case("a constant base", exactly([1, 2, 3]), normal(3)),
        case("a constant base of zero", exactly([0, 0]), positive(2)),
        case("a constant base of one", exactly(1), normal(2)),
    ],
    "square": [*on_shapes(normal), _ZERO],
    "reciprocal": [*on_shapes(positive), case("below zero", _negative(3))],
    "sqrt": _ROOT,
    "rsqrt": _ROOT,
    "exp": [*on_shapes(normal), case("far below zero", exactly([-800.0, -40.0, -np.inf]))],
    "log": [*on_shapes(positive), case("large", exactly([1e3, 1e6, 1e9]))],
    "sin": _WAVE,
    "cos": _WAVE,
    "tanh": _STEP,
    "sigmoid": _STEP,
    "erf": [
        *on_shapes(normal),
        case("every interval", exactly([-7.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 7.0])),
        case("where intervals meet", exactly([0.84375, -0.84375, 1.25, -1.25, 1 / 0.35, 6.0])),
        _ZERO,
    ],
    "maximum": _EXTREMUM,
    "minimum": _EXTREMUM,
    "clip": [
        *on_shapes(apart, low=-0.1, high=0.2),
        case("low only", apart(2, 3), low=0.0),
        case("high only", apart(2, 3), high=0.0),
        case("all inside", apart(2, 3), low=-9.0, high=9.0),
        case("all outside", apart(2, 3), low=9.0),
    ],
    "abs": [*on_shapes(apart), case("at the kink", exactly([0.0, 1.0]))],  # central differences see 0, our choice
    "relu": [*on_shapes(apart), case("all off", exactly([-1.0, -2.0])), _FAR],
    "gelu": _GELU,
    "gelu_tanh": _GELU,
    "silu": [*on_shapes(normal), case("saturated", _GATES), _ZERO],
    "swiglu": [
        case("a matrix", normal(2, 3), normal(2, 3)),
        case("sequences", normal(2, 2, 3), normal(2, 2, 3)),
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("saturated", _GATES, normal(4)),
        case("column order", transposed(normal(3, 2)), transposed(normal(3, 2))),
        case("strided", strided(normal(2, 3)), strided(normal(2, 3))),
    ],
    "dropout": [
        *on_shapes(normal, p=0.5, seed=0),
        case("nothing dropped", normal(2, 3), p=0.0, seed=1),
        case("nearly all dropped", normal(3, 5), p=0.9, seed=2),
    ],
}

_LOG = "log = np.log(np.where((a == 0) & (b >= 0), 1, a))"

EQUIVALENT = {
    ("pow", f"1 → 2 in {_LOG}"): (
        "where a = 0 < b, y = 0 too, and y ln 2 is y ln 1; tests/nanograd/ops/test_power.py tests the jump at a = b = 0"
    ),
    ("pow", f"(a == 0) & (b >= 0) → a == 0 in {_LOG}"): (
        "differs only where a = 0 > b and y is infinite, without a derivative; tests/nanograd/ops/test_power.py tests it"
    ),
}
