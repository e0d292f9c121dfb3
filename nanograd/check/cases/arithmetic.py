"""Cases of add, sub, mul, div, neg and astype."""

import numpy as np

from nanograd.check.cases.case import Case, case, exactly, normal, on_pairs, on_shapes, positive

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
}
