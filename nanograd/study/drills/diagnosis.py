"""Describe a wrong gradient by the general rules of check/diagnosis.py, and by rules that need the whole Jacobian."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.check.diagnosis import Evidence, diagnose, table
from nanograd.study.drills.calls import Call, bound, gradient_names, jacobian, near, observe
from nanograd.study.drills.drill import Drill

VAGUE = ("no known pattern", "right for a uniform cotangent")  # general diagnoses that a more specific one replaces


def diagnosis(
    drill: Drill, backward: Callable[..., Any], call: Call, i: int, gradient: np.ndarray, named: bool = False
) -> str:
    """Describe what is wrong with the gradient of input i, by comparison with the reference.

    If the mistake has a name, the description is the facts alone, without a guess at what is missing.
    """
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
    evidence.constants = {
        name: float(value(*call.inputs, **call.case.options)) for name, value in drill.constants.items()
    }
    evidence.columns = "yours", "right"
    reason = diagnose(evidence)
    if gradient.shape != right.shape:
        other = _other_gradient(drill, backward, call, i, gradient)
        return f"{reason}; {other}" if other else reason
    if _ignores_dy(drill, backward, call, i, gradient):
        reason = f"it does not depend on dy: multiply the derivative by dy, the upstream gradient\n{table(evidence)}"
    elif reason.startswith(VAGUE):
        specific = _moved(drill, backward, call, i, evidence) or ("" if named else _specific(evidence))
        count = f"{int(wrong.sum())} of {wrong.size} entries are wrong"
        if specific:
            reason = f"{specific}\n{table(evidence)}"
        elif named:
            reason = f"{count}\n{table(evidence)}"
        else:
            reason = reason.replace("no known pattern", f"{count}, and not by one factor")
    return reason


def _ignores_dy(drill: Drill, backward: Callable[..., Any], call: Call, i: int, gradient: np.ndarray) -> bool:
    doubled = observe(drill, backward, call._replace(dy=call.dy * 2))
    is_usable = bool(gradient.any() and np.isfinite(gradient).all())
    return is_usable and doubled.raised is None and near(doubled.gradients[i], gradient)


def _moved(drill: Drill, backward: Callable[..., Any], call: Call, i: int, e: Evidence) -> str:
    """Recognise swapped gradients, and entries in a wrong order; or return nothing."""
    if other := _other_gradient(drill, backward, call, i, e.analytic):
        return other
    if near(np.sort(e.analytic, axis=None), np.sort(e.numeric, axis=None)):
        return "the right values in the wrong order: the entries were not moved back"
    return ""


def _other_gradient(drill: Drill, backward: Callable[..., Any], call: Call, i: int, gradient: np.ndarray) -> str:
    """Say which other gradient this is, or return nothing."""
    rights, ours = (observe(drill, f, call).gradients for f in (drill.backward, backward))
    for j, name in gradient_names(drill, call).items():
        if j != i and near(gradient, rights[j]):
            advice = (
                " once more"
                if near(ours[j], rights[j])
                else ": return the gradients in the order of the forward's arrays"
            )
            return f"it is {name}{advice}"
    return ""


def _specific(e: Evidence) -> str:
    """Recognise what is wrong in the Jacobian, or return nothing."""
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
