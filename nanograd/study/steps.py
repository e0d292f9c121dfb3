"""The numbered lines of an op, worked: each line's value at the example, its check, and the cells it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanograd.study.derivation import Line, derivation
from nanograd.study.sheet import Sheet, parse, split
from nanograd.study.tables import CELLS
from nanograd.study.twin import Checked, check, given
from nanograd.study.twins import GIVEN, TWINS, Twin
from nanograd.study.uses import Uses, uses
from nanograd.study.worked import Worked


@dataclass(frozen=True)
class Step:
    """One numbered line, its twin and check, the values it names at the example, and what each entry was made of.

    checked is None, and values are empty, where the line is of a gradient that the example does not want.
    """

    line: Line
    twin: Twin
    checked: Checked | None
    values: dict[str, np.ndarray]
    uses: dict[str, list[Uses]]
    given: dict[str, str]  # what the code uses that the prose defines, as names and their code

    @property
    def code(self) -> str:
        """Return the line in NumPy, after what it needs."""
        return "\n".join(f"{name} = {code}" for name, code in (*self.given.items(), (self.twin.name, self.twin.code)))


def steps(worked: Worked, seed: int = 0) -> list[Step]:
    """Return the lines of an op with their values at its example."""
    name, arrays = worked.op.name, list(worked.arrays)
    sheet = Sheet(name, arrays, worked.options, worked.dy)
    checked = {each.number: each for each in check(name, arrays, worked.options, seed)}
    found = []
    for line in derivation(name):
        twin = TWINS[name][line.number]
        values: dict[str, np.ndarray] = {}
        if line.number in checked:
            values = {each: np.asarray(sheet[each], np.float64) for each in split(twin.name)}
        made = {each: made_of(worked, sheet, twin, each, value) for each, value in values.items()}
        found.append(Step(line, twin, checked.get(line.number), values, made, _ordered(given(name, line.number))))
    return found


def made_of(worked: Worked, sheet: Sheet, twin: Twin, name: str, value: np.ndarray) -> list[Uses]:
    """Return the cells that each entry of a line's value was made of, one line back; nothing where they are too many."""
    known = _read(worked.op.name, twin.code, sheet)
    arrays: dict[str, Any] = {each: a for each, a in known.items() if isinstance(a, np.ndarray) and a.size}
    operands = dict(zip(worked.names, worked.arrays, strict=True)) if worked.op.variadic and "xs" in known else {}
    arrays |= operands
    if sum(a.size for a in arrays.values()) > 3 * CELLS or value.size > CELLS:
        return []

    def again(planted: Mapping[str, Any]) -> Any:
        replaced = {each: planted[each] for each in known if each in planted}
        if operands:
            replaced["xs"] = tuple(planted[each] for each in worked.names)
        got = sheet.moved(**replaced).compute(twin.code)
        return got[split(twin.name).index(name)] if isinstance(got, tuple) else got

    return uses(again, arrays, list(arrays))


def _read(name: str, code: str, sheet: Sheet) -> dict[str, Any]:
    """Return what an expression reads that has a value on the page; what the prose defines is read through."""
    found: dict[str, Any] = {}
    for each in sorted(parse(code)[1]):
        if each in GIVEN.get(name, {}) and each not in sheet.lines:
            found |= _read(name, GIVEN[name][each], sheet) if each not in parse(GIVEN[name][each])[1] else {}
        elif each in sheet.lines or each in sheet.op.arrays or each in ("dy", "xs"):
            found[each] = sheet[each]
    return found


def _ordered(found: dict[str, str]) -> dict[str, str]:
    """Return definitions in an order in which each stands after those that it reads."""
    order: dict[str, str] = {}

    def put(name: str) -> None:
        for each in sorted((parse(found[name])[1] & found.keys()) - {name}):
            put(each)
        order.setdefault(name, found[name])

    for name in found:
        put(name)
    return order
