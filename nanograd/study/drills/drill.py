"""A drill: a forward, the backward that the learner writes, and the mistakes that people make in it."""

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.check.mutator import redefine
from nanograd.op import OPS, Backward, Forward
from nanograd.study.markup import code_of


class Mutant(NamedTuple):
    """A mistake with a name: the reference in which `old`, which occurs once in its code, is replaced by `new`."""

    name: str
    wrong: str  # the explanation that the learner reads
    old: str
    new: str


@dataclass(frozen=True)
class Drill:
    """One exercise. Forward and reference are those in nanograd/ops if these save the same arrays."""

    forward: Forward  # the learner sees it: its docstring states the equation and the shapes
    backward: Backward  # the reference; the learner sees its name and the line that unpacks `saved`
    question: str
    hints: tuple[str, str, str, str]  # the first is a question, the last is the line
    cases: Sequence[Case]  # the first inputs that are tried
    mutants: Sequence[Mutant]
    odd_shapes: Sequence[Case]  # like the following ones, a stage of the grader
    repeated_ids: Sequence[Case] = ()
    extreme_values: Sequence[Case] = ()
    imports: str = ""  # a line that the forward or the backward needs beside NumPy
    trains: bool = False  # at last a GPT is trained with the learner's backward
    name: str = ""  # by default that of the forward
    constants: Mapping[str, Callable[..., float]] = field(default_factory=dict)  # of inputs and options: D, 1/(1 - p)
    page: str = ""  # the op whose study page explains it, by default the op of this name

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.forward.__name__.removesuffix("_forward"))
        object.__setattr__(self, "page", self.page or (self.name if self.name in OPS else ""))

    @property
    def writes(self) -> str:
        """Return the name of the function that the learner writes."""
        return self.backward.__name__

    @property
    def arrays(self) -> tuple[str, ...]:
        """Return the names of the forward's arrays."""
        parameters = inspect.signature(self.forward).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def differentiable(inputs: Sequence[Any]) -> list[int]:
    """Return the indices of the floating inputs: these need a gradient."""
    return [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]


def plant(drill: Drill, mutant: Mutant) -> Callable[..., Any]:
    """Return the reference with the mistake in it."""
    return redefine(drill.backward, code_of(drill.backward).replace(mutant.old, mutant.new), mutant.name)


def learner_file(drill: Drill) -> str:
    """Return the file that a learner starts from: the question, the forward, and an empty backward."""
    name = drill.backward.__name__
    unpacking = [line for line in code_of(drill.backward).splitlines() if line.endswith("= saved")]
    needed = differentiable(drill.cases[0].arrays())
    gradients = [f"d{array}" if i in needed else "None" for i, array in enumerate(drill.arrays)]
    returned = ", ".join(gradients) + "," * (len(gradients) == 1)
    empty = [
        f"def {name}(dy: np.ndarray, saved: Any) -> tuple[np.ndarray | None, ...]:",
        f'    """Return ({returned}), the gradient of the loss with respect to every array of the forward.',
        "",
        "    dy is the gradient with respect to y; saved is what the forward returned as its second value.",
        '    """',
        *unpacking,
        "    raise NotImplementedError  # write the backward here",
    ]
    return f'''"""Drill {drill.name}: write {name}.

{textwrap.fill(drill.question, 100)}

    python -m nanograd drill check {drill.name}     grade it: the first thing that is wrong is named
    python -m nanograd drill hint {drill.name}      a question, then hints

The grader uses its own copy of the forward.
"""

{file_imports(drill)}

{inspect.getsource(drill.forward)}

{chr(10).join(empty)}
'''


def file_imports(drill: Drill) -> str:
    """Return the lines with which a learner's file begins to import."""
    standard = "import math\n" if "math." in inspect.getsource(drill.forward) else ""
    own = f"\n{drill.imports}\n" if drill.imports else ""
    return f"{standard}from typing import Any\n\nimport numpy as np\n{own}"


def solution(drill: Drill) -> str:
    """Return the reference and, if the drill is an op of the engine, the derivation in the op's docstring."""
    op = OPS.get(drill.name)
    lines = []
    if op is not None and op.pair.backward is not drill.backward:
        file = op.pair.backward.__module__.replace(".", "/")
        derivation = inspect.cleandoc(op.pair.backward.__doc__ or "").splitlines()
        lines = [f"# The derivation, from {file}.py:", *(f"# {line}".rstrip() for line in derivation), ""]
    return "\n".join([*lines, inspect.getsource(drill.backward)])
