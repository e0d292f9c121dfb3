"""gradcheck: compare a hand-written backward with the slopes of its forward, and say why they differ.

gradcheck(softmax, x, axis=0)               an Op, with its options
gradcheck(lambda x: (x * x).sum(), x)       any function of Tensors
gradcheck((my_forward, my_backward), x)     a plain pair, before it is an Op
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.contract import broken_laws
from nanograd.check.diagnosis import Evidence, diagnose
from nanograd.check.numeric import TOLERANCE, along, complex_step, finite_differences, one_sided
from nanograd.check.target import Back, Subject

FULL = 4096  # a Jacobian of at most so many entries is compared whole
DIRECTIONS = 4  # and a larger one along so many random directions


class GradcheckError(AssertionError):
    """The gradient of a backward is not the slope of its forward."""


@dataclass
class Report:
    """What gradcheck found: nothing wrong (`ok`), or a paragraph for each thing that is."""

    name: str
    problems: list[str] = field(default_factory=list)
    compared: int = 0  # derivatives, or directions where there are too many
    kinks: int = 0  # where the slopes of both sides differ, and ours lies between them

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            kinks = f", {self.kinks} of them at a kink, between the slopes of its sides" if self.kinks else ""
            return f"{self.name}: right; {self.compared} derivatives compared{kinks}"
        return "\n".join(f"{self.name}: {problem}" for problem in self.problems)


def gradcheck(
    function: Any,
    *inputs: Any,
    tolerance: float | None = None,
    cotangent_seed: int = 0,
    dtype: Any = np.float64,
    raises: bool = True,
    **options: Any,
) -> Report:
    """Check the gradient of `function` at `inputs`; raise GradcheckError with the Report, or return it.

    Floating inputs are differentiated, in `dtype`; others are passed as they are. The cotangent is random: with a
    uniform one, sum(), most wrong backwards of normalising ops pass unseen. A Jacobian of up to 4096 entries is
    compared whole, a larger one along random directions. Slopes come from central differences, or from the complex step
    where the forward takes complex numbers. An error counts relative to the largest entry, or to 1. At a kink any
    slope between those of both sides is right.

    Beside the values it is checked that two runs agree to the bit, that a zero cotangent gives zero, that shapes,
    dtypes and memory layout are right, and that nothing is written into or aliased.

    >>> print(gradcheck(lambda x: x * x, np.array([1.0, 2.0])))
    <lambda>: right; 4 derivatives compared
    """
    subject = Subject(function, inputs, options, np.dtype(dtype))
    if not any(subject.needs):
        raise ValueError(f"gradcheck: {subject.name} was given no floating input to differentiate")
    report = Report(subject.name)
    rng = np.random.default_rng(cotangent_seed)
    y, back = subject.run(subject.inputs)
    u = np.asarray(rng.standard_normal(y.shape)).astype(y.dtype)
    with np.errstate(all="ignore"):  # a wrong backward may divide by zero: the report says so
        gradients = back(u.copy())
    if len(gradients) != len(subject.inputs):
        report.problems.append(f"backward returned {len(gradients)} gradients for {len(subject.inputs)} inputs")
    else:
        for i, need in enumerate(subject.needs):
            if need and gradients[i] is None:
                report.problems.append(f"input {i}: backward returned None, though its gradient is needed")
            elif need:
                _check_input(
                    subject, i, u, np.asarray(gradients[i]), tolerance or TOLERANCE[np.dtype(dtype)], rng, report
                )
    if report.ok:
        report.problems += broken_laws(subject, u, gradients)
    if raises and not report.ok:
        raise GradcheckError(str(report))
    return report


def _check_input(
    subject: Subject,
    i: int,
    u: np.ndarray,
    analytic: np.ndarray,
    tolerance: float,
    rng: np.random.Generator,
    report: Report,
) -> None:
    """Compare the gradient of input i with slopes, and add to the report what is wrong with it."""
    inputs = copy.deepcopy(subject.inputs)
    x = inputs[i]
    if u.size * x.size > FULL:
        report.compared += DIRECTIONS
        said = _check_directions(subject, inputs, x, u, analytic, tolerance, rng)
        report.problems += [f"input {i}: {said}"] if said else []
        return
    report.compared += u.size * x.size
    true = _slopes(subject, inputs, i).reshape(u.size, x.size)
    bound = tolerance * max(1.0, float(np.abs(true).max(initial=0)))
    claimed: np.ndarray | None = None  # the Jacobian, as backward has it
    kinks, wrong = np.zeros(x.shape, bool), np.ones(x.shape, bool)
    if analytic.shape == x.shape:
        claimed = _jacobian(subject.run(inputs)[1], u, i, x)
        off = ~(np.abs(claimed - true) <= bound)
        sharp = _kinks(lambda: subject.value(inputs), x, off)  # entries that have two slopes
        between = [sharp.low - 1e-3 <= claimed, claimed <= sharp.high + 1e-3, off, sharp.low != sharp.high]
        excused = np.logical_and.reduce(between)
        report.kinks += int(excused.sum())
        true = np.where(excused, claimed, true)
        kinks = (sharp.low != sharp.high).any(axis=0).reshape(x.shape)
        wrong = (off & ~excused).any(axis=0).reshape(x.shape)
    numeric = (u.reshape(-1) @ true).reshape(x.shape)
    if analytic.shape == x.shape:
        wrong |= ~(np.abs(analytic - numeric) <= bound * max(1.0, float(np.abs(u).sum())))
    if wrong.any():
        others = [a for a in inputs if isinstance(a, np.ndarray) and a is not x]
        integers = [a for a in (*others, *_index_arrays(subject.options)) if a.dtype.kind in "iu"]
        floats = [a for a in others if a.dtype.kind == "f"]
        evidence = Evidence(x, u.shape, u, analytic, numeric, claimed, true, wrong, bound, integers, floats, kinks)
        report.problems.append(f"input {i}: {diagnose(evidence)}")


def _check_directions(
    subject: Subject,
    inputs: list[Any],
    x: np.ndarray,
    u: np.ndarray,
    analytic: np.ndarray,
    tolerance: float,
    rng: np.random.Generator,
) -> str | None:
    """Compare the slopes along random directions of x, which is among the inputs; say what is wrong."""
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(x.shape).astype(x.dtype)
        direction /= max(1.0, float(np.abs(direction).max()))
        numeric = float(along(lambda: np.vdot(u, subject.value(inputs)), x, direction))
        ours = float(np.vdot(analytic, direction)) if analytic.shape == x.shape else np.nan
        if not abs(ours - numeric) <= tolerance * max(1.0, abs(numeric), float(np.abs(analytic).max())):
            return (
                f"along a random direction the slope is {numeric:.8g}, and the gradient of shape {analytic.shape} gives "
                f"{ours:.8g}; with smaller inputs gradcheck can say where and why"
            )
    return None


def _slopes(subject: Subject, inputs: list[Any], i: int) -> np.ndarray:
    """Return the true Jacobian by input i: by the complex step where that agrees with differences, else by those."""
    x = inputs[i]
    differences = finite_differences(lambda: subject.value(inputs), x)
    if not subject.pair or not np.isfinite(x).all():
        return differences
    exact = complex_step(lambda z: subject.value([*inputs[:i], z, *inputs[i + 1 :]]), x.astype(np.float64))
    if exact is None or exact.shape != differences.shape:
        return differences
    bound = TOLERANCE[x.dtype] * max(1.0, float(np.abs(exact).max(initial=0)))
    return exact if (np.abs(exact - differences) <= bound).all() else differences


def _jacobian(back: Back, u: np.ndarray, i: int, x: np.ndarray) -> np.ndarray:
    """Return what backward says the Jacobian is, (entries of y, entries of x): one basis cotangent a row."""
    rows = np.zeros((u.size, x.size), x.dtype)
    for row, place in zip(rows, np.ndindex(u.shape), strict=True):
        basis = np.zeros_like(u)
        basis[place] = 1
        row[...] = np.asarray(back(basis)[i]).reshape(-1)
    return rows


class _Kinks(NamedTuple):
    """The smaller and the larger of the slopes of both sides, (entries of y, entries of x); equal where there is none."""

    low: np.ndarray
    high: np.ndarray


def _kinks(values: Callable[[], np.ndarray], x: np.ndarray, off: np.ndarray) -> _Kinks:
    """Look at both sides of those entries of x where some slope is off."""
    low, high = np.zeros(off.shape), np.zeros(off.shape)
    step = 1e-6 if x.dtype == np.float64 else 1e-2
    for column, index in enumerate(np.ndindex(x.shape)):
        if off[:, column].any():
            left, right = (side.reshape(-1) for side in one_sided(values, x, index, step))
            two = np.abs(left - right) > 1e-2 * np.maximum(1, np.abs(left))
            low[two, column] = np.minimum(left, right)[two]
            high[two, column] = np.maximum(left, right)[two]
    return _Kinks(low, high)


def _index_arrays(options: dict[str, Any]) -> list[np.ndarray]:
    """List the integer arrays among the options, such as the index of getitem."""
    parts = [part for value in options.values() for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in parts if isinstance(part, np.ndarray)]


def compare(what: str, analytic: np.ndarray, numeric: np.ndarray, tolerance: float) -> None:
    """Raise GradcheckError, naming the worst entry, unless two gradients agree to tolerance · max(1, largest entry)."""
    if analytic.shape != numeric.shape:
        raise GradcheckError(f"{what}: gradient has shape {analytic.shape}, the input {numeric.shape}")
    if analytic.size == 0:
        return
    error = np.asarray(np.abs(analytic - numeric))
    error = np.where(np.isfinite(error), error, np.inf)
    worst = np.unravel_index(error.argmax(), error.shape)
    scale = max(1.0, float(np.abs(numeric).max()))
    if not error[worst] <= tolerance * scale:
        place = ", ".join(str(int(i)) for i in worst)
        raise GradcheckError(
            f"{what}: worst at [{place}]: analytic {analytic[worst]:.10g}, numeric {numeric[worst]:.10g}, "
            f"error {error[worst]:.3g} > {tolerance:g} of {scale:.3g}"
        )
