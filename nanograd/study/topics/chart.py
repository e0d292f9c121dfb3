"""Curves over a common axis, drawn so that topics.js can draw them again from other numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nanograd.inspect.player.html import clean, number

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 280, 62, 16, 14, 42
ENDS = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10, 12)
TICKS = 5  # on the x axis, and on a linear y axis


class Chart(NamedTuple):
    """Curves by name, each (xs, ys). The y axis begins at 0, or has the decades from `low` to `high`."""

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    low: int | None = None  # powers of ten
    high: int | None = None
    dots: Sequence[str] = ()  # the names of curves that are drawn as separate dots


def draw(chart: Chart) -> str:
    """Return the figure: an SVG, and a legend that names each curve by its dashes, not by its colour alone."""
    log = chart.low is not None and chart.high is not None
    xs = [x for line, _ in chart.lines.values() for x in line]
    ys = [y for _, line in chart.lines.values() for y in line if math.isfinite(y)]
    left, right = min(0.0, *xs), max(xs)
    low, high = (chart.low, chart.high) if chart.low is not None and chart.high is not None else (0, round_up(max(ys)))
    scale = f' data-low="{chart.low}" data-high="{chart.high}"' if log else ""
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{clean(chart.title)}" '
        f'data-chart="{chart.name}"{scale}>'
    ]
    count = (high - low) // max(1, round((high - low) / 6)) + 1 if log else TICKS
    for i in range(int(count)):
        share = i / (count - 1)
        y = tenth(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share))
        value = low + (high - low) * share
        label = f"1e{round(value)}" if log else number(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:g}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 8}" y="{y + 4:g}"{"" if log else " data-y"}>{label}</text>')
    for i in range(TICKS):
        x = tenth(LEFT + (WIDTH - LEFT - RIGHT) * i / (TICKS - 1))
        anchor = " last" if i == TICKS - 1 else ""
        parts.append(
            f'<text class="tick x{anchor}" x="{x:g}" y="{HEIGHT - BOTTOM + 17}" data-x>'
            f"{number(left + (right - left) * i / (TICKS - 1))}</text>"
        )
    parts.append(f'<text class="tick x" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 6}">{clean(chart.x)}</text>')
    for i, (name, (x_values, y_values)) in enumerate(chart.lines.items()):
        points = []
        for x, y in zip(x_values, y_values, strict=True):
            if not math.isnan(y):
                across = (x - left) / ((right - left) or 1)
                down = 1 - _share(y, low, high, log)
                points.append(
                    (tenth(LEFT + (WIDTH - LEFT - RIGHT) * across), tenth(TOP + (HEIGHT - TOP - BOTTOM) * down))
                )
        dots = name in chart.dots
        path = (
            "".join(f"M{x:g} {y:g}h0" for x, y in points) if dots else "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        )
        kind = "dots" if dots else "curve-line"
        parts.append(f'<path class="{kind} line{i}" data-line="{clean(name)}" d="{path if points else "M0 0"}"/>')
    keys = "".join(_key(name, i, name in chart.dots) for i, name in enumerate(chart.lines))
    caption = f'<figcaption>{clean(chart.title)} <span class="of">{clean(chart.y)}</span></figcaption>'
    return f'<figure class="chart-figure">{caption}{"".join(parts)}</svg><ul class="keys">{keys}</ul></figure>'


def _key(name: str, i: int, is_dots: bool) -> str:
    """Return an entry of the legend: a piece of the curve, and its name."""
    kind, d = ("dots", "M20 5h0") if is_dots else ("curve-line", "M2 5H38")
    path = f'<path class="{kind} line{i}" d="{d}"/>'
    return f'<li><svg class="key" viewBox="0 0 40 10" aria-hidden="true">{path}</svg> {clean(name)}</li>'


def _share(y: float, low: float, high: float, log: bool) -> float:
    """Return how far up y is, 0 to 1; what is off the scale is at its edge."""
    if log:
        y = math.log10(y) if 0 < y < math.inf else (-math.inf if y <= 0 else math.inf)
    return min(max((y - low) / (high - low), 0.0), 1.0)


def round_up(largest: float) -> float:
    """Return the end of an axis: a number of one or two digits whose quarters are short."""
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(digits * power for digits in ENDS if digits * power >= largest * (1 - 1e-9))


def tenth(x: float) -> float:
    """Round to tenths, as Math.round does."""
    return math.floor(x * 10 + 0.5) / 10
