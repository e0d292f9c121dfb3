"""The map: the course station by station, a GPT whose boxes lead to the pages of their ops, and a table of all ops."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from nanograd.inspect.player.html import HtmlPage, clean, document, resource
from nanograd.op import OPS
from nanograd.study.course import NUMBER, PARTS, STATIONS, Station
from nanograd.study.drills.command import Record
from nanograd.study.markup import code, inline
from nanograd.study.table_of_ops import family_tables


def map_page(progress: Mapping[str, Record] | None = None) -> HtmlPage:
    """Return the map, whose links lead to files called after their pages, in the same folder.

    progress: what the learner has done of each drill, by its name.
    """
    records = progress or {}
    families = "".join(
        f"<details><summary>{inline(title)}</summary>{table}</details>" for title, table in family_tables(_file)
    )
    body = f"""<a class="skip" href="#ops">Skip the course</a>
<main>
<div class="map">
<div>
<header>
<h1>Backward passes by hand: the course</h1>
<p>From the chain rule to a whole GPT, in the order in which it computes. At each station read the page, whose every line
is checked, then write the backward pass yourself: <code>python -m nanograd drill start mul</code> creates the file of the
drill <code>mul</code>, and <code>drill check mul</code> says what is wrong with it.</p>
{_start(records)}
</header>
{"".join(_part(title, stations, records) for title, stations in PARTS.items())}
</div>
<section class="card whole" aria-labelledby="block-h"><h2 id="block-h">A GPT</h2>{drawing(_file)}</section>
</div>
<section class="card" id="ops" tabindex="-1" aria-labelledby="ops-h"><h2 id="ops-h">All {len(OPS)} ops, by family</h2>
<p class="note">dx is the gradient of the loss with respect to x. U(…) sums a gradient over the axes along which
broadcasting stretched its operand. Under the gradients stand the lines that define their other letters.</p>
{families}</section>
</main>"""
    style = resource(__package__, "study.css") + resource(__package__, "map.css")
    return document("Backward passes by hand: the course", body, style=style, script=resource(__package__, "map.js"))


def _start(records: Mapping[str, Record]) -> str:
    """Return the link to the first station that is not done, and how far the learner is."""
    drills = [drill for station in STATIONS for drill in station.drills]
    solved = sum(is_solved(drill, records) for drill in drills)
    following = (
        next((s for s in STATIONS if s.drills and not is_done(s, records)), STATIONS[0]) if solved else STATIONS[0]
    )
    word = f"Go on with station {NUMBER[following.page]}" if solved else "Start here"
    return (
        f'<p><a class="start" href="{_file(following.page)}">{word}: {clean(following.page)} →</a></p>'
        f'<p class="note">{solved} of {len(drills)} drills solved when this page was written. '
        "<code>python -m nanograd study</code>, where your folder <code>drills</code> is, brings it up to date.</p>"
    )


def _part(title: str, stations: Sequence[Station], records: Mapping[str, Record]) -> str:
    items = "".join(_station(station, records) for station in stations)
    return f'<h2>{title}</h2><ol class="stations">{items}</ol>'


def _station(station: Station, records: Mapping[str, Record]) -> str:
    """Return one station: its page, what it answers, and its drills with what the learner has done of them."""
    page = clean(station.page)
    drills = " · ".join(f"drill {code(drill)}{_mark(drill, records)}" for drill in station.drills)
    practice = f'<p class="drills">{drills}</p>' if drills else ""
    done = ' class="done"' if is_done(station, records) else ""
    return (
        f'<li value="{NUMBER[station.page]}"{done}><p><a href="{_file(page)}"><code>{page}</code></a> '
        f'{clean(station.question)} <label hidden><input type="checkbox" data-read="{page}"> read</label></p>'
        f"{practice}</li>"
    )


def _mark(drill: str, records: Mapping[str, Record]) -> str:
    record = records.get(drill)
    if record is None:
        return ""
    return ' <b class="solved">✓ solved</b>' if record.solved else " not solved yet"


def is_solved(drill: str, records: Mapping[str, Record]) -> bool:
    """Tell whether the learner has solved a drill."""
    return drill in records and records[drill].solved


def is_done(station: Station, records: Mapping[str, Record]) -> bool:
    """Tell whether all drills of a station are solved; one without drills is never done, only read."""
    return bool(station.drills) and all(is_solved(drill, records) for drill in station.drills)


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
    _op("packed_attention", "all of this"),
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
    _op("linear_cross_entropy", "all of this"),
    _parts("linear", "log_softmax", "cross_entropy"),
    Row("close"),
    Row("plain", text="loss"),
)
WIDTH, LEFT, BOX, LANE = 400, 52, 300, 30
MIDDLE = LEFT + BOX / 2
HEIGHT = {"open": 12, "close": 0, "plain": 18, "parts": 22, "ops": 24}
GAP = {"open": 10, "close": 14, "plain": 12, "parts": 4, "ops": 11}  # below a row


def drawing(link: Callable[[str], str]) -> str:
    """Return the SVG; link(op) is the address of an op's page. Boxes of stations of the course have their numbers."""
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
            number = f"{NUMBER[name]}. " if name in NUMBER else ""
            label = f'<text class="name" x="{x + 12:g}" y="{base}">{number}{clean(name)}</text>'
            label += f'<text class="role" x="{x + width - 10:g}" y="{base}">{clean(role)}</text>' if role else ""
        box = f'<rect class="box" x="{x:g}" y="{y}" width="{width:g}" height="{height}" rx="6"/>'
        yield f'<a href="{clean(link(name))}"><g>{box}{label}</g></a>'
