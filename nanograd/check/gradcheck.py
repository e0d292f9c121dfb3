"""gradcheck: compare a hand-written backward with numerical derivatives of its forward, and say why they differ.

gradcheck(softmax, x, axis=0)               an Op, with its options
gradcheck(lambda x: (x * x).sum(), x)       any function of Tensors
gradcheck((my_forward, my_backward), x)     a plain pair, before it is an Op
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanograd.check.contract import broken_rules, wrong_count
from nanograd.check.diagnosis import Evidence, diagnose
from nanograd.check.numeric import (
    TOLERANCE,
    basis_arrays,
    complex_step,
    directional_derivative,
    finite_differences,
    one_sided,
)
from nanograd.check.target import VJP, Target

FULL = 4096  # entries up to which the whole Jacobian is compared
DIRECTIONS = 4  # random directions along which a larger one is compared


class GradcheckError(AssertionError):
    """The gradient of a backward is not the derivative of its forward."""


@dataclass
class Report:
    """The result of gradcheck: `ok`, or a paragraph for each problem."""

    name: str
    problems: list[str] = field(default_factory=list)
    compared: int = 0  # derivatives, or directions if there are too many
    kinks: int = 0  # entries where the one-sided derivatives differ, and ours lies between them

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        if self.ok:
            kinks = f", {self.kinks} of them at a kink, between the one-sided derivatives" if self.kinks else ""
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

    Floating inputs are differentiated, in `dtype`; others are passed as they are. The cotangent is random: a uniform one,
    as from sum(), misses most mistakes in the backwards of normalising ops. A Jacobian of up to 4096 entries is compared
    whole, a larger one along random directions. Derivatives come from central differences, or from the complex step if
    the forward takes complex numbers. Errors are relative to the largest entry, or to 1. At a kink every derivative
    between the two one-sided ones is right.

    If the values are right, the rules of check/contract.py are checked too: two runs agree to the bit, backward is linear
    in dy, dtypes and memory layout are right, and no array is written into or aliased.

    >>> print(gradcheck(lambda x: x * x, np.array([1.0, 2.0])))
    <lambda>: right; 4 derivatives compared
    """
    target = Target(function, inputs, options, dtype)
    if not any(target.needs):
        raise ValueError(f"gradcheck: {target.name} has no floating input to differentiate")
    report = Report(target.name)
    y, vjp = target.run()
    u = np.asarray(np.random.default_rng(cotangent_seed).standard_normal(y.shape)).astype(y.dtype)
    with np.errstate(all="ignore"):  # a wrong backward may divide by zero: the report says so
        gradients = vjp(u.copy())
    if message := wrong_count(target, gradients):
        report.problems.append(message)
    else:
        for i in target.needed:
            _check_input(target, i, u, np.asarray(gradients[i]), tolerance or TOLERANCE[np.dtype(dtype)], report)
    if report.ok:
        report.problems += broken_rules(target, u)
    if raises and not report.ok:
        raise GradcheckError(str(report))
    return report


def _check_input(target: Target, i: int, u: np.ndarray, analytic: np.ndarray, tolerance: float, report: Report) -> None:
    """Compare the gradient of input i with numerical derivatives; add the problems to the report."""
    inputs = copy.deepcopy(target.inputs)
    x = inputs[i]
    if u.size * x.size > FULL:
        report.compared += DIRECTIONS
        if message := _check_directions(target, i, u, analytic, tolerance):
            report.problems.append(f"input {i}: {message}")
        return
    report.compared += u.size * x.size
    true = _numerical_jacobian(target, inputs, i).reshape(u.size, x.size)
    bound = tolerance * max(1.0, float(np.abs(true).max(initial=0)))
    claimed: np.ndarray | None = None  # the Jacobian according to backward
    kinks, wrong = np.zeros(x.shape, bool), np.ones(x.shape, bool)
    if analytic.shape == x.shape:
        claimed = _jacobian_of_backward(target.run(inputs)[1], u, i, x)
        off = ~(np.abs(claimed - true) <= bound)
        low, high = _one_sided_range(lambda: target.value(inputs), x, off)
        is_kink = low != high
        allowed = off & is_kink & (low - 1e-3 <= claimed) & (claimed <= high + 1e-3)
        report.kinks += int(allowed.sum())
        true = np.where(allowed, claimed, true)
        kinks = is_kink.any(axis=0).reshape(x.shape)
        wrong = (off & ~allowed).any(axis=0).reshape(x.shape)
    numeric = (u.reshape(-1) @ true).reshape(x.shape)
    if analytic.shape == x.shape:
        wrong |= ~(np.abs(analytic - numeric) <= bound * max(1.0, float(np.abs(u).sum())))
    if wrong.any():
        others = [a for a in inputs if isinstance(a, np.ndarray) and a is not x]
        options = [v for value in target.options.values() for v in (value if isinstance(value, tuple) else (value,))]
        integers = [a for a in (*others, *options) if isinstance(a, np.ndarray) and a.dtype.kind in "iu"]
        floats = [a for a in others if a.dtype.kind == "f"]
        numbers: dict[str, float] = {}
        for name, value in target.options.items():
            if isinstance(value, float):
                numbers |= {name: value, f"{name}²": value * value, f"(1 - {name})": 1 - value}
        evidence = Evidence(
            x, u.shape, analytic, numeric, claimed, true, wrong, bound, integers, floats, kinks, numbers
        )
        report.problems.append(f"input {i}: {diagnose(evidence)}")


def _check_directions(target: Target, i: int, u: np.ndarray, analytic: np.ndarray, tolerance: float) -> str:
    """Compare derivatives along random directions of input i; return what is wrong, or ""."""
    inputs = copy.deepcopy(target.inputs)
    x, rng = inputs[i], np.random.default_rng((1, i))
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(x.shape).astype(x.dtype)
        direction /= max(1.0, float(np.abs(direction).max()))
        numeric = float(directional_derivative(lambda: np.vdot(u, target.value(inputs)), x, direction))
        ours = float(np.vdot(analytic, direction)) if analytic.shape == x.shape else np.nan
        if not abs(ours - numeric) <= tolerance * max(1.0, abs(numeric), float(np.abs(analytic).max())):
            return (
                f"along a random direction the derivative is {numeric:.8g}, but the gradient of shape {analytic.shape} "
                f"gives {ours:.8g}; with smaller inputs gradcheck can say where and why"
            )
    return ""


def _numerical_jacobian(target: Target, inputs: list[Any], i: int) -> np.ndarray:
    """Return the Jacobian by input i: from the complex step if that agrees with finite differences, else from those."""
    x = inputs[i]
    differences = finite_differences(lambda: target.value(inputs), x)
    if not target.pair or not np.isfinite(x).all():
        return differences
    exact = complex_step(lambda z: target.value([*inputs[:i], z, *inputs[i + 1 :]]), x.astype(np.float64))
    if exact is None or exact.shape != differences.shape:
        return differences
    bound = TOLERANCE[x.dtype] * max(1.0, float(np.abs(exact).max(initial=0)))
    return exact if (np.abs(exact - differences) <= bound).all() else differences


def _jacobian_of_backward(vjp: VJP, u: np.ndarray, i: int, x: np.ndarray) -> np.ndarray:
    """Return the Jacobian according to backward, (entries of y, entries of x): a row for each basis cotangent."""
    rows = [np.array(vjp(basis)[i]).ravel() for basis in basis_arrays(u)]  # copied, as backward may reuse memory
    return np.array(rows, x.dtype).reshape(u.size, x.size)


def _one_sided_range(values: Callable[[], np.ndarray], x: np.ndarray, off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smaller and the larger one-sided derivative, (entries of y, entries of x); equal where there is no kink.

    They are computed for those entries of x where some derivative is off.
    """
    low, high = np.zeros(off.shape), np.zeros(off.shape)
    step = 1e-6 if x.dtype == np.float64 else 1e-2
    for column, index in enumerate(np.ndindex(x.shape)):
        if off[:, column].any():
            left, right = (side.reshape(-1) for side in one_sided(values, x, index, step))
            two = np.abs(left - right) > 1e-2 * np.maximum(1, np.abs(left))
            low[two, column] = np.minimum(left, right)[two]
            high[two, column] = np.maximum(left, right)[two]
    return low, high
