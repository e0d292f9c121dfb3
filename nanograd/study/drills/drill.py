"""A drill: a forward that is given, a backward to be written, and the ways in which people get it wrong."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd.check.cases.case import Case
from nanograd.op import OPS, Backward, Forward


class Mutant(NamedTuple):
    """A mistake with a name: the reference in which `old`, which stands there once, became `new`."""

    name: str
    wrong: str  # what is wrong with it, as the learner is told
    old: str
    new: str


@dataclass(frozen=True)
class Drill:
    """One exercise. `cases` are the first inputs tried; each further list is a stage of the grader."""

    name: str
    forward: Forward  # given to the learner as it stands here: its docstring states the equation and the shapes
    backward: Backward  # the reference; what it unpacks from `saved` is given too
    question: str
    hints: tuple[str, str, str]
    cases: Sequence[Case]
    odd: Sequence[Case]
    mutants: Sequence[Mutant]
    repeated: Sequence[Case] = ()  # ids that occur more than once
    extremes: Sequence[Case] = ()
    imports: str = ""  # a line that the forward, or a backward, needs beside NumPy
    trains: bool = False  # the backward is at last put into a GPT, which must learn with it

    @property
    def arrays(self) -> tuple[str, ...]:
        """Return the names of the forward's arrays."""
        parameters = inspect.signature(self.forward).parameters.values()
        return tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)


def differentiable(inputs: Sequence[Any]) -> list[int]:
    """Return which inputs want a gradient: the floating ones."""
    return [i for i, x in enumerate(inputs) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]


def plant(drill: Drill, mutant: Mutant) -> Callable[..., Any]:
    """Return the reference with the mistake in it."""
    source = inspect.getsource(drill.backward).replace(mutant.old, mutant.new)
    scope: dict[str, Any] = dict(drill.backward.__globals__)
    exec(compile(source, f"<{mutant.name}>", "exec"), scope)
    planted: Callable[..., Any] = scope[drill.backward.__name__]
    return planted


def learner_file(drill: Drill) -> str:
    """Return the file that a learner starts from: question, forward, and a backward that is empty."""
    source = inspect.getsource(drill.backward)
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    signature = source[: source.index('    """')]
    given = [line for each in node.body[1:] if (line := ast.get_source_segment(source, each) or "").endswith("= saved")]
    gradients = [
        f"d{name}" if i in differentiable(drill.cases[0].arrays()) else "None" for i, name in enumerate(drill.arrays)
    ]
    standard = "import math\n" if "math." in inspect.getsource(drill.forward) else ""
    imports = f"{standard}from typing import Any\n\nimport numpy as np" + (
        f"\n\n{drill.imports}" if drill.imports else ""
    )
    question = textwrap.fill(drill.question, 100)
    returned = ", ".join(gradients) + "," * (len(gradients) == 1)
    return f'''"""Drill {drill.name}: write {drill.backward.__name__}.

{question}

    python -m nanograd drill check {drill.name}     what is right so far, and what is not
    python -m nanograd drill hint {drill.name}      one of three hints

The grader has a forward of its own, the same as this.
"""

{imports}


{inspect.getsource(drill.forward)}

{signature}    """Return ({returned}): the loss's gradient by each array of the forward, from dy, that by y."""
{textwrap.indent(chr(10).join(given), "    ")}
    raise NotImplementedError  # your turn
'''


def solution(drill: Drill) -> str:
    """Return the derivation as the engine states it, where the drill is one of its ops, and the reference."""
    op = OPS.get(drill.name)
    lines = []
    if op is not None:
        where = op.pair.backward.__module__.replace(".", "/")
        lines = [f"# The derivation, from {where}.py:", *inspect.cleandoc(op.pair.backward.__doc__ or "").splitlines()]
        lines = [lines[0], *(f"#   {line}".rstrip() for line in lines[1:]), ""]
    return "\n".join([*lines, inspect.getsource(drill.backward)])
