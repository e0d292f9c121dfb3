"""The SVG of a computation: ops in the order they ran, nested in their modules down to a level of detail.

Forward runs down, backward up. An edge that skips rows runs in a lane on the left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import NamedTuple

from nanograd._tensor import Tensor
from nanograd.inspect.player.html import clean
from nanograd.inspect.trace import Target
from nanograd.tape import Leaf, Node

HEIGHT = {"op": 30, "closed": 38, "open": 24, "leaf": 22}
GAP, LANE, WIDTH, INDENT, SPINE = 8, 11, 292, 34, 17
LETTERS = 40  # that a row holds, label and shape together


class Played:
    """A traced computation whose backward has run: its ops, its leaves by name, and the steps of its backward."""

    def __init__(self, nodes: Sequence[Node], leaves: dict[Leaf, str]) -> None:
        self.nodes = nodes  # oldest first
        self.leaves = leaves
        self.steps = [node for node in reversed(nodes) if node.record.visit]
        self.step = {node: i for i, node in enumerate(self.steps, start=1)}
        self.keys: dict[Target, str] = {node: f"n{i}" for i, node in enumerate(nodes)}
        self.keys |= {leaf: f"l{i}" for i, leaf in enumerate(leaves)}
        self.uses: dict[Target, list[Node]] = {}
        for node in nodes:
            for parent in node.record.parents:
                if parent is not None:
                    self.uses.setdefault(parent, []).append(node)

    def name(self, target: Target) -> str:
        """Name a leaf, or an op by its number and its module."""
        if isinstance(target, Node):
            return " ".join((target.op.name, self.keys[target][1:], ".".join(target.record.scope[1:]))).rstrip()
        return self.leaves[target]


class Module(NamedTuple):
    """A module that ran, and what ran in it."""

    name: str
    inside: "list[Module | Node]"

    def nodes(self) -> list[Node]:
        return [node for part in self.inside for node in (part.nodes() if isinstance(part, Module) else [part])]


@dataclass
class Row:
    """One line of the drawing: an op, a closed module, the head of an open one, or a leaf."""

    kind: str  # op, closed, open or leaf
    label: str
    detail: str
    targets: list[Target]  # what it stands for
    depth: int
    rows: int = 0  # of an open module: how many rows follow inside it


def nest(nodes: Sequence[Node], depth: int = 0) -> list[Module | Node]:
    """Group ops that ran one after the other in the same module, from the scope's entry `depth` on."""
    parts: list[Module | Node] = []
    for name, run in groupby(nodes, key=lambda node: (node.record.scope[depth : depth + 1] or (None,))[0]):
        if name is None:
            parts += run
        else:
            parts.append(Module(name, nest(list(run), depth + 1)))
    return parts


def depth_of(parts: Sequence[Module | Node]) -> int:
    """Return how deeply modules that hold more than one op are nested."""
    return max((1 + depth_of(p.inside) for p in parts if isinstance(p, Module) and len(p.nodes()) > 1), default=0)


def layout(played: Played, level: int) -> list[Row]:
    """List the rows from top to bottom, with modules open down to `level`."""
    rows = list(_rows(played, nest(played.nodes), level, 0))
    row_of = {target: i for i, row in enumerate(rows) for target in row.targets}
    shown: list[Row] = []
    placed: set[Target] = set()
    opened: list[Row] = []  # modules that are open here, and end when their rows are used up
    left: list[int] = []
    for row in rows:
        leaves = []
        for parent in (parent for node in row.targets for parent in node.record.parents):  # type: ignore[union-attr]
            if isinstance(parent, Tensor) and parent not in placed:
                placed.add(parent)
                if row.kind == "op" or len({row_of[use] for use in played.uses[parent]}) > 1:
                    scope = row.targets[0].record.scope[1 : row.depth]  # type: ignore[union-attr]
                    leaves.append(_leaf(played, parent, ".".join((*scope, "")), row.depth))
        for module in opened:
            module.rows += len(leaves)
        shown += [*leaves, row]
        left = [n - 1 for n in left]
        while left and left[-1] == 0:
            left.pop()
            opened.pop()
        if row.kind == "open":
            opened.append(row)
            left.append(row.rows)
    return shown


def _rows(played: Played, parts: Sequence[Module | Node], level: int, depth: int) -> Iterator[Row]:
    """Yield the rows of ops and modules, without leaves."""
    for part in parts:
        if isinstance(part, Node):
            yield _op(part, "", depth)
            continue
        nodes = part.nodes()
        if len(nodes) == 1:  # a module of one op is one row
            yield _op(nodes[0], part.name, depth)
        elif depth >= level:
            yield Row("closed", part.name, f"{len(nodes)} ops → {_shape(nodes[-1])}", list(nodes), depth)
        else:
            inside = list(_rows(played, part.inside, level, depth + 1))
            yield Row("open", part.name, "", [], depth, len(inside))
            yield from inside


def _op(node: Node, module: str, depth: int) -> Row:
    return Row("op", f"{node.op.name} {module}".rstrip(), _shape(node), [node], depth)


def _leaf(played: Played, leaf: Tensor, module: str, depth: int) -> Row:
    return Row("leaf", played.leaves[leaf].removeprefix(module), str(leaf.shape).replace(" ", ""), [leaf], depth)


def _shape(node: Node) -> str:
    return str(node.record.y.shape).replace(" ", "")


class Edge(NamedTuple):
    """From what one row makes to a row that uses it."""

    start: int
    end: int
    users: tuple[str, ...]  # keys of the ops that use it
    made: tuple[str, ...]  # keys of what they use


def drawings(played: Played) -> list[str]:
    """Draw the computation at every level of detail that shows more than one row, the coarsest first."""
    parts = nest(played.nodes)
    levels = [layout(played, level) for level in range(depth_of(parts) + 1)]
    useful = [rows for rows in levels if len(rows) > 1] or levels[-1:]
    return [draw(played, rows, shown=rows is useful[-1]) for rows in useful]


def edges(played: Played, rows: Sequence[Row]) -> list[Edge]:
    """List which row uses what which other row makes."""
    row_of = {target: i for i, row in enumerate(rows) for target in row.targets}
    found: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for node in played.nodes:
        for parent in node.record.parents:
            if parent is not None and row_of.get(parent, row_of[node]) != row_of[node]:
                found.setdefault((row_of[parent], row_of[node]), []).append((played.keys[node], played.keys[parent]))
    return [
        Edge(*ends, tuple(dict.fromkeys(u for u, _ in pairs)), tuple(dict.fromkeys(m for _, m in pairs)))
        for ends, pairs in found.items()
    ]


def draw(played: Played, rows: Sequence[Row], *, shown: bool) -> str:
    """Draw rows and edges."""
    tops, y = [], GAP
    for row in rows:
        tops.append(y)
        y += HEIGHT[row.kind] + GAP
    middles = [top + HEIGHT[row.kind] / 2 for top, row in zip(tops, rows, strict=True)]
    all_edges = edges(played, rows)
    jumps = [edge for edge in all_edges if not _is_near(edge, rows)]
    lane_of = _lanes(jumps)
    deepest = max(row.depth for row in rows)
    left = GAP + LANE * (1 + max(lane_of.values(), default=-1)) + _margin(0, deepest) + 2
    width = left + WIDTH + _margin(0, deepest) + 2
    parts = [
        f'<svg class="graph"{"" if shown else " hidden"} width="{width}" height="{y}" viewBox="0 0 {width} {y}" '
        f'role="group" aria-label="The computation: forward runs down, backward up">'
    ]
    for i, row in enumerate(rows):
        if row.kind == "open":
            margin = _margin(row.depth, deepest)
            bottom = tops[i + row.rows] + HEIGHT[rows[i + row.rows].kind] + margin // 2
            parts.append(_open(row, left, tops[i], bottom, margin))
    for edge in all_edges:
        lane = left - _margin(0, deepest) - 2 - LANE * (lane_of[edge] + 0.5) if edge in lane_of else None
        parts.append(_edge(edge, rows, tops, middles, left, lane))
    parts += [_row(played, row, left, top) for row, top in zip(rows, tops, strict=True) if row.kind != "open"]
    return "".join([*parts, "</svg>"])


def _is_near(edge: Edge, rows: Sequence[Row]) -> bool:
    """Tell whether an edge ends at the next row that is an op or module."""
    return all(row.kind in ("leaf", "open") for row in rows[edge.start + 1 : edge.end])


def _lanes(jumps: Sequence[Edge]) -> dict[Edge, int]:
    """Give each edge a lane, the short ones near the boxes, so that no two in a lane overlap."""
    lanes: list[list[Edge]] = []
    chosen = {}
    for edge in sorted(jumps, key=lambda e: (e.end - e.start, e.start)):
        free = (i for i, lane in enumerate(lanes) if all(edge.end <= e.start or e.end <= edge.start for e in lane))
        lane = next(free, len(lanes))
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append(edge)
        chosen[edge] = lane
    return chosen


def _edge(edge: Edge, rows: Sequence[Row], tops: list[int], middles: list[float], left: int, lane: float | None) -> str:
    """Draw an edge, and the tip that shows where the gradient goes, which is back."""
    start, top = rows[edge.start], tops[edge.end]
    x = left + SPINE
    if lane is not None:
        edge_x = left + (INDENT if start.kind == "leaf" else 0)
        y0 = middles[edge.start] + (0 if start.kind == "leaf" else 6)
        y1 = middles[edge.end] - 6
        line = f"M{edge_x} {y0}H{lane + 6:g}q-6 0-6 6V{y1 - 6:g}q0 6 6 6H{left}"
        tip = f"M{edge_x} {y0}l-7-4v8z"
    elif start.kind == "leaf":
        y0 = middles[edge.start]
        line = f"M{left + INDENT} {y0}h-4q-6 0-6 6V{top}"
        tip = f"M{left + INDENT} {y0}l-7-4v8z"
    else:
        y0 = tops[edge.start] + HEIGHT[start.kind]
        line = f"M{x} {y0}V{top}"
        tip = f"M{x} {y0}l-4 7h8z"
    return (
        f'<g class="edge" data-users="{" ".join(edge.users)}" data-made="{" ".join(edge.made)}">'
        f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/></g>'
    )


def _margin(depth: int, deepest: int) -> int:
    """Return how far a module reaches beyond its boxes, so that those inside it lie inside."""
    return 3 * (deepest - depth) + 4


def _open(row: Row, left: int, top: int, bottom: int, margin: int) -> str:
    return (
        f'<g class="module"><rect x="{left - margin}" y="{top}" width="{WIDTH + 2 * margin}" '
        f'height="{bottom - top}" rx="8"/><text x="{left + INDENT - 6}" y="{top + 17}">{_text(row.label, 34)}</text></g>'
    )


def _row(played: Played, row: Row, left: int, top: int) -> str:
    """Draw a box with its name and shape, room for the mark of where backward is, and a link to its step."""
    leaf = row.kind == "leaf"
    x, width, height = left + (INDENT if leaf else 0), WIDTH - (INDENT if leaf else 0), HEIGHT[row.kind]
    middle = top + height // 2 + 4
    room = LETTERS - len(row.detail) - (6 if leaf else 4)
    keys = " ".join(played.keys[target] for target in row.targets)
    full = row.label if row.kind == "closed" else ", ".join(played.name(target) for target in row.targets)
    uses = f' data-uses="{len(played.uses[row.targets[0]])}"' if leaf else ""
    body = (
        f'<rect class="box" x="{x}" y="{top}" width="{width}" height="{height}" rx="{11 if leaf else 6}"/>'
        f'<text class="mark" x="{x + (10 if leaf else 8)}" y="{middle}"></text>'
        f'<text class="label" x="{x + (28 if leaf else INDENT - 6)}" y="{middle}">{_text(row.label, room)}</text>'
        f'<text class="shape" x="{x + width - 9}" y="{middle}">{escape(row.detail)}</text>'
    )
    group = f'<g class="row {row.kind}" data-keys="{keys}"{uses}><title>{_text(full, 300)}</title>{body}</g>'
    first = next((played.step[t] for t in reversed(row.targets) if isinstance(t, Node) and t in played.step), None)
    if isinstance(row.targets[0], Tensor) or first is None:
        return group
    return f'<a href="#step={first}">{group}</a>'


def _text(text: str, room: int) -> str:
    """Return text for the page, cut where it is longer than there is room."""
    return clean(text if len(text) <= room else text[: max(room - 1, 1)] + "…")
