"""The numbered lines of a derivation that is not an op's: each side of each line as code, evaluated and compared."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from nanograd.study.derivation import Line
from nanograd.study.line_code import equations
from nanograd.study.notation import Formula
from nanograd.study.notation.code import Scope, write_code
from nanograd.study.notation.names import name_of

TOLERANCE = 1e-9  # of the largest entry
Values = Mapping[str, Any]


class CheckedLine(NamedTuple):
    """A line, its right-hand side as code, and the largest difference from what it must equal, relative to that."""

    number: int
    text: str
    code: str
    error: float

    @property
    def ok(self) -> bool:
        return self.error <= TOLERANCE


def check_lines(
    lines: Sequence[Line], values: Values, references: Mapping[int, Callable[[Values], Any]], numbers: Set[str]
) -> list[CheckedLine]:
    """Evaluate every line with the values of its symbols, in order.

    A line whose left-hand side has no value yet defines it, and must have a reference: another computation of the same
    value from `values` and the lines before. Of every other line both sides are computed. `numbers` names the symbols
    that are single numbers. Raises NotInSymbols for a line that has no code.
    """
    known, checked = dict(values), []
    for line in lines:
        equation = equations(line.formula)[0]
        left, *right = equation.operands
        target = name_of(left)
        defines = target is not None and target not in known

        def compute(side: Formula, equation: Any = equation) -> tuple[str, Any]:
            code = write_code(side, equation, Scope(set(known), set(), {}, matrices=True, numbers=numbers))
            return code, eval(code, {"np": np}, known)

        sides = [compute(side) for side in (right if defines else equation.operands)]
        if defines:
            assert target is not None
            sides.append(("", references[line.number](known)))
            known[target] = sides[0][1]
        (_, value), *others = sides
        error = max(_difference(value, other) for _, other in others)
        checked.append(CheckedLine(line.number, line.text, sides[0 if defines else 1][0], error))
    return checked


def _difference(a: Any, b: Any) -> float:
    a, b = np.asarray(a), np.asarray(b)
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else np.inf
