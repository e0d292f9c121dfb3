"""Figures as SVG: curves, bars, tables of tinted cells, and boxes with arrows. The same numbers give the same bytes."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from gpt.runs.curves import ticks

COLOURS = 6  # the curves of one figure can have
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222; }
.small { font-size: 11px; } .strong { font-weight: 600; } .code { font-family: ui-monospace, monospace; }
.axis, .arrow { stroke: #666; fill: none; } .head { fill: #666; stroke: none; } .grid { stroke: #ddd; fill: none; }
.box { fill: #f4f1ea; stroke: #888; } .box.soft { fill: none; stroke-dasharray: 4 3; }
.c0 { stroke: #2f6db3; fill: #2f6db3; } .c1 { stroke: #b04814; fill: #b04814; } .c2 { stroke: #2e7d4f; fill: #2e7d4f; }
.c3 { stroke: #8a4fa3; fill: #8a4fa3; } .c4 { stroke: #8a6d00; fill: #8a6d00; } .c5 { stroke: #555; fill: #555; }
.curve { fill: none; stroke-width: 2; } .label { stroke: none; } .dash { stroke-dasharray: 6 4; }
.warm { fill: #d1603d; } .cold { fill: #3d78d1; }
@media (prefers-color-scheme: dark) { text { fill: #e6e3dc; } .grid { stroke: #444; } .axis, .arrow { stroke: #aaa; }
.head { fill: #aaa; } .box { fill: #2b2a27; stroke: #999; } .c0 { stroke: #7fb2ee; fill: #7fb2ee; }
.c1 { stroke: #f0925f; fill: #f0925f; } .c2 { stroke: #7cc79a; fill: #7cc79a; } .c3 { stroke: #c89ae0; fill: #c89ae0; }
.c4 { stroke: #d9bb4a; fill: #d9bb4a; } .c5 { stroke: #bbb; fill: #bbb; } }
"""


def save(name: str, svg: str) -> None:
    """Write a figure to figures/NAME.svg of the current folder; a chapter's figures begin with its number: 05_masks."""
    Path("figures").mkdir(exist_ok=True)
    Path("figures", f"{name}.svg").write_text(svg, encoding="utf-8", newline="\n")


def svg(width: int, height: int, body: str, title: str) -> str:
    """Return a picture with this body; title is what it says to those who do not see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> str:
    """Return words at a point; anchor is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x: str = "step",
    y: str = "loss (nats)",
    *,
    log: bool = False,
    low: float | None = None,
    high: float | None = None,
    dots: bool = False,
) -> str:
    """Draw lines, each a name with its xs and ys, which are labelled at their ends; y in decades if log. NaN breaks a line.

    low and high limit the y axis; values beyond are drawn at the limit. Raises ValueError for more than six lines.
    """
    if not 1 <= len(lines) <= COLOURS:
        raise ValueError(f"curves: 1 to {COLOURS} lines fit one figure, got {len(lines)}")
    width, height, left, right, top, below = 640, 320, 56, 150, 14, 42
    xs = np.concatenate([np.asarray(a, float) for a, _ in lines.values()])
    ys = np.concatenate([np.asarray(b, float) for _, b in lines.values()])
    ys = ys[np.isfinite(ys) & (ys > 0 if log else True)]
    bottom, ceiling = float(ys.min()) if low is None else low, float(ys.max()) if high is None else high
    if log:
        bottom, ceiling = math.log10(bottom), math.log10(ceiling)
    ceiling = ceiling if ceiling > bottom else bottom + 1
    first, last = float(xs.min()), float(xs.max())
    last = last if last > first else first + 1

    def place(a: float, b: float) -> tuple[float, float]:
        b = math.log10(max(b, 1e-300)) if log else b
        share = (min(max(b, bottom), ceiling) - bottom) / (ceiling - bottom)
        return left + (a - first) / (last - first) * (width - left - right), height - below - share * (
            height - below - top
        )

    body = []
    for tick in ticks(bottom, ceiling, whole=log):
        at = place(first, 10**tick if log else tick)[1]
        body.append(f'<path class="grid" d="M{left} {at:.1f}H{width - right}"/>')
        body.append(text(left - 6, at + 4, f"{10**tick:g}" if log else f"{tick:g}", "small", "end"))
    for tick in ticks(first, last):
        at = place(tick, 10**bottom if log else bottom)[0]
        body.append(f'<path class="axis" d="M{at:.1f} {height - below}v4"/>')
        body.append(text(at, height - below + 18, f"{tick:g}", "small"))
    body.append(f'<path class="axis" d="M{left} {top + 8}V{height - below}H{width - right}"/>')
    body += [text((left + width - right) / 2, height - 8, x, "small"), text(left - 44, top + 2, y, "small", "start")]
    ends: list[tuple[float, int, str]] = []
    for i, (name, (a, b)) in enumerate(lines.items()):
        points = [(place(u, v) if np.isfinite(v) else None) for u, v in zip(a, b, strict=True)]
        path, pen = "", "M"
        for point in points:
            path += "" if point is None else f"{pen}{point[0]:.1f} {point[1]:.1f}"
            pen = "M" if point is None else "L"
        body.append(f'<path class="curve c{i}{" dash" if i % 2 else ""}" d="{path}"/>')
        if dots:
            body += [f'<circle class="c{i}" cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="3"/>' for p in points if p]
        ends.append(((next(p for p in reversed(points) if p))[1], i, name))
    at = -math.inf
    for y_end, i, name in sorted(ends):  # labels are moved apart
        at = max(y_end + 4, at + 15)
        body.append(text(width - right + 8, at, name, f"label c{i}", "start"))
    return svg(width, height, "\n".join(body), title)


def bars(values: Mapping[str, float], title: str, y: str = "", *, digits: int = 2) -> str:
    """Draw a bar for each name, with its value above it; from 0."""
    width, height, below, top = max(320, 20 + 56 * len(values)), 240, 36, 34
    largest = max(max(values.values()), 1e-12)
    wide = (width - 20) / len(values)
    body = [text(10, 16, y, "small", "start")]
    for i, (name, value) in enumerate(values.items()):
        tall = max(0.0, value) / largest * (height - below - top)
        x, at = 10 + i * wide, height - below - tall
        box = f'x="{x + wide * 0.15:.1f}" y="{at:.1f}" width="{wide * 0.7:.1f}" height="{tall:.1f}"'
        body.append(f'<rect class="c0" {box}/>')
        body.append(text(x + wide / 2, at - 5, f"{value:.{digits}f}", "small"))
        body.append(text(x + wide / 2, height - below + 18, name, "small code"))
    body.append(f'<path class="axis" d="M10 {height - below}H{width - 10}"/>')
    return svg(width, height, "\n".join(body), title)


def cells(
    values: Sequence[Sequence[float]] | np.ndarray,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    digits: int = 2,
    side: int = 46,
) -> str:
    """Draw a table of tinted cells, warm above 0 and cold below; NaN is an empty cell."""
    a = np.asarray(values, float)
    largest = float(np.nanmax(np.abs(a))) or 1.0
    left = 12 + 8 * max(map(len, rows), default=1)
    body = []
    for j, name in enumerate(columns):
        body.append(text(left + (j + 0.5) * side, 18, name, "small code"))
    for i, name in enumerate(rows):
        body.append(text(left - 6, 28 + (i + 0.5) * 30 + 4, name, "small code", "end"))
        for j, value in enumerate(a[i]):
            x, y = left + j * side, 28 + i * 30
            body.append(f'<rect class="box soft" x="{x}" y="{y}" width="{side}" height="30"/>')
            if np.isnan(value):
                continue
            share = abs(value) / largest
            kind = "warm" if value > 0 else "cold"
            body.append(
                f'<rect class="{kind}" opacity="{0.45 * share:.2f}" x="{x}" y="{y}" width="{side}" height="30"/>'
            )
            body.append(text(x + side / 2, y + 19, f"{value:.{digits}f}", "small"))
    return svg(left + side * len(columns) + 12, 40 + 30 * len(rows), "\n".join(body), title)


def diagram(
    boxes: Mapping[str, tuple[float, float, float, str]],
    arrows: Sequence[tuple[str, str] | tuple[str, str, str]],
    title: str,
    *,
    unit: int = 24,
) -> str:
    """Draw boxes with arrows between them. boxes: key → (x, y, width, words), in units of 24 pixels, each box 1.5 high.

    arrows: (from, to) or (from, to, words), by key; they leave and enter at the nearest sides. A box whose words begin
    with "~" is drawn without a frame.
    """
    tall = 1.5 * unit
    frame = {key: (x * unit + 8, y * unit + 8, w * unit) for key, (x, y, w, _) in boxes.items()}
    body = ['<defs><marker id="head" markerWidth="9" markerHeight="9" refX="7" refY="4" orient="auto">'
            '<path class="head" d="M0 0L8 4L0 8Z"/></marker></defs>']  # fmt: skip
    for arrow in arrows:
        (ax, ay, aw), (bx, by, bw) = frame[arrow[0]], frame[arrow[1]]
        if abs(ay - by) < tall:  # side by side
            x1, x2 = (ax + aw, bx) if ax < bx else (ax, bx + bw)
            y1, y2 = ay + tall / 2, by + tall / 2
        else:
            x1, x2 = ax + aw / 2, bx + bw / 2
            y1, y2 = (ay + tall, by) if ay < by else (ay, by + tall)
            shared = max(ax, bx), min(ax + aw, bx + bw)
            if shared[0] < shared[1]:  # one above the other: a vertical arrow
                x1 = x2 = min(max(x1 if aw < bw else x2, shared[0]), shared[1])
        body.append(f'<path class="arrow" marker-end="url(#head)" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')
        if len(arrow) > 2:
            body.append(text((x1 + x2) / 2 + 6, (y1 + y2) / 2 - 4, arrow[2], "small", "start"))
    for key, (_, _, _, words) in boxes.items():
        x, y, w = frame[key]
        if not words.startswith("~"):
            body.append(f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{tall:.1f}" rx="4"/>')
        body.append(text(x + w / 2, y + tall / 2 + 4, words.lstrip("~"), "small"))
    width = max(x + w for x, _, w in frame.values()) + 8
    height = max(y for _, y, _ in frame.values()) + tall + 8
    return svg(round(width), round(height), "\n".join(body), title)
