"""The lines of an op as a program: NumPy that runs from top to bottom, for the page to print and the reader to run."""

import textwrap
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from nanograd.op import OPS
from nanograd.study.evaluator import Evaluator, parse_code
from nanograd.study.helpers import helper_source, helpers_used
from nanograd.study.line_code import op_code
from nanograd.study.worked_example import WorkedExample

WIDTH = 88  # of a line of numbers


class Statement(NamedTuple):
    """One assignment: the value of `code` to `name`; number is that of the printed line, None for a definition."""

    name: str
    code: str
    number: int | None

    @property
    def text(self) -> str:
        return f"{self.name} = {self.code}"


@cache
def program(op: str) -> tuple[Statement, ...]:
    """Return the statements of an op in an order in which they run: every definition once, before it is first needed.

    What they read besides one another are inputs, dy, options and helpers.

    >>> [statement.text for statement in program("sigmoid")[1:]]
    ['e = np.exp(-x)', 'dy_dx = e / (1 + e) ** 2', 'dx = dy * y * (1 - y)']
    """
    code = op_code(op)
    order, lines = list(code.definitions), {n: k for k, line in code.lines.items() for n in line.names}
    own = {*OPS[op].arrays, "xs", "dy", *OPS[op].options}  # what a definition may define anew
    needed, statements, defined = _needed(op), list[Statement](), set[str]()

    def define(name: str) -> None:
        if name in defined or name not in order:
            return
        defined.add(name)
        earlier = order[: order.index(name)]
        reads = names_in(code.definitions[name])
        for used in sorted(reads, key=lambda n: order.index(n) if n in order else -1):
            if used in earlier or used not in own:
                define(used)
        if name in own:  # those before it that read the input as it was passed
            for reader in earlier:
                if reader in needed and name in names_in(code.definitions[reader]):
                    define(reader)
        statements.append(Statement(name, code.definitions[name], None))

    for number, line in sorted(code.lines.items()):
        for used in sorted(names_in(line.code), key=lambda n: order.index(n) if n in order else -1):
            define(used)
        statements.append(Statement(line.name, line.code, number))
    for name in outputs(op):
        if name not in lines:
            define(name)
    return tuple(statements)


def outputs(op: str) -> list[str]:
    """Return the names of the result of an op and of its gradients."""
    o, code = OPS[op], op_code(op)
    names = {*code.definitions, *(n for line in code.lines.values() for n in line.names)}
    gradients = ["xs"] if o.variadic else [n for i, n in enumerate(o.arrays) if i not in o.nondifferentiable]
    return ["y" if "y" in names else "loss", *(f"d{name}" for name in gradients)]


def names_in(code: str) -> frozenset[str]:
    """Return the names that an expression reads."""
    return parse_code(code)[1]


def _needed(op: str) -> set[str]:
    """Return the definitions that the lines of an op use, also through other definitions, and those of its outputs."""
    code = op_code(op)
    pending = {n for line in code.lines.values() for n in names_in(line.code)} | set(outputs(op))
    needed = set[str]()
    while pending:
        name = pending.pop()
        if name in code.definitions and name not in needed:
            needed.add(name)
            pending |= names_in(code.definitions[name])
    return needed


def helpers_of(op: str, closing: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the helpers that the program of an op and the closing statements use."""
    statements = program(op)
    used = frozenset().union(*(names_in(s.code) for s in statements))
    used |= {name for text in closing for name in names_in(text.partition(" = ")[2])}
    return helpers_used(used - {s.name for s in statements})


def helpers_code(op: str, closing: tuple[str, ...] = ()) -> str:
    """Return the source of those helpers; empty where there are none."""
    return "\n\n".join(map(helper_source, helpers_of(op, closing)))


def given_code(worked: WorkedExample) -> str:
    """Return the inputs, the options that the program reads, and dy of an example as assignments."""
    op = worked.op
    lines = [_assignment(name, a) for name, a in zip(worked.names, worked.arrays, strict=True)]
    if op.variadic:
        lines.append(f"xs = ({', '.join(worked.names)},)")
    read = frozenset().union(*(names_in(s.code) for s in program(op.name)))
    evaluator = Evaluator(op.name, list(worked.arrays), worked.options)
    lines += [_assignment(name, evaluator.raw[name]) for name in sorted(op.options & read)]
    return "\n".join([*lines, _assignment("dy", worked.dy)])


def _assignment(name: str, value: Any) -> str:
    return f"{name} = {literal(value, len(name) + len(' = '))}"


def closing_statements(worked: WorkedExample) -> tuple[str, ...]:
    """Return what gives results the shapes of the op, where the lines leave an axis of size 1 or one to sum over."""
    evaluator = Evaluator(worked.op.name, list(worked.arrays), worked.options, worked.dy)
    named = zip((f"d{name}" for name in worked.names), worked.gradients, strict=True)
    results = {outputs(worked.op.name)[0]: worked.y} | ({} if worked.op.variadic else dict(named))
    statements = []
    with np.errstate(all="ignore"):
        for name, value in results.items():
            if value is None or np.shape(evaluator[name]) == value.shape:
                continue
            if np.size(evaluator[name]) != value.size:
                statements.append(f"{name} = unbroadcast({name}, {np.shape(evaluator[name[1:]])})")
            if np.size(evaluator[name]) == value.size or np.shape(evaluator[name[1:]]) != value.shape:
                statements.append(f"{name} = np.reshape({name}, {value.shape})")
    return tuple(statements)


def script(worked: WorkedExample) -> str:
    """Return the whole program of an example: it computes the result and every gradient, and prints them."""
    op, closing = worked.op.name, closing_statements(worked)
    statements = [s.text + (f"  # ({s.number})" if s.number else "") for s in program(op)]
    printed = [f'print("{name} =", {name}, sep="\\n")' for name in outputs(op)]
    blocks = ["import numpy as np", helpers_code(op, closing), given_code(worked)]
    blocks += ["\n".join([*statements, *closing]), "\n".join(printed)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def literal(value: Any, indent: int = 0) -> str:
    """Write a value as Python; the rows of an array stand below each other, the first `indent` columns from the left."""
    if isinstance(value, np.ndarray):
        if not value.size:
            return f"np.zeros({value.shape}, {value.dtype.name!r})"
        usual = value.dtype in (np.float64, np.int64, np.bool_)
        return f"np.array({_nested(value, indent + len('np.array('))}{'' if usual else f', {value.dtype.name!r}'})"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, np.dtype):
        return f"np.dtype({value.name!r})"
    if isinstance(value, type):
        return f"np.{value.__name__}" if issubclass(value, np.generic) else value.__name__
    return _number(value)


def _nested(a: np.ndarray, indent: int) -> str:
    """Write the entries of an array: a row a line."""
    if a.ndim == 0:
        return _number(a.item())
    if a.ndim == 1:
        numbers = ", ".join(map(_number, a.tolist()))
        return "\n".join(textwrap.wrap(f"[{numbers}]", WIDTH - indent, subsequent_indent=" " * (indent + 1)))
    return f"[{(',' + chr(10) + ' ' * (indent + 1)).join(_nested(row, indent + 1) for row in a)}]"


def _number(value: Any) -> str:
    return f"np.{value!r}".replace("np.-", "-np.") if value in (np.inf, -np.inf) or value != value else repr(value)
