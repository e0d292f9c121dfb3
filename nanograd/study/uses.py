"""Which numbers a number was made of: found by planting others in one cell at a time, and looking what changes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nanograd.study.facts import Step
from nanograd.study.sheet import Sheet, parse, split
from nanograd.study.tables import CELLS
from nanograd.study.twins import GIVEN
from nanograd.study.worked import Worked

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


def made_of(worked: Worked, step: Step) -> dict[str, list[Uses]]:
    """Return, for each value that a line makes, the cells that its entries were made of, one line back.

    Nothing where they are too many to be shown.
    """
    code, names = step.twin.code, split(step.twin.name)
    sheet = Sheet(worked.op.name, list(worked.arrays), worked.options, worked.dy)
    known = _read(worked.op.name, code, sheet)
    operands = dict(zip(worked.names, worked.arrays, strict=True)) if "xs" in known else {}
    arrays = {each: a for each, a in (known | operands).items() if isinstance(a, np.ndarray) and a.size}
    size = max((np.size(value) for value in step.values.values()), default=0)
    if sum(a.size for a in arrays.values()) > 3 * CELLS or size > CELLS:
        return {}

    def again(planted: Mapping[str, Any]) -> Any:
        replaced = {each: planted.get(each, value) for each, value in known.items()}
        if operands:
            replaced["xs"] = tuple(planted[each] for each in operands)
        got = sheet.moved(**replaced).compute(code)
        parts = got if len(names) > 1 else (got,)
        return [a for part in parts for a in (part if isinstance(part, tuple) else (part,))]

    def only(which: int) -> Callable[[Mapping[str, Any]], Any]:
        return lambda planted: again(planted)[which]

    return {name: uses(only(which), arrays, list(arrays)) for which, name in enumerate(step.values)}


def _read(name: str, code: str, sheet: Sheet) -> dict[str, Any]:
    """Return what an expression reads that stands on the page; what the prose defines is looked through."""
    found: dict[str, Any] = {}
    for each in sorted(parse(code)[1]):
        said = GIVEN.get(name, {}).get(each)
        if each in sheet.lines or each in sheet.op.arrays or each in ("dy", "xs"):
            found[each] = sheet[each]
        elif said is not None and each not in parse(said)[1]:  # else an option made ready: `axes = axes or …`
            found |= _read(name, said, sheet)
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
