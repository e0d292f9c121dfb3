"""What the page of a topic is made of: prose, formulas, tables that a script can rewrite, controls, code and sources."""

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from nanograd.inspect.player.html import HtmlPage, clean, document, number, resource
from nanograd.study.frame import Section, framed
from nanograd.study.markup import code_of, inline, listing, location, rows
from nanograd.study.notation import parse, to_mathml, to_text
from nanograd.study.topics.chart import Chart, draw

COLUMNS = 80  # of text


class Prose(NamedTuple):
    """A paragraph. Braces hold the name of one of its values, which the script may change: `the norm is {norm}`."""

    text: str
    values: Mapping[str, float | str] = {}


class Formulas(NamedTuple):
    """Numbered formulas in the notation of the docstrings, each with the reason for it."""

    lines: Sequence[tuple[str, str]]


class Grid(NamedTuple):
    """A table of numbers that the script computes under its name, or reads under that name if it is editable."""

    name: str
    caption: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Any  # (rows, columns)
    editable: bool = False


class Control(NamedTuple):
    """An option that the reader changes, as a number or with a slider; `log`: the slider moves by powers of ten."""

    name: str
    label: str
    value: float
    least: float
    most: float
    log: bool = False
    whole: bool = False


class Controls(NamedTuple):
    """The options of a page."""

    title: str
    controls: Sequence[Control]


class Table(NamedTuple):
    """A table of words and numbers that do not change."""

    caption: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]


class Code(NamedTuple):
    """The source of functions, as it stands in their files; `bare`: without docstrings, which the page prints elsewhere."""

    functions: Sequence[Callable[..., Any]]
    bare: bool = False


class Sources(NamedTuple):
    """Papers and books, each with what it is the source of."""

    items: Sequence[str]


class Html(NamedTuple):
    """HTML of a page's own, and what the text says in its place."""

    html: str
    text: str


Block = Prose | Formulas | Grid | Controls | Table | Chart | Code | Sources | Html


@dataclass(frozen=True)
class Topic:
    """A page: its name, title and question, then sections of blocks; the script computes what changes."""

    name: str
    title: str
    question: str
    sections: Mapping[str, Sequence[Block]]
    script: str
    style: str = ""
    crumbs: str = ""
    chapter: int | None = None  # of the guide, for a page that has no place in the course

    def page(self, *, linked: bool = False) -> HtmlPage:
        """Return the page, one file without network; the same topic gives the same bytes."""
        count = [0]
        parts = [Section(_id(title), clean(title), _body(blocks, count)) for title, blocks in self.sections.items()]
        alone = self.crumbs or "One page of many: <code>python -m nanograd study</code> writes them all"
        lead = f'<p class="question">{inline(self.question)}</p>'
        body = framed(self.name, clean(self.title), lead, parts, linked=linked, alone=alone, chapter=self.chapter)
        style = resource("nanograd.study", "study.css") + resource(__package__, "topics.css") + self.style
        shared = resource("nanograd.study", "shared.js"), resource(__package__, "topics.js")
        script = "\n".join(['"use strict";', *shared, self.script])
        return document(self.title, body, style=style, script=script)

    def text(self) -> str:
        """Return the topic in 80 columns."""
        count = [0]
        lines = [self.title, "=" * len(self.title), "", *_wrap(self.question)]
        for title, blocks in self.sections.items():
            lines += ["", title, "-" * len(title)]
            for block in blocks:
                lines += ["", *to_lines(block, count)]
        return "\n".join(line.rstrip() for line in lines) + "\n"


def _body(blocks: Sequence[Block], count: list[int]) -> str:
    """Return the blocks of a section; tables that follow each other stand side by side, where there is room."""
    html = []
    for is_grid, group in groupby(blocks, lambda block: isinstance(block, Grid)):
        parts = "".join(to_html(block, count) for block in group)
        html.append(f'<div class="tables">{parts}</div>' if is_grid else parts)
    return "".join(html)


def to_html(block: Block, count: list[int]) -> str:
    """Return a block as HTML; `count` holds the number of the last formula."""
    match block:
        case Prose(text, values):
            return f"<p>{_filled(text, values)}</p>"
        case Formulas(lines):
            return f'<ol class="lines">{"".join(_formula(text, why, count) for text, why in lines)}</ol>'
        case Grid():
            return _grid(block)
        case Controls(title, controls):
            return (
                f'<fieldset class="controls"><legend>{clean(title)}</legend>{"".join(map(_control, controls))}'
                '<p class="live" hidden><button type="button" data-reset>Reset</button> '
                '<span role="status" class="problem"></span></p></fieldset>'
            )
        case Table(caption, head, body):
            return rows(caption, list(map(inline, head)), [list(map(inline, line)) for line in body], "measured")
        case Chart():
            return draw(block)
        case Code(functions, bare):
            return f'<div class="code">{"".join(listing(function, bare=bare) for function in functions)}</div>'
        case Sources(items):
            return f'<ul class="sources">{"".join(f"<li>{inline(item)}</li>" for item in items)}</ul>'
        case Html(html, _):
            return html


def _filled(text: str, values: Mapping[str, float | str]) -> str:
    """Return prose as HTML, with its values in place of their names in braces."""
    marks = {name: chr(0xE000 + i) for i, name in enumerate(values)}  # no name: `inline` would set a_b as code
    for name, mark in marks.items():
        text = text.replace(f"{{{name}}}", mark)
    html = inline(text)
    for name, mark in marks.items():
        html = html.replace(mark, f'<b data-out="{name}">{_show(values[name])}</b>')
    return html


def _formula(text: str, why: str, count: list[int]) -> str:
    count[0] += 1
    math = to_mathml(parse(text))
    return (
        f'<li><p class="lead">{inline(why)}</p><div class="math"><span class="nth">({count[0]})</span>{math}</div></li>'
    )


def _grid(grid: Grid) -> str:
    values = np.asarray(grid.values, float)
    head = "".join(f'<th scope="col">{inline(name)}</th>' for name in grid.columns)
    body = []
    for name, line in zip(grid.rows, values.tolist(), strict=True):
        cells = []
        for column, value in zip(grid.columns, line, strict=True):
            if grid.editable:
                label = clean(f"{grid.caption}: {name} {column}".replace("`", ""))
                cells.append(
                    f'<td><input type="number" step="any" required data-in="{grid.name}" value="{value:g}" '
                    f'aria-label="{label}"></td>'
                )
            else:
                cells.append(f'<td data-out="{grid.name}">{number(value)}</td>')
        body.append(f'<tr><th scope="row">{inline(name)}</th>{"".join(cells)}</tr>')
    kind = ' class="editable"' if grid.editable else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(grid.caption)}"><table{kind}>'
        f"<caption>{inline(grid.caption)}</caption><thead><tr><td></td>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _control(control: Control) -> str:
    name, label, value, least, most, log, whole = control
    low, high = (np.log10(least), np.log10(most)) if log else (least, most)
    at = np.log10(value) if log and value > 0 else value
    step = 1 if whole and not log else f"{(high - low) / 200:.6g}"
    kind = (" data-log" if log else "") + (" data-whole" if whole else "")
    return (
        f'<p class="control"><label for="in-{name}">{inline(label)}</label>'
        f'<input type="number" id="in-{name}" data-in="{name}" required min="{least:g}" max="{most:g}" '
        f'step="{1 if whole else "any"}" value="{value:g}"{kind}>'
        f'<input type="range" data-slides="{name}" min="{low:g}" max="{high:g}" step="{step}" value="{at:g}" '
        f'aria-label="{clean(label.replace("`", ""))}, slider" hidden></p>'
    )


def to_lines(block: Block, count: list[int]) -> list[str]:
    """Return a block as lines of text."""
    match block:
        case Prose(text, values):
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", unescape(_show(value)))
            return _wrap(text)
        case Formulas(lines):
            out = []
            for text, why in lines:
                count[0] += 1
                out += [*_wrap(why), f"    {to_text(parse(text)):<66} ({count[0]})"]
            return out
        case Grid(_, caption, names, columns, values, _):
            body = [[name, *map(number, line)] for name, line in zip(names, np.asarray(values, float), strict=True)]
            return [caption, *_columns([["", *columns], *body])]
        case Controls(title, controls):
            return [f"{title}:", *_wrap(", ".join(f"{c.label} = {c.value:g}" for c in controls))]
        case Table(caption, head, body):
            return [caption, *_columns([list(head), *map(list, body)])]
        case Chart():
            xs = np.linspace(0, len(next(iter(block.lines.values()))[0]) - 1, 7).round().astype(int)
            x = next(iter(block.lines.values()))[0]
            body = [[name, *(number(float(ys[i])) for i in xs)] for name, (_, ys) in block.lines.items()]
            return [block.title, *_columns([[block.x, *(number(float(x[i])) for i in xs)], *body])]
        case Code(functions, bare):
            out = []
            for function in functions:
                source = code_of(function) if bare else inspect.getsource(function)
                out += [location(function), "", *source.splitlines(), ""]
            return out
        case Sources(items):
            return [line for item in items for line in _wrap(f"- {item}")]
        case Html(_, text):
            return _wrap(text)


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()).replace("`", ""), COLUMNS)


def _columns(lines: list[list[str]]) -> list[str]:
    """Align cells: the first column to the left, the others to the right."""
    lines = [[cell.replace("`", "") for cell in line] for line in lines]
    widths = [max(len(line[j]) for line in lines) for j in range(len(lines[0]))]
    return [
        "  ".join(
            cell.rjust(width) if j else cell.ljust(width)
            for j, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _show(value: float | str) -> str:
    return clean(value) if isinstance(value, str) else number(float(value))


def _id(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower()).strip("-")
