"""Call a learner's backward with copies of the inputs and a random dy."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.check.contract import within
from nanograd.check.target import Target
from nanograd.study.drills.drill import Drill, differentiable
from nanograd.tape import arrays_in

TOLERANCE = 1e-8  # of the largest entry, or of 1: another right answer differs from the reference by rounding


class Call(NamedTuple):
    """The inputs of one call, drawn from a Case, and a cotangent."""

    case: Case
    inputs: list[Any]
    dy: np.ndarray


class Outcome(NamedTuple):
    """The gradients that a backward returned, or the error that it raised."""

    gradients: list[Any]
    raised: BaseException | None


def make_call(drill: Drill, case: Case, seed: int = 0, dtype: Any = np.float64, draw: int = 0) -> Call:
    """Draw the inputs of a Case, by `draw`, and a random cotangent, by `seed`."""
    target = Target((drill.forward, drill.backward), case.arrays(draw), case.options, dtype)
    return Call(case, target.inputs, target.cotangent(1000 + seed))  # not the numbers of an input, drawn from 0, 1, …


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
