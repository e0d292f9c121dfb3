"""Arrays as tables: every number in a cell of its own, with headers for rows and columns."""

from collections.abc import Callable
from typing import Any

import numpy as np

from nanograd.inspect.player.html import clean, number

CELLS = 96  # of one array that are shown


def table(
    name: str,
    a: np.ndarray,
    *,
    key: str = "",
    attributes: Callable[[int], str] = lambda flat: "",
    cell: Callable[[int], str] | None = None,
) -> str:
    """Return an array as a table, one for each matrix of a stack; of a large one the first rows of the first matrices.

    With a key, the script finds the cell of flat index i as the i-th of its tables; attributes(i) is what else that cell
    carries, and cell(i) what stands in it in place of the number.
    """
    a = np.asarray(a)
    if not a.size:
        return f'<div class="array"><p><b>{clean(name)}</b> <span class="of">{a.shape}</span> is empty</p></div>'
    stack = a.reshape((-1, *(a.shape[-2:] if a.ndim > 1 else (1, a.size))))
    columns = stack.shape[2]
    shown, height = max(1, CELLS // stack[0].size), max(1, CELLS // columns)
    parts = []
    for k, matrix in enumerate(stack[:shown, :height]):
        place = ", ".join(map(str, np.unravel_index(k, a.shape[:-2]))) if a.ndim > 2 else ""
        caption = f'{clean(name)}{f"[{place}]" if place else ""} <span class="of">{clean(str(a.shape))}</span>'
        start = matrix.size * k
        cells = [cell(start + i) if cell else entry(v) for i, v in enumerate(matrix.reshape(-1).tolist())]
        tags = [f"<td{attributes(start + i)}>{text}</td>" for i, text in enumerate(cells)]
        parts.append(_matrix(caption, tags, columns, key))
    rest = []
    if stack.shape[1] > height:
        rest.append(f"{stack.shape[1] - height} more rows")
    if len(stack) > shown:
        rest.append(f"{len(stack) - shown} more of {clean(str(stack.shape[1:]))}")
    more = f'<p class="range">… and {", ".join(rest)}</p>' if rest else ""
    stacked = f'<div class="stack">{"".join(parts)}</div>' if len(parts) > 1 else parts[0]
    return f'<div class="array">{stacked}{more}</div>'


def entry(value: Any) -> str:
    """Write one number as the pages do: ids whole, truth in words."""
    return str(value) if isinstance(value, (bool, int)) else number(value + 0.0)  # no -0


def error(value: float) -> str:
    """Write how far something is off: two digits, and powers of ten only where it is small."""
    if value == np.inf:
        return "not finite"
    return f"{value:.2g}" if value == 0 or value >= 1e-3 else f"{value:.1e}"


def index(shape: tuple[int, ...], flat: int) -> str:
    """Write the index of an entry: [0, 2]."""
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(flat, shape))}]" if shape else ""


def rows(caption: str, head: list[str], body: list[list[str]], kind: str = "", *, titled: bool = True) -> str:
    """Return a table of text, HTML as it is; the first cell of a row is its header. titled: the caption is seen."""
    seen = "" if titled else ' class="unseen"'
    columns = "".join(f'<th scope="col">{each}</th>' for each in head)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in body
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(caption)}"><table class="words {kind}">'
        f"<caption{seen}>{clean(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _matrix(caption: str, cells: list[str], columns: int, key: str) -> str:
    head = "".join(f'<th scope="col">{j}</th>' for j in range(columns))
    body = "".join(
        f'<tr><th scope="row">{i}</th>{"".join(cells[i * columns : (i + 1) * columns])}</tr>'
        for i in range(len(cells) // columns)
    )
    of = f' data-of="{clean(key)}"' if key else ""
    return (
        f"<table{of}><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
