"""A lesson: a page of questions, each answered by a formula and then by numbers; as HTML, or as text of 80 columns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nanograd.inspect.player.html import HtmlPage, clean, document, resource
from nanograd.study import frame
from nanograd.study.frame import framed
from nanograd.study.markup import inline, rows, table
from nanograd.study.notation import parse, to_mathml, to_text
from nanograd.study.text import WIDTH, fill, show


class Equation(NamedTuple):
    """A formula in the notation of the docstrings, in a line of its own; mark is its name: (*)."""

    text: str
    mark: str = ""


class Rows(NamedTuple):
    """A table of words and numbers; the first cell of a row is its header."""

    caption: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """An SVG. Text has none: a table beside it has its numbers."""

    svg: str


class Beside(NamedTuple):
    """A picture and its table, side by side where there is room."""

    picture: Picture
    rows: Rows


Arrays = dict[str, np.ndarray]  # by their captions
Block = str | Equation | Rows | Picture | Beside | Arrays  # a string is a paragraph


class Section(NamedTuple):
    """One step of the way: a question and its answer."""

    id: str
    title: str
    blocks: tuple[Block, ...]


class Lesson(NamedTuple):
    """A whole page: its name in the course, its title, what it is for, and its sections."""

    name: str
    title: str
    aim: str
    sections: Sequence[Section]

    def page(self, *, linked: bool = False) -> HtmlPage:
        """Return the page as HTML; linked: it stands beside the map and the pages of all ops."""
        lead = f"<p>{inline(self.aim)}</p>"
        body = framed(self.name, clean(self.title), lead, self.cards(), linked=linked)
        return document(self.title, body, style=resource(__package__, "study.css"))

    def cards(self) -> list[frame.Section]:
        """Return the sections as HTML."""
        return [
            frame.Section(part.id, f"{n}. {clean(part.title)}", "".join(map(_html_block, part.blocks)))
            for n, part in enumerate(self.sections, 1)
        ]

    def text(self) -> str:
        """Return the page as text of 80 columns, without its pictures."""
        parts = [self.title.upper(), fill(_unbroken(self.aim))]
        for n, part in enumerate(self.sections, 1):
            parts += [fill(f"{n}. {part.title}"), *filter(None, map(_text_block, part.blocks))]
        return "\n\n".join(parts) + "\n"


def _html_block(block: Block) -> str:
    match block:
        case str():
            return f"<p>{inline(block)}</p>"
        case Equation(text, mark):
            name = f'<span class="nth">{mark}</span>' if mark else ""
            return f'<div class="math big">{to_mathml(parse(text))} {name}</div>'
        case Rows(caption, head, body):
            return rows(caption, [inline(cell) for cell in head], [[inline(cell) for cell in line] for line in body])
        case Picture(svg):
            return svg
        case Beside(picture, body):
            return f'<div class="beside">{picture.svg}<div>{_html_block(body)}</div></div>'
    return f'<div class="flow">{"".join(table(name, a) for name, a in block.items())}</div>'


def _unbroken(text: str) -> str:
    """Return a paragraph without line ends."""
    return " ".join(text.split())


def _text_block(block: Block) -> str:
    match block:
        case str():
            return fill(_unbroken(block), "  ")
        case Equation(text, mark):
            return fill(f"{to_text(parse(text))}   {mark}".rstrip(), "      ")
        case Rows(caption, head, body):
            return _text_rows(caption, [head, *body])
        case Picture():
            return ""
        case Beside(_, body):
            return _text_block(body)
    return "\n".join(show(name, a) for name, a in block.items())


def _text_rows(caption: str, lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if sum(widths) + 2 * len(widths) > WIDTH - 4:
        pairs = [
            "; ".join(f"{h}: {cell}" if h else cell for h, cell in zip(lines[0], line, strict=True))
            for line in lines[1:]
        ]
        return "\n".join([fill(caption, "  "), *(fill(pair, "    ", "      ") for pair in pairs)])
    text = ["    " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([fill(caption, "  "), *text])
