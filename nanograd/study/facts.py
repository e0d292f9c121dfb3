"""What a study of one op shows, in any format: its derivation with a check a line, an example, costs and mistakes."""

import inspect
from dataclasses import dataclass
from typing import Any, NamedTuple

from nanograd.check.cost import Cost, cost
from nanograd.op import Op
from nanograd.study.derivation import Line, Prose, check_sentence, derivation, remarks, summary
from nanograd.study.mistakes import Mistake, mistakes
from nanograd.study.twin import Checked, check, evaluate, given
from nanograd.study.twins import TWINS, Twin
from nanograd.study.worked import Worked, work


class Step(NamedTuple):
    """One numbered line at the example; `checked` is None where it is of a gradient that the example does not want."""

    line: Line
    twin: Twin
    checked: Checked | None
    given: dict[str, str]  # what the twin uses that the prose has said, and no line before: names and their code
    values: dict[str, Any]  # what the line makes, by name: mostly one array; of several, each by its place

    @property
    def right(self) -> bool:
        return self.checked is None or self.checked.error <= self.checked.tolerance

    @property
    def verdict(self) -> str:
        """Say what the line was held against, and with what outcome."""
        if self.checked is None:
            return "not needed: the example wants no such gradient"
        if self.right:
            return f"equals {self.checked.neighbour}, {same(self.checked.error)}"
        return f"WRONG: is not {self.checked.neighbour}, off by {self.checked.error:.1e}"


@dataclass(frozen=True)
class Facts:
    """All that is known of an op at one example."""

    name: str
    call: str  # softmax(x, mask=None, *, axis=-1)
    summary: str
    remarks: Prose
    check: str  # the sentence after “Check:”
    worked: Worked
    steps: tuple[Step, ...]
    cost: Cost
    mistakes: list[Mistake]
    places: dict[str, str]  # each function of the op, and its file and line
    seed: int

    @property
    def right(self) -> bool:
        """Tell whether every printed line holds."""
        return all(step.right for step in self.steps)


def facts(name: str, shape: tuple[int, ...] | None = None, seed: int = 0) -> Facts:
    """Study an op. ValueError where there is no such op, or where it cannot take an input of that shape."""
    derivation(name)  # suggests a name that exists, where this one does not
    worked = work(name, shape, seed)
    op = worked.op
    return Facts(
        name,
        call(op),
        summary(name),
        remarks(name),
        check_sentence(name),
        worked,
        _steps(worked, seed),
        cost(op),
        mistakes(worked),
        places(op),
        seed,
    )


def _steps(worked: Worked, seed: int) -> tuple[Step, ...]:
    """Check the lines of an op at its example, and put numbers to them."""
    name, arrays = worked.op.name, list(worked.arrays)
    checked = {each.number: each for each in check(name, arrays, worked.options, seed)}
    values = evaluate(name, arrays, worked.options, worked.dy)
    steps: list[Step] = []
    said: set[str] = set()
    for line in derivation(name):
        twin = TWINS[name][line.number]
        made: dict[str, Any] = {}
        for each in twin.name.split(", "):
            value = values[each]
            made |= {f"{each}[{i}]": a for i, a in enumerate(value)} if isinstance(value, tuple) else {each: value}
        new = {each: code for each, code in given(name, line.number).items() if each not in said}
        said |= set(new)
        steps.append(Step(line, twin, checked.get(line.number), new, made))
    return tuple(steps)


def call(op: Op) -> str:
    """Return how an op is called: its signature without the types."""
    signature = inspect.signature(op.pair.forward)
    wanted = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name != "needs"]
    return f"{op.name}{signature.replace(parameters=wanted, return_annotation=signature.empty)}"


def places(op: Op) -> dict[str, str]:
    """Return where the functions of an op stand: the readable pair, and the fast one if there is one."""
    found = {}
    for function in (*op.pair, *(op.fast or ())):
        code = function.__code__
        file = code.co_filename.replace("\\", "/").rpartition("nanograd/ops/")[2]
        found[function.__name__] = f"nanograd/ops/{file}:{code.co_firstlineno}"
    return found


def same(error: float) -> str:
    """Say how large an error is."""
    return "exactly" if error == 0 else f"to {error:.0e}".replace("e-0", "e-").replace("e+0", "e+")
