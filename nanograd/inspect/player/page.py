"""The page of a computation, forward and backward: one section per step, readable without scripts."""

import math
from collections.abc import Mapping, Sequence
from os import PathLike

from nanograd._tensor import Tensor
from nanograd.inspect.player.drawing import Playback, drawings
from nanograd.inspect.player.explanations import explanations
from nanograd.inspect.player.html import HtmlPage, clean, document, resource
from nanograd.inspect.player.steps import Steps, summary
from nanograd.inspect.player.tables import CELLS
from nanograd.inspect.trace import Trace, is_whole, leaf_names, reachable
from nanograd.op import observe
from nanograd.tape import Node, backpropagate

CONTROLS = """<nav aria-label="Steps" class="controls" hidden>
<button type="button" data-go="first" aria-keyshortcuts="Home" title="Home">
<span aria-hidden="true">⇤</span> <span class="word">First</span></button>
<button type="button" data-go="back" aria-keyshortcuts="ArrowLeft" title="←">
<span aria-hidden="true">←</span> <span class="word">Back</span></button>
<label class="scrubber"><span class="word">forward</span>
<input type="range" id="scrubber" min="1" value="1" aria-label="Step: forward, then backward">
<span class="word">backward</span></label>
<button type="button" data-go="next" aria-keyshortcuts="ArrowRight" title="→">
<span class="word">Next</span> <span aria-hidden="true">→</span></button>
<button type="button" data-go="last" aria-keyshortcuts="End" title="End">
<span class="word">Last</span> <span aria-hidden="true">⇥</span></button>
<span class="detail">
<button type="button" data-go="less" aria-keyshortcuts="-" title="−" aria-label="Close modules">−</button>
<span id="detail">detail</span>
<button type="button" data-go="more" aria-keyshortcuts="+" title="+" aria-label="Open modules">+</button>
</span>
</nav>"""


def graph(
    loss: Tensor,
    path: str | PathLike[str] | None = None,
    *,
    names: Mapping[str, Tensor] | None = None,
    title: str = "Forward and backward, step by step",
    heading: str = "",
    appendix: str = "",
    pages: str | None = None,
) -> HtmlPage:
    """Return an HTML page that plays the forward and the backward of a traced loss, and write it to `path` if one is given.

    A notebook shows the page if it is the last value of a cell. The page is one file that needs no network; the same
    computation gives the same bytes. If backward has run already, inside the trace, the page shows that; else it is run
    here, without changing `.grad` or the tape, and the page explains the entries of small arrays as `explain` does.

    names     of leaves that no module names
    heading   HTML that stays visible above the steps, such as the tokens of the example
    appendix  HTML for the end of the page, such as html.heatmap returns
    pages     the folder of the study pages as the page links to it ("study/"); None: name the command that writes them

    Raises ValueError if the loss is a leaf, or was not traced.

    >>> from nanograd.inspect.trace import trace
    >>> a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    >>> with trace():
    ...     loss = a * b
    >>> page = graph(loss, names={"a": a, "b": b})
    >>> "Step 1 of 3: forward of" in page
    True
    """
    if loss.node is None:
        raise ValueError("graph: the loss is a leaf; there is nothing to show")
    nodes = reachable(loss.node)
    if loss.node.parents is not None:
        with observe(Trace()):
            backpropagate([(loss.node, loss.cotangent())], lambda leaf, dx, owned: None, retain_graph=True)
    elif loss.node.record.backward is None:
        raise ValueError("graph: backward ran outside of the trace; run it inside, or graph the loss before it")
    leaves = leaf_names(nodes)
    leaves.update({leaf: name for name, leaf in (names or {}).items() if leaf in leaves})
    page = render(Playback(nodes, leaves), title, heading, appendix, pages)
    if path is not None:
        page.save(path)
    return page


def render(playback: Playback, title: str, heading: str, appendix: str, pages: str | None) -> HtmlPage:
    """Return the page as HTML."""
    whole = cells(playback) <= CELLS
    steps = Steps(playback, whole=whole, pages=pages)
    data, left_out = explanations(playback) if whole else ("", playback.backwards)
    graphs, sections = "\n".join(drawings(playback)), "\n".join(steps)
    block = f'<script type="application/json" id="local">{data}</script>' if data else ""
    body = f"""<a class="skip" href="#steps">Skip the drawing</a>
<div class="top">
<header>
<h1>{clean(title)}</h1>
{heading}
</header>
{CONTROLS}
</div>
<p id="status" role="status" aria-live="polite"></p>
<main>
<div class="drawing" role="region" aria-label="Drawing of the computation" tabindex="0">
{graphs}
</div>
<div id="steps" tabindex="-1">
{sections}
<aside class="card" id="explain" aria-label="Explanation of a number" hidden></aside>
<p class="note">{summary(playback)} <span class="scripted">Keys: ← → Home End, and − + for detail.
{_explained(playback, whole, left_out)}</span></p>
</div>
</main>
{appendix}
{steps.rules()}
{block}"""
    return document(title, body, style=resource(__package__, "tape.css"), script=resource(__package__, "tape.js"))


def cells(playback: Playback) -> int:
    """Return how many cells the tables of all small arrays have."""
    shapes = [leaf.shape for leaf in playback.leaves]
    shapes += [node.record.y.shape for node in playback.nodes]
    shapes += [a.value.shape for node in playback.backwards for a in node.record.saved if a.source is None]
    for made in playback.contributions.values():
        shapes += [contribution.dx.shape for _, contribution in made for _ in range(1 + (contribution.nth > 1))]
    return sum(math.prod(shape) for shape in shapes if is_whole(shape))


def _explained(playback: Playback, whole: bool, left_out: Sequence[Node]) -> str:
    """Say which numbers the page explains."""
    elsewhere = "<code>nanograd.explain(loss, p, index)</code> lists the terms of any entry"
    if not whole:
        return f"There are too many numbers to explain them here; {elsewhere}."
    if len(left_out) == len(playback.backwards):
        return f"Numbers are not explained here: the arrays are too large, or the tape was freed; {elsewhere}."
    how = "A click or Enter on a number shows the terms it is the sum of."
    if not left_out:
        return how
    names = ", ".join(clean(playback.name(node)) for node in left_out[:5]) + (", …" if len(left_out) > 5 else "")
    return f"{how} The terms through these ops are left out: {names}; {elsewhere}."
