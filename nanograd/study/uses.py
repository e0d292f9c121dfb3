"""Which numbers a number was made of: found by planting others in one cell at a time, and looking what changes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Uses = dict[str, list[int]]  # flat indices of the cells used, by the name of their array


def uses(evaluate: Callable[[Mapping[str, Any]], Any], scope: Mapping[str, Any], names: list[str]) -> list[Uses]:
    """Return, for each entry of what `evaluate(scope)` gives, the cells of the named arrays that it was made of.

    A cell counts where NaN in it changes the entry. A comparison takes NaN for False and may stay as it was, so huge
    numbers are tried too; and in place of a whole number, its neighbours.
    """
    value = np.asarray(evaluate(scope))
    found: list[Uses] = [{} for _ in range(value.size)]
    for name in names:
        a = np.asarray(scope[name])
        for cell in range(a.size):
            changed = np.zeros(value.size, bool)
            for other in _others(a.reshape(-1)[cell]):
                planted = a.copy()
                planted.reshape(-1)[cell] = other
                changed |= _changed(evaluate, {**scope, name: planted}, value)
            for entry in np.nonzero(changed)[0]:
                found[entry].setdefault(name, []).append(cell)
    return found


def _others(value: Any) -> Iterator[Any]:
    if value.dtype.kind == "f":
        yield from (np.nan, 1e6, -1e6)
    elif value.dtype.kind == "b":
        yield not value
    else:
        yield from (value - 1, value + 1)


def _changed(evaluate: Callable[[Mapping[str, Any]], Any], scope: Mapping[str, Any], value: np.ndarray) -> np.ndarray:
    """Tell which entries come out otherwise; none where the planted number cannot be used, such as an id too large."""
    try:
        with np.errstate(all="ignore"):
            got = np.asarray(evaluate(scope))
    except (ValueError, IndexError):
        return np.zeros(value.size, bool)
    if got.shape != value.shape:
        return np.zeros(value.size, bool)
    return (got != value).reshape(-1)  # NaN differs from all
