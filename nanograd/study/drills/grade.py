"""Grade a backward in stages, up to the first that fails, and describe what is wrong there.

This runs any code it is given. Learners' files are graded in a process of their own, see check_file.py.
"""

import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from nanograd.check import contract
from nanograd.check.cases.case import Case
from nanograd.check.gradcheck import gradcheck
from nanograd.study.drills.calls import Call, describe, gradient_names, make_call, near, observe, target_of
from nanograd.study.drills.diagnosis import diagnosis
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.naming import name_mistakes
from nanograd.study.drills.train_gpt import compare_training

COTANGENTS = 3
Backward = Callable[..., Any]


@dataclass
class Verdict:
    """The result of a check: the stages that passed, and the first that did not, with a message."""

    passed: list[str] = field(default_factory=list)
    failed: str = ""  # the name of a stage
    message: str = ""
    mistakes: list[str] = field(default_factory=list)  # that give exactly these numbers: name and explanation
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failed


class Named(Protocol):
    """An exercise, as far as its learner's file is concerned."""

    @property
    def name(self) -> str: ...


class Failure(NamedTuple):
    """What is wrong, the call that shows it, and the named mistakes if they are known already."""

    message: str
    call: Call | None = None
    mistakes: list[str] | None = None


def grade(drill: Drill, learners: Backward) -> Verdict:
    """Run the stages in order, up to the first that fails."""
    verdict = Verdict()
    returned: list[Any] = []

    def backward(dy: np.ndarray, saved: Any) -> Any:
        returned.append(type(result := learners(dy, saved)))
        return result

    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for stage, check in _stages(drill, verdict.notes):
            try:
                failure = check(drill, backward)
            except BaseException as error:
                if not line_of(drill, error):
                    raise
                failure = Failure(error_message(drill, error))  # a backward that raises only in some calls
            if failure is not None:
                verdict.failed, verdict.message = stage, failure.message
                verdict.mistakes = failure.mistakes or []
                if failure.mistakes is None and failure.call is not None:
                    verdict.mistakes = name_mistakes(drill, backward, failure.call)
                break
            verdict.passed.append(stage)
    if verdict.ok and np.ndarray in returned:
        gradient = f"d{drill.arrays[0]}"
        verdict.notes.append(
            f"`return {gradient}` is accepted; a backward of nanograd returns a tuple: `return ({gradient},)`"
        )
    return verdict


def _stages(drill: Drill, notes: list[str]) -> Iterator[tuple[str, Callable[[Drill, Backward], Failure | None]]]:
    """Yield the name and the check of every stage that a drill has."""
    yield "shape and dtype", _check_form
    memory = contract.nothing_is_written_into, contract.gradients_share_no_memory
    yield "mutation", partial(_check_rules, rules=memory)
    yield "random dy", partial(_check_values, cases=drill.cases, cotangents=COTANGENTS)
    yield "odd shapes", partial(_check_values, cases=drill.odd_shapes)
    if drill.repeated_ids:
        yield "repeated ids", partial(_check_values, cases=drill.repeated_ids)
    if drill.extreme_values:
        yield "extremes", partial(_check_values, cases=drill.extreme_values)
    yield "linearity in dy", partial(_check_rules, rules=(contract.backward_is_linear,))
    yield "finite differences", _check_differences
    if drill.trains:
        yield "training", partial(_check_training, notes=notes)


def _check_form(drill: Drill, backward: Backward) -> Failure | None:
    for dtype in (np.float64, np.float32):
        for case in drill.cases:
            call = make_call(drill, case, dtype=dtype)
            if message := _wrong_form(drill, backward, call):
                return Failure(message, call)
    return None


def _check_rules(drill: Drill, backward: Backward, rules: Sequence[contract.Rule]) -> Failure | None:
    """Check rules of the contract of an op; if a write into an array breaks one, name the line."""
    for case in drill.cases:
        call = make_call(drill, case)
        for rule in rules:
            if message := rule(target_of(drill, backward, call), call.dy):
                raised = observe(drill, backward, call, read_only=True).raised
                line = line_of(drill, raised) if raised is not None and rule is contract.nothing_is_written_into else ""
                message = f"{_with_names(drill, message)}, {describe(drill, call)}"
                return Failure(f"{line}: {message}" if line else message, call)
    return None


def _check_values(drill: Drill, backward: Backward, cases: Sequence[Case], cotangents: int = 1) -> Failure | None:
    """Compare with the reference."""
    for case in cases:
        for seed in range(cotangents):
            call = make_call(drill, case, seed)
            if message := _wrong_form(drill, backward, call):
                return Failure(message, call)
            gradients, right = (observe(drill, f, call).gradients for f in (backward, drill.backward))
            for i, name in gradient_names(drill, call).items():
                if not near(gradients[i], right[i]):
                    mistakes = name_mistakes(drill, backward, call)
                    reason = diagnosis(drill, backward, call, i, np.asarray(gradients[i]), bool(mistakes))
                    others = _others(drill, call, i, gradients, right)
                    return Failure(f"{name}, {describe(drill, call)}: {reason}{others}", call, mistakes)
    return None


def _others(drill: Drill, call: Call, i: int, gradients: Sequence[Any], right: Sequence[Any]) -> str:
    """Say which of the other gradients are right, in a line."""
    names = {j: name for j, name in gradient_names(drill, call).items() if j != i}
    good = [name for j, name in names.items() if near(gradients[j], right[j])]
    bad = [name for name in names.values() if name not in good]
    facts = [f"{' and '.join(list_)} {'is' if len(list_) == 1 else 'are'} {word}"
             for list_, word in ((good, "right"), (bad, "wrong too")) if list_]  # fmt: skip
    return f"\n  {'; '.join(facts)}" if facts else ""


def _check_differences(drill: Drill, backward: Backward) -> Failure | None:
    """Compare with finite differences of the forward, and check the other rules of the contract of an op."""
    for case in drill.cases:
        report = gradcheck((drill.forward, backward), *case.arrays(), raises=False, **case.options)
        if not report.ok:
            return Failure(str(report), make_call(drill, case))
    return None


def _check_training(drill: Drill, backward: Backward, notes: list[str]) -> Failure | None:
    ok, message = compare_training(drill.forward, drill.backward, backward)
    if ok:
        notes.append(message)
    return None if ok else Failure(message)


def _wrong_form(drill: Drill, backward: Backward, call: Call) -> str:
    """Say what is wrong with the form of the result: an error, the number of gradients, their types or shapes."""
    gradients, raised = observe(drill, backward, call)
    if isinstance(raised, NotImplementedError):
        return error_message(drill, raised)
    if raised is not None:
        message = error_message(drill, raised)
        return f"{message}, {describe(drill, call)}, dy {call.dy.shape}{_lost_axis(message)}"
    target, names = target_of(drill, backward, call), gradient_names(drill, call)
    message = contract.check_form(target, gradients)
    if not message:
        return ""
    if contract.wrong_count(target, gradients):
        expected = ", ".join(names.get(i, "None") for i in range(len(drill.arrays)))
        return f"return ({expected}): {_with_names(drill, message)}, {describe(drill, call)}"
    for i, name in names.items():
        if isinstance(gradients[i], (np.ndarray, np.generic)) and gradients[i].shape != call.inputs[i].shape:
            reason = diagnosis(drill, backward, call, i, np.asarray(gradients[i]))
            return f"{name}, {describe(drill, call)}: {reason}"
    advice = "; np.float64 numbers and new arrays without a dtype promote float32" * (call.dy.dtype == np.float32)
    return f"{_with_names(drill, message)}, {describe(drill, call)}{advice}"


def _lost_axis(message: str) -> str:
    """Advise keepdims where shapes do not fit because one of them has lost its last axis."""
    shapes = re.search(r"with shapes \(([\d,]+)\) \(([\d,]+)\)", message)
    a, b = ([n for n in shape.split(",") if n] for shape in shapes.groups()) if shapes else ([], [])
    lost = any(short == long[:-1] for short, long in ((a, b), (b, a)) if long and short)
    return "; a sum or mean loses its axis unless keepdims=True" if lost else ""


def _with_names(drill: Drill, message: str) -> str:
    """Name the gradients in a message of the contract by the drill's arrays."""
    pattern = r"(?:the gradient of )?input (\d+)(?:: the gradient)?"
    return re.sub(pattern, lambda match: f"d{drill.arrays[int(match[1])]}", message)


def line_of(drill: Named, error: BaseException) -> str:
    """Return the innermost line of the learner's file that raised, as "line 12"; or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == f"{drill.name}.py"]
    return f"line {lines[-1]}" if lines else ""


def error_message(drill: Named, error: BaseException, words: tuple[str, str] = ("backward", "gradients")) -> str:
    """Describe in one sentence what the learner's file raised, and where; words: what it writes, and what that returns."""
    text = " ".join(str(error).split())
    match error:
        case NotImplementedError() if not text:
            message = f"the {words[0]} is not written yet"
        case SystemExit():
            message = f"sys.exit() ends the program; a {words[0]} returns {words[1]}"
        case MemoryError():
            message = f"asks for more memory than a drill may have ({text or 'MemoryError'})"
        case _:
            message = f"{type(error).__name__}{f': {text}' if text else ''}"
    line = line_of(drill, error)
    return f"{line}: {message}" if line else message
