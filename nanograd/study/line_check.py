"""Evaluate every numbered equation and compare it with an independent computation of the same value.

A forward line is compared with a reference, the last one with the op; a local derivative with finite differences of the
lines before; dx with finite differences of the op, and with its own backward.
"""

from typing import Any, NamedTuple

import numpy as np

from nanograd.check.numeric import TOLERANCE
from nanograd.study.derivation import derivation
from nanograd.study.evaluator import MEASURES, Evaluator, NoGradient, Options, parse_code
from nanograd.study.line_code import LineCheck, OpCode

EXACT = 1e-10  # the tolerance where both sides are computed
MEASURED = TOLERANCE[np.dtype(np.float64)]  # the tolerance where one side is a finite difference
SMALLEST = 1e-3  # errors are relative to the largest entry, or to this where all entries are smaller


class Checked(NamedTuple):
    """One line and its references; `value` and `other` are those of the line and of its first reference."""

    number: int
    text: str
    line: LineCheck
    value: np.ndarray
    other: np.ndarray
    error: float  # the largest difference from any reference, relative to the largest entry
    tolerance: float
    reference: str  # in words

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


def evaluate(name: str, arrays: Any, options: Options, dy: np.ndarray) -> dict[str, Any]:
    """Return the value of every line of an op by its name, and its inputs and dy, in float64."""
    evaluator = Evaluator(name, list(arrays), options, np.asarray(dy, np.float64))
    values = {n: evaluator.raw[n] for n in (*(("xs",) if evaluator.op.variadic else evaluator.op.arrays), "dy")}
    with np.errstate(all="ignore"):
        for _, line in sorted(evaluator.code.lines.items()):
            values |= {n: evaluator.native(n, evaluator[n]) for n in line.names}
    return values


def check(name: str, arrays: Any, options: Options, seed: int = 0, *, code: OpCode | None = None) -> list[Checked]:
    """Compare every numbered line of an op with its references, on these arrays and under a random dy.

    A line about a gradient that does not exist (of integers, or of an array that was left out) is passed over. `code` is
    checked instead of the op's own, for tests that plant a mistake.

    >>> [f"{line.text}: {line.reference}" for line in check("exp", [np.array([0.5, -1.0])], {})]
    ['y = exp(x): the result of the op', 'dx = dy y: finite differences of the op, and its own backward']
    """
    evaluator = random_dy(name, arrays, options, seed, code)
    printed = {line.number: line.text + line.tail for line in derivation(name)}
    checked = [check_line(evaluator, number, printed.get(number, "")) for number in sorted(evaluator.code.lines)]
    return [line for line in checked if line is not None]


def random_dy(name: str, arrays: Any, options: Options, seed: int = 0, code: OpCode | None = None) -> Evaluator:
    """Return an evaluator with a random dy, drawn by `seed`."""
    evaluator = Evaluator(name, list(arrays), options, code=code)
    evaluator.raw["dy"] = np.random.default_rng(seed).standard_normal(np.shape(evaluator.result()))
    return evaluator


def check_line(evaluator: Evaluator, number: int, text: str = "") -> Checked | None:
    """Compare one line with all its references; None where it is about a gradient that does not exist."""
    line = evaluator.code.lines[number]
    codes, reference = _references(evaluator, line)
    try:
        with np.errstate(all="ignore"):
            value, *values = (evaluator.native(line.name, evaluator.compute(code)) for code in (line.code, *codes))
    except NoGradient:
        return None
    local = codes[0].startswith("derivative")  # 1/b is the derivative of a/b wherever b was broadcast to
    values = [np.zeros_like(value) if code == "0" else other for code, other in zip(codes, values, strict=True)]
    errors = [difference(value, other, broadcast=local) for other in values]
    measured = any(parse_code(code)[1] & set(MEASURES) for code in (*codes, line.code))
    tolerance = MEASURED if measured else EXACT
    return Checked(number, text, line, _array(value), _array(values[0]), max(errors), tolerance, reference)


def _references(evaluator: Evaluator, line: LineCheck) -> tuple[list[str], str]:
    """Return the expressions that a line must equal, and in words what they are."""
    codes, words = _first_references(evaluator, line)
    more = [f"`{code}`" for code in line.also if "backward" not in parse_code(code)[1]]
    return [*codes, *line.also], "; also ".join([words, *more])


def _first_references(evaluator: Evaluator, line: LineCheck) -> tuple[list[str], str]:
    """Return what a line is compared with before all others, and what that is in words."""
    if line.reference is not None:
        return [line.reference], _in_words(evaluator, line.reference)
    if line.name in ("y", "loss"):
        return ["result()"], "the result of the op"
    of = line.name.removeprefix("d")
    if line.name == "dxs":
        every = [f"tuple({measure}(k) for k in range(len(xs)))" for measure in ("gradient", "backward")]
        return every, "finite differences of the op, and its own backward"
    if of in evaluator.op.arrays:
        return [f"gradient({of!r})", f"backward({of!r})"], "finite differences of the op, and its own backward"
    if of in evaluator.lines:
        return [f"by({of!r})"], f"finite differences by `{of}` of the lines after ({evaluator.lines[of]})"
    raise ValueError(f"{evaluator.op.name}: nothing implies what {line.name} must equal: give its reason a `reference`")


def _in_words(evaluator: Evaluator, code: str) -> str:
    """Return in words what an expression compares with."""
    used = parse_code(code)[1]
    if "gradient" in used:
        return "finite differences of the op, and its own backward"
    if "result" in used:
        return "the result of the op"
    if used & set(MEASURES):
        first = code.partition("'")[2].partition("'")[0]
        at = f"({evaluator.lines[first]})" if first in evaluator.lines else f"`{first}`"
        after = f"by `{first}` of the lines after {at}" if "by" in used else f"of {at}"
        return f"finite differences {after}"
    return f"another computation, `{code}`"


def difference(a: Any, b: Any, *, broadcast: bool = False) -> float:
    """Return the largest difference of two arrays, or tuples of arrays, relative to the largest entry of b.

    Axes of size 1 do not count. Infinite where the shapes differ (with `broadcast`, where a does not broadcast to b) or one
    is NaN and the other not.
    """
    if isinstance(a, tuple) or isinstance(b, tuple):
        if len(a) != len(b):
            return np.inf
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if broadcast and np.broadcast_shapes(a.shape, b.shape) == b.shape:
        a = np.broadcast_to(a, b.shape)
    if [n for n in a.shape if n != 1] != [n for n in b.shape if n != 1]:
        return np.inf
    a = a.reshape(b.shape)
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0, np.abs(a - b))  # an infinity equals itself
    finite = np.abs(b)[np.isfinite(b)]
    worst = float(apart.max(initial=0)) / max(float(finite.max(initial=0)), SMALLEST)
    return np.inf if np.isnan(worst) else worst


def _array(value: Any) -> np.ndarray:
    """Return an array; several are laid out one after the other."""
    return np.concatenate([np.ravel(part) for part in value]) if isinstance(value, tuple) else np.asarray(value)
