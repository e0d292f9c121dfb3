"""Grade a backward: find the first thing that is wrong, in the order in which one would look, and say what it looks like.

This runs whatever it is given: learners' files are graded in a process of their own, see check.py.
"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.check.gradcheck import gradcheck
from nanograd.study.drills.call import Call, Outcome, make_call, near, observe, run_forward, told, wanted
from nanograd.study.drills.diagnosis import diagnosis, named_mistake
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.train_gpt import compare_training
from nanograd.tape import arrays_in

COTANGENTS = 3
Backward = Callable[..., Any]


@dataclass
class Verdict:
    """What became of one check: the stages passed, and the first that was not, with what was wrong there."""

    passed: list[str] = field(default_factory=list)
    failed: str = ""  # a stage, or nothing
    said: str = ""
    mistake: str = ""  # which of the drill's named mistakes does just the same
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


class Failure(NamedTuple):
    """What is wrong, and the call that shows it."""

    said: str
    call: Call | None = None


def grade(drill: Drill, backward: Backward) -> Verdict:
    """Run the stages in order, up to the first that fails."""
    verdict = Verdict()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for stage, check in _stages(drill, verdict.notes):
            try:
                failure = check(backward)
            except BaseException as error:
                if not place(drill, error):
                    raise
                failure = Failure(raised_sentence(drill, error))  # a backward that only raises now and then
            if failure is not None:
                verdict.failed, verdict.said = stage, failure.said
                verdict.mistake = named_mistake(drill, backward, failure.call) if failure.call else ""
                break
            verdict.passed.append(stage)
    return verdict


def _stages(drill: Drill, notes: list[str]) -> Iterator[tuple[str, Callable[[Backward], Failure | None]]]:
    """Yield the stages that a drill has."""
    yield "shape and dtype", lambda backward: _shapes(drill, backward)
    yield "mutation", lambda backward: _mutation(drill, backward)
    yield "random cotangents", lambda backward: _values(drill, backward, drill.cases, COTANGENTS)
    yield "odd shapes", lambda backward: _values(drill, backward, drill.odd_shapes)
    if drill.repeated_ids:
        yield "repeated ids", lambda backward: _values(drill, backward, drill.repeated_ids)
    if drill.extreme_values:
        yield "extremes", lambda backward: _values(drill, backward, drill.extreme_values)
    yield "linearity in dy", lambda backward: _linearity(drill, backward)
    yield "finite differences", lambda backward: _differences(drill, backward)
    if drill.trains:
        yield "training", lambda backward: _training(drill, backward, notes)


def _shapes(drill: Drill, backward: Backward) -> Failure | None:
    for dtype in (np.float64, np.float32):
        for case in drill.cases:
            call = make_call(drill, case, dtype=dtype)
            if said := _form(drill, backward, call, observe(drill, backward, call)):
                return Failure(said, call)
    return None


def _mutation(drill: Drill, backward: Backward) -> Failure | None:
    """Look whether what was lent is as it was, and whether a gradient lies in it."""
    for case in drill.cases:
        call = make_call(drill, case)
        for touched in observe(drill, backward, call).touched:
            raised = observe(drill, backward, call, locked=True).raised  # a write now raises, where it is made
            at = f"{where}: " if raised is not None and (where := place(drill, raised)) else ""
            return Failure(f"{at}{touched} was written into: others still need it; write into arrays of your own", call)
        _, saved = run_forward(drill, call.inputs, case)
        returned = backward(call.dy.copy(), saved)
        gradients = returned if isinstance(returned, (tuple, list)) else (returned,)
        for i, name in wanted(drill, call):
            if any(np.may_share_memory(gradients[i], a) for a in arrays_in(saved)):
                return Failure(
                    f"{name} shares memory with what forward saved: the engine adds into a gradient, and would change "
                    "what was saved; return a copy",
                    call,
                )
    return None


def _values(drill: Drill, backward: Backward, cases: Sequence[Case], cotangents: int = 1) -> Failure | None:
    """Compare with the reference."""
    for case in cases:
        for seed in range(cotangents):
            call = make_call(drill, case, seed)
            outcome = observe(drill, backward, call)
            if said := _form(drill, backward, call, outcome):
                return Failure(said, call)
            right = observe(drill, drill.backward, call).gradients
            for i, name in wanted(drill, call):
                if not near(outcome.gradients[i], right[i]):
                    looks = diagnosis(drill, backward, call, i, np.asarray(outcome.gradients[i]))
                    return Failure(f"{name}, {told(drill, call)}: {looks}", call)
    return None


def _linearity(drill: Drill, backward: Backward) -> Failure | None:
    """Check that dx(0) = 0 and dx(2u - 3v) = 2 dx(u) - 3 dx(v)."""
    for case in drill.cases:
        u, v = (make_call(drill, case, seed) for seed in (0, 1))
        of_u, of_v = (observe(drill, backward, call).gradients for call in (u, v))
        for a, b in ((0, 0), (2, -3)):
            call = u._replace(dy=a * u.dy + b * v.dy)
            outcome = observe(drill, backward, call)
            if said := _form(drill, backward, call, outcome):
                return Failure(said, call)
            for i, name in wanted(drill, call):
                if not near(outcome.gradients[i], a * of_u[i] + b * of_v[i]):
                    what = f"{name} of 2u - 3v is not 2 {name} of u - 3 {name} of v"
                    if a == b == 0:
                        what = f"{name} is not zero for dy = 0 (is something divided by dy?)"
                    return Failure(f"{what}, {told(drill, call)}: a backward is linear in dy", call)
    return None


def _differences(drill: Drill, backward: Backward) -> Failure | None:
    """Compare with the slopes of the forward, and check the laws of an op: two runs agree, whatever the memory layout."""
    for case in drill.cases:
        report = gradcheck((drill.forward, backward), *case.arrays(), raises=False, **case.options)
        if not report.ok:
            return Failure(str(report), make_call(drill, case))
    return None


def _training(drill: Drill, backward: Backward, notes: list[str]) -> Failure | None:
    ok, said = compare_training(drill.forward, drill.backward, backward)
    if ok:
        notes.append(said)
    return None if ok else Failure(said)


def _form(drill: Drill, backward: Backward, call: Call, outcome: Outcome) -> str:
    """Say what is wrong with the form of an answer: raised, counted, typed or shaped wrongly."""
    of = told(drill, call)
    if isinstance(outcome.raised, NotImplementedError):
        return raised_sentence(drill, outcome.raised)
    if outcome.raised is not None:
        return f"{raised_sentence(drill, outcome.raised)}, {of}"
    gradients, names = outcome.gradients, dict(wanted(drill, call))
    if len(gradients) != len(drill.arrays):
        want = ", ".join(names.get(i, "None") for i in range(len(drill.arrays)))
        return f"return ({want}), one entry for each array of the forward; got {len(gradients)}, {of}"
    for i, name in names.items():
        dx, x = gradients[i], call.inputs[i]
        if not isinstance(dx, (np.ndarray, np.generic)):
            return f"{name} must be a NumPy array, got {type(dx).__name__}, {of}"
        if dx.shape != x.shape:
            return f"{name}, {of}: {diagnosis(drill, backward, call, i, np.asarray(dx))}"
        if dx.dtype != x.dtype:
            return (
                f"{name} is {dx.dtype} where {drill.arrays[i]} is {x.dtype}, {of}: a gradient has the dtype of its "
                "input; np.float64 numbers and arrays made without a dtype widen, Python floats do not"
            )
    return ""


def place(drill: Drill, error: BaseException) -> str:
    """Return the innermost line of the learner's file that raised, as "line 12"; or nothing."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == f"{drill.name}.py"
    ]
    return f"line {lines[-1]}" if lines else ""


def raised_sentence(drill: Drill, error: BaseException) -> str:
    """Say in one sentence what the learner's file raised, and where."""
    where, text = place(drill, error), " ".join(str(error).split())
    at = f"{where}: " if where else ""
    match error:
        case NotImplementedError() if not text:
            return f"{at}the backward is not written yet"
        case SystemExit():
            return f"{at}sys.exit() ends the program; a backward returns gradients"
        case MemoryError():
            return f"{at}asks for more memory than a drill may have ({text or 'MemoryError'})"
    return f"{at}{type(error).__name__}{f': {text}' if text else ''}"
