"""Cases of sum, mean, var, max and min."""

from collections.abc import Callable

from nanograd.check.cases.case import Case, Make, apart, case, exactly, normal, strided, transposed

_TIES = [  # of two that tie, central differences give each the derivative 1/2, as equal shares do
    case("two ties", exactly([[1.0, 3.0, 3.0], [0.0, -1.0, 0.0]]), axis=1),
    case("two ties at the other end", exactly([[1.0, 1.0, 3.0], [2.0, -1.0, -1.0]]), axis=1),
]


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
        *[case(f"Bessel, {each.label}", *each.makes, **each.options) for each in on_axes(normal, ddof=1)],
    ],
    "max": [*on_axes(apart), *on_ones(apart), *_TIES],
    "min": [*on_axes(apart), *on_ones(apart), *_TIES],
}
