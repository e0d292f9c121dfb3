"""The page: a section a step, with every number in a table, so that it reads without script too."""

import inspect
from collections.abc import Mapping
from os import PathLike

from nanograd._tensor import Tensor
from nanograd.inspect.player.drawing import Played, drawings
from nanograd.inspect.player.html import clean, document, number, resource
from nanograd.inspect.trace import Arrival, Summary, Target, Trace, leaf_names, reachable
from nanograd.op import observe
from nanograd.ops._equations import numbered_equations
from nanograd.ops._unbroadcast import broadcasts_to
from nanograd.runtime.files import write_text
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
) -> str:
    """Return the page that plays the backward of a traced loss, and write it to `path` if given.

    The page is one file of HTML, without network, the same to the byte for the same computation. `names` names leaves
    that no module names. appendix is HTML put at its end as it is, such as `heat.heatmap` makes it. `.grad` and the tape
    stay as they are: where backward has run already, inside the trace, that is what is played.

    >>> from nanograd.inspect.trace import trace
    >>> a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
    >>> with trace():
    ...     loss = a * b
    >>> page = graph(loss, names={"a": a, "b": b})
    >>> "Step 1 of 2" in page
    True
    """
    if loss.node is None:
        raise ValueError("graph: the loss is a leaf; there is no backward to play")
    nodes = reachable(loss.node)
    if loss.node.parents is not None:
        with observe(Trace()):
            backpropagate([(loss.node, loss.cotangent())], lambda leaf, dx, owned: None, retain_graph=True)
    elif loss.node.record.visit is None:
        raise ValueError("graph: backward ran outside of the trace; run it inside, or graph the loss before it")
    leaves = leaf_names(nodes)
    leaves.update({leaf: name for name, leaf in (names or {}).items() if leaf in leaves})
    page = render(Played(nodes, leaves), title, appendix)
    if path is not None:
        write_text(path, page)
    return page


def render(played: Played, title: str, appendix: str) -> str:
    """Return the whole page."""
    loss = played.nodes[-1].record.y
    summary = (
        f"{len(played.nodes)} ops, {len(played.leaves)} leaves that require grad, loss {number(loss.mean)}. "
        "Forward runs down, backward up. Keys: ← → Home End, and − + for detail."
    )
    graphs = "\n".join(drawings(played))
    steps = "\n".join([_start(played), *(_step(played, node) for node in played.steps), _end(played)])
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
    """Return the table of an array: its corner, and its range."""
    if not a.shape:
        return f'<p class="scalar"><b>{clean(name)}</b> <span class="of">()</span> = <code>{number(a.mean)}</code></p>'
    rows = a.shape[-2] if len(a.shape) > 1 else 1
    columns = a.shape[-1]
    cut = rows > len(a.corner) or columns > len(a.corner[0] if a.corner else ()) or len(a.shape) > 2
    corner = ""
    if cut and a.corner:
        sizes = [f":{len(a.corner)}", f":{len(a.corner[0])}"][-len(a.shape) :]
        corner = f", the corner [{', '.join(['0'] * (len(a.shape) - 2) + sizes)}]"
    odd = f" · {a.odd} not finite" if a.odd else ""
    more = '<td class="more">…</td>' if a.corner and columns > len(a.corner[0]) else ""
    head = "".join(f'<th scope="col">{j}</th>' for j in range(len(a.corner[0]) if a.corner else 0))
    body = "".join(
        f'<tr><th scope="row">{i}</th>{"".join(f"<td>{number(v)}</td>" for v in row)}{more}</tr>'
        for i, row in enumerate(a.corner)
    )
    extra = "<td></td>" if more else ""
    return (
        f'<div class="array"><table><caption>{clean(name)} <span class="of">{clean(str(a.shape))}{corner}</span></caption>'
        f"<thead><tr><td></td>{head}{extra}</tr></thead><tbody>{body}</tbody></table>"
        f'<p class="range">min {number(a.low)} · mean {number(a.mean)} · max {number(a.high)}{odd}</p></div>'
    )


def rule(node: Node) -> str:
    """Return the numbered lines of an op's backward."""
    equations = numbered_equations(node.op.pair.backward)
    if not equations:
        return f"<p>The backward of {clean(node.op.name)} states no numbered line.</p>"
    items = "".join(f"<li><code>{clean(line)}</code> <span>({i})</span></li>" for i, line in equations.items())
    return f'<ul class="rule">{items}</ul>'


def folded_axes(node: Node, slot: int) -> list[int] | None:
    """Return the axes of the result along which an input was stretched, and its gradient is summed, or None."""
    shape, target = node.record.shapes[slot], node.record.y.shape
    if shape is None or shape == target or not broadcasts_to(shape, target):
        return None
    says_so = "U(" in (inspect.getdoc(node.op.pair.backward) or "")
    shared_row = node.record.inputs[slot] in ("weight", "bias") and shape == target[-1:]  # of linear, layernorm, …
    if not says_so and not shared_row:
        return None
    padded = (1,) * (len(target) - len(shape)) + shape
    return [i for i, (m, n) in enumerate(zip(padded, target, strict=True)) if m != n or i < len(target) - len(shape)]


def _start(played: Played) -> str:
    root = played.nodes[-1]
    value = array("loss", root.record.y)
    return (
        '<section class="card step" id="step=0" aria-labelledby="h0">'
        f'<h2 id="h0">Step 0 of {len(played.steps) + 1}: the loss</h2>'
        f"<p>Forward is done. Backward begins with the loss's gradient by itself.</p>{value}"
        f"{array('dL/dL', root.record.visit.dy)}</section>"
    )


def _step(played: Played, node: Node) -> str:
    """Return what happens when the walk passes an op."""
    record, i = node.record, played.step[node]
    inputs = ", ".join(
        f"{name} {'—' if shape is None else shape}" for name, shape in zip(record.inputs, record.shapes, strict=False)
    )
    options = "".join(f", {name}={value!r}" for name, value in record.options.items())
    call = f"{node.op.name}({inputs}{options}) → {record.y.shape}"
    sent = "".join(_arrival(played, node, arrival) for arrival in record.visit.arrivals)
    return (
        f'<section class="card step" id="step={i}" data-key="{played.keys[node]}" aria-labelledby="h{i}">'
        f'<h2 id="h{i}">Step {i} of {len(played.steps) + 1}: backward of <bdi>{clean(played.name(node))}</bdi></h2>'
        f'<p class="call"><code>{clean(call)}</code></p>'
        f"<h3>What arrives</h3>{array('dy', record.visit.dy)}<h3>Local rule</h3>{rule(node)}"
        f"<h3>What it sends</h3>{sent or '<p>Nothing.</p>'}</section>"
    )


def _arrival(played: Played, node: Node, arrival: Arrival) -> str:
    """Return one contribution: to what, set or added, and folded where it was broadcast."""
    target, name = node.record.parents[arrival.slot], node.record.inputs[arrival.slot]
    of = len(played.uses[target])
    how = "SET" if arrival.nth == 1 else "ADDED"
    count = f", arrival {arrival.nth} of {of}" if of > 1 else ""
    fold = folded_axes(node, arrival.slot)
    folded = ""
    if fold is not None:
        axes = ("axis " if len(fold) == 1 else "axes ") + ", ".join(map(str, fold))
        folded = (
            f'<p class="fold"><span aria-hidden="true">⤵</span> Folded: {clean(name)} was stretched to '
            f"{node.record.y.shape}, so {node.record.y.shape} is summed over {axes} to {arrival.dx.shape}.</p>"
        )
    total = array(f"sum so far of {played.name(target)}", arrival.total) if arrival.nth > 1 else ""
    return (
        f'<div class="arrival {how.lower()}" data-target="{played.keys[target]}" data-how="{how}">'
        f'<h4><code>d{clean(name)}</code> → {_name(played, target)} <span class="badge">{how}</span>{count}</h4>'
        f"{folded}{array(f'd{name}', arrival.dx)}{total}</div>"
    )


def _end(played: Played) -> str:
    """Return the gradients of all leaves."""
    final: dict[Target, Arrival] = {}
    for node in played.steps:
        for arrival in node.record.visit.arrivals:
            final[node.record.parents[arrival.slot]] = arrival
    rows = "".join(
        f'<tr><th scope="row"><bdi>{clean(name)}</bdi></th><td>{clean(str(leaf.shape))}</td><td>{a.nth}</td>'
        f"<td>{number(a.total.low)}</td><td>{number(a.total.mean)}</td><td>{number(a.total.high)}</td></tr>"
        for leaf, name in played.leaves.items()
        if (a := final.get(leaf))
    )
    i = len(played.steps) + 1
    return (
        f'<section class="card step" id="step={i}" aria-labelledby="h{i}">'
        f'<h2 id="h{i}">Step {i} of {i}: every gradient is there</h2>'
        '<div class="wide" tabindex="0" role="region" aria-label="Gradients of the leaves"><table class="leaves">'
        "<caption>The gradients of the leaves</caption>"
        '<thead><tr><th scope="col">leaf</th><th scope="col">shape</th><th scope="col">arrivals</th>'
        '<th scope="col">min</th><th scope="col">mean</th><th scope="col">max</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _name(played: Played, target: Target) -> str:
    """Return a target's name, with a link to its step if it is an op."""
    name = f"<bdi>{clean(played.name(target))}</bdi>"
    if isinstance(target, Tensor) or target not in played.step:
        return name
    return f'<a href="#step={played.step[target]}">{name}</a>'
