"""The backward of a norm as a picture: dx is dn without its parts along the vector of ones and along n, times r."""

from typing import NamedTuple

import numpy as np

from nanograd.inspect.player.html import number
from nanograd.study.markup import rows
from nanograd.study.study_data import StudyData

WIDTH, HEIGHT, MARGIN = 440, 280, 58
DEPTH = (-0.5, 0.42)  # where the axis that points at the reader is drawn
MOST = 16  # features of the table
SMALLEST = 1e-6  # of a length that has a direction

Point = tuple[float, float]


class Parts(NamedTuple):
    """dn of one token as a sum of perpendicular vectors; `ones` is 0 for rmsnorm, which subtracts no mean."""

    dn: np.ndarray
    ones: np.ndarray
    along_n: np.ndarray
    left: np.ndarray
    n: np.ndarray
    r: float

    @property
    def lengths(self) -> tuple[float, float, float]:
        """Return the coordinates of dn along the vector of ones, n and what is left."""
        ones = float(self.ones.sum()) / len(self.dn) ** 0.5
        return ones, float(self.dn @ self.n / np.linalg.norm(self.n)), float(np.linalg.norm(self.left))


def parts(study: StudyData) -> Parts | None:
    """Take dn of the first token apart; None if the op is no norm, or if a part has no direction."""
    if study.worked.op.name not in ("layernorm", "rmsnorm"):
        return None
    values = {name: np.asarray(value) for step in study.steps for name, value in step.values.items()}
    n, dn = (values[name].reshape(-1, values["n"].shape[-1])[0] for name in ("n", "dn"))
    ones = np.full_like(dn, dn.mean() if study.worked.op.name == "layernorm" else 0.0)
    if len(n) > MOST or np.linalg.norm(n) < SMALLEST:
        return None
    along_n = n * (dn @ n) / (n @ n)
    taken = Parts(dn, ones, along_n, dn - ones - along_n, n, float(values["r"].reshape(-1)[0]))
    return taken if np.linalg.norm(taken.left) > SMALLEST else None


def projection(study: StudyData) -> str:
    """Return the picture and the table of the parts, as HTML; nothing for an op that is no norm."""
    taken = parts(study)
    if taken is None:
        return ""
    mean = study.worked.op.name == "layernorm"
    directions = "the vector of ones and along n" if mean else "n"
    squares = " + ".join(number(length**2) for length in taken.lengths[0 if mean else 1 :])
    vectors = {
        "dn": taken.dn,
        **({"⟨dn⟩, along the ones": taken.ones} if mean else {}),
        "n ⟨dn n⟩, along n": taken.along_n,
        "what is left": taken.left,
        "dx = r · what is left": taken.r * taken.left,
    }
    head = ["part", *(f"feature {i}" for i in range(len(taken.dn))), "length"]
    body = [[name, *map(number, (*vector.tolist(), float(vector @ vector) ** 0.5))] for name, vector in vectors.items()]
    table = rows("The parts of dn, first token", head, body)
    return (
        f"<h3>In a picture</h3><p>The dn of the first token is an arrow in a space of {len(taken.dn)} features. Backward "
        f"takes away its part along {directions}, where moving x does not change y. The parts are perpendicular, so the "
        f"squares of their lengths add: {number(float(taken.dn @ taken.dn))} = {squares}. What is left, times r = "
        f"{number(taken.r)}, is dx.</p>"
        f'<div class="original"><div class="beside">{_draw(*taken.lengths, mean)}<div>{table}</div></div></div>'
    )


def _draw(ones: float, along_n: float, left: float, mean: bool) -> str:
    """Draw dn as a sum; with a mean in three dimensions, of which the third points at the reader."""
    tip, on_plane, rest, origin = (along_n, left, ones), (along_n, left, 0.0), (0.0, left, 0.0), (0.0, 0.0, 0.0)

    def flat(point: tuple[float, float, float]) -> Point:
        n, third, up = point
        return (n + DEPTH[0] * third, -up + DEPTH[1] * third) if mean else (n, -third)

    reach = 1.25 * max(abs(along_n), left / 2, 0.4 * max(abs(ones), left))
    axes = [((-reach, 0.0, 0.0), (reach, 0.0, 0.0))]
    if mean:
        axes.append(((0.0, 0.0, min(0.0, 1.2 * ones)), (0.0, 0.0, max(1.2 * ones, 0.8 * reach))))
    plane = [(-reach, 0.0, 0.0), (reach, 0.0, 0.0), (reach, 1.2 * left, 0.0), (-reach, 1.2 * left, 0.0)]
    corners = [flat(point) for point in (*plane, *(end for axis in axes for end in axis), tip, origin)]
    low = [min(corner[k] for corner in corners) for k in (0, 1)]
    high = [max(corner[k] for corner in corners) for k in (0, 1)]
    scale = min((WIDTH - 2 * MARGIN) / (high[0] - low[0]), (HEIGHT - 2 * MARGIN / 2) / (high[1] - low[1]))
    left_edge = (WIDTH - scale * (high[0] - low[0])) / 2

    def at(point: tuple[float, float, float]) -> Point:
        x, y = flat(point)
        return left_edge + scale * (x - low[0]), MARGIN / 2 + scale * (y - low[1])

    def path(kind: str, *points: tuple[float, float, float], closed: bool = False) -> str:
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in map(at, points))
        return f'<path class="{kind}" d="M{line}{"Z" if closed else ""}"/>'

    def name(
        kind: str, point: tuple[float, float, float], dx: float, dy: float, text: str, anchor: str = "start"
    ) -> str:
        x, y = at(point)
        return f'<text class="{kind}" x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{text}</text>'

    def middle(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float, float]:
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    along = f"along n: {number(along_n)}"
    side, other, step = ("start", "end", 8) if along_n > 0 else ("end", "start", -8)
    drawn = [path("ground", *plane, closed=True)] if mean else []
    drawn += [path("grid", *axis) for axis in axes]
    drawn += [path("forward line", tip, on_plane)] if mean else []
    drawn += [path("forward line", on_plane, rest), path("plot line", origin, tip), path("central line", origin, rest)]
    drawn += [_head("plot", at(origin), at(tip)), _head("central", at(origin), at(rest))]
    drawn.append(name("tick", axes[0][1], 4, 4, "n"))
    if mean:
        drawn.append(name("tick", axes[1][1], 6, 4, "ones"))
        drawn.append(name("forward name", middle(tip, on_plane), step, 4, f"ones: {number(ones)}", side))
    drawn.append(name("forward name", middle(on_plane, rest), 0, 16 if mean else -8, along, "middle"))
    drawn.append(name("plain name", tip, step, -4 if mean else 14, "dn", side))
    drawn.append(name("central name", middle(origin, rest), -step, 4, f"left: {number(left)}", other))
    label = "dn as the sum of perpendicular arrows; their lengths are in the table"
    return f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def _head(kind: str, start: Point, end: Point) -> str:
    """Draw the head of an arrow."""
    direction = np.array(end) - np.array(start)
    along = direction / (np.linalg.norm(direction) or 1)
    across = np.array([-along[1], along[0]])
    a, b = np.array(end) - 10 * along + 4 * across, np.array(end) - 10 * along - 4 * across
    corners = "L".join(f"{x:.1f} {y:.1f}" for x, y in (np.array(end), a, b))
    return f'<path class="{kind} tip" d="M{corners}Z"/>'
