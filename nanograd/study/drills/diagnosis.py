"""Say what a wrong gradient looks like: by the general rules, and by the drill's own named mistakes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.check.diagnosis import Evidence, diagnose, table
from nanograd.study.drills.call import Call, Outcome, bound, jacobian, make_call, near, observe, wanted
from nanograd.study.drills.drill import Drill, plant

VAGUE = ("no known pattern", "right for a uniform cotangent")  # said by the general rules where ours may know more


def diagnosis(drill: Drill, backward: Callable[..., Any], call: Call, i: int, got: np.ndarray) -> str:
    """Describe what is wrong with the gradient of input i; the reference tells the truth."""
    x, right = call.inputs[i], np.asarray(observe(drill, drill.backward, call).gradients[i])
    true = jacobian(drill, drill.backward, call, i)
    assert true is not None
    claimed = jacobian(drill, backward, call, i) if got.shape == right.shape else None
    wrong = ~(np.abs(got - right) <= bound(right)) if got.shape == right.shape else np.ones(x.shape, bool)
    if claimed is not None:
        wrong |= (~(np.abs(claimed - true) <= bound(true))).any(axis=0).reshape(x.shape)
    integers = [a for a in call.inputs if a.dtype.kind in "iu"]
    others = [a for a in call.inputs if a.dtype.kind == "f" and a is not x]
    kinks = np.zeros(x.shape, bool)
    evidence = Evidence(
        x, call.dy.shape, call.dy, got, right, claimed, true, wrong, bound(right), integers, others, kinks
    )
    reason = diagnose(evidence)
    if got.shape != right.shape:
        return reason
    if _ignores_dy(drill, backward, call, i, got):
        reason = f"it does not depend on dy: slopes must be weighed by what each y is worth\n{table(evidence)}"
    elif reason.startswith(VAGUE) and (ours := _ours(drill, call, i, evidence)):
        reason = f"{ours}\n{table(evidence)}"
    return reason.replace("no known pattern", f"{int(wrong.sum())} of {wrong.size} entries are wrong")


def _ignores_dy(drill: Drill, backward: Callable[..., Any], call: Call, i: int, got: np.ndarray) -> bool:
    other = observe(drill, backward, call._replace(dy=call.dy * 2))
    return bool(got.any() and np.isfinite(got).all()) and other.raised is None and near(other.gradients[i], got)


def _ours(drill: Drill, call: Call, i: int, e: Evidence) -> str:
    """Recognise what tells more than the general rules: swapped gradients, moved numbers, and paths in the Jacobian."""
    rights = observe(drill, drill.backward, call).gradients
    for j, name in wanted(drill, call):
        if j != i and near(e.analytic, rights[j]):
            return f"it is {name}: gradients are returned in the order of the forward's arrays"
    if near(np.sort(e.analytic, axis=None), np.sort(e.numeric, axis=None)):
        return "the right numbers in the wrong places: they were not brought back to where they came from"
    claimed, true = e.analytic_jacobian, e.numeric_jacobian
    if claimed is not None and len(true) == true.shape[1] > 1:
        diagonal = np.diag(np.diag(true))
        if near(claimed, diagonal):
            return "the Jacobian's diagonal alone: that each x moves the other y too is forgotten"
        if near(claimed - np.diag(np.diag(claimed)), true - diagonal):
            return "the Jacobian is right off its diagonal, and wrong on it: how each x moves its own y"
    if axis := _factor_along(e):
        return f"off by a factor that is one all along axis {axis - 1}: a scale is missing, or one too many"
    if claimed is not None:
        there, right = (np.abs(j) > bound(true) for j in (claimed, true))
        if (there & ~right).any():
            return (
                f"{np.count_nonzero((there & ~right).any(axis=0))} entries take from places in y that they do not move"
            )
        if (right & ~there).any():
            return (
                f"{np.count_nonzero((right & ~there).any(axis=0))} entries take nothing from places in y that they move: "
                "a path from x to y is forgotten"
            )
    return ""


def _factor_along(e: Evidence) -> int:
    """Return, counted from 1, the axis along which analytic / numeric does not change, or 0."""
    with np.errstate(all="ignore"):
        ratio = e.analytic / e.numeric
    for axis, n in enumerate(ratio.shape if np.isfinite(ratio).all() else ()):
        if n > 1 and ratio.size > n and (np.ptp(ratio, axis=axis) <= 1e-6 * np.abs(ratio).max(axis=axis)).all():
            return axis + 1
    return 0


def named_mistake(drill: Drill, backward: Callable[..., Any], call: Call) -> str:
    """Return the mutant that does just the same, on this call and on the drill's first inputs: its name, what is wrong."""
    calls = [call, *(make_call(drill, case) for case in drill.cases)]
    outcomes = [observe(drill, backward, each) for each in calls]
    for mutant in drill.mutants:
        planted = plant(drill, mutant)
        if all(same(observe(drill, planted, each), outcome) for each, outcome in zip(calls, outcomes, strict=True)):
            return f"{mutant.name}: {mutant.wrong}"
    return ""


def same(a: Outcome, b: Outcome) -> bool:
    """Tell whether two backwards did the same."""
    if a.touched != b.touched or type(a.raised) is not type(b.raised) or str(a.raised) != str(b.raised):
        return False
    if len(a.gradients) != len(b.gradients):
        return False
    return all(
        x is y or (_is_array(x) and _is_array(y) and x.dtype == y.dtype and near(x, y))
        for x, y in zip(a.gradients, b.gradients, strict=True)
    )


def _is_array(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic))
