"""The frame of a study page: its header, contents and sections, its chapter of the guide, and the way to other pages."""

from collections.abc import Sequence, Set
from typing import NamedTuple

from nanograd.study.course import crumbs, following


class Section(NamedTuple):
    """One section of a page; title and body are HTML."""

    id: str
    title: str
    body: str


def framed(
    name: str,
    heading: str,
    lead: str,
    parts: Sequence[Section],
    *,
    linked: bool,
    alone: str = "",
    folded: Set[str] = frozenset(),
    chapter: int | None = None,
) -> str:
    """Return the body of the page `name`.

    heading and lead are HTML; linked: it stands beside the map, and its links lead to the pages before and after it;
    alone: what stands in their place if it is not. Sections with an id in `folded` are folded. chapter: of the
    guide, for a page that has no place in the course.
    """
    contents = "".join(f'<li><a href="#{part.id}">{part.title}</a></li>' for part in parts)
    links = crumbs(name) if linked else alone
    above = f'<p class="crumbs">{links}</p>\n' if links else ""
    return f"""<a class="skip" href="#main">Skip the contents</a>
<header>
{above}<h1>{heading}</h1>
{lead}
</header>
<div class="page">
<nav class="contents" aria-label="Contents"><ol>{contents}</ol></nav>
<main id="main" tabindex="-1">
{to_html(parts, folded)}
{following(name, linked=linked, chapter=chapter)}
</main>
</div>"""


def to_html(parts: Sequence[Section], folded: Set[str] = frozenset(), *, level: int = 2) -> str:
    """Return sections as HTML; of those with an id in `folded` only the title is seen, until it is chosen.

    level: of their headings.
    """
    return "\n".join(_section(part, part.id in folded, level) for part in parts)


def _section(part: Section, folded: bool, level: int) -> str:
    title = f'<h{level} id="{part.id}-h">{part.title}</h{level}>'
    head = f'aria-labelledby="{part.id}-h"'
    if folded:  # a link to what is inside opens it
        inside = f'<details><summary>{title}</summary><div id="{part.id}">{part.body}</div></details>'
        return f'<section class="card folded" {head}>{inside}</section>'
    return f'<section class="card" id="{part.id}" {head}>{title}{part.body}</section>'
