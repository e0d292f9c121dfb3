"""Name the mistakes in a learner's backward: find the suspects that give exactly the same wrong numbers.

A name is given to a gradient only if its suspect reproduces it on every draw: other inputs and another dy each time. Of
several that do, the one that explains most gradients is named, then the one that also agrees on other shapes. So a name is
never a guess; where nothing fits, there is none.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.contract import nothing_is_written_into
from nanograd.study.drills.calls import Call, Outcome, gradient_names, make_call, near, observe, target_of
from nanograd.study.drills.drill import Drill, plant
from nanograd.study.drills.suspects import Run, Suspect, build, declared, factors, pairs, small_changes
from nanograd.tape import arrays_in

Backward = Callable[..., Any]


class Draw(NamedTuple):
    """A call with what forward saves, the learner's gradients and the right ones."""

    call: Call
    saved: Any
    learner: Outcome
    right: list[Any]


class Named(NamedTuple):
    """A suspect that reproduces some of the learner's gradients."""

    suspect: Suspect
    gradients: set[int]  # none stands for all, and whatever else the backward does
    elsewhere: int  # other calls on which it agrees too
    run: Run


def name_mistakes(drill: Drill, backward: Backward, call: Call) -> list[str]:
    """Return a sentence for every mistake that is recognised: its name, the gradients it is in, and what is wrong."""
    return _sentences(drill, call, recognise(drill, backward, call))


def recognise(drill: Drill, backward: Backward, call: Call) -> list[Named]:
    """Return the suspects that together give all or some of the wrong gradients of a call."""
    first = observe(drill, backward, call)
    calls = [call, *(make_call(drill, case, seed) for case in drill.cases for seed in (0, 7))]
    if first.raised is not None:  # many mistakes raise the same error: they must agree where they do not
        calls += [make_call(drill, case) for case in drill.odd_shapes]
    for suspect, mutant in zip(declared(drill), drill.mutants, strict=True):
        planted = plant(drill, mutant)
        if all(_does_the_same(drill, backward, planted, call) for call in calls):
            return [Named(suspect, set(), 0, build(drill, suspect))]
    if call.dy.dtype != np.float64:
        return []
    shown = _draw(drill, backward, call._replace(dy=call.dy.copy()))
    others = [_draw(drill, backward, make_call(drill, case, 3)) for case in drill.odd_shapes]
    others = [draw for draw in others if _is_usable(drill, draw)]
    cases = [call.case, *drill.cases]
    if raises := first.raised is not None:  # shapes that do not fit: look where they happen to
        cases = [draw.call.case for draw in others if _wrong(drill, draw)][:1]
    draws = [_draw(drill, backward, make_call(drill, case, seed, draw=seed)) for case in cases for seed in (7, 8)]
    draws = draws if raises else [shown, *draws]
    if not draws or not all(_is_usable(drill, draw) for draw in draws):
        return []
    wrong = sorted({i for draw in draws for i in _wrong(drill, draw)})
    explained = _explain(drill, wrong, draws, others)
    return explained if not raises or all(named.run(call, shown.saved) is None for named in explained) else []


def _wrong(drill: Drill, draw: Draw) -> list[int]:
    return [i for i in gradient_names(drill, draw.call) if not near(draw.learner.gradients[i], draw.right[i])]


def _explain(drill: Drill, wrong: Sequence[int], draws: list[Draw], others: list[Draw]) -> list[Named]:
    """Choose suspects until every wrong gradient is explained, or no more can be."""
    explained: list[Named] = []
    left = set(wrong)
    for level in (declared, factors, small_changes, pairs):
        found = []
        for suspect in level(drill) if left else ():
            if named := _match(drill, suspect, left, draws, others):
                found.append(named)
                if level is pairs and named.gradients == left:
                    break
        while found and left:
            best = max(found, key=lambda named: (len(named.gradients & left), named.elsewhere))
            if not best.gradients & left:
                break
            explained.append(best._replace(gradients=best.gradients & left))
            left -= best.gradients
    return explained


def _match(drill: Drill, suspect: Suspect, left: set[int], draws: list[Draw], others: list[Draw]) -> Named | None:
    """Return the gradients that a suspect reproduces on all draws, if there are any."""
    run = build(drill, suspect)
    gradients = set(left)
    for draw in draws:
        got = run(draw.call, draw.saved)
        if got is None or len(got) != len(draw.right):
            return None
        gradients = {i for i in gradients if _is_same(got[i], draw.learner.gradients[i])}
        if not gradients:
            return None
    elsewhere = 0
    for draw in others:
        got = run(draw.call, draw.saved)
        elsewhere += got is not None and all(_is_same(got[i], draw.learner.gradients[i]) for i in gradients)
    return Named(suspect, gradients, elsewhere, run)


def _is_same(a: Any, b: Any) -> bool:
    return isinstance(a, (np.ndarray, np.generic)) and isinstance(b, (np.ndarray, np.generic)) and near(a, b)


def _draw(drill: Drill, backward: Backward, call: Call) -> Draw:
    _, saved = target_of(drill, backward, call).run_forward()
    call.dy.flags.writeable = False
    for array in arrays_in(saved):
        array.flags.writeable = False
    return Draw(call, saved, observe(drill, backward, call), observe(drill, drill.backward, call).gradients)


def _is_usable(drill: Drill, draw: Draw) -> bool:
    gradients = draw.learner.gradients
    is_complete = draw.learner.raised is None and len(gradients) == len(draw.right)
    return is_complete and all(isinstance(gradients[i], np.ndarray) for i in gradient_names(drill, draw.call))


def _sentences(drill: Drill, call: Call, explained: Sequence[Named]) -> list[str]:
    """Say what was found; a mistake that two suspects share is said once."""
    where: dict[tuple[str, str], set[int]] = {}
    for named in explained:
        for mistake in named.suspect:
            where.setdefault((mistake.name, mistake.wrong), set()).update(named.gradients)
    names = gradient_names(drill, call)
    sentences = []
    for (name, wrong), gradients in where.items():
        inside = f" in {' and '.join(names[i] for i in sorted(gradients))}" if gradients and len(names) > 1 else ""
        sentences.append(f"“{name}”{inside}: {wrong}")
    return sentences


def _does_the_same(drill: Drill, a: Backward, b: Backward, call: Call) -> bool:
    """Tell whether two backwards return the same gradients, or raise the same error, and write into the same arrays."""
    of_a, of_b = observe(drill, a, call), observe(drill, b, call)
    if of_a.raised is not None or of_b.raised is not None:
        return type(of_a.raised) is type(of_b.raised) and str(of_a.raised) == str(of_b.raised)
    if len(of_a.gradients) != len(of_b.gradients):
        return False
    pairs_of = zip(of_a.gradients, of_b.gradients, strict=True)
    if not all(x is y or (_is_same(x, y) and x.dtype == y.dtype) for x, y in pairs_of):
        return False
    written_by_a, written_by_b = (nothing_is_written_into(target_of(drill, f, call), call.dy) for f in (a, b))
    return written_by_a == written_by_b
