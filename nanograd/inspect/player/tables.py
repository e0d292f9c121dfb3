"""Arrays as tables of tinted cells, each written once: where an array is used again, the script shows a copy."""

import itertools
import math
from collections.abc import Callable

from nanograd.inspect.player.html import TINTS, clean, number, row
from nanograd.inspect.trace import COLUMNS, ROWS, Summary

CELLS = 4_000  # of all arrays of a page, up to which small arrays are shown whole: about 0.2 MB


def table(name: str, a: Summary, *, id: str = "", whole: bool = True) -> str:
    """Return the table of an array: all of it, or its corner and its range.

    id: of the table, by which the script copies it and knows what its cells are. whole=False: show only the corner of a
    small array too.
    """
    opening = f'<div class="array" id="{id}">' if id else '<div class="array">'
    if not a.rows:
        return f'{opening}<p><b>{clean(name)}</b> <span class="of">{a.shape}</span> is empty</p></div>'
    rows, columns = len(a.rows), len(a.rows[0])
    if not (whole and a.whole):
        rows, columns = min(rows, ROWS, *a.shape[-2:-1]), min(columns, COLUMNS)
    all_shown = rows * columns == math.prod(a.shape)
    sizes = [f":{rows}", f":{columns}"][-len(a.shape) :]
    corner = "" if all_shown else f", the corner [{', '.join(['0'] * (len(a.shape) - 2) + sizes)}]"
    size = max(abs(a.low), abs(a.high))
    entry, unit = number_format(size)
    unit = f" in units of {unit}" if unit else ""
    caption = f'<caption><b>{clean(name)}</b> <span class="of">{clean(str(a.shape))}{corner}{unit}</span></caption>'
    more = '<td class="more">…</td>' if a.shape and a.shape[-1] > columns else ""
    lines = ["".join(f"<td{_tint(v, size)}>{entry(v)}</td>" for v in line[:columns]) + more for line in a.rows[:rows]]
    if a.shape:
        head = "".join(f'<th scope="col">{j}</th>' for j in range(columns)) + ("<td></td>" if more else "")
        body = "".join(itertools.starmap(row, zip(_labels(a.shape), lines, strict=False)))
        inside = f"<thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody>"
    else:
        inside = f"<tbody><tr>{lines[0]}</tr></tbody>"
    nonfinite = f" · {a.nonfinite} not finite" if a.nonfinite else ""
    extent = f"min {number(a.low)} · mean {number(a.mean)} · max {number(a.high)}{nonfinite}"
    note = "" if all_shown else f'<p class="range">{extent}</p>'
    return f"{opening}<table>{caption}{inside}</table>{note}</div>"


def copy(id: str, name: str, a: Summary, link: str) -> str:
    """Return the place of a copy of a table; link is HTML that leads to the step where the array was computed."""
    name, shape = clean(name), clean(str(a.shape))
    return (
        f'<p class="array copy" data-copy="{id}"><b>{name}</b> <span class="of">{shape}</span> '
        f'<span class="from">{link}</span></p>'
    )


def _labels(shape: tuple[int, ...]) -> list[str]:
    """Return the label of every row: its index, without the axes of length 1 before the last two."""
    axes = [range(n) for i, n in enumerate(shape[:-1]) if n > 1 or i == len(shape) - 2]
    return [",".join(map(str, index)) for index in itertools.product(*axes)] if axes else ["0"]


def number_format(size: float) -> tuple[Callable[[float], str], str]:
    """Return how a table writes its entries, the largest of which has this size, and their unit, or "".

    All have as many decimals as give the largest three digits. Powers of ten go into the unit.
    """
    exponent = math.floor(math.log10(size)) if size else 0
    unit = exponent if not -2 <= exponent <= 3 else 0
    decimals = max(0, 2 - exponent + unit)

    def entry(value: float) -> str:
        if isinstance(value, (bool, int)) or not math.isfinite(value):
            return str(value).replace("inf", "∞")
        return f"{value / 10.0**unit:.{decimals}f}" if value else "0"

    return entry, f"1e{unit}" if unit else ""


def _tint(value: float, size: float) -> str:
    """Return the class of a cell: warm above 0, cold below, stronger for what is near the largest entry."""
    if isinstance(value, (bool, int)) or not math.isfinite(value) or not size:
        return ""
    tint = round(TINTS * abs(value) / size)
    return f' class="{"n" if value < 0 else "p"}{tint}"' if tint else ""
