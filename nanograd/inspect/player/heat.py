"""A matrix as a table whose cells are tinted by their size: every number is there to read."""

import math
from collections.abc import Sequence

import numpy as np

from nanograd.inspect.player.drawing import clean

TINTS = 4


def heatmap(
    caption: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], *, unit: float | None = None
) -> str:
    """Return the table of values (rows, columns), warm above 0 and cold below; NaN stands for a cell that is not used.

    Cells are whole numbers of a unit, which the caption says: a power of ten, chosen so that the largest has two digits.
    """
    top = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    unit = unit or 10.0 ** (math.floor(math.log10(top)) - 1)
    caption = f"{caption}, in units of {unit:g}"
    head = "".join(f'<th scope="col"><bdi>{clean(name)}</bdi></th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row"><bdi>{clean(name)}</bdi></th>{"".join(_cell(v, top, unit) for v in row)}</tr>'
        for name, row in zip(rows, values.tolist(), strict=True)
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{clean(caption)}"><table class="heat"><caption>'
        f"{clean(caption)}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: float, top: float, unit: float) -> str:
    if np.isnan(value):
        return '<td class="none">·</td>'
    tint = round(TINTS * abs(value) / top)
    kind = f' class="{"n" if value < 0 else "p"}{tint}"' if tint else ""
    return f"<td{kind}>{round(value / unit)}</td>"
