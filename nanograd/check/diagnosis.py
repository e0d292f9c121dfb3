"""Diagnose a wrong gradient: recognise the usual mistakes by the pattern of the error."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from nanograd.ops._unbroadcast import broadcasts_to, unbroadcast


@dataclass
class Evidence:
    """Measurements at one input whose gradient is wrong. Jacobians are (entries of y, entries of x)."""

    x: np.ndarray
    y_shape: tuple[int, ...]
    analytic: np.ndarray  # the result of backward for a random cotangent
    numeric: np.ndarray  # the right gradient for it
    analytic_jacobian: np.ndarray | None  # None if the shape is wrong
    numeric_jacobian: np.ndarray
    wrong: np.ndarray  # where in x
    bound: float  # the error that is still right
    integers: list[np.ndarray]  # ids and positions among the inputs
    others: list[np.ndarray]  # the other floating inputs
    kinks: np.ndarray  # where in x the one-sided derivatives differ
    constants: dict[str, float] = field(default_factory=dict)  # numbers that the forward used, such as scale or 1 - p
    columns: tuple[str, str] = ("analytic", "numeric")  # of the table: the gradient and the right one


def diagnose(e: Evidence) -> str:
    """Return the first reason that fits, from the most specific on, or none; and a table of the worst entries."""
    rules = (_shape, _not_finite, _zeros, _factor, _transposed, _residual, _some_entries, _uniform, _constant_along)
    for rule in rules:
        if reason := rule(e):
            break
    else:
        reason = "no known pattern"
    return f"{reason}\n{table(e)}" if e.analytic.shape == e.numeric.shape else reason


def table(e: Evidence, rows: int = 5) -> str:
    """List the worst entries: index, analytic, numeric, ratio."""
    with np.errstate(all="ignore"):
        error = np.abs(e.analytic - e.numeric)
        ratio = e.analytic / e.numeric
    error = np.where(np.isfinite(error), error, np.inf)
    ours, right = e.columns
    lines = [f"  {'index':<12} {ours:>16} {right:>16} {'ratio':>12}"]
    digits = [-float(f"{size:.6g}") for size in error.flat]  # equal but for rounding: the first index comes first
    for flat in np.argsort(digits, kind="stable")[:rows]:
        index = tuple(int(i) for i in np.unravel_index(flat, error.shape))
        if e.wrong[index]:
            label = f"[{', '.join(map(str, index))}]"
            lines.append(f"  {label:<12} {e.analytic[index]:>16.10g} {e.numeric[index]:>16.10g} {ratio[index]:>12.6g}")
    return "\n".join(lines)


def _near(a: np.ndarray, e: Evidence) -> bool:
    return a.shape == e.numeric.shape and bool((np.abs(a - e.numeric) <= 10 * e.bound).all())


def _shape(e: Evidence) -> str | None:
    if e.analytic.shape == e.numeric.shape:
        return None
    a, shape = e.analytic, e.numeric.shape
    message = f"the gradient has shape {a.shape}, the input {shape}"
    if broadcasts_to(shape, a.shape):
        added = range(a.ndim - len(shape))
        stretched = [i for i, n in enumerate(shape, start=len(added)) if n == 1 and a.shape[i] != 1]
        summed = ", ".join(map(str, [*added, *stretched]))
        also = "" if _near(unbroadcast(a, shape), e) else "; and the values are wrong too"
        return f"{message}: missing un-broadcast, the sum along axis {summed}{also}"
    for order in itertools.permutations(range(a.ndim)):
        if _near(a.transpose(order), e):
            return f"{message}: right after a transpose to axes {order}"
    if a.size == e.numeric.size and _near(a.reshape(shape), e):
        return f"{message}: right after a reshape"
    for axes in itertools.chain(*(itertools.combinations(range(len(shape)), n) for n in range(1, len(shape) + 1))):
        for keepdims in (False, True):
            right = e.numeric.sum(axis=axes, keepdims=keepdims)
            if right.shape == a.shape and (np.abs(a - right) <= 10 * e.bound).all():
                return f"{message}: the right one, summed over axis {', '.join(map(str, axes))}"
    return message


def _not_finite(e: Evidence) -> str | None:
    if not np.isfinite(e.numeric).all():
        return "the forward itself is NaN or infinite at or near these inputs; choose others"
    bad = ~np.isfinite(e.analytic)
    return f"{int(bad.sum())} of {bad.size} entries are NaN or infinite" if bad.any() else None


def _zeros(e: Evidence) -> str | None:
    if e.analytic.any():
        return None
    return "the gradient is zero everywhere; was the input detached, or its term forgotten?"


def _factor(e: Evidence) -> str | None:
    """Recognise analytic = c · numeric, and where c may come from."""
    scale = float(np.vdot(e.numeric, e.numeric))
    if not scale or (np.count_nonzero(e.numeric) == 1 < e.numeric.size):
        return None  # every number is a multiple of a single one
    c = float(np.vdot(e.numeric, e.analytic)) / scale
    if abs(c) < 1e-6 or not (np.abs(e.analytic - c * e.numeric) <= 10 * e.bound).all():
        return None
    if math.isclose(c, -1, rel_tol=1e-5):
        return "a constant factor, exactly -1×: a sign is wrong"
    sign = "-" * (c < 0)
    for value, number, meaning in _known_factors(e):
        if math.isclose(abs(c), value, rel_tol=1e-5):
            return f"a constant factor, exactly {sign}{number}×{meaning}"
    return f"a constant factor, {c:.6g}×"


def _known_factors(e: Evidence) -> Iterator[tuple[float, str, str]]:
    """Yield numbers that a gradient is often wrong by: value, notation, and what it may come from.

    1/n is called a mean's only if the forward reduces by n: the size of an axis may as well be D = 1/scale².
    """
    for name, value in e.constants.items():
        if value > 0 and value != 1:
            yield value, f"{value:.6g}", f", which is {name}"
            yield 1 / value, f"{1 / value:.6g}", f", which is 1/{name}"
    x_size, y_size = math.prod(e.x.shape), max(1, math.prod(e.y_shape))
    reduced, copies = x_size // y_size, y_size // max(1, x_size)
    sizes = [(n, f"the size of axis {i}") for i, n in enumerate(e.x.shape)]
    sizes += [(x_size, "the number of entries")] * (e.x.ndim > 1)
    sizes += [(reduced, "the number of entries that go into one of y")]
    for n, name in sizes:
        if n > 2 and reduced > 1 and reduced % n == 0:
            yield n, str(n), f", n = {name}: a mean's 1/n is missing"
            yield 1 / n, f"1/{n}", f", n = {name}: a 1/n too much, the forward adds up"
    if copies > 2:
        yield 1 / copies, f"1/{copies}", ": a mean over the copies of x in y, but their gradients add up"
    yield from ((2, "2", ""), (0.5, "1/2", ""))
    for n, name in sizes:
        if n > 2:
            yield n, str(n), f", n = {name}: a factor 1/n, or twice a factor 1/√n, is missing"
            yield 1 / n, f"1/{n}", f", n = {name}: a factor 1/n, or twice a factor 1/√n, is too much"
            yield math.sqrt(n), f"√{n}", f", n = {name}: a factor 1/√n is missing, or √n is too much"
            yield 1 / math.sqrt(n), f"1/√{n}", f", n = {name}: a factor 1/√n is too much, or √n is missing"
    yield from ((3, "3", ""), (4, "4", ""), (0.25, "1/4", ""), (math.sqrt(2), "√2", ""))


def _transposed(e: Evidence) -> str | None:
    for order in itertools.permutations(range(e.analytic.ndim)):
        if order != tuple(range(e.analytic.ndim)) and _near(e.analytic.transpose(order), e):
            return f"equal after a transpose to axes {order}"
    return None


def _residual(e: Evidence) -> str | None:
    """Recognise a gradient that is off by dy itself: y = x + f(x) without the path around f, or with it twice."""
    if e.analytic_jacobian is None or e.x.shape != e.y_shape or e.x.size < 2:
        return None
    identity = np.eye(e.x.size)
    if (np.abs(e.numeric_jacobian - e.analytic_jacobian - identity) <= 10 * e.bound).all():
        return "dy itself is missing: in y = x + f(x) the residual path adds dy to what comes back through f"
    if (np.abs(e.analytic_jacobian - e.numeric_jacobian - identity) <= 10 * e.bound).all():
        return "dy itself is too much: a residual path was counted twice, or the forward has none"
    return None


def _depends(e: Evidence) -> np.ndarray:
    """Return where in x some y depends on it, truly or according to backward; elsewhere 0 is right and says nothing."""
    if e.analytic_jacobian is None:
        return np.ones(e.x.shape, bool)
    either = np.abs(np.stack([e.analytic_jacobian, e.numeric_jacobian])) > e.bound
    return either.any(axis=(0, 1)).reshape(e.x.shape)


def _some_entries(e: Evidence) -> str | None:
    """Recognise what the wrong entries have in common, if only some are wrong."""
    if e.wrong.all():
        return None
    for ids in e.integers:
        values, counts = np.unique(ids % len(e.x) if e.x.ndim else ids, return_counts=True)
        repeated = values[counts > 1]
        rows = np.unique(np.nonzero(e.wrong)[0])
        if repeated.size and np.isin(rows, repeated).all():
            return "differs only where an index repeats: contributions must add, use np.add.at and not `dx[ids] += dy`"
    if (e.kinks | ~e.wrong).all():
        return "differs only at a kink, and is not between its one-sided derivatives"
    values, counts = np.unique(e.x, return_counts=True)
    tied = np.isin(e.x, values[counts > 1])
    for other in e.others:
        if other.shape == e.x.shape:
            tied |= other == e.x
    if (tied | ~e.wrong).all():
        return "differs only where entries tie"
    if ((e.x == 0) | ~e.wrong).all():
        return "differs only where the input is 0"
    if ((e.x < 0) == e.wrong).all():
        return "differs only where the input is negative"
    for axis, n in enumerate(e.x.shape):
        slices = np.moveaxis(e.wrong | ~_depends(e), axis, 0).reshape(n, -1).any(axis=1)
        if not slices.all():
            return f"differs only at {', '.join(map(str, np.nonzero(slices)[0].tolist()))} along axis {axis}"
    return None


def _uniform(e: Evidence) -> str | None:
    """Recognise a missing term that a uniform cotangent does not reveal."""
    if e.analytic_jacobian is None:
        return None
    claimed, true = e.analytic_jacobian.sum(axis=0), e.numeric_jacobian.sum(axis=0)
    if (np.abs(claimed - true) <= 10 * e.bound).all():
        return (
            "right for a uniform cotangent, wrong for a random one: a projection term is missing, such as - Σ dy y of "
            "softmax; a test with .sum() would have passed"
        )
    return None


def _constant_along(e: Evidence) -> str | None:
    error = e.analytic - e.numeric
    for axis, n in enumerate(error.shape):
        if n > 1 and (np.ptp(error, axis=axis) <= 10 * e.bound).all():
            return f"off by the same amount all along axis {axis}: a sum or mean over it is missing, or one too many"
    return None
