"""Named mistakes of an op: the error of each, whether a uniform cotangent shows it, and which test catches it."""

import ast
import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.mutants import catching_case, mutants
from nanograd.check.numeric import TOLERANCE, finite_differences
from nanograd.check.target import Target
from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import Drill, plant
from nanograd.study.drills.grade import grade
from nanograd.study.worked_example import WorkedExample

RIGHT = TOLERANCE[np.dtype(np.float64)]  # a smaller error is rounding
GENERIC = ("1 % too much", "a mean for each", "all zeros", "a sign", "a changed number", "dy passed on")  # of any op
RETURNED = (
    (" * 0", "all zeros", "the gradient is zero"),
    ("1.01", "1 % too much", "every entry is 1 % too large"),
    ("np.full_like", "a mean for each", "every entry gets the mean of the right ones"),
    ("-", "a sign", "every entry has the wrong sign"),
)
SHOWN = 3  # mistakes of either kind, seen and not seen by a uniform cotangent, of an op without a drill


class Compared(NamedTuple):
    """Gradients of a backward and finite differences, for one cotangent; a wrong shape has an infinite error."""

    dy: np.ndarray
    got: tuple[Any, ...]
    right: tuple[Any, ...]
    error: float  # the largest of all inputs, relative to the largest entry or to 1


@dataclass(frozen=True)
class Mistake:
    """One wrong backward, and which tests see it."""

    name: str
    wrong: str
    change: tuple[str, str]  # the code, before and after
    names: tuple[str, ...]  # of the arrays
    uniform: Compared | None  # None where it raised
    random: Compared | None
    caught: str  # which test catches it
    pair: tuple[Callable[..., Any], Callable[..., Any]] | None = None  # where it was run on the worked example
    options: dict[str, Any] | None = None

    @property
    def hides(self) -> bool:
        """Tell whether a test with dy = 1 passes, and one with a random dy does not."""
        return bool(self.uniform and self.random and self.uniform.error <= RIGHT < self.random.error)


def mistakes(worked: WorkedExample) -> list[Mistake]:
    """List the mistakes that the drill of an op names, or else the most instructive mutants of its code."""
    drill = DRILLS.get(worked.op.name)
    listed = _named(drill, worked) if drill else _planted(worked)
    hidden = any(mistake.hides and mistake.name not in GENERIC for mistake in listed)
    return listed if hidden else [*listed, _dy_forgotten(worked)]


def blind_spot(listed: Sequence[Mistake]) -> Mistake | None:
    """Return a wrong backward that passes a test with a uniform cotangent.

    There is none where every gradient is 0 for any dy, as for the softmax of a single number.
    """
    hidden = [mistake for mistake in listed if mistake.hides]
    return next((mistake for mistake in hidden if mistake.name not in GENERIC), hidden[0] if hidden else None)


def _named(drill: Drill, worked: WorkedExample) -> list[Mistake]:
    """List the mutants of a drill, run on the worked example; one that hides there, on the drill's first inputs."""
    options, pair, case = _options(drill, worked), (drill.forward, drill.backward), drill.cases[0]
    own, here = _Right(pair, case.arrays(), case.options), None
    if options is not None:
        here = _Right(pair, [a for a in worked.arrays if a is not None], options, worked.dy)
    listed = []
    for mutant in drill.mutants:
        backward = plant(drill, mutant)
        caught, change = f"drill, {grade(drill, backward).failed}", (mutant.old, mutant.new)
        both = here.both(backward) if here else (None, None)
        planted: tuple[Callable[..., Any], Callable[..., Any]] | None = (drill.forward, backward)
        if here is None or (both[1] is not None and both[1].error <= RIGHT):
            both, planted = own.both(backward), None
        listed.append(Mistake(mutant.name, mutant.wrong, change, drill.arrays, *both, caught, planted, options))
    return listed


def _options(drill: Drill, worked: WorkedExample) -> dict[str, Any] | None:
    """Return the options with which a drill's forward computes the worked example; None if it does not."""
    given = {name: a for name, a in zip(worked.names, worked.arrays, strict=True) if a is not None}
    if tuple(given) != drill.arrays:
        return None
    for options in (worked.options, {}):
        with contextlib.suppress(TypeError):  # an option that only the op has
            y = drill.forward(*(np.copy(a) for a in given.values()), **options)[0]
            if y.shape == worked.y.shape and np.allclose(y, worked.y, rtol=1e-12, atol=1e-12):
                return dict(options)
    return None


def _planted(worked: WorkedExample) -> list[Mistake]:
    """List the mutants of a backward that give wrong numbers; of mutants with the same numbers only the first."""
    right = _Right(worked.op.pair, worked.arrays, worked.options, worked.dy)
    planted_list: list[tuple[Mistake, Callable[..., Any]]] = []
    outcomes = set()
    for text, backward in mutants(worked.op.pair.backward):
        uniform, random = right.both(backward)
        if uniform is None or random is None or not RIGHT < random.error < math.inf:
            continue
        outcome = b"".join(np.asarray(dx, np.float64).round(9).tobytes() for dx in random.got if dx is not None)
        if outcome not in outcomes:
            outcomes.add(outcome)
            name, wrong, change = describe(text)
            planted_list.append(
                (
                    Mistake(
                        name,
                        wrong,
                        change,
                        worked.names,
                        uniform,
                        random,
                        "",
                        (worked.op.pair.forward, backward),
                        worked.options,
                    ),
                    backward,
                )
            )
    planted_list.sort(key=lambda planted: planted[0].name in GENERIC)
    hidden = [planted for planted in planted_list if planted[0].hides][:SHOWN]
    seen = [planted for planted in planted_list if not planted[0].hides][:SHOWN]
    return [replace(planted, caught=_case(worked, backward)) for planted, backward in (*hidden, *seen)]


def _case(worked: WorkedExample, backward: Callable[..., Any]) -> str:
    label = catching_case(worked.op, backward)
    return f"gradcheck, Case “{label}”" if label else "no Case"


def _dy_forgotten(worked: WorkedExample) -> Mistake:
    """Return the mistake that is possible in every op: a backward that ignores dy."""
    pair = worked.op.pair
    right = _Right(pair, worked.arrays, worked.options, worked.dy)

    def backward(dy: np.ndarray, *saved_and_needs: Any) -> Any:
        return pair.backward(np.ones_like(dy), *saved_and_needs)

    wrong = "derivatives must be multiplied by dy, the gradient of each y; here they are added as they are"
    change = ("dy", "np.ones_like(dy)")
    planted, caught = (pair.forward, backward), _case(worked, backward)
    return Mistake("dy forgotten", wrong, change, worked.names, *right.both(backward), caught, planted, worked.options)


class _Right:
    """Finite differences of a forward for two cotangents, to compare backwards with."""

    def __init__(
        self, pair: tuple[Any, Any], arrays: Sequence[Any], options: dict[str, Any], dy: np.ndarray | None = None
    ) -> None:
        self.forward, self.arrays, self.options = pair[0], arrays, options
        target = Target((pair[0], pair[1]), copy.deepcopy(list(arrays)), options, np.dtype(np.float64))
        self.needs = target.needs
        y = target.value(target.inputs)
        random = np.random.default_rng(1).standard_normal(y.shape).round(2) if dy is None else dy
        self.cotangents = [np.ones(y.shape), np.asarray(random)]
        derivatives = [
            finite_differences(target.value, x) if need else None
            for x, need in zip(target.inputs, target.needs, strict=True)
        ]
        self.right = [
            tuple(None if s is None else np.tensordot(dy, s, axes=dy.ndim) for s in derivatives)
            for dy in self.cotangents
        ]

    def both(self, backward: Callable[..., Any]) -> tuple[Compared | None, Compared | None]:
        """Compare a backward for dy = 1 and for a random dy."""
        return self._compare(backward, 0), self._compare(backward, 1)

    def _compare(self, backward: Callable[..., Any], which: int) -> Compared | None:
        target = Target((self.forward, backward), copy.deepcopy(list(self.arrays)), self.options, np.dtype(np.float64))
        dy, right = self.cotangents[which], self.right[which]
        try:
            with np.errstate(all="ignore"):
                got = tuple(target.run(target.inputs)[1](dy.copy()))
                error = max((_error(a, b) for a, b in zip(got, right, strict=True) if b is not None), default=0.0)
        except Exception:  # whatever a mutant raises
            return None
        return Compared(dy, got, right, error)


def _error(got: Any, right: np.ndarray) -> float:
    if got is None or np.shape(got) != right.shape:
        return math.inf
    error = float(np.abs(got - right).max(initial=0)) / max(1.0, float(np.abs(right).max(initial=0)))
    return error if math.isfinite(error) else math.inf


def describe(text: str) -> tuple[str, str, tuple[str, str]]:
    """Name a mutant of the code, from the text that tells of it: its name, what is wrong, the code before and after."""
    before, _, after = text.partition(" in ")[0].partition(" → ")
    if before.startswith("return"):
        short = ast.unparse(_WithoutNone().visit(ast.parse(after)))
        for sign, name, wrong in RETURNED:
            if sign in short:
                return name, wrong, (before, short)
        return "dy passed on", "dy goes back as if the op did nothing", (before, short)
    change = (before, after)
    if before == f"-{after}":
        return "a sign", "the minus is lost", change
    if after in before:
        return "left out", "a part of the expression is missing", change
    if before.replace(".", "").isdigit():
        return "a changed number", "the number is another", change
    return "another operation", "the operation, its order or its axis is another", change


class _WithoutNone(ast.NodeTransformer):
    """Leave out what a mutant keeps for the sake of None: `None if dx is None else dx * 0` is told as `dx * 0`."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return node.orelse if isinstance(node.body, ast.Constant) and node.body.value is None else node
