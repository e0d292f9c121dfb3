"""The page of a backward: one section per step, with every number in a table, readable without scripts."""

import inspect
from collections.abc import Mapping
from os import PathLike

from nanograd._tensor import Tensor
from nanograd.inspect.player.drawing import Playback, drawings
from nanograd.inspect.player.html import HtmlPage, clean, document, number, resource, row
from nanograd.inspect.trace import Contribution, Summary, Target, Trace, leaf_names, reachable
from nanograd.op import observe
from nanograd.ops._equations import numbered_equations
from nanograd.ops._unbroadcast import broadcasts_to
from nanograd.tape import Node, backpropagate

CONTROLS = """<nav aria-label="Steps" class="controls" hidden>
<button type="button" data-go="first" aria-keyshortcuts="Home" title="Home">
<span aria-hidden="true">⇤</span> <span class="word">First</span></button>
<button type="button" data-go="back" aria-keyshortcuts="ArrowLeft" title="←">
<span aria-hidden="true">←</span> <span class="word">Back</span></button>
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
    title: str = "Backward, step by step",
    appendix: str = "",
) -> HtmlPage:
    """Return an HTML page that shows the backward of a traced loss step by step, and write it to `path` if one is given.

    A notebook shows the page if it is the last value of a cell. The page is one file that needs no network; the same
    computation gives the same bytes. `names` names leaves that no module names. appendix is HTML for the end of the page,
    such as html.heatmap returns. If backward has run already, inside the trace, the page shows that; else it is run
    here, without changing `.grad` or the tape.

    Raises ValueError if the loss is a leaf, or was not traced.

    >>> from nanograd.inspect.trace import trace
    >>> a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    >>> with trace():
    ...     loss = a * b
    >>> page = graph(loss, names={"a": a, "b": b})
    >>> "Step 1 of 2" in page
    True
    """
    if loss.node is None:
        raise ValueError("graph: the loss is a leaf; there is no backward to show")
    nodes = reachable(loss.node)
    if loss.node.parents is not None:
        with observe(Trace()):
            backpropagate([(loss.node, loss.cotangent())], lambda leaf, dx, owned: None, retain_graph=True)
    elif loss.node.record.backward is None:
        raise ValueError("graph: backward ran outside of the trace; run it inside, or graph the loss before it")
    leaves = leaf_names(nodes)
    leaves.update({leaf: name for name, leaf in (names or {}).items() if leaf in leaves})
    page = render(Playback(nodes, leaves), title, appendix)
    if path is not None:
        page.save(path)
    return page


def render(playback: Playback, title: str, appendix: str) -> HtmlPage:
    """Return the page as HTML."""
    loss = playback.nodes[-1].record.y
    summary = (
        f"{len(playback.nodes)} ops, {len(playback.leaves)} leaves that require grad, loss {number(loss.mean)}. "
        "Forward runs down, backward up. Keys: ← → Home End, and − + for detail."
    )
    graphs = "\n".join(drawings(playback))
    steps = "\n".join([_start(playback), *(_step(playback, node) for node in playback.steps), _end(playback)])
    body = f"""<a class="skip" href="#steps">Skip the drawing</a>
<header>
<h1>{clean(title)}</h1>
<p>{summary}</p>
<p id="status" role="status" aria-live="polite"></p>
</header>
{CONTROLS}
<main>
<div class="drawing" role="region" aria-label="Drawing of the computation" tabindex="0">
{graphs}
</div>
<div id="steps" tabindex="-1">
{steps}
</div>
</main>
{appendix}"""
    return document(title, body, style=resource(__package__, "tape.css"), script=resource(__package__, "tape.js"))


def array(name: str, a: Summary) -> str:
    """Return the table of an array: its corner and its range."""
    if not a.shape:
        return f'<p class="scalar"><b>{clean(name)}</b> <span class="of">()</span> = <code>{number(a.mean)}</code></p>'
    n_rows, n_columns = len(a.corner), len(a.corner[0]) if a.corner else 0  # of the corner
    corner = ""
    if a.corner and a.shape != (n_rows, n_columns)[-len(a.shape) :]:
        sizes = [f":{n_rows}", f":{n_columns}"][-len(a.shape) :]
        corner = f", the corner [{', '.join(['0'] * (len(a.shape) - 2) + sizes)}]"
    nonfinite = f" · {a.nonfinite} not finite" if a.nonfinite else ""
    more = '<td class="more">…</td>' if a.corner and a.shape[-1] > n_columns else ""
    head = "".join(f'<th scope="col">{j}</th>' for j in range(n_columns))
    body = "".join(row(i, "".join(f"<td>{number(v)}</td>" for v in line) + more) for i, line in enumerate(a.corner))
    extra = "<td></td>" if more else ""
    return (
        f'<div class="array"><table><caption>{clean(name)} <span class="of">{clean(str(a.shape))}{corner}</span></caption>'
        f"<thead><tr><td></td>{head}{extra}</tr></thead><tbody>{body}</tbody></table>"
        f'<p class="range">min {number(a.low)} · mean {number(a.mean)} · max {number(a.high)}{nonfinite}</p></div>'
    )


def rule(node: Node) -> str:
    """Return the numbered lines of an op's backward."""
    equations = numbered_equations(node.op.pair.backward)
    if not equations:
        return f"<p>The backward of {clean(node.op.name)} states no numbered line.</p>"
    items = "".join(f"<li><code>{clean(line)}</code> <span>({i})</span></li>" for i, line in equations.items())
    return f'<ul class="rule">{items}</ul>'


def broadcast_axes(node: Node, slot: int) -> list[int] | None:
    """Return the axes of the result that an input was broadcast over, so that its gradient is summed over them, or None."""
    shape, target = node.record.shapes[slot], node.record.y.shape
    if shape is None or shape == target or not broadcasts_to(shape, target):
        return None
    unbroadcasts = "U(" in (inspect.getdoc(node.op.pair.backward) or "")
    shared_row = node.record.inputs[slot] in ("weight", "bias") and shape == target[-1:]  # of linear, layernorm, …
    if not unbroadcasts and not shared_row:
        return None
    padded = (1,) * (len(target) - len(shape)) + shape
    return [i for i, (m, n) in enumerate(zip(padded, target, strict=True)) if m != n or i < len(target) - len(shape)]


def _section(playback: Playback, i: int, title: str, body: str, key: str = "") -> str:
    """Return the section of step i; title and body are HTML, and key is the attribute that names its op."""
    return (
        f'<section class="card step" id="step={i}"{key} aria-labelledby="h{i}">'
        f'<h2 id="h{i}">Step {i} of {len(playback.steps) + 1}: {title}</h2>{body}</section>'
    )


def _start(playback: Playback) -> str:
    """Return the loss and its gradient."""
    root = playback.nodes[-1].record
    body = "<p>The forward is done. The backward begins with ∂L/∂L.</p>"
    return _section(playback, 0, "the loss", body + array("loss", root.y) + array("∂L/∂L", root.backward.dy))


def _step(playback: Playback, node: Node) -> str:
    """Return the section of one op."""
    record = node.record
    shaped = zip(record.inputs, record.shapes, strict=False)
    inputs = ", ".join(f"{name} {'—' if shape is None else shape}" for name, shape in shaped)
    options = "".join(f", {name}={value!r}" for name, value in record.options.items())
    call = f"{node.op.name}({inputs}{options}) → {record.y.shape}"
    contributions = "".join(_contribution(playback, node, made) for made in record.backward.contributions)
    title = f"backward of <bdi>{clean(playback.name(node))}</bdi>"
    body = (
        f'<p class="call"><code>{clean(call)}</code></p>'
        f"<h3>Upstream gradient</h3>{array('dy', record.backward.dy)}<h3>Local rule</h3>{rule(node)}"
        f"<h3>Gradients of its inputs</h3>{contributions or '<p>Nothing.</p>'}"
    )
    return _section(playback, playback.step[node], title, body, f' data-key="{playback.keys[node]}"')


def _contribution(playback: Playback, node: Node, contribution: Contribution) -> str:
    """Return one contribution: its target, whether it is set or added, and the sum over axes of a broadcast."""
    target, name = node.record.parents[contribution.slot], node.record.inputs[contribution.slot]
    uses = len(playback.uses[target])
    how = "SET" if contribution.nth == 1 else "ADDED"
    count = f", contribution {contribution.nth} of {uses}" if uses > 1 else ""
    summed = broadcast_axes(node, contribution.slot)
    note = ""
    if summed is not None:
        axes = ("axis " if len(summed) == 1 else "axes ") + ", ".join(map(str, summed))
        note = (
            f'<p class="fold"><span aria-hidden="true">⤵</span> Summed: {clean(name)} was broadcast to '
            f"{node.record.y.shape}, so its gradient is summed over {axes} to {contribution.dx.shape}.</p>"
        )
    total = array(f"sum so far of {playback.name(target)}", contribution.total) if contribution.nth > 1 else ""
    return (
        f'<div class="contribution {how.lower()}" data-target="{playback.keys[target]}" data-how="{how}">'
        f'<h4><code>d{clean(name)}</code> → {_name(playback, target)} <span class="badge">{how}</span>{count}</h4>'
        f"{note}{array(f'd{name}', contribution.dx)}{total}</div>"
    )


def _end(playback: Playback) -> str:
    """Return the gradients of all leaves."""
    final: dict[Target, Contribution] = {}
    for node in playback.steps:
        for contribution in node.record.backward.contributions:
            final[node.record.parents[contribution.slot]] = contribution
    rows = "".join(
        f'<tr><th scope="row"><bdi>{clean(name)}</bdi></th><td>{clean(str(leaf.shape))}</td><td>{a.nth}</td>'
        f"<td>{number(a.total.low)}</td><td>{number(a.total.mean)}</td><td>{number(a.total.high)}</td></tr>"
        for leaf, name in playback.leaves.items()
        if (a := final.get(leaf))
    )
    body = (
        '<div class="wide" tabindex="0" role="region" aria-label="Gradients of the leaves"><table class="leaves">'
        "<caption>The gradients of the leaves</caption>"
        '<thead><tr><th scope="col">leaf</th><th scope="col">shape</th><th scope="col">contributions</th>'
        '<th scope="col">min</th><th scope="col">mean</th><th scope="col">max</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    return _section(playback, len(playback.steps) + 1, "all gradients are complete", body)


def _name(playback: Playback, target: Target) -> str:
    """Return a target's name, with a link to its section if it is an op."""
    name = f"<bdi>{clean(playback.name(target))}</bdi>"
    if isinstance(target, Tensor) or target not in playback.step:
        return name
    return f'<a href="#step={playback.step[target]}">{name}</a>'
