"""Why each numbered line of an op holds, and the few things about an op that its printed lines do not say in symbols."""

from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

from nanograd.study.draw import Draw, Example


class Reason(NamedTuple):
    """The reason of one line, and what a check needs beyond the line's symbols.

    why: the reason of the step, one sentence.
    reference: an independent computation of the same value, as code. None where the line's name implies it: y and loss are
        compared with the op, dx and dxs with finite differences of the op and with its backward, dn with finite differences
        of the lines after n, and a local derivative ∂y/∂x with finite differences of y.
    also: further expressions that must equal the line.
    words: code of what the line says in words, with {} for the code of its symbols: `np.where(mask, {}, 0)`.
    code, name: the whole line as code, and the variables it defines, where a line in words cannot be translated.
    """

    why: str
    reference: str | None = None
    also: tuple[str, ...] = ()
    words: str = "{}"
    code: str | None = None
    name: str | None = None


class Reasons:
    """What one op adds to its docstrings.

    lines: the reason of each numbered line, in order; a string where no more is needed than a sentence.
    definitions: names that the prose between the lines defines, and their code, in the order in which they could run: one
        of an input or option, such as `bias` where it may be None, refers to the original by the same name, as those
        before it do.
    matrices: whether the lines multiply matrices; then arrays side by side are a matrix product, and ⊙ multiplies entries.
    numbers: names besides the options that hold a single number.
    example: draws the arrays and options of the worked example; None for normal numbers of one shape.
    """

    def __init__(
        self,
        *lines: str | Reason,
        definitions: Mapping[str, str] = {},
        matrices: bool = False,
        numbers: Set[str] = frozenset(),
        example: Callable[[Draw], Example] | None = None,
    ) -> None:
        self.lines = [Reason(line) if isinstance(line, str) else line for line in lines]
        self.definitions, self.matrices, self.numbers, self.example = definitions, matrices, numbers, example

    def line(self, number: int) -> Reason:
        """Return the reason of the line with this number, from 1 on."""
        return self.lines[number - 1]
