"""The book: every op one after the other in one document, to be read on paper."""

from nanograd.inspect.player.html import document, resource
from nanograd.op import OPS
from nanograd.study.block import drawing
from nanograd.study.families import about, families
from nanograd.study.map import table
from nanograd.study.page import body_of, parts_of
from nanograd.study.prose import inline

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
{drawing(link)}{table(link)}</section>
{chapters}
</main>"""
    return document(TITLE, body, style=resource(__package__, "study.css"))


def _entry(name: str) -> str:
    return f'<li><a href="#{name}"><code>{name}</code></a></li>'


def _chapter(name: str, seed: int) -> str:
    parts = body_of(parts_of(name, None, seed, printed=True), level=3)
    title = f'<h2 id="{name}-h"><code>{name}</code></h2>'
    return f'<article class="chapter" id="{name}" aria-labelledby="{name}-h">{title}{parts}</article>'
