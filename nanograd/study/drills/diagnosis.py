"""Call a learner's backward with copies of the inputs and a random dy, and describe a wrong gradient.

The description comes from the general rules of check/diagnosis.py, and from the drill's own named mistakes.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.check.contract import nothing_is_written_into, within
from nanograd.check.diagnosis import Evidence, diagnose, table
from nanograd.check.target import Target
from nanograd.study.drills.drill import Drill, differentiable, plant
from nanograd.tape import arrays_in

TOLERANCE = 1e-8  # of the largest entry, or of 1: another right answer differs from the reference by rounding
VAGUE = ("no known pattern", "right for a uniform cotangent")  # general diagnoses that a more specific one replaces


class Call(NamedTuple):
    """The inputs of one call, drawn from a Case, and a cotangent."""

    case: Case
    inputs: list[Any]
    dy: np.ndarray


class Outcome(NamedTuple):
    """The gradients that a backward returned, or the error that it raised."""

    gradients: list[Any]
    raised: BaseException | None


def make_call(drill: Drill, case: Case, seed: int = 0, dtype: Any = np.float64) -> Call:
    """Draw the inputs of a Case and, by `seed`, a random cotangent."""
    target = Target((drill.forward, drill.backward), case.arrays(), case.options, dtype)
    return Call(case, target.inputs, target.cotangent(seed))


def target_of(drill: Drill, backward: Callable[..., Any], call: Call) -> Target:
    """Return the drill's forward and a backward as a Target with copies of the call's inputs."""
    pair = (drill.forward, lambda dy, saved: backward(dy, saved))
    return Target(pair, copy.deepcopy(call.inputs), call.case.options, call.dy.dtype)


def observe(drill: Drill, backward: Callable[..., Any], call: Call, read_only: bool = False) -> Outcome:
    """Run a backward; read_only makes a write into dy or a saved array raise."""
    target, dy = target_of(drill, backward, call), call.dy.copy()
    _, saved = target.run_forward()
    for array in (dy, *arrays_in(saved)) if read_only else ():
        array.flags.writeable = False
    try:
        gradients = target.run_backward(dy, saved)
    except BaseException as error:  # a learner's code may raise anything, also SystemExit; it becomes a message
        return Outcome([], error)
    return Outcome([np.copy(dx) if isinstance(dx, np.ndarray) else dx for dx in gradients], None)


def jacobian(drill: Drill, backward: Callable[..., Any], call: Call, i: int) -> np.ndarray | None:
    """Return the Jacobian of input i according to a backward, (entries of y, entries of x), or None if it fails."""
    rows = []
    for basis in np.eye(call.dy.size, dtype=call.dy.dtype):
        outcome = observe(drill, backward, call._replace(dy=basis.reshape(call.dy.shape)))
        if outcome.raised is not None or np.shape(outcome.gradients[i]) != call.inputs[i].shape:
            return None
        rows.append(np.asarray(outcome.gradients[i]).reshape(-1))
    return np.stack(rows) if rows else np.zeros((0, call.inputs[i].size))


def gradient_names(drill: Drill, call: Call) -> dict[int, str]:
    """Return the names of the gradients that backward must return, by the index of the input."""
    return {i: f"d{drill.arrays[i]}" for i in differentiable(call.inputs)}


def describe(drill: Drill, call: Call) -> str:
    """Describe the shapes and options of a call."""
    shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(drill.arrays, call.inputs, strict=True))
    options = "".join(f", {name}={value}" for name, value in call.case.options.items())
    return f"with {shapes}{options}"


def near(a: Any, b: Any) -> bool:
    """Tell whether two gradients agree up to rounding."""
    return within(a, b, TOLERANCE)


def bound(a: np.ndarray) -> float:
    """Return the largest error that counts as rounding for numbers as large as those in `a`."""
    finite = a[np.isfinite(a)]
    return TOLERANCE * max(1.0, float(np.abs(finite).max(initial=0)))


def diagnosis(drill: Drill, backward: Callable[..., Any], call: Call, i: int, gradient: np.ndarray) -> str:
    """Describe what is wrong with the gradient of input i, by comparison with the reference."""
    x, right = call.inputs[i], np.asarray(observe(drill, drill.backward, call).gradients[i])
    true = jacobian(drill, drill.backward, call, i)
    assert true is not None
    claimed = jacobian(drill, backward, call, i) if gradient.shape == right.shape else None
    wrong = np.ones(x.shape, bool)
    if gradient.shape == right.shape:
        wrong = ~(np.abs(gradient - right) <= bound(right))
    if claimed is not None:
        wrong |= (~(np.abs(claimed - true) <= bound(true))).any(axis=0).reshape(x.shape)
    integers = [a for a in call.inputs if a.dtype.kind in "iu"]
    others = [a for a in call.inputs if a.dtype.kind == "f" and a is not x]
    kinks = np.zeros(x.shape, bool)
    evidence = Evidence(x, call.dy.shape, gradient, right, claimed, true, wrong, bound(right), integers, others, kinks)
    reason = diagnose(evidence)
    if gradient.shape != right.shape:
        return reason
    if _ignores_dy(drill, backward, call, i, gradient):
        reason = f"it does not depend on dy: multiply the derivative by dy, the upstream gradient\n{table(evidence)}"
    elif reason.startswith(VAGUE) and (specific := _specific(drill, call, i, evidence)):
        reason = f"{specific}\n{table(evidence)}"
    return reason.replace("no known pattern", f"{int(wrong.sum())} of {wrong.size} entries are wrong")


def _ignores_dy(drill: Drill, backward: Callable[..., Any], call: Call, i: int, gradient: np.ndarray) -> bool:
    doubled = observe(drill, backward, call._replace(dy=call.dy * 2))
    is_usable = bool(gradient.any() and np.isfinite(gradient).all())
    return is_usable and doubled.raised is None and near(doubled.gradients[i], gradient)


def _specific(drill: Drill, call: Call, i: int, e: Evidence) -> str:
    """Recognise swapped gradients, entries in a wrong order, and what is wrong in the Jacobian; or return nothing."""
    rights = observe(drill, drill.backward, call).gradients
    for j, name in gradient_names(drill, call).items():
        if j != i and near(e.analytic, rights[j]):
            return f"it is {name}: return the gradients in the order of the forward's arrays"
    if near(np.sort(e.analytic, axis=None), np.sort(e.numeric, axis=None)):
        return "the right values in the wrong order: the entries were not moved back"
    claimed, true = e.analytic_jacobian, e.numeric_jacobian
    if claimed is not None and len(true) == true.shape[1] > 1:
        diagonal = np.diag(np.diag(true))
        if near(claimed, diagonal):
            return "only the diagonal of the Jacobian: the derivatives of the other entries of y are missing"
        if near(claimed - np.diag(np.diag(claimed)), true - diagonal):
            return "only the diagonal of the Jacobian is wrong: the derivative of y_i with respect to its own x_i"
    if (axis := _constant_factor_axis(e)) is not None:
        return f"off by a factor that is constant along axis {axis}: a scale is missing, or one too many"
    if claimed is not None:
        nonzero, should_be = (np.abs(j) > bound(true) for j in (claimed, true))
        if n := np.count_nonzero((nonzero & ~should_be).any(axis=0)):
            return f"{n} entries get a gradient from entries of y that do not depend on them"
        if n := np.count_nonzero((should_be & ~nonzero).any(axis=0)):
            return f"{n} entries get no gradient from entries of y that depend on them: a path from x to y is missing"
    return ""


def _constant_factor_axis(e: Evidence) -> int | None:
    """Return the axis along which analytic / numeric is constant."""
    with np.errstate(all="ignore"):
        ratio = e.analytic / e.numeric
    for axis, n in enumerate(ratio.shape if np.isfinite(ratio).all() else ()):
        if n > 1 and ratio.size > n and (np.ptp(ratio, axis=axis) <= 1e-6 * np.abs(ratio).max(axis=axis)).all():
            return axis
    return None


def named_mistake(drill: Drill, backward: Callable[..., Any], call: Call) -> str:
    """Return name and explanation of the mutant that does the same on this call and on the first inputs, or nothing."""
    calls = [call, *(make_call(drill, case) for case in drill.cases)]
    for mutant in drill.mutants:
        planted = plant(drill, mutant)
        if all(_agree(drill, backward, planted, call) for call in calls):
            return f"{mutant.name}: {mutant.wrong}"
    return ""


def _agree(drill: Drill, a: Callable[..., Any], b: Callable[..., Any], call: Call) -> bool:
    """Tell whether two backwards return the same gradients, or raise the same error, and write into the same arrays."""
    of_a, of_b = observe(drill, a, call), observe(drill, b, call)
    if of_a.raised is not None or of_b.raised is not None:
        return type(of_a.raised) is type(of_b.raised) and str(of_a.raised) == str(of_b.raised)
    if len(of_a.gradients) != len(of_b.gradients):
        return False
    pairs = zip(of_a.gradients, of_b.gradients, strict=True)
    if not all(x is y or (_is_array(x) and _is_array(y) and x.dtype == y.dtype and near(x, y)) for x, y in pairs):
        return False
    written_by_a, written_by_b = (nothing_is_written_into(target_of(drill, f, call), call.dy) for f in (a, b))
    return written_by_a == written_by_b


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic))
