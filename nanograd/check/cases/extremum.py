"""Cases of maximum, minimum, clip and abs."""

from collections.abc import Callable

import numpy as np

from nanograd.check.cases.case import Case, Make, apart, case, exactly, on_pairs, on_shapes


def _shifted(*shape: int) -> Make:
    """Draw distinct numbers that are no nearer than 0.025 to those of `apart`."""
    draw: Callable[[np.random.Generator], np.ndarray] = apart(*shape)
    return lambda rng: draw(rng) + 0.025


_TIES = case("ties", exactly([1.0, 2.0, 3.0]), exactly([1.0, 2.5, 3.0]))  # central differences see ½, our choice
CASES: dict[str, list[Case]] = {
    "maximum": [*on_pairs(apart, _shifted), _TIES],
    "minimum": [*on_pairs(apart, _shifted), _TIES],
    "clip": [
        *on_shapes(apart, low=-0.1, high=0.2),
        case("low only", apart(2, 3), low=0.0),
        case("high only", apart(2, 3), high=0.0),
        case("all inside", apart(2, 3), low=-9.0, high=9.0),
        case("all outside", apart(2, 3), low=9.0),
    ],
    "abs": [*on_shapes(apart), case("at the kink", exactly([0.0, 1.0]))],  # central differences see 0, our choice
}
