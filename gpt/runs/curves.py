"""The records of a run as curves in SVG, without a library: for Jupyter, and for the page of a run."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from gpt.training import Record

WIDTH, HEIGHT, LEFT, RIGHT, BELOW = 640, 260, 58, 14, 40  # of the axes with their margins, in pixels
LINE, LETTER = 18, 6.6  # height of a line of the legend, and about the width of a letter
POINTS = 500  # of a curve: one with more shows means of neighbours
DOTS = 60  # points of a curve whose points are marked, at most
TRAINING, VALIDATION = "#0072B2", "#D55E00"
COLOURS = (TRAINING, VALIDATION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito's, for all eyes
DEPTH = ((90, 95, 192), (42, 120, 142), (34, 168, 132), (192, 160, 0))  # from the first block to the last
DASHES = ("6 3", "2 3", "9 3 2 3", "1 4")  # of layers that are no blocks
Points = Sequence[tuple[float, float]]


class Curve(NamedTuple):
    """A line through points (x, y), and how it is drawn."""

    name: str
    points: Points
    colour: str
    width: float = 1.5
    dash: str = ""
    dots: bool = False


def chart(
    curves: Iterable[Curve], *, title: str, x: str, y: str, log: bool = False, level: tuple[float, str] | None = None
) -> str:
    """Return a picture of curves with a legend above; x and y are the labels of the axes, with their units.

    log      y in powers of ten; values that are not above 0 are left out
    level    a y that a dashed line marks, and its name in the legend
    Long curves are thinned by `means`. Returns "" if there is no point.
    """
    curves = [c._replace(points=[p for p in means(c.points) if p[1] > 0 or not log]) for c in curves]
    curves = [c for c in curves if c.points]
    if not curves:
        return ""
    xs, ys = zip(*(p for c in curves for p in c.points), strict=True)
    ys = (*ys, level[0]) if level else ys
    first, last, low, high = min(xs), max(xs), min(ys), max(ys)
    last = last if last > first else first + 1
    if log:
        low, high = math.log10(low), math.log10(high)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    marked = [Curve(level[1], [(first, level[0]), (last, level[0])], "#888888", 1, "3 4")] if level else []
    entries, rows = legend([*curves, *marked]) if len(curves) + len(marked) > 1 else ([], 0)
    top = LINE * (rows + 1) + 12
    bottom = top + HEIGHT - BELOW

    def place(a: float, b: float) -> tuple[float, float]:
        b = math.log10(b) if log else b
        return LEFT + (a - first) / (last - first) * (WIDTH - LEFT - RIGHT), bottom - (b - low) / (high - low) * (
            bottom - top
        )

    body = [text(4, 14, y, "start"), *entries]
    for tick in log_ticks(low, high) if log else ticks(low, high):
        at = place(first, tick)[1]
        body.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#8884" fill="none"/>')
        body.append(text(LEFT - 6, at + 4, f"{tick:g}", "end"))
    for tick in ticks(first, last):
        at = place(tick, ys[0])[0]
        body.append(f'<path d="M{at:.1f} {bottom}v4" stroke="#888"/>' + text(at, bottom + 17, f"{tick:g}"))
    body.append(f'<path d="M{LEFT} {top}V{bottom}H{WIDTH - RIGHT}" stroke="#888" fill="none"/>')
    body.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 35, x))
    for c in [*marked, *curves]:
        points = [place(*p) for p in c.points]
        dash = f' stroke-dasharray="{c.dash}"' if c.dash else ""
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        body.append(f'<polyline points="{line}" stroke="{c.colour}" stroke-width="{c.width:g}" fill="none"{dash}/>')
        if len(points) <= (DOTS if c.dots else 1):
            body += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{c.colour}"/>' for a, b in points]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + BELOW}" width="{WIDTH}" '
        f'height="{bottom + BELOW}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor" role="img">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    """Return words at a point; anchor is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def legend(curves: Sequence[Curve]) -> tuple[list[str], int]:
    """Return a stroke and the name of each curve in lines below the first, and how many lines they take."""
    entries, x, row = [], 4.0, 1
    for c in curves:
        wide = 30 + LETTER * len(c.name) + 12
        if x > 4 and x + wide > WIDTH:
            x, row = 4.0, row + 1
        y = 14 + LINE * row
        dash = f' stroke-dasharray="{c.dash}"' if c.dash else ""
        entries.append(f'<path d="M{x:.1f} {y - 4}h22" stroke="{c.colour}" stroke-width="{c.width + 0.5:g}"{dash}/>')
        entries.append(text(x + 27, y, c.name, "start"))
        x += wide
    return entries, row


def means(points: Points) -> Points:
    """Return at most POINTS points: the last x and the mean y of neighbours."""
    n = -(-len(points) // POINTS) or 1
    groups = [points[i : i + n] for i in range(0, len(points), n)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return round numbers from low to high, about five; whole ones only, for powers of ten."""
    step = 10 ** math.floor(math.log10((high - low) / 4 or 1))
    step = next(step * m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 5)
    step = max(1, round(step)) if whole else step
    return [round(i * step, 12) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers from 10^low to 10^high: powers of ten, with 2 and 5 between few of them, else as `ticks`.

    >>> log_ticks(-3, 1), log_ticks(0, 0.8), log_ticks(0.32, 0.5)
    ([0.001, 0.01, 0.1, 1.0, 10.0], [1.0, 2.0, 5.0], [2.5, 3.0])
    """
    powers = ticks(low, high, whole=True)
    if len(powers) < 3:
        decades = range(math.floor(low), math.floor(high) + 1)
        between = [m * 10.0**k for k in decades for m in (1, 2, 5)]
        between = [v for v in between if low - 1e-9 <= math.log10(v) <= high + 1e-9]
        return between if len(between) > 2 else ticks(10**low, 10**high)
    return [float(f"1e{round(p)}") for p in powers]


def layer_curves(layers: Sequence[tuple[float, dict[str, float]]]) -> list[Curve]:
    """Return a curve for each layer of (x, numbers by layer): blocks coloured by depth, the other layers grey."""
    names = dict.fromkeys(name for _, numbers in layers for name in numbers)
    blocks = sorted((n for n in names if n.startswith("blocks.")), key=lambda name: int(name.split(".")[1]))
    others = [name for name in names if name not in blocks]
    dashes = {name: DASHES[i % len(DASHES)] for i, name in enumerate(others)}
    colours = {name: by_depth(i / max(1, len(blocks) - 1)) for i, name in enumerate(blocks)}
    return [
        Curve(
            name,
            [(x, numbers[name]) for x, numbers in layers if name in numbers],
            colours.get(name, "#808080"),
            dash=dashes.get(name, ""),
        )
        for name in [*others, *blocks]
    ]


def by_depth(share: float) -> str:
    """Return the colour of a block: 0 is the first, 1 the last.

    >>> by_depth(0), by_depth(1)
    ('#5a5fc0', '#c0a000')
    """
    at = share * (len(DEPTH) - 1)
    i = min(int(at), len(DEPTH) - 2)
    return "#" + "".join(f"{round(a + (at - i) * (b - a)):02x}" for a, b in zip(DEPTH[i], DEPTH[i + 1], strict=True))


class History(list[Record]):
    """The records of a training, in the order of their steps. Jupyter shows them as loss curves."""

    def __repr__(self) -> str:
        if not self:
            return "History: no step yet"
        text = f"History of {len(self)} steps: loss {self[-1].loss:.4f}"
        evaluated = [(r.val_loss, r.step) for r in self if r.val_loss is not None]
        return text + ("; best validation loss {:.4f}, at step {}".format(*min(evaluated)) if evaluated else "")

    def _repr_html_(self) -> str:
        """Return the curves of the training loss and the validation loss as an SVG picture."""
        training = Curve("training", [(r.step, r.loss) for r in self], TRAINING, 1)
        evaluated = [(r.step, r.val_loss) for r in self if r.val_loss is not None]
        curves = training, Curve("validation", evaluated, VALIDATION, 2, dots=True)
        return chart(curves, title=repr(self), x="step", y="loss (nats per token)") or f"<pre>{self!r}</pre>"
