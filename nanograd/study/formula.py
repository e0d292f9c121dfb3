"""The formulas of the derivations: read once, written as plain text, LaTeX or MathML."""

from nanograd.study.notation.latex import to_latex
from nanograd.study.notation.mathml import to_mathml
from nanograd.study.notation.parser import parse
from nanograd.study.notation.plain import to_text
from nanograd.study.notation.tree import Formula

__all__ = ["Formula", "parse", "to_latex", "to_mathml", "to_text"]
