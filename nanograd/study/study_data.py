"""What a study of one op shows, in any format: its derivation with a check a line, an example, costs and mistakes."""

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from nanograd.check.cost import Cost, cost
from nanograd.op import Op
from nanograd.study.derivation import Line, Prose, check_sentence, derivation, remarks, summary
from nanograd.study.line_check import Checked, check, evaluate
from nanograd.study.line_code import LineCheck, op_code
from nanograd.study.markup import location
from nanograd.study.mistakes import Mistake, mistakes
from nanograd.study.program import Statement, closing_statements, program
from nanograd.study.worked_example import WorkedExample, run_example


class Step(NamedTuple):
    """One numbered line at the example; `checked` is None if it is about a gradient that the example does not have."""

    line: Line
    check: LineCheck
    checked: Checked | None
    statements: tuple[Statement, ...]  # the definitions that this line needs first, and the line
    values: dict[str, Any]  # what the line computes, by name; several arrays by their index

    @property
    def right(self) -> bool:
        return self.checked is None or self.checked.ok

    @property
    def verdict(self) -> str:
        """Say what the line was compared with, and the result."""
        if self.checked is None:
            return "not needed: the example has no such gradient"
        if self.right:
            return f"equals {self.checked.reference}, {same(self.checked.error)}"
        return f"WRONG: is not {self.checked.reference}, off by {self.checked.error:.1e}"


@dataclass(frozen=True)
class StudyData:
    """What a study of one op shows, at one example."""

    call: str  # softmax(x, mask=None, *, axis=-1)
    summary: str
    remarks: Prose
    check: str  # the sentence after “Check:”
    worked: WorkedExample
    steps: tuple[Step, ...]
    closing: tuple[str, ...]  # statements after the last line, which give the results the shapes of the op
    locations: dict[str, str]  # each function of the op, and its file and line
    shape: tuple[int, ...] | None  # as asked for
    seed: int

    @cached_property
    def cost(self) -> Cost:
        return cost(self.worked.op)

    @cached_property
    def mistakes(self) -> list[Mistake]:
        return mistakes(self.worked)

    @property
    def right(self) -> bool:
        """Tell whether every printed line holds."""
        return all(step.right for step in self.steps)


def study_op(name: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> StudyData:
    """Study an op. ValueError where there is no such op, or where it cannot take an input of that shape."""
    derivation(name)  # suggests a name that exists, where this one does not
    worked = run_example(name, shape, seed)
    op = worked.op
    prose = call(op), summary(name), remarks(name), check_sentence(name)
    return StudyData(*prose, worked, _steps(worked, seed), _closing(worked), source_locations(op), shape, seed)


def _steps(worked: WorkedExample, seed: int) -> tuple[Step, ...]:
    """Check and evaluate the lines of an op at its example."""
    name, arrays = worked.op.name, list(worked.arrays)
    checked = {line.number: line for line in check(name, arrays, worked.options, seed)}
    values = evaluate(name, arrays, worked.options, worked.dy)
    lines, steps = op_code(name).lines, list[Step]()
    boxes, explained = _boxes(name), False
    for line in derivation(name):
        line_check = lines[line.number]
        if line.indicator and not explained:  # where it is first used
            line_check, explained = line_check._replace(why=f"{line_check.why} {line.indicator}"), True
        line_values: dict[str, Any] = {}
        for variable in line_check.names:
            value = values[variable]
            operands = value if isinstance(value, tuple) else ()
            line_values |= {f"{variable}[{i}]": a for i, a in enumerate(operands)} or {variable: value}
        steps.append(Step(line, line_check, checked.get(line.number), boxes.get(line.number, ()), line_values))
    return tuple(steps)


def _boxes(name: str) -> dict[int | None, tuple[Statement, ...]]:
    """Return the statements of an op's program up to each line, by its number, and those after the last by None."""
    boxes: dict[int | None, tuple[Statement, ...]] = {}
    pending: list[Statement] = []
    for statement in program(name):
        pending.append(statement)
        if statement.number is not None:
            boxes[statement.number], pending = tuple(pending), []
    return boxes | {None: tuple(pending)}


def _closing(worked: WorkedExample) -> tuple[str, ...]:
    return (*(statement.text for statement in _boxes(worked.op.name)[None]), *closing_statements(worked))


def call(op: Op) -> str:
    """Return how an op is called: its signature without the types."""
    signature = inspect.signature(op.pair.forward)
    parameters = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "needs"]
    return f"{op.name}{signature.replace(parameters=parameters, return_annotation=signature.empty)}"


def source_locations(op: Op) -> dict[str, str]:
    """Return file and line of the functions of an op: the readable pair, and the fast one if there is one."""
    return {function.__name__: location(function) for function in (*op.pair, *(op.fast or ()))}


def same(error: float) -> str:
    """Say how large an error is."""
    return "exactly" if error == 0 else f"to {error:.0e}".replace("e-0", "e-").replace("e+0", "e+")
