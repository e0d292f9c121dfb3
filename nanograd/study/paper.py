"""The paper drill: another example, whose gradient is to be worked out by hand and typed in."""

import numpy as np

from nanograd.inspect.player.html import clean
from nanograd.study.prose import code
from nanograd.study.tables import index, table
from nanograd.study.worked import Worked

CLOSE = 0.01  # an answer may be off by so much of the largest entry


def paper(worked: Worked, place: str, *, printed: bool = False) -> str:
    """Return what is given, a table of empty cells, and the solution; printed, without what needs a script.

    place makes the ids of this drill its own.
    """
    i = worked.wanted[0]
    name, right = f"d{worked.names[i]}", worked.gradients[i]
    given = "".join(table(each, a) for each, a in zip(worked.names, worked.arrays, strict=True) if a is not None)
    options = ", ".join(
        f"{key} = {value!r}" for key, value in worked.options.items() if not isinstance(value, np.ndarray)
    )
    said = f"<p>With {clean(options)}.</p>" if options else ""
    solution = f'<div class="flow">{table("y", worked.y)}{"".join(_gradients(worked))}</div>'
    if printed:
        answer = f"<h4>Solution</h4>{solution}"
    else:
        answer = f"<details><summary>Show the solution</summary>{solution}</details>"
    return (
        f"<p>Other numbers, the same op. Work out {code(name)} with a pencil, from {code('dy')} back through all lines"
        f"{'' if printed else '; type each entry, two digits are enough'}.</p>{said}"
        f'<div class="flow">{given}{table("dy", worked.dy)}</div>'
        f'<div class="paper" data-tolerance="{CLOSE * _largest(right):.6g}">{_empty(name, right, printed)}'
        + ("" if printed else _controls(place))
        + f"</div>{answer}"
    )


def _gradients(worked: Worked) -> list[str]:
    return [table(f"d{worked.names[i]}", worked.gradients[i]) for i in worked.wanted]


def _largest(a: np.ndarray) -> float:
    return float(np.abs(a).max(initial=0)) or 1.0


def _controls(place: str) -> str:
    return (
        f'<p class="grade" hidden><button type="button" data-grade>Check</button> '
        f'<span role="status" aria-live="polite" id="{clean(place)}-grade"></span></p>'
    )


def _empty(name: str, right: np.ndarray, printed: bool) -> str:
    """Return the table of an array with cells to write into."""
    cells = right.reshape(-1).tolist()

    def field(flat: int) -> str:
        label = clean(f"{name}{index(right.shape, flat)}")
        return f'<input aria-label="{label}" autocomplete="off" size="7" data-answer="{cells[flat]:.6g}"><span></span>'

    return table(name, right, cell=(lambda flat: "") if printed else field)
