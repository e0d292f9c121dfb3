"""Which numbers a number was computed from: those whose replacement changes it, tried one cell at a time."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nanograd.study.evaluator import Evaluator, parse_code
from nanograd.study.markup import CELLS
from nanograd.study.study_data import Step
from nanograd.study.worked_example import WorkedExample

Cells = dict[str, list[int]]  # flat indices of the cells used, by the name of their array


def cells_used(evaluate: Callable[[Mapping[str, Any]], Any], scope: Mapping[str, Any], names: list[str]) -> list[Cells]:
    """Return, for each entry of `evaluate(scope)`, the cells of the named arrays that it was computed from.

    A cell counts if NaN in it changes the entry. A comparison with NaN is False and may not change, so huge numbers are
    tried too; for an integer, its two neighbours.
    """
    value = np.asarray(evaluate(scope))
    cells: list[Cells] = [{} for _ in range(value.size)]
    for name in names:
        a = np.asarray(scope[name])
        for cell in range(a.size):
            changed = np.zeros(value.size, bool)
            for other in _others(a.reshape(-1)[cell]):
                planted = a.copy()
                planted.reshape(-1)[cell] = other
                changed |= _changed(evaluate, {**scope, name: planted}, value)
            for entry in np.nonzero(changed)[0]:
                cells[entry].setdefault(name, []).append(cell)
    return cells


def provenance_of(worked: WorkedExample, step: Step) -> dict[str, list[Cells]]:
    """Return, for each value that a line computes, the cells that its entries were computed from, one line back.

    Empty if there are too many to show.
    """
    code, names = step.check.code, step.check.names
    evaluator = Evaluator(worked.op.name, list(worked.arrays), worked.options, worked.dy)
    lines, inputs = _read(code, evaluator)
    operands = dict(zip(worked.names, worked.arrays, strict=True)) if "xs" in inputs else {}
    arrays = {name: a for name, a in (inputs | lines | operands).items() if isinstance(a, np.ndarray) and a.size}
    size = max((np.size(value) for value in step.values.values()), default=0)
    if sum(a.size for a in arrays.values()) > 3 * CELLS or size > CELLS:
        return {}

    def again(planted: Mapping[str, Any]) -> list[Any]:
        passed = {name: planted.get(name, value) for name, value in inputs.items()}
        if operands:
            passed["xs"] = tuple(planted[name] for name in operands)
        moved = evaluator.moved({name: planted.get(name, value) for name, value in lines.items()}, passed)
        value = moved.compute(code)
        values = value if len(names) > 1 else (evaluator.native(step.check.name, value),)
        return [a for value in values for a in (value if isinstance(value, tuple) else (value,))]

    def only(which: int) -> Callable[[Mapping[str, Any]], Any]:
        return lambda planted: again(planted)[which]

    return {name: cells_used(only(which), arrays, list(arrays)) for which, name in enumerate(step.values)}


def _read(code: str, evaluator: Evaluator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of lines and the inputs that an expression reads, also through the definitions that it uses."""
    lines: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for name in sorted(parse_code(code)[1]):
        definition = evaluator.definitions.get(name)
        if name in evaluator.lines:
            lines[name] = evaluator[name]
        elif name in evaluator.op.arrays or name in ("dy", "xs"):
            inputs[name] = evaluator.raw[name]
        redefines_itself = definition is not None and name in parse_code(definition)[1]  # an option: `axes = axes or …`
        if definition is not None and not redefines_itself:
            for found, more in zip((lines, inputs), _read(definition, evaluator), strict=True):
                found |= more
    return lines, inputs


def _others(value: Any) -> Iterator[Any]:
    if value.dtype.kind == "f":
        yield from (np.nan, 1e6, -1e6)
    elif value.dtype.kind == "b":
        yield not value
    else:
        yield from (value - 1, value + 1)


def _changed(evaluate: Callable[[Mapping[str, Any]], Any], scope: Mapping[str, Any], value: np.ndarray) -> np.ndarray:
    """Tell which entries change; none if the planted number cannot be used, such as an id that is too large."""
    try:
        with np.errstate(all="ignore"):
            got = np.asarray(evaluate(scope))
    except (ValueError, IndexError):
        return np.zeros(value.size, bool)
    if got.shape != value.shape:
        return np.zeros(value.size, bool)
    return (got != value).reshape(-1)  # NaN differs from everything
