"""The page of an op, one file without network; and the book, every op one after the other in one document."""

from collections.abc import Sequence
from typing import NamedTuple

from nanograd.inspect.player.html import clean, document, resource
from nanograd.op import OPS
from nanograd.study import evidence, sections
from nanograd.study.map import drawing, table_of_ops
from nanograd.study.markup import inline
from nanograd.study.reasons import about, families
from nanograd.study.study_data import study_op
from nanograd.study.worked_example import run_example


class Section(NamedTuple):
    """One part of a page."""

    id: str
    title: str
    body: str


def page(name: str, shape: tuple[int, ...] | None = (2, 4), seed: int = 0, *, linked: bool = True) -> str:
    """Return the page of an op, with an example of this shape, the same to the byte for the same call.

    linked: it leads to the map and to its neighbours, which lie beside it; else it says how they are made.

    Raises ValueError where there is no such op, or it cannot take the shape.
    """
    parts = page_sections(name, shape, seed)
    contents = "".join(f'<li><a href="#{part.id}">{part.title}</a></li>' for part in parts)
    crumbs = (
        _crumbs(name) if linked else f"One of {len(OPS)} ops: <code>python -m nanograd study</code> writes them all"
    )
    body = f"""<a class="skip" href="#main">Skip the contents</a>
<header>
<p class="crumbs">{crumbs}</p>
<h1><code>{clean(name)}</code>, backward by hand</h1>
</header>
<div class="page">
<nav class="contents" aria-label="Contents"><ol>{contents}</ol></nav>
<main id="main" tabindex="-1">
{to_html(parts)}
</main>
</div>"""
    style = resource(__package__, "study.css")
    return document(f"{name}: backward by hand", body, style=style, script=resource(__package__, "study.js"))


def _crumbs(name: str) -> str:
    """Return the links to the map and to the ops before and after this one."""
    order = sorted(OPS)
    at = order.index(name)
    around = [f'<a href="map.html">Map of all {len(OPS)} ops</a>']
    around += [f'<a href="{each}.html" rel="prev">← {each}</a>' for each in order[max(at - 1, 0) : at]]
    around += [f'<a href="{each}.html" rel="next">{each} →</a>' for each in order[at + 1 : at + 2]]
    return " · ".join(around)


def page_sections(name: str, shape: tuple[int, ...] | None, seed: int, *, printed: bool = False) -> list[Section]:
    """Return the sections of an op; printed, as one of many in a book: with its name in every id, and without controls."""
    known = study_op(name, shape, seed)
    worked, place = known.worked, f"{name}-" if printed else ""
    return [
        Section(f"{place}{id}", title, text)
        for id, title, text in (
            ("forward", "Forward", sections.forward_section(known)),
            ("derivation", "Derivation", sections.derivation_section(known)),
            ("example", "Worked example", sections.example_section(known, printed=printed)),
            ("jacobian", "Jacobian and shortcut", evidence.jacobian_section(worked)),
            ("differences", "Finite differences", evidence.differences_section(worked)),
            ("mistakes", "Mistakes", evidence.mistakes_section(name, known.mistakes)),
            ("cost", "Cost, and what is saved", evidence.cost_section(worked)),
            ("code", "Code", evidence.code_section(worked)),
            (
                "paper",
                "Paper drill",
                sections.worksheet_section(run_example(name, shape, seed + 1), place, printed=printed),
            ),
        )
    ]


def to_html(parts: Sequence[Section], level: int = 2) -> str:
    """Return sections as HTML."""
    return "\n".join(
        f'<section class="card" id="{part.id}" aria-labelledby="{part.id}-h">'
        f'<h{level} id="{part.id}-h">{part.title}</h{level}>{part.body}</section>'
        for part in parts
    )


TITLE = "Every backward pass, by hand"


def book(names: list[str] | None = None, seed: int = 0) -> str:
    """Return the whole as one printable document: contents, the block of a GPT, and a chapter an op.

    names leaves the others out.
    """
    chosen = {family: [each for each in ops if names is None or each in names] for family, ops in families().items()}
    order = [name for ops in chosen.values() for name in ops]
    contents = "".join(
        f'<h3 class="family">{inline(about(family))}</h3><ul class="toc">{"".join(map(_entry, ops))}</ul>'
        for family, ops in chosen.items()
        if ops
    )

    def link(name: str) -> str:
        return f"#{name}" if name in order else "#contents"

    chapters = "\n".join(_chapter(name, seed) for name in order)
    body = f"""<header>
<h1>{TITLE}</h1>
<p>{len(order)} of {len(OPS)} ops. Every numbered line was put to numbers and held against its neighbour.</p>
</header>
<main>
<section class="card" id="contents" aria-labelledby="contents-h"><h2 id="contents-h">Contents</h2>{contents}</section>
<section class="card chapter" aria-labelledby="map-h"><h2 id="map-h">A GPT, and all ops</h2>
{drawing(link)}{table_of_ops(link)}</section>
{chapters}
</main>"""
    return document(TITLE, body, style=resource(__package__, "study.css"))


def _entry(name: str) -> str:
    return f'<li><a href="#{name}"><code>{name}</code></a></li>'


def _chapter(name: str, seed: int) -> str:
    parts = to_html(page_sections(name, None, seed, printed=True), level=3)
    title = f'<h2 id="{name}-h"><code>{name}</code></h2>'
    return f'<article class="chapter" id="{name}" aria-labelledby="{name}-h">{title}{parts}</article>'
