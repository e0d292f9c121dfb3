"""Every numbered line put to numbers, and held against its neighbour.

A forward line is held against another way to the same value, the last one against the op; a slope against finite
differences of the lines it is the slope of; dx against finite differences of the op, and against its own backward.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.numeric import TOLERANCE
from nanograd.op import OPS
from nanograd.ops._equations import numbered_equations
from nanograd.study.sheet import NoSlope, Sheet, parse, split
from nanograd.study.twins import GIVEN, TWINS, Twin

EXACT = 1e-10  # where both sides are computed
MEASURED = TOLERANCE[np.dtype(np.float64)]  # where one is measured by differences
SMALLEST = 1e-3  # an error counts relative to the largest entry, or to this where all are smaller
MEASURES = {"slope", "slope_of_sum", "jacobian", "by", "gradient"}


class Checked(NamedTuple):
    """One line beside its neighbour; `value` and `other` are those of the line and of its first neighbour."""

    number: int
    text: str
    twin: Twin
    value: np.ndarray
    other: np.ndarray
    error: float  # the largest difference from any neighbour, relative to the largest entry
    tolerance: float
    neighbour: str

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


def lines(name: str) -> dict[int, str]:
    """Return the numbered lines of an op's forward and backward, as printed, by number."""
    pair = OPS[name].pair
    return numbered_equations(pair.forward) | numbered_equations(pair.backward)


def given(name: str, number: int) -> dict[str, str]:
    """Return what a line's code uses that no line has made but the prose has said, as names and their code.

    >>> given("div", 4)
    {'t': 'dy / b'}
    """
    twin, known, found = TWINS[name][number], GIVEN.get(name, {}), {}
    waiting = sorted(parse(twin.code)[1])
    while waiting:
        each = waiting.pop(0)
        if each in known and each not in found:
            found[each] = known[each]
            waiting += sorted(parse(known[each])[1])
    return found


def evaluate(name: str, arrays: Any, options: Mapping[str, Any], dy: np.ndarray) -> dict[str, Any]:
    """Return the value of every line of an op by its twin's name, and its inputs and dy, in float64."""
    sheet = Sheet(name, list(arrays), options, np.asarray(dy, np.float64))
    inputs = ("xs",) if sheet.op.variadic else sheet.op.arrays
    names = [each for number in sorted(sheet.twins) for each in split(sheet.twins[number].name)]
    with np.errstate(all="ignore"):
        return {each: sheet[each] for each in (*inputs, "dy", *names)}


def check(
    name: str, arrays: Any, options: Mapping[str, Any], seed: int = 0, *, twins: Mapping[int, Twin] | None = None
) -> list[Checked]:
    """Hold every numbered line of an op against its neighbour, on these arrays and under a random dy.

    A gradient that is not wanted (of integers, or of an array that was left out) is passed over. `twins` are checked in
    the place of the op's own: so a planted mistake can be seen.

    >>> [f"{line.text}: {line.neighbour}" for line in check("exp", [np.array([0.5, -1.0])], {})]
    ['y = exp(x): what the op computes', 'dx = dy y: finite differences of the op, and its own backward']
    """
    sheet, printed = begin(name, arrays, options, seed, twins), lines(name)
    checked = [check_line(sheet, number, printed.get(number, "")) for number in sorted(sheet.twins)]
    return [each for each in checked if each is not None]


def begin(
    name: str, arrays: Any, options: Mapping[str, Any], seed: int = 0, twins: Mapping[int, Twin] | None = None
) -> Sheet:
    """Return a sheet with a random dy on it, drawn by `seed`, and nothing worked out yet."""
    sheet = Sheet(name, list(arrays), options, twins=twins, seed=seed)
    sheet.raw["dy"] = np.random.default_rng(seed).standard_normal(np.shape(sheet.result()))
    return sheet


def check_line(sheet: Sheet, number: int, text: str = "") -> Checked | None:
    """Hold one line against all its neighbours; None where it is about a gradient that is not wanted."""
    twin = sheet.twins[number]
    codes, neighbour = _neighbours(sheet, twin)
    try:
        with np.errstate(all="ignore"):
            value, *values = (sheet.compute(each) for each in (twin.code, *codes))
    except NoSlope:
        return None
    loosely = codes[0].startswith("slope(")  # 1/b is the slope of a/b wherever b was stretched to
    errors = [difference(value, each, loosely=loosely) for each in values]
    measured = any(parse(each)[1] & MEASURES or "δ" in each for each in (*codes, twin.code))
    return Checked(
        number, text, twin, _array(value), _array(values[0]), max(errors), MEASURED if measured else EXACT, neighbour
    )


def _neighbours(sheet: Sheet, twin: Twin) -> tuple[list[str], str]:
    """Return the expressions that a line must equal, and in words what they are."""
    codes, said = _first_neighbours(sheet, twin)
    more = [each for each in twin.also if "backward" not in parse(each)[1]]
    return [*codes, *twin.also], "; also ".join([said, *more])


def _first_neighbours(sheet: Sheet, twin: Twin) -> tuple[list[str], str]:
    """Return what a line is compared with before all others, and what that is in words."""
    inputs = sheet.op.arrays
    if twin.against is not None:
        return [twin.against], _in_words(sheet, twin.against)
    if twin.name in ("y", "loss"):
        return ["result()"], "what the op computes"
    of = twin.name.removeprefix("d")
    if of in inputs:
        return [f"gradient({of!r})", f"backward({of!r})"], "finite differences of the op, and its own backward"
    if of in sheet.lines:
        return [f"by({of!r})"], f"finite differences by {of} of the lines after ({sheet.lines[of]})"
    raise ValueError(f"{sheet.op.name}: the twin {twin.name} says nothing of what it must equal: give it `against`")


def _in_words(sheet: Sheet, code: str) -> str:
    """Say in words what an expression compares with."""
    used = parse(code)[1]
    if "gradient" in used:
        return "finite differences of the op, and its own backward"
    if "result" in used:
        return "what the op computes"
    if used & MEASURES:
        first = code.partition("'")[2].partition("'")[0]
        at = f"({sheet.lines[first]})" if first in sheet.lines else first
        return (
            f"finite differences by {first} of the lines after {at}" if "by" in used else f"finite differences of {at}"
        )
    if "δ" in code or "δ" in "".join(used):
        return f"the other side, {code}, for a small step of x"
    return f"another way, {code}"


def difference(a: Any, b: Any, *, loosely: bool = False) -> float:
    """Return the largest difference of two arrays, or tuples of arrays, relative to the largest entry of b.

    Infinite where the shapes differ (`loosely`, where they do not broadcast) or one is NaN and the other not.
    """
    if isinstance(a, tuple) or isinstance(b, tuple):
        if len(a) != len(b):
            return np.inf
        return max((difference(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if loosely and np.broadcast_shapes(a.shape, b.shape) == b.shape:
        a = np.broadcast_to(a, b.shape)
    if a.shape != b.shape:
        return np.inf
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0, np.abs(a - b))  # an infinity equals itself
    finite = np.abs(b)[np.isfinite(b)]
    worst = float(apart.max(initial=0)) / max(float(finite.max(initial=0)), SMALLEST)
    return np.inf if np.isnan(worst) else worst


def _array(value: Any) -> np.ndarray:
    """Return an array; several are laid out one after the other."""
    return np.concatenate([np.ravel(each) for each in value]) if isinstance(value, tuple) else np.asarray(value)
