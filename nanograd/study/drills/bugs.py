"""Find the bug: a backward with one wrong line; the learner names the line, and writes it as it should be.

The code is the reference of a drill with one of its mistakes in it. A returned expression gets a line of its own, so that
there is a line to name. Line numbers, numbers and hints are computed from this code.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from nanograd.check.mutator import redefine
from nanograd.study.drills.calls import Call, gradient_names, make_call, near, observe
from nanograd.study.drills.drill import Drill, Mutant, file_imports
from nanograd.study.drills.grade import Verdict, grade
from nanograd.study.markup import code_of

FIND = "the line"  # the stages of the grader
CORRECT = "the correction"


@dataclass(frozen=True)
class Bug:
    """An exercise: a drill's reference with one of its mistakes, which is given by name."""

    drill: Drill
    mistake: str

    @property
    def name(self) -> str:
        return f"bug-{self.drill.name}"

    @property
    def page(self) -> str:
        return self.drill.page

    @cached_property
    def mutant(self) -> Mutant:
        return next(mutant for mutant in self.drill.mutants if mutant.name == self.mistake)

    @cached_property
    def right(self) -> list[str]:
        """Return the lines of the reference."""
        return one_line_a_gradient(self.drill, code_of(self.drill.backward))

    @cached_property
    def wrong(self) -> list[str]:
        """Return the lines that the learner sees."""
        code = code_of(self.drill.backward).replace(self.mutant.old, self.mutant.new)
        return one_line_a_gradient(self.drill, code)

    @cached_property
    def line(self) -> int:
        """Return the number of the wrong line, from 1."""
        pairs = zip(self.right, self.wrong, strict=True)
        (line,) = (i for i, (right, wrong) in enumerate(pairs, start=1) if right != wrong)
        return line

    @cached_property
    def call(self) -> Call:
        """Return the first call of the drill on which the wrong line shows."""
        backward = self.backward(self.wrong)
        for case in (*self.drill.cases, *self.drill.repeated_ids, *self.drill.odd_shapes):
            call = make_call(self.drill, case)
            outcome = observe(self.drill, backward, call)
            right = observe(self.drill, self.drill.backward, call).gradients
            if outcome.raised is None and not _all_near(outcome.gradients, right):
                return call
        raise AssertionError(f"{self.name}: no case of the drill shows the mistake")

    @cached_property
    def gradients(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the gradients on `call` by name: of the wrong code, and the right ones."""
        wrong, right = (
            observe(self.drill, self.backward(code), self.call).gradients for code in (self.wrong, self.right)
        )
        return {name: (wrong[i], right[i]) for i, name in gradient_names(self.drill, self.call).items()}

    @property
    def hints(self) -> tuple[str, ...]:
        last = len(self.wrong) - 1
        middle = (2 + last) // 2
        half = f"2 to {middle}" if self.line <= middle else f"{middle + 1} to {last}"
        return (
            "Which gradients are wrong? On which lines do these depend, and the right ones do not?",
            f"It is one of the lines {half}.",
            f"What is wrong: {self.mutant.wrong}.",
            f"Line {self.line} should be: {self.right[self.line - 1].strip()}",
        )

    def backward(self, lines: Sequence[str]) -> Callable[..., Any]:
        return redefine(self.drill.backward, "\n".join(lines), self.name)


def one_line_a_gradient(drill: Drill, code: str) -> list[str]:
    """Return the lines of a backward without comments, in which `return dy * b, …` is `da = dy * b` and so on."""
    tree = ast.parse(code)
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
    returned = function.body[-1]
    assert isinstance(returned, ast.Return)
    if isinstance(returned.value, ast.Tuple):
        for i, (name, value) in enumerate(zip(drill.arrays, returned.value.elts, strict=True)):
            if not isinstance(value, (ast.Name, ast.Constant)):
                function.body.insert(-1, ast.Assign([ast.Name(f"d{name}", ast.Store())], value))
                returned.value.elts[i] = ast.Name(f"d{name}", ast.Load())
    return ast.unparse(ast.fix_missing_locations(tree)).splitlines()


def bug_file(bug: Bug) -> str:
    """Return the file that a learner starts from: the forward, the wrong code, its numbers, and two names to fill in."""
    drill = bug.drill
    code = [f"#  {i:>2}  {line}" for i, line in enumerate(bug.wrong, start=1)]
    numbers = []
    for name, (wrong, right) in bug.gradients.items():
        if near(wrong, right):
            numbers.append(f"#   {name} is right")
        else:
            for label, array in ((f"{name} by this code", wrong), (f"{name}, right", right)):
                text = np.array2string(array, precision=3, suppress_small=True, floatmode="fixed", max_line_width=90)
                numbers += [f"#   {label}:", *(f"#     {row}" for row in text.splitlines())]
    shapes = ", ".join(f"{name} {x.shape}" for name, x in zip(drill.arrays, bug.call.inputs, strict=True))
    integers = [(name, x) for name, x in zip(drill.arrays, bug.call.inputs, strict=True) if x.dtype.kind in "iu"]
    shapes += "".join(f", {name} = {np.array2string(x)}" for name, x in integers)
    newline = "\n"
    return f'''"""Drill {bug.name}: find the wrong line.

One line of this {drill.backward.__name__} is wrong. Set `line` to its number, and `correction` to the line as it should be.

    python -m nanograd drill check {bug.name}     grade both
    python -m nanograd drill hint {bug.name}      a question, then hints
"""

{file_imports(drill)}

{inspect.getsource(drill.forward)}

{newline.join(code)}
#
# With {shapes} and a random dy:
{newline.join(numbers)}

line = 0  # the number of the wrong line
correction = ""  # the whole line as it should be; its indentation does not matter
'''


def bug_solution(bug: Bug) -> str:
    """Return the wrong line, what is wrong with it, and the right code."""
    line = bug.line
    return "\n".join([f"# Line {line} was: {bug.wrong[line - 1].strip()}", f"# {bug.mutant.wrong}", "", *bug.right, ""])


def grade_bug(bug: Bug, line: Any, correction: Any) -> Verdict:
    """Grade the number of the line, then the correction: with it the code must pass all stages of the drill."""
    if message := _wrong_line(bug, line):
        return Verdict(failed=FIND, message=message)
    found = Verdict(passed=[FIND], failed=CORRECT)
    if not isinstance(correction, str) or not correction.strip():
        return replace(found, message=f"line {line} it is. Now set `correction` to this line as it should be")
    wrong = bug.wrong[line - 1]
    indented = textwrap.indent(textwrap.dedent(correction).strip(), wrong[: len(wrong) - len(wrong.lstrip())])
    try:
        backward = bug.backward([*bug.wrong[: line - 1], indented, *bug.wrong[line:]])
    except SyntaxError as error:
        return replace(found, message=f"{type(error).__name__}: {error.msg}")
    if indented == wrong:
        return replace(found, message=f"this is line {line} as it stands")
    verdict = grade(replace(bug.drill, trains=False), backward)
    if verdict.ok:
        return Verdict(passed=[FIND, CORRECT], notes=[f"line {line}: {bug.mutant.wrong}"])
    message = f"with it, the stage “{verdict.failed}” fails: {verdict.message}"
    return replace(found, message=message, mistakes=verdict.mistakes)


def _wrong_line(bug: Bug, line: Any) -> str:
    """Say why `line` is not the number of the wrong line, or return nothing."""
    last = len(bug.wrong) - 1
    if isinstance(line, bool) or not isinstance(line, int) or not 1 <= line <= len(bug.wrong):
        return f"set `line` to a number from 2 to {last}, got {line!r}"
    if line == bug.line:
        return ""
    names = [name for name, (wrong, right) in bug.gradients.items() if not near(wrong, right)]
    is_wrong = f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} wrong"
    if line < bug.line:
        return f"line {line} is right, and so is all that it uses; {is_wrong} because of a line further down"
    return f"line {line} is right, though it may use a wrong value; {is_wrong} because of a line further up"


def _all_near(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return all(x is y or near(x, y) for x, y in zip(a, b, strict=True))
