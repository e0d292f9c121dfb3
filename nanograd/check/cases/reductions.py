"""Cases of reductions: sum to min, and std to cumsum."""

from collections.abc import Callable

import numpy as np

from nanograd.check.cases.case import Case, Make, apart, case, exactly, normal, positive, strided, transposed


def on_axes(draw: Callable[..., Make], **options: int) -> list[Case]:
    """List the axes along which a reduction can go."""
    return [
        case("all", draw(2, 3), **options),
        case("all, keepdims", draw(2, 3), keepdims=True, **options),
        case("first axis", draw(3, 2), axis=0, **options),
        case("last axis", draw(2, 3), axis=-1, **options),
        case("last axis, keepdims", draw(2, 3), axis=-1, keepdims=True, **options),
        case("middle axis", draw(2, 3, 2), axis=1, **options),
        case("middle axis, keepdims", draw(2, 3, 2), axis=-2, keepdims=True, **options),
        case("two axes", draw(2, 3, 2), axis=(0, 2), **options),
        case("two axes backwards", draw(2, 3, 2), axis=(-1, 0), **options),
        case("two axes, keepdims", draw(2, 3, 2), axis=(0, -1), keepdims=True, **options),
        case("every axis by name", draw(2, 3), axis=(0, 1), **options),
        case("a vector", draw(4), axis=0, **options),
        case("no rows are left", draw(0, 3), axis=1, **options),
        case("column order", transposed(draw(3, 2)), axis=1, **options),
        case("strided", strided(draw(2, 3)), axis=0, **options),
    ]


def on_ones(draw: Callable[..., Make]) -> list[Case]:
    """List reductions of a single entry."""
    return [
        case("a number", draw()),
        case("a number, keepdims", draw(), keepdims=True),
        case("no axes", draw(2, 2), axis=()),
        case("one entry", draw(1, 1)),
        case("an axis of one", draw(2, 1), axis=1),
        case("an axis of one, keepdims", draw(2, 1), axis=1, keepdims=True),
    ]


_EXTREMUM = [
    *on_axes(apart),
    *on_ones(apart),
    # Of two that tie, central differences give each the derivative 1/2, as equal shares do.
    case("two ties", exactly([[1.0, 3.0, 3.0], [0.0, -1.0, 0.0]]), axis=1),
    case("two ties at the other end", exactly([[1.0, 1.0, 3.0], [2.0, -1.0, -1.0]]), axis=1),
]
_ZERO = "where y = 0 every x - ⟨x⟩, or x, is 0 too: 0 divided by 2 is 0 divided by 1"

CASES: dict[str, list[Case]] = {
    "sum": [
        *on_axes(normal),
        *on_ones(normal),
        case("nothing", normal(0, 3)),
        case("nothing a column", normal(0, 3), axis=0),
        case("nothing a column, keepdims", normal(0, 3), axis=0, keepdims=True),
    ],
    "mean": [*on_axes(normal), *on_ones(normal)],
    "var": [
        *on_axes(normal),
        *on_ones(normal),
        *[case(f"Bessel, {one.label}", *one.makes, **one.options) for one in on_axes(normal, ddof=1)],
    ],
    "max": _EXTREMUM,
    "min": _EXTREMUM,
    "std": [
        case("all entries equal", exactly([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]), axis=1),
        *on_axes(normal),
        case("Bessel", normal(2, 3), axis=1, ddof=1),
        case("Bessel, all", normal(2, 3), ddof=1),
    ],
    "norm": [
        # At zero central differences see 0, our choice.
        case("of nothing but zeros", exactly([[0.0, 0.0], [3.0, 4.0]]), axis=1),
        *on_axes(normal),
        *on_ones(positive),
        case("3-4-5", exactly([3.0, 4.0])),
    ],
    "prod": [
        *on_axes(normal),
        *on_ones(normal),
        case("one zero a row", exactly([[2.0, 0.0, 3.0], [0.0, 4.0, 5.0]]), axis=1),
        case("two zeros", exactly([0.0, 2.0, 0.0])),
        case("nothing a column", normal(0, 3), axis=0),
    ],
    "logsumexp": [
        *on_axes(normal),
        *on_ones(normal),
        case("large", exactly([[1000.0, 999.0], [-1000.0, -1001.0]]), axis=1),
        case("one is masked", exactly([[0.5, -np.inf, 1.0]]), axis=1),
    ],
    "cumsum": [
        case("first axis", normal(3, 2), axis=0),
        case("last axis", normal(2, 3), axis=-1),
        case("middle axis", normal(2, 3, 2), axis=1),
        case("a vector", normal(4), axis=0),
        case("one entry", normal(1, 1), axis=1),
        case("no rows", normal(0, 3), axis=1),
        case("nothing to add", normal(3, 0), axis=1),
        case("column order", transposed(normal(3, 2)), axis=0),
        case("strided", strided(normal(2, 3)), axis=1),
    ],
}

EQUIVALENT = {
    ("norm", "1 → 2 in return (x * spread(dy / np.where(y == 0, 1, y), x.shape, axis),)"): _ZERO,
    ("std", "1 → 2 in scale = dy / np.where(y == 0, 1, y) / n"): _ZERO,
}
