"""The reference for print: every op, in the order of a GPT, on A4; `python -m nanograd study --book` writes it.

chapters: an op on paper, in half a page or in a few; whole: the document around them.
"""

from nanograd.study.book.whole import book

__all__ = ["book"]
