"""The map: a GPT whose boxes lead to the pages of their ops, and a table of all ops."""

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from nanograd.check.cost import cost
from nanograd.inspect.player.html import clean, document, resource
from nanograd.op import OPS
from nanograd.study.headline import headline
from nanograd.study.markup import inline, rows
from nanograd.study.notation import parse, to_mathml
from nanograd.study.reasons import about, families
from nanograd.study.topics import TOPICS


def map_page() -> str:
    """Return the map, whose links lead to files called after their ops, in the same folder."""
    topics = ", ".join(f'<a href="{name}.html">{name}</a>' for name in TOPICS if name != "chain_rule")
    body = f"""<a class="skip" href="#ops">Skip the drawing</a>
<header>
<h1>Study a backward pass by hand</h1>
<p>Choose one of {len(OPS)} ops: its derivation, checked line by line; its numbers, mistakes and cost; and a drill for
your pencil. New to gradients of arrays? Begin with <a href="chain_rule.html">From one number to arrays</a>.
What is no op has a page too: {topics}.</p>
</header>
<main class="map">
<section class="card" aria-labelledby="block-h"><h2 id="block-h">A GPT</h2>
<p class="note">Forward runs down, backward up.</p>{drawing(_file)}</section>
<section class="card" id="ops" tabindex="-1" aria-labelledby="ops-h"><h2 id="ops-h">All {len(OPS)} ops</h2>
<p class="note">U sums a gradient over the axes along which broadcasting stretched its operand; the page of an op explains
its other letters.</p>
{table_of_ops(_file)}</section>
</main>"""
    return document("Study a backward pass by hand", body, style=resource(__package__, "study.css"))


def table_of_ops(link: Callable[[str], str]) -> str:
    """Return the table of all ops by family: equation and gradients."""
    parts = []
    for family, names in families().items():
        body = []
        for name in names:
            formula = headline(name)
            equation = to_mathml(formula) if formula else ""
            gradients = "<br>".join(to_mathml(parse(gradient)) for gradient in cost(OPS[name]).gradients)
            body.append([f'<a href="{clean(link(name))}"><code>{clean(name)}</code></a>', equation, gradients])
        parts.append(f'<h3 class="family">{inline(about(family))}</h3>')
        parts.append(rows(about(family), ["op", "forward", "backward"], body, "ops", titled=False))
    return "".join(parts)


def _file(name: str) -> str:
    return f"{name}.html"


class Row(NamedTuple):
    """One line of the drawing: boxes side by side, each an op and its role; or the start or end of a module."""

    kind: str  # ops, parts, open, close or plain
    boxes: tuple[tuple[str, str], ...] = ()
    text: str = ""
    fork: bool = False  # the residual stream bypasses this row and the next ones, up to a join
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
    _parts("getitem", "reshape", "transpose"),
    _parts("matmul", "mul", "masked_fill"),
    _parts("softmax", "dropout", "attention"),
    Row("close"),
    _op("linear", "out_proj"),
    _op("dropout", ""),
    _op("add", "to the residual", join=True),
    _op("layernorm", "(B, T, C)", fork=True),
    _op("linear", "up, to 4 C"),
    _op("gelu_tanh", "activation"),
    _op("linear", "down, to C"),
    _op("dropout", ""),
    _op("add", "to the residual", join=True),
    Row("close"),
    _op("layernorm", "the last"),
    Row("open", text="head and loss"),
    _op("linear_cross_entropy", "all of this, fused"),
    _parts("linear", "log_softmax", "cross_entropy"),
    Row("close"),
    Row("plain", text="loss"),
)
WIDTH, LEFT, BOX, LANE = 400, 52, 300, 30
MIDDLE = LEFT + BOX / 2
HEIGHT = {"open": 12, "close": 0, "plain": 22, "parts": 28, "ops": 32}
GAP = {"open": 14, "close": 20, "plain": 14, "parts": 6, "ops": 14}  # below a row


def drawing(link: Callable[[str], str]) -> str:
    """Return the SVG; link(op) is the address of an op's page."""
    *tops, height = accumulate((HEIGHT[row.kind] + GAP[row.kind] for row in ROWS), initial=14)  # where each row begins
    parts = [*_modules(tops), *_arrows(tops), *_streams(tops)]
    for row, y in zip(ROWS, tops, strict=True):
        if row.kind == "plain":
            parts.append(f'<text x="{MIDDLE:g}" y="{y + 16}" text-anchor="middle">{clean(row.text)}</text>')
        parts += _boxes(row, y, link)
    title = "A GPT from token ids to the loss; each box is a link to its op"
    return f'<svg class="block" viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{title}">{"".join(parts)}</svg>'


def _modules(tops: Sequence[int]) -> Iterator[str]:
    """Yield the frames around what lies between `open` and `close`, the outer before the inner."""
    frames, opened = [], []
    for i, row in enumerate(ROWS):
        if row.kind == "open":
            opened.append(i)
        elif row.kind == "close":
            frames.append((opened.pop(), i, len(opened)))
    for first, last, depth in sorted(frames):
        x = LEFT - 10 if depth else 4
        width = BOX + 20 if depth else WIDTH - 8
        top = tops[first]
        yield (
            f'<g class="module"><rect x="{x}" y="{top}" width="{width}" height="{tops[last] - top}" rx="8"/>'
            f'<text x="{x + 10}" y="{top + 15}">{clean(ROWS[first].text)}</text></g>'
        )


def _arrows(tops: Sequence[int]) -> Iterator[str]:
    """Yield the arrows from each row to the next, except inside a module that is drawn by its ops."""
    end = None
    for row, y in zip(ROWS, tops, strict=True):
        if row.kind in ("open", "close"):
            continue
        if end is not None and row.kind != "parts":
            yield f'<path class="line" d="M{MIDDLE:g} {end}V{y - 6}"/><path class="tip" d="M{MIDDLE:g} {y}l-4-7h8z"/>'
        end = y + HEIGHT[row.kind]


def _streams(tops: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the residual stream: from above a fork to the side of its join."""
    start = 0
    for row, y in zip(ROWS, tops, strict=True):
        if row.fork:
            start = y - 5
        if row.join:
            end = y + HEIGHT[row.kind] // 2
            line = f"M{MIDDLE:g} {start}H{LANE}q-8 0-8 8V{end - 8}q0 8 8 8H{LEFT}"
            yield f'<path class="line" d="{line}"/><path class="tip" d="M{LEFT} {end}l-8-4v8z"/>'


def _boxes(row: Row, y: int, link: Callable[[str], str]) -> Iterator[str]:
    space, count, height = 8, len(row.boxes), HEIGHT[row.kind]
    base = y + height // 2 + 4
    for i, (name, role) in enumerate(row.boxes):
        width = (BOX - space * (count - 1)) / count
        x = LEFT + i * (width + space)
        label = f'<text class="small name" x="{x + width / 2:g}" y="{base}" text-anchor="middle">{clean(name)}</text>'
        if row.kind == "ops":
            label = f'<text class="name" x="{x + 12:g}" y="{base}">{clean(name)}</text>'
            label += f'<text class="role" x="{x + width - 10:g}" y="{base}">{clean(role)}</text>' if role else ""
        box = f'<rect class="box" x="{x:g}" y="{y}" width="{width:g}" height="{height}" rx="6"/>'
        yield f'<a href="{clean(link(name))}"><g>{box}{label}</g></a>'
