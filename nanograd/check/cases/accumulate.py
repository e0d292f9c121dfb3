"""Cases of std, norm, prod, logsumexp and cumsum."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, normal, positive, strided, transposed
from nanograd.check.cases.reduce import on_axes, on_ones

CASES: dict[str, list[Case]] = {
    "std": [
        case("all entries equal", exactly([[2.0, 2.0, 2.0], [1.0, 2.0, 4.0]]), axis=1),
        *on_axes(normal),
        case("Bessel", normal(2, 3), axis=1, ddof=1),
        case("Bessel, all", normal(2, 3), ddof=1),
    ],
    "norm": [
        case(
            "of nothing but zeros", exactly([[0.0, 0.0], [3.0, 4.0]]), axis=1
        ),  # central differences see 0, our choice
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

_ZERO = "where y = 0 every x - ⟨x⟩, or x, is 0 too: 0 divided by 2 is 0 divided by 1"

EQUIVALENT = {
    ("norm", "1 → 2 in return (x * spread(dy / np.where(y == 0, 1, y), x.shape, axis),)"): _ZERO,
    ("std", "1 → 2 in scale = dy / np.where(y == 0, 1, y) / n"): _ZERO,
    (
        "prod",
        "tuple(range(x.ndim)) → range(x.ndim) in axes = tuple(range(x.ndim)) if axis is None else tuple((a % x.ndim for "
        "a in ((axis,) if isinstance(axis, int) else axis)))",
    ): "a range holds the same axes as its tuple",
}
