"""The map: a block of a GPT whose boxes lead to the pages of their ops, and a table of all ops."""

from collections.abc import Callable
from typing import NamedTuple

from nanograd.cost import cost, equations
from nanograd.op import OPS
from nanograd.player.drawing import clean
from nanograd.player.shell import document, resource
from nanograd.study.families import about, families
from nanograd.study.formula import parse, to_mathml
from nanograd.study.prose import inline
from nanograd.study.tables import rows

Link = Callable[[str], str]


class Row(NamedTuple):
    """One line of the drawing: boxes side by side, each an op and what it does there; or the head or end of a module."""

    kind: str  # ops, parts, open, close or plain
    boxes: tuple[tuple[str, str], ...] = ()
    text: str = ""
    fork: bool = False  # the residual stream passes this row and what follows, up to a join
    join: bool = False


def _op(name: str, role: str, *, fork: bool = False, join: bool = False) -> Row:
    return Row("ops", ((name, role),), "", fork, join)


def _parts(*names: str) -> Row:
    return Row("parts", tuple((name, "") for name in names))


ROWS = (
    Row("plain", text="token ids (B, T)"),
    _op("embedding", "a row of the table"),
    _op("add", "positions, copied to B"),
    _op("dropout", ""),
    Row("open", text="one block, n_layers times"),
    _op("layernorm", "(B, T, C)", fork=True),
    _op("linear", "w_qkv: q, k, v"),
    Row("open", text="attention"),
    _op("packed_attention", "all of this, fused"),
    _parts("reshape", "transpose", "rope"),
    _parts("matmul", "mul", "masked_fill"),
    _parts("softmax", "dropout", "attention"),
    Row("close"),
    _op("linear", "out_proj"),
    _op("dropout", ""),
    _op("add", "to the stream", join=True),
    _op("layernorm", "(B, T, C)", fork=True),
    _op("linear", "up, to 4 C"),
    _op("gelu_tanh", "bends"),
    _op("linear", "down, to C"),
    _op("dropout", ""),
    _op("add", "to the stream", join=True),
    Row("close"),
    _op("layernorm", "the last"),
    Row("open", text="head and loss"),
    _op("linear_cross_entropy", "all of this, fused"),
    _parts("linear", "log_softmax", "cross_entropy"),
    Row("close"),
    Row("plain", text="loss"),
)
WIDTH, LEFT, BOX, HEIGHT, GAP, LANE = 400, 52, 300, 32, 14, 22
EXTRA = {"open": 12, "close": 6, "plain": 22, "parts": 28, "ops": HEIGHT}


def map_page() -> str:
    """Return the map, whose links lead to files called after their ops, in the same folder."""
    body = f"""<a class="skip" href="#ops">Skip the drawing</a>
<header>
<h1>Study a backward pass by hand</h1>
<p>A GPT is {len(set(_drawn()))} of these {len(OPS)} ops. Choose one: its derivation, checked line by line; its numbers,
mistakes and cost; and a drill for your pencil. Forward runs down, backward up.</p>
</header>
<main class="map">
<section class="card" aria-labelledby="block-h"><h2 id="block-h">A GPT</h2>{drawing(_file)}</section>
<section class="card" id="ops" tabindex="-1" aria-labelledby="ops-h"><h2 id="ops-h">All {len(OPS)} ops</h2>
{table(_file)}</section>
</main>"""
    return document("Study a backward pass by hand", body, style=resource(__package__, "study.css"))


def table(link: Link) -> str:
    """Return the table of all ops by family: equation and gradients."""
    parts = []
    for family, names in families().items():
        body = []
        for name in names:
            forward, row = equations(OPS[name].pair.forward), cost(OPS[name])
            equation = _math(forward[-1]) if forward else ""
            gradients = "<br>".join(_math(each) for each in row.gradients)
            body.append([f'<a href="{clean(link(name))}"><code>{clean(name)}</code></a>', equation, gradients])
        parts.append(f'<h3 class="family">{inline(about(family))}</h3>')
        parts.append(rows(about(family), ["op", "forward", "backward"], body, "ops", titled=False))
    return "".join(parts)


def drawing(link: Link) -> str:
    """Draw the block."""
    parts: list[str] = []
    y, opened, forks = GAP, [], []
    last: tuple[float, float] | None = None  # where the line from the row before begins
    middle = LEFT + BOX / 2
    for row in ROWS:
        if row.kind == "open":
            opened.append((y, row.text, len(parts)))
            y += EXTRA["open"] + GAP
            continue
        if row.kind == "close":
            top, text, at = opened.pop()
            y += EXTRA["close"]
            parts.insert(at, _module(top, y - GAP + 8, text, len(opened)))
            y += GAP
            continue
        height = EXTRA[row.kind]
        if last is not None and row.kind != "parts":
            parts.append(_arrow(middle, last[1], y))
        if row.fork:
            forks.append(y - 5)
        if row.join:
            start = forks.pop()
            parts.append(
                f'<path class="line" d="M{middle} {start:g}H{LANE + 8}q-8 0-8 8V{y + height / 2 - 8:g}q0 8 8 8H{LEFT}"/>'
                f'<path class="tip" d="M{LEFT} {y + height / 2:g}l-8-4v8z"/>'
            )
        if row.kind == "plain":
            parts.append(f'<text class="plain" x="{middle}" y="{y + 16}" text-anchor="middle">{clean(row.text)}</text>')
        else:
            parts += _boxes(row, y, height, link)
        last = (y, y + height)
        y += height + (GAP if row.kind != "parts" else 6)
    title = "A GPT from token ids to the loss; each box is a link to its op"
    return f'<svg class="block" viewBox="0 0 {WIDTH} {y}" role="group" aria-label="{title}">{"".join(parts)}</svg>'


def _boxes(row: Row, y: float, height: int, link: Link) -> list[str]:
    space = 8
    width = (BOX - space * (len(row.boxes) - 1)) / len(row.boxes)
    drawn = []
    for i, (name, role) in enumerate(row.boxes):
        x, base = LEFT + i * (width + space), y + height / 2 + 4
        size = "" if len(row.boxes) == 1 else ' font-size="11"'
        label = (
            f'<text class="name" x="{x + 12:g}" y="{base:g}">{clean(name)}</text>'
            f'<text class="role" x="{x + width - 10:g}" y="{base:g}">{clean(role)}</text>'
            if len(row.boxes) == 1
            else f'<text class="name"{size} x="{x + width / 2:g}" y="{base:g}" text-anchor="middle">{clean(name)}</text>'
        )
        box = f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6"/>'
        drawn.append(f'<a href="{clean(link(name))}"><g>{box}{label}</g></a>')
    return drawn


def _module(top: float, bottom: float, text: str, depth: int) -> str:
    inset = 4 + 4 * depth if depth == 0 else LEFT - 10
    return (
        f'<g class="module"><rect x="{inset:g}" y="{top:g}" width="{WIDTH - 2 * inset if depth == 0 else BOX + 20:g}" '
        f'height="{bottom - top:g}" rx="8"/><text x="{inset + 10:g}" y="{top + 15:g}">{clean(text)}</text></g>'
    )


def _arrow(x: float, start: float, end: float) -> str:
    return f'<path class="line" d="M{x} {start:g}V{end - 6:g}"/><path class="tip" d="M{x} {end:g}l-4-7h8z"/>'


def _math(text: str) -> str:
    return to_mathml(parse(text))


def _drawn() -> list[str]:
    return [name for row in ROWS for name, _ in row.boxes]


def _file(name: str) -> str:
    return f"{name}.html"
