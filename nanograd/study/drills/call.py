"""Call a backward and watch what it does with what it is lent."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.study.drills.drill import Drill, differentiable
from nanograd.tape import arrays_in

TOLERANCE = 1e-8  # of the largest entry, or of 1: the reference and a right answer differ by rounding alone


class Call(NamedTuple):
    """One call of a backward: its Case, drawn, and a cotangent."""

    case: Case
    inputs: list[Any]
    dy: np.ndarray


class Outcome(NamedTuple):
    """What a backward made of a call: what it returned or raised, and which of the arrays it was lent it changed."""

    gradients: list[Any]
    raised: BaseException | None
    touched: tuple[str, ...]


def make_call(drill: Drill, case: Case, seed: int = 0, dtype: Any = np.float64) -> Call:
    """Draw the inputs of a Case and, by `seed`, a random cotangent."""
    inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in case.arrays()]
    y, _ = run_forward(drill, inputs, case)
    dy = np.asarray(np.random.default_rng(seed).standard_normal(y.shape)).astype(y.dtype)
    return Call(case, inputs, dy)


def run_forward(drill: Drill, inputs: Sequence[Any], case: Case) -> tuple[np.ndarray, Any]:
    """Return y and what was saved, which no one else holds."""
    y, saved = drill.forward(*copy.deepcopy(inputs), **case.options)
    return np.asarray(y), saved


def observe(drill: Drill, backward: Callable[..., Any], call: Call, locked: bool = False) -> Outcome:
    """Run one call on copies, which are locked against writing if asked."""
    _, saved = run_forward(drill, call.inputs, call.case)
    dy = call.dy.copy()
    kept = [a.copy() for a in arrays_in(saved)]
    if locked:
        for a in (dy, *arrays_in(saved)):
            a.flags.writeable = False
    try:
        returned = backward(dy, saved)
    except BaseException as error:  # whatever a learner's code raises is what we are here to tell, sys.exit too
        return Outcome([], error, ())
    touched = ["dy"] * (dy.tobytes() != call.dy.tobytes())
    if any(a.tobytes() != b.tobytes() for a, b in zip(arrays_in(saved), kept, strict=True)):
        touched.append("what forward saved")
    gradients = returned if isinstance(returned, (tuple, list)) else [returned]
    return Outcome([np.copy(dx) if isinstance(dx, np.ndarray) else dx for dx in gradients], None, tuple(touched))


def jacobian(drill: Drill, backward: Callable[..., Any], call: Call, i: int) -> np.ndarray | None:
    """Return what a backward says the Jacobian of input i is, (entries of y, entries of x), or None where it fails."""
    rows = []
    for basis in np.eye(call.dy.size, dtype=call.dy.dtype):
        outcome = observe(drill, backward, call._replace(dy=basis.reshape(call.dy.shape)))
        if outcome.raised is not None or np.shape(outcome.gradients[i]) != call.inputs[i].shape:
            return None
        rows.append(np.asarray(outcome.gradients[i]).reshape(-1))
    return np.stack(rows) if rows else np.zeros((0, call.inputs[i].size))


def wanted(drill: Drill, call: Call) -> list[tuple[int, str]]:
    """List the gradients that are wanted, by place and name."""
    return [(i, f"d{drill.arrays[i]}") for i in differentiable(call.inputs)]


def told(drill: Drill, call: Call) -> str:
    """Say of which call we speak."""
    shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(drill.arrays, call.inputs, strict=True))
    options = "".join(f", {name}={value}" for name, value in call.case.options.items())
    return f"with {shapes}{options}"


def near(a: Any, b: Any) -> bool:
    """Tell whether two gradients agree but for rounding."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=bound(b), equal_nan=True))


def bound(a: np.ndarray) -> float:
    """Return by how much numbers may differ from those in `a`."""
    finite = a[np.isfinite(a)]
    return TOLERANCE * max(1.0, float(np.abs(finite).max(initial=0)))
