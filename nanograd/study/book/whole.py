"""The document around the ops: title, contents, notation, page 0, the drawing of a GPT; solutions, helpers, sources."""

from importlib import import_module

from nanograd.inspect.player.html import HtmlPage, clean, document, resource
from nanograd.op import OPS
from nanograd.study.book.chapters import Place, chapter
from nanograd.study.course import NUMBER
from nanograd.study.course import PARTS as COURSE
from nanograd.study.frame import to_html
from nanograd.study.helpers import HELPERS, helper_source
from nanograd.study.map import drawing
from nanograd.study.markup import code, highlight, inline
from nanograd.study.notation import parse, to_mathml
from nanograd.study.reasons import families
from nanograd.study.sources import SOURCES
from nanograd.study.topics import chain_rule

TITLE = "Every backward pass, by hand"
GPT, FURTHER = "The ops of a GPT", "Further ops"
PARTS = {GPT: "gpt", FURTHER: "further"}  # and their ids
LICENCE = "MIT licence"
NOTATION = (  # a formula and what it means
    ("L", "the loss, the one number at the end of the calculation"),
    ("dx", "∂L/∂x, the gradient of the loss by x: an array of the shape of x, and one symbol; dy and dweight likewise"),
    ("∂y_j/∂x_i", "a local derivative: how entry j of y changes with entry i of x, all others held fixed"),
    ("dx_i = Σ_j dy_j ∂y_j/∂x_i", "the chain rule, quoted as (*)"),
    ("x_i, x_ti", "an entry of an array; i runs along the last axis, t along the one before it"),
    ("Σ_j a_j, Π_j a_j", "the sum and the product over all j; without a letter, over the axes that `axis` names"),
    ("1[i = j]", "1 where the condition holds, else 0"),
    ("⟨x⟩", "the mean, along the last axis where nothing else is said"),
    ("a ⊙ b", "the product entry by entry; where matrices occur, a b is their matrix product"),
    ("xᵀ", "the transposed matrix: rows and columns are exchanged"),
    ("U(dy)", "the sum over the axes along which broadcasting stretched an operand: `unbroadcast` in the code"),
    ("ln x", "the natural logarithm"),
)
LETTERS = """B is the batch, T the tokens of a sequence, C the features of a token, H the heads, D the size of a head, V the
vocabulary."""


def book(names: list[str] | None = None, seed: int = 0) -> HtmlPage:
    """Return one printable document: every op, or each of `names`, those of a GPT first and in its order."""
    parts = order(names)
    numbers = {name: n for n, name in enumerate((name for ops in parts.values() for name in ops), 1)}
    cited = [(source, [n for n in ops.split() if n in numbers]) for source, ops in SOURCES]
    cited = sorted((source, ops) for source, ops in cited if ops)
    chapters, solutions = {GPT: drawing(lambda name: f"#{name}" if name in numbers else "#contents"), FURTHER: ""}, ""
    for ops in parts.values():
        for name in ops:
            sources = [n for n, (_, about) in enumerate(cited, 1) if name in about]
            text, solution = chapter(name, Place(numbers[name], sources), seed)
            chapters[GPT if name in NUMBER else FURTHER] += text
            solutions += solution
    front = [
        _section("contents", "Contents", _contents(parts, numbers)),
        _section("notation", "Notation", _notation()),
        _section("page-0", chain_rule.TITLE, to_html(chain_rule.topic().cards(), level=3)),
    ]
    middle = [_section(PARTS[part], part, text) for part, text in chapters.items() if text]
    back = [
        _section("solutions", "Solutions", solutions) if solutions else "",
        _section("helpers", "Helper functions", _helpers()),
        _section("sources", "Sources", _sources(cited, numbers)),
    ]
    body = f"{_title(len(numbers))}<main>{''.join([*front, *middle, *back])}</main>"
    style = resource("nanograd.study", "study.css") + resource(__package__, "book.css") + _running_heads(numbers)
    return document(TITLE, body, style=style)


def order(names: list[str] | None = None) -> dict[str, list[str]]:
    """Return the parts of the book and their ops: those of the course in its order, the others by family."""
    parts = {part: [station.page for station in stations] for part, stations in COURSE.items()}
    for family, ops in families().items():
        parts[family.replace("_", " ").capitalize()] = [name for name in ops if name not in NUMBER]
    chosen = {
        part: [name for name in pages if name in OPS and (names is None or name in names)]
        for part, pages in parts.items()
    }
    return {part: ops for part, ops in chosen.items() if ops}


def _section(id: str, title: str, html: str) -> str:
    return f'<section class="matter" id="{id}" aria-labelledby="{id}-h"><h2 id="{id}-h">{clean(title)}</h2>{html}</section>'


def _title(count: int) -> str:
    version = import_module("nanograd").__version__  # late: the package itself is imported after all of its modules
    return (
        f'<header class="cover"><h1>{TITLE}</h1><p>The derivation of {count} operations in NumPy, every line checked by '
        f"another computation</p><p>nanograd {clean(version)} · {LICENCE}</p></header>"
    )


def _contents(parts: dict[str, list[str]], numbers: dict[str, int]) -> str:
    front = [("notation", "Notation"), ("page-0", chain_rule.TITLE)]
    back = [("solutions", "Solutions"), ("helpers", "Helper functions"), ("sources", "Sources")]
    lists = "".join(
        f'<h3>{clean(part)}</h3><ul class="toc">'
        + "".join(f'<li><a href="#{n}"><span class="section">{numbers[n]}</span> {code(n)}</a></li>' for n in ops)
        + "</ul>"
        for part, ops in parts.items()
    )
    return _links(front) + lists + _links(back)


def _links(links: list[tuple[str, str]]) -> str:
    return f'<ul class="toc">{"".join(f"<li><a href=#{id}>{clean(title)}</a></li>" for id, title in links)}</ul>'


def _notation() -> str:
    lines = "".join(f"<dt>{to_mathml(parse(text))}</dt><dd>{inline(meaning)}</dd>" for text, meaning in NOTATION)
    return (
        f'<dl class="symbols">{lines}</dl><p>{LETTERS} Shapes are written as in Python: (2, 4) has two rows of four.</p>'
        "<p>Every numbered line of a derivation is printed as a formula, with its reason, and as the NumPy that was run to "
        "check it. Behind ✓ stands what its value was compared with, and the largest difference, relative to the largest "
        "entry. The NumPy of an op runs from top to bottom once its inputs, its options, dy and the "
        '<a href="#helpers">helper functions</a> are defined.</p>'
    )


def _helpers() -> str:
    source = "\n\n".join(map(helper_source, HELPERS))
    return f'<div class="listing"><pre><code>{highlight(source)}</code></pre></div>'


def _sources(cited: list[tuple[str, list[str]]], numbers: dict[str, int]) -> str:
    items = "".join(
        f'<li id="source-{n}">{inline(source)}. For '
        + ", ".join(
            f'<a href="#{name}">{numbers[name]} {code(name)}</a>' for name in sorted(ops, key=numbers.__getitem__)
        )
        + ".</li>"
        for n, (source, ops) in enumerate(cited, 1)
    )
    return f'<ol class="sources">{items}</ol>'


def _running_heads(numbers: dict[str, int]) -> str:
    """Return the running heads: a page style for each part, and for each op of a GPT that has pages of its own."""
    heads = [(f"#{id}", f"part-{id}", part) for part, id in PARTS.items()]
    heads += [(f"#gpt .hard.of-{name}", f"of-{name}", f"{number}  {name}") for name, number in numbers.items()]
    return "".join(
        f'\n@page {page} {{ @top-right {{ content: "{text}"; }} }}\n@media print {{ {selector} {{ page: {page}; }} }}'
        for selector, page, text in heads
    )
