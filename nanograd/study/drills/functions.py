"""Another kind of exercise: write a function that is not a backward, such as a part of an optimizer.

The learner sees its name, its arguments and its docstring. The stages of the grader: the form of the result, whether the
function writes into its arguments, properties that the result must have, and the numbers of the reference.
"""

import copy
import inspect
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.check.contract import within
from nanograd.check.mutator import redefine
from nanograd.study.drills.drill import Mutant
from nanograd.study.drills.grade import Verdict, error_message
from nanograd.study.markup import code_of

Results = tuple[np.ndarray, ...]
Property = Callable[[Sequence[np.ndarray], Results], str]  # from arguments and results: what is wrong, or ""


@dataclass(frozen=True)
class FunctionDrill:
    """One exercise. `cases` are the arguments of the first stages; `more` names the stages after them."""

    function: Callable[..., Any]  # the reference; its docstring states what it computes
    question: str
    hints: tuple[str, str, str, str]  # the first is a question, the last is the line
    results: tuple[str, ...]  # the names of what it returns
    cases: Sequence[Case]
    more: Mapping[str, Sequence[Case]]
    mutants: Sequence[Mutant]
    page: str  # the study page that explains it
    properties: Mapping[str, Property] = field(default_factory=dict)  # stages, checked on the cases before the numbers
    imports: str = ""
    tolerance: float = 1e-8

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def writes(self) -> str:
        """Return the name of the function that the learner writes."""
        return self.function.__name__


def function_file(drill: FunctionDrill) -> str:
    """Return the file that a learner starts from: the question, and the function without its code."""
    source, code = inspect.getsource(drill.function), code_of(drill.function)
    head = source[: source.index('"""', source.index('"""') + 3) + 3]
    assert code.startswith(source[: source.index('    """')])
    own = f"\n{drill.imports}\n" if drill.imports else ""
    return f'''"""Drill {drill.name}: write {drill.name}.

{textwrap.fill(drill.question, 100)}

    python -m nanograd drill check {drill.name}     grade it: the first thing that is wrong is named
    python -m nanograd drill hint {drill.name}      a question, then hints
"""

import math

import numpy as np
{own}

{head}
    raise NotImplementedError  # write the function here
'''


def plant_in(drill: FunctionDrill, mutant: Mutant) -> Callable[..., Any]:
    """Return the reference with a mistake in it."""
    code = code_of(drill.function)
    assert code.count(mutant.old) == 1, mutant.name
    return redefine(drill.function, code.replace(mutant.old, mutant.new), mutant.name)


class Run(NamedTuple):
    """One call: its case, the arguments before and after it, and what it returned."""

    case: Case
    before: Sequence[np.ndarray]
    after: Sequence[np.ndarray]
    results: Any


Check = Callable[[FunctionDrill, Run], str]  # what is wrong, or ""


def grade_function(drill: FunctionDrill, learners: Callable[..., Any]) -> Verdict:
    """Run the stages in order, up to the first that fails."""
    verdict = Verdict()
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for stage, check, cases, dtypes in _stages(drill):
            for case, dtype in product(cases, dtypes):
                before = _arguments(case, dtype)
                after = copy.deepcopy(before)
                try:
                    message = check(drill, Run(case, before, after, learners(*after, **case.options)))
                except BaseException as error:  # a learner's code may raise anything, also SystemExit
                    message = error_message(drill, error, ("function", "arrays"))
                if message:
                    verdict.failed, verdict.message = stage, f"{message}, {_describe(drill, case)}"
                    verdict.mistakes = _named(drill, learners)
                    return verdict
            verdict.passed.append(stage)
    return verdict


def _stages(drill: FunctionDrill) -> Iterator[tuple[str, Check, Sequence[Case], Sequence[Any]]]:
    """Yield the name of every stage, its check, its cases and their dtypes."""
    yield "shape and dtype", _wrong_form, drill.cases, (np.float64, np.float32)
    yield "mutation", _written_into, drill.cases, (np.float64,)
    for stage, broken_by in drill.properties.items():
        yield stage, partial(_lacks, broken_by), drill.cases, (np.float64,)
    for stage, cases in {"numbers": drill.cases, **drill.more}.items():
        yield stage, _difference, cases, (np.float64,)


def _lacks(broken_by: Property, drill: FunctionDrill, run: Run) -> str:
    return broken_by(run.before, _as_tuple(run.results))


def _arguments(case: Case, dtype: Any, seed: int = 0) -> list[np.ndarray]:
    return [a.astype(dtype) for a in case.arrays(seed)]


def _as_tuple(results: Any) -> Results:
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)


def _describe(drill: FunctionDrill, case: Case) -> str:
    names = inspect.signature(drill.function).parameters
    shapes = ", ".join(f"{name} {a.shape}" for name, a in zip(names, case.arrays(), strict=False))
    return f"with {shapes}{''.join(f', {name}={value}' for name, value in case.options.items())}"


def _right(drill: FunctionDrill, run: Run) -> Results:
    return _as_tuple(drill.function(*copy.deepcopy(run.before), **run.case.options))


def _wrong_form(drill: FunctionDrill, run: Run) -> str:
    """Say what is wrong with the number, the types, the shapes or the dtypes of the results, or return nothing."""
    right, results = _right(drill, run), _as_tuple(run.results)
    if len(results) != len(right):
        return f"return ({', '.join(drill.results)}), got {len(results)} results"
    for name, a, b in zip(drill.results, results, right, strict=True):
        if not isinstance(a, np.ndarray):
            return f"{name} must be an array, got {type(a).__name__}"
        if a.shape != b.shape:
            return f"{name} must have the shape {b.shape}, got {a.shape}"
        if a.dtype != b.dtype:
            return f"{name} must have the dtype of the arguments, {b.dtype}, got {a.dtype}"
    return ""


def _written_into(drill: FunctionDrill, run: Run) -> str:
    """Name the arguments that were written into, or return nothing."""
    names = inspect.signature(drill.function).parameters
    changed = [n for n, a, b in zip(names, run.before, run.after, strict=False) if not np.array_equal(a, b)]
    return f"{' and '.join(changed)} was written into: return new arrays" if changed else ""


def _difference(drill: FunctionDrill, run: Run) -> str:
    """Say which result differs from the reference, and where most; or return nothing."""
    if message := _wrong_form(drill, run):
        return message
    right, results = _right(drill, run), _as_tuple(run.results)
    agree = [within(a, b, drill.tolerance) for a, b in zip(results, right, strict=True)]
    if all(agree):
        return ""
    i = agree.index(False)
    a, b, name = results[i], right[i], drill.results[i]
    if not np.isfinite(a).all():
        return f"{name} has entries that are not finite"
    at = np.unravel_index(np.abs(a - b).argmax(), a.shape)
    others = [other for other, good in zip(drill.results, agree, strict=True) if good]
    rest = f"; {' and '.join(others)} {'is' if len(others) == 1 else 'are'} right" if others else ""
    where = f"[{', '.join(map(str, at))}]"
    return f"{name} differs, most at {where}: yours {a[at]:.4g}, right {b[at]:.4g}{rest}"


def _named(drill: FunctionDrill, learners: Callable[..., Any]) -> list[str]:
    """Return the mistake that gives the learner's results in all cases, if there is one."""
    cases = [*drill.cases, *(case for cases in drill.more.values() for case in cases)]
    for mutant in drill.mutants:
        if all(_is_same(drill, learners, plant_in(drill, mutant), case) for case in cases):
            return [f"“{mutant.name}”: {mutant.wrong}"]
    return []


def _is_same(drill: FunctionDrill, f: Callable[..., Any], g: Callable[..., Any], case: Case) -> bool:
    """Tell whether two functions return the same, or raise the same error, and write the same into their arguments."""
    outcomes: list[Any] = []
    for function in (f, g):
        arguments = _arguments(case, np.float64, seed=1)
        try:
            results = [np.asarray(a) for a in _as_tuple(function(*arguments, **case.options))]
        except BaseException as error:
            outcomes.append((type(error), str(error)))
            continue
        outcomes.append([*results, *arguments])
    a, b = outcomes
    if isinstance(a, tuple) or isinstance(b, tuple):
        return bool(isinstance(a, tuple) and isinstance(b, tuple) and a == b)
    return len(a) == len(b) and all(within(x, y, drill.tolerance) for x, y in zip(a, b, strict=True))
