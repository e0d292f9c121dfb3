"""The derivation of an op, read from its docstrings: the numbered lines, and the prose around them."""

import difflib
import inspect
import re
from typing import NamedTuple

from nanograd.op import OPS
from nanograd.ops._equations import EQUATION
from nanograd.study.notation import Formula, parse, to_text
from nanograd.study.notation import tree as t

UPSTREAM = (
    "L is the loss, one number. dy is ∂L/∂y, the upstream gradient: it has the shape of y and says how much L changes "
    "with each entry of y."
)
CHAIN_RULE = "dx_i = Σ_j dy_j ∂y_j/∂x_i"  # which the docstrings quote as (*)
INDICATOR = re.compile(r"1\[(.*?)\]")
SEPARATOR = "\n\n"  # between the paragraphs of a lead


class Line(NamedTuple):
    """One numbered line; `text` + `tail` is what is printed.

    lead is the prose between the previous numbered line and this one, its paragraphs separated by a blank line; the lead
    of (1) leaves out the first sentence of the forward, which `summary` returns. formula is the tree of `text`, and
    tail the words after it: ", by (1)". `whole` is the tree of both.
    """

    number: int
    text: str
    lead: str
    backward: bool
    formula: Formula
    tail: str

    @property
    def indicator(self) -> str:
        """Say what the first 1[…] of the line or of the prose before it means; "" if there is none."""
        found = INDICATOR.search(f"{self.lead} {self.text}{self.tail}")
        return f"{found[0]} is 1 where {found[1]}, and 0 elsewhere." if found else ""

    @property
    def whole(self) -> Formula:
        """Return the tree of the whole printed line, with its tail."""
        return parse(self.text + self.tail)


class Prose(NamedTuple):
    """The prose after the last numbered line of the forward, and of the backward, without its check."""

    forward: str
    backward: str


def derivation(name: str) -> tuple[Line, ...]:
    """Return the numbered lines of an op: the forward's, then the backward's. Raises ValueError for an unknown op."""
    return (
        *read_lines(_docstring(name, False), backward=False)[0],
        *read_lines(_docstring(name, True), backward=True)[0],
    )


def summary(name: str) -> str:
    """Return the first line of the forward's docstring: what the op does."""
    return _docstring(name, False).splitlines()[0]


def remarks(name: str) -> Prose:
    """Return the prose after the numbered lines: about masks, kinks and errors."""
    forward, backward = (read_lines(_docstring(name, side), backward=side)[1] for side in (False, True))
    return Prose(forward, backward.partition("Check: ")[0].strip())


def check_sentence(name: str) -> str:
    """Return the sentence that begins with “Check:”, a property that a reader can verify by eye."""
    _, check, sentence = _docstring(name, True).partition("Check: ")
    return _paragraphs((check + sentence).splitlines())


def _docstring(name: str, backward: bool) -> str:
    if name not in OPS:
        near = difflib.get_close_matches(name, OPS, 1)
        hint = f"did you mean {near[0]}?" if near else f"ops are {', '.join(OPS)}"
        raise ValueError(f"there is no op {name}; {hint}")
    return inspect.getdoc(OPS[name].pair[backward]) or ""


def read_lines(docstring: str, backward: bool) -> tuple[list[Line], str]:
    """Return the numbered lines of a docstring, of a forward or a backward, and the prose after the last."""
    lines: list[Line] = []
    prose: list[str] = []
    for i, printed in enumerate(docstring.splitlines()):
        if found := EQUATION.match(printed):
            text, tail = _split(parse(found[1]))
            lines.append(Line(int(found[2]), text, _paragraphs(prose), backward, parse(text), tail))
            prose = []
        elif i or backward:
            prose.append(printed)
    return lines, _paragraphs(prose)


def _split(whole: Formula) -> tuple[str, str]:
    """Split a line before its first clause that begins with a word."""
    if isinstance(whole, t.List):
        for i, item in enumerate(whole.items[1:]):
            if _begins_with_a_word(item):
                text = to_text(whole)
                tail = whole.commas[i] + to_text(t.List(whole.items[i + 1 :], whole.commas[i + 1 :]))
                return text.removesuffix(tail), tail
    return to_text(whole), ""


def _begins_with_a_word(clause: Formula) -> bool:
    first = clause.operands[0] if isinstance(clause, t.Infix) else clause
    first = first.parts[0] if isinstance(first, t.Phrase) else first
    return isinstance(first, t.Words)


def _paragraphs(lines: list[str]) -> str:
    """Join lines to paragraphs; a blank line begins a new one."""
    return SEPARATOR.join(" ".join(part.split()) for part in "\n".join(lines).split(SEPARATOR) if part.strip())
