"""Every numbered line as code: the NumPy of its symbols, generated, and what its value must equal."""

import inspect
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.notation import Formula
from nanograd.study.notation import tree as t
from nanograd.study.notation.code import NotInSymbols, Scope, write_code
from nanograd.study.notation.names import is_derivative, name_of, subtrees
from nanograd.study.reasons import REASONS, Reason


class LineCheck(NamedTuple):
    """One numbered line, as code and with what it must equal.

    name: the variable that it defines; "q, k, v" where it defines several.
    code: its value. why: the reason of the step.
    reference: another computation of the same value; None where the name implies it, see line_check.
    also: further expressions that must be equal: the other sides of the line.
    """

    name: str
    code: str
    why: str
    reference: str | None = None
    also: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Return the variables that the line defines."""
        return self.name.split(", ")

    @property
    def shown(self) -> str:
        """Return the line as code beside the printed one: `y = np.exp(x)`."""
        return f"{self.name} = {self.code}"


class OpCode(NamedTuple):
    """The lines of an op by number, and the code of the names that its prose or its side remarks define."""

    lines: Mapping[int, LineCheck]
    definitions: Mapping[str, str]


@cache
def op_code(name: str, printed: tuple[tuple[int, Formula], ...] | None = None) -> OpCode:
    """Translate the numbered lines of an op; `printed` are other formulas than those of its docstrings, by number."""
    formulas = dict(printed) if printed else {line.number: line.formula for line in derivation(name)}
    op, reasons = OPS[name], REASONS[name]
    definitions = dict(reasons.definitions)
    main = {number: equations(formula) for number, formula in formulas.items()}
    names = {number: _variable(clauses, reasons.line(number), definitions) for number, clauses in main.items()}
    arrays = {*op.arrays, "dy", *(n for variable in names.values() for n in variable.split(", "))}
    options = inspect.signature(op.pair.forward).parameters

    def scope(*more: str) -> Scope:
        known = arrays | set(more)
        numbers = {*reasons.numbers, *(name for name, p in options.items() if p.kind is p.KEYWORD_ONLY)}
        unknown = {*definitions, *options} - known
        return Scope(known, unknown, names, reasons.matrices, numbers, "axis" in options, op.variadic)

    remarks = {}
    for clauses in main.values():
        for equation in clauses:
            variable = name_of(equation.operands[0])
            if variable and equation is not clauses[0] and variable != name_of(clauses[0].operands[0]):
                remarks[variable] = write_code(equation.operands[1], equation, scope())
    definitions |= remarks
    lines = {n: _line(clauses, names[n], reasons.line(n), scope(*remarks)) for n, clauses in main.items()}
    return OpCode(lines, definitions)


def equations(formula: Formula) -> list[t.Infix]:
    """Return the equations of a line: its clauses with an equals sign, without side remarks in words."""
    clauses = formula.items if isinstance(formula, t.List) else (formula,)
    equal = [clause for clause in clauses if isinstance(clause, t.Infix) and set(clause.signs) == {"="}]
    return equal[:1] + [clause for clause in equal[1:] if not any(isinstance(p, t.Words) for p in subtrees(clause))]


def _variable(clauses: list[t.Infix], reason: Reason, definitions: Mapping[str, str]) -> str:
    """Return the variable that a line defines: of its sides the first that is a name, else the derivative it sets."""
    if reason.name:
        return reason.name
    target = clauses[0].operands[0]
    if isinstance(target, t.Sub) and isinstance(target.index, t.Indices) and target.index.text in definitions:
        return f"{name_of(target)}_{target.index.text}"  # y_a, a part of y
    if name_of(target) and not is_derivative(target):
        return name_of(target) or ""
    names = [name_of(side) for side in clauses[0].operands if name_of(side) and not is_derivative(side)]
    return names[0] or "" if names else name_of(target) or ""


def _line(clauses: list[t.Infix], name: str, reason: Reason, scope: Scope) -> LineCheck:
    if reason.code is not None:
        return LineCheck(name, reason.code, reason.why, reason.reference, reason.also)
    codes, derivatives = [], []
    for equation in reversed(clauses):  # of a line with indices and then with matrices, the matrices come first
        if equation is not clauses[0] and name_of(equation.operands[0]) != name:
            continue
        for side in equation.operands:
            if is_derivative(side):
                derivatives.append(_derivative(side, scope))
            elif name_of(side) is None or name_of(side) not in (name, name_of(equation.operands[0])):
                codes.append(reason.words.format(write_code(side, equation, scope)))
    if not codes:
        raise NotInSymbols(f"{name}: the line has no side to compute")
    reference = reason.reference or (derivatives[0] if derivatives else None)
    return LineCheck(name, codes[0], reason.why, reference, (*codes[1:], *reason.also))


def _derivative(side: Formula, scope: Scope) -> str:
    """Write the measurement of a local derivative: by which indices it has, one number or a row or a matrix a row."""
    assert isinstance(side, t.Quotient)
    assert isinstance(side.top, t.Partial)
    assert isinstance(side.bottom, t.Partial)
    y, x = ((name_of(part) or "") for part in (side.top.of, side.bottom.of))
    if not isinstance(side.bottom.of, t.Sub):
        return f"derivative('{y}', '{x}')"
    if not isinstance(side.top.of, t.Sub):
        return f"derivative_of_sum('{y}', '{x}')"
    return f"jacobian('{y}', '{x}'{', axis' if scope.axis else ''})"
