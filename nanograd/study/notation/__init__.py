"""The notation of the numbered lines. tree: what a formula is made of; parser: text to tree; plain, mathml: back;
names: what a side is called; code: NumPy.

Read them in this order; `code` writes an equation as the NumPy that pages show and checks evaluate.
"""

from nanograd.study.notation.mathml import to_mathml
from nanograd.study.notation.names import printed_name
from nanograd.study.notation.parser import parse
from nanograd.study.notation.plain import to_text
from nanograd.study.notation.tree import Formula

__all__ = ["Formula", "parse", "printed_name", "to_mathml", "to_text"]
