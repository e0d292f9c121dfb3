"""The page of an op: its backward, derived, checked, worked, broken and paid for; one file, without network."""

from collections.abc import Sequence
from typing import NamedTuple

from nanograd.inspect.player.html import clean, document, resource
from nanograd.op import OPS
from nanograd.study import evidence, sections
from nanograd.study.facts import facts
from nanograd.study.paper import paper
from nanograd.study.worked import work


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
    parts = parts_of(name, shape, seed)
    contents = "".join(f'<li><a href="#{part.id}">{part.title}</a></li>' for part in parts)
    crumbs = (
        _around(name) if linked else f"One of {len(OPS)} ops: <code>python -m nanograd study</code> writes them all"
    )
    body = f"""<a class="skip" href="#main">Skip the contents</a>
<header>
<p class="crumbs">{crumbs}</p>
<h1><code>{clean(name)}</code>, backward by hand</h1>
</header>
<div class="page">
<nav class="contents" aria-label="Contents"><ol>{contents}</ol></nav>
<main id="main" tabindex="-1">
{body_of(parts)}
</main>
</div>"""
    style = resource(__package__, "study.css")
    return document(f"{name}: backward by hand", body, style=style, script=resource(__package__, "study.js"))


def _around(name: str) -> str:
    """Return the links to the map and to the ops before and after this one."""
    order = sorted(OPS)
    at = order.index(name)
    around = [f'<a href="map.html">Map of all {len(OPS)} ops</a>']
    around += [f'<a href="{each}.html" rel="prev">← {each}</a>' for each in order[max(at - 1, 0) : at]]
    around += [f'<a href="{each}.html" rel="next">{each} →</a>' for each in order[at + 1 : at + 2]]
    return " · ".join(around)


def parts_of(name: str, shape: tuple[int, ...] | None, seed: int, *, printed: bool = False) -> list[Section]:
    """Return the sections of an op; printed, as one of many in a book: with its name in every id, and without controls."""
    known = facts(name, shape, seed)
    worked, place = known.worked, f"{name}-" if printed else ""
    return [
        Section(f"{place}{id}", title, text)
        for id, title, text in (
            ("forward", "Forward", sections.forward(known)),
            ("derivation", "Derivation", sections.the_derivation(known)),
            ("example", "Worked example", sections.example(known, printed=printed)),
            ("jacobian", "Jacobian and shortcut", evidence.jacobian(worked)),
            ("differences", "Finite differences", evidence.differences(worked)),
            ("mistakes", "Mistakes", evidence.the_mistakes(name, known.mistakes)),
            ("cost", "Cost, and what is saved", evidence.the_cost(worked)),
            ("code", "Code", evidence.the_code(worked)),
            ("paper", "Paper drill", paper(work(name, shape, seed + 1), place, printed=printed)),
        )
    ]


def body_of(parts: Sequence[Section], level: int = 2) -> str:
    """Return sections as HTML."""
    return "\n".join(
        f'<section class="card" id="{part.id}" aria-labelledby="{part.id}-h">'
        f'<h{level} id="{part.id}-h">{part.title}</h{level}>{part.body}</section>'
        for part in parts
    )
