"""Mutation testing of every backward: plant each small mistake that its code allows, and see whether the Cases catch it.

A mutant is the backward with one mistake of mutator.py, such as a sign lost or an axis left out. It is caught if on some
Case it raises, or gives another gradient, shape or dtype than the backward that was checked against finite differences.
"""

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanograd.check.cases import CASES, EQUIVALENT
from nanograd.check.cases.case import Case
from nanograd.check.contract import within
from nanograd.check.mutator import function_tree, mistakes, mutations, redefine
from nanograd.check.target import Target
from nanograd.op import OPS, Needs, Op, Pair
from nanograd.tape import arrays_in

TOLERANCE = 1e-9


@dataclass
class Score:
    """The fates of the mutants of one backward."""

    name: str
    total: int = 0
    caught: int = 0
    equivalent: list[tuple[str, str]] = field(default_factory=list)  # mutant, proof
    survived: list[str] = field(default_factory=list)


def mutants(backward: Callable[..., Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the mutants of a backward: the change in words, and the changed function."""
    for mutation in mutations(function_tree(backward), mistakes):
        yield str(mutation), redefine(backward, mutation.source, f"mutant of {backward.__name__}")


@dataclass
class _Trial:
    """One Case with one pattern of needs, and the right gradients."""

    saved: Any
    dy: np.ndarray
    needs: Needs
    right: tuple[Any, ...]


def _trials(op: Op, pair: Pair, cases: list[Case]) -> list[_Trial]:
    trials = []
    for dtype, case in itertools.product((np.float64, np.float32), cases):
        target = Target(op, case.arrays(), case.options, dtype, pair=pair)
        alone = (tuple(j == i for j in range(len(target.needs))) for i in target.needed)
        for needs in sorted({target.needs, *alone}, reverse=True):
            for options in (case.options, target.options) if target.options != case.options else (case.options,):
                y, saved = op.run_forward(pair, target.inputs, needs, options)  # also in small blocks
                dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape)).astype(y.dtype)
                right = op.run_backward(pair.backward, dy.copy(), copy.deepcopy(saved), needs)
                trials.append(_Trial(saved, dy, needs, right))
    return trials


def _is_caught(op: Op, mutant: Callable[..., Any], trials: list[_Trial]) -> bool:
    """Tell whether some Case shows that the mutant is wrong."""
    for trial in trials:
        try:
            saved = copy.deepcopy(trial.saved)
            dxs = op.run_backward(mutant, trial.dy.copy(), saved, trial.needs)
            if any(a.tobytes() != b.tobytes() for a, b in zip(arrays_in(saved), arrays_in(trial.saved), strict=True)):
                return True  # it wrote into what was saved, which a second backward would use again
            if not isinstance(dxs, tuple) or len(dxs) != len(trial.right):
                return True
            if not all(_agrees(dx, right) for dx, right in zip(dxs, trial.right, strict=True)):
                return True
        except Exception:  # whatever a mutant raises, the mistake is seen
            return True
    return False


def _agrees(dx: Any, right: Any) -> bool:
    """Tell whether a gradient has the right shape, dtype and, in float64, values."""
    if dx is None or right is None:
        return dx is right
    dx, right = np.asarray(dx), np.asarray(right)
    if dx.shape != right.shape or dx.dtype != right.dtype:
        return False
    return right.dtype != np.float64 or within(dx, right, TOLERANCE)


def score(op: Op, pair: Pair, name: str) -> Score:
    """Plant every mutant of one backward, and count."""
    result = Score(name)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # a mutant may average nothing
        trials = _trials(op, pair, CASES[op.name])
        for change, mutant in mutants(pair.backward):
            result.total += 1
            if _is_caught(op, mutant, trials):
                result.caught += 1
            elif (proof := EQUIVALENT.get((op.name, change))) is not None:
                result.equivalent.append((change, proof))
            else:
                result.survived.append(change)
    return result


def catching_case(op: Op, mutant: Callable[..., Any]) -> str:
    """Return the label of the first Case that shows that a mutant of the readable backward is wrong, or nothing."""
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        catching = (case.label for case in CASES[op.name] if _is_caught(op, mutant, _trials(op, op.pair, [case])))
        return next(catching, "")


def scores(names: list[str] | None = None) -> Iterator[Score]:
    """Score the readable pair of each op, and the fast one if there is one."""
    for name in names or sorted(OPS):
        op = OPS[name]
        yield score(op, op.pair, name)
        if op.fast is not None:
            yield score(op, op.fast, f"{name}, fast")
