"""Cases of rope."""

import numpy as np

from nanograd.check.cases.case import Case, case, normal, strided, transposed

CASES: dict[str, list[Case]] = {
    "rope": [
        case("halves", normal(3, 4)),
        case("interleaved", normal(3, 4), interleaved=True),
        case("heads", normal(2, 2, 3, 4)),
        case("heads, interleaved", normal(2, 2, 3, 4), interleaved=True),
        case("heads, of which two are rotated", normal(2, 3, 2, 4), rotated=2),
        case("heads, of which none is rotated", normal(2, 3, 4), rotated=0),
        case("heads, of which one is rotated, interleaved", normal(3, 2, 4), rotated=1, interleaved=True),
        case("one pair", normal(3, 2)),
        case("later positions", normal(2, 4), positions=np.array([5, 9])),
        case("positions a sequence", normal(2, 3, 4), positions=np.array([[0, 1, 2], [7, 8, 9]])),
        case("another base", normal(3, 4), base=100.0),
        case("no tokens", normal(0, 4)),
        case("column order", transposed(normal(3, 4))),
        case("strided", strided(normal(3, 4)), interleaved=True),
    ]
}
