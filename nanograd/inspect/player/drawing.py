"""The drawing of a computation as SVG: one row per op in execution order, grouped by module down to a level of detail.

Forward runs down, backward up. An edge that skips rows is drawn in a lane on the left.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

from nanograd._tensor import Tensor
from nanograd.inspect.player.html import clean
from nanograd.inspect.trace import Contribution, Target
from nanograd.tape import Leaf, Node

HEIGHT = {"op": 30, "closed": 38, "open": 24, "leaf": 22}
GAP, LANE, WIDTH, INDENT, SPINE = 8, 11, 292, 34, 17
LETTERS = 40  # that fit in a row, label and shape together


class Playback:
    """A traced computation and its backward: the ops, the names of the leaves, and the steps.

    Steps 1 to n are the forward of the n ops, oldest first; the steps after n are their backward, newest first. An op on
    which the loss does not depend has no backward. The last step shows all gradients.
    """

    def __init__(self, nodes: Sequence[Node], leaves: dict[Leaf, str]) -> None:
        self.nodes = nodes  # oldest first
        self.leaves = leaves
        self.backwards = [node for node in reversed(nodes) if node.record.backward]
        self.forward_step = {node: i for i, node in enumerate(nodes, start=1)}
        self.backward_step = {node: i for i, node in enumerate(self.backwards, start=len(nodes) + 1)}
        self.last = len(nodes) + len(self.backwards) + 1
        self.keys: dict[Target, str] = {node: f"n{i}" for i, node in enumerate(nodes)}
        self.keys |= {leaf: f"l{i}" for i, leaf in enumerate(leaves)}
        self.uses: dict[Target, list[Node]] = {}
        for node in nodes:
            for parent in node.record.parents:
                if parent is not None:
                    self.uses.setdefault(parent, []).append(node)
        self.contributions: dict[Target, list[tuple[Node, Contribution]]] = {}  # in the order of the backward
        for node in self.backwards:
            for contribution in node.record.backward.contributions:
                target = node.record.parents[contribution.slot]
                self.contributions.setdefault(target, []).append((node, contribution))

    def finished(self, target: Target) -> int | None:
        """Return the step that completes the gradient of an op's result or of a leaf; None if it has no gradient."""
        made = self.contributions.get(target)
        return self.backward_step[made[-1][0]] if made else None

    def name(self, target: Target) -> str:
        """Name a leaf, or an op by its number and module."""
        if isinstance(target, Node):
            return " ".join((target.op.name, self.keys[target][1:], ".".join(target.record.scope[1:]))).rstrip()
        return self.leaves[target]


class Row(NamedTuple):
    """One row of the drawing: an op, a closed module, the title of an open module, or a leaf."""

    kind: str  # op, closed, open or leaf
    label: str
    detail: str
    targets: list[Any]  # the ops, or the leaf, that it stands for
    depth: int  # the number of open modules around it


def module_rows(nodes: Sequence[Node], level: int, depth: int = 0) -> Iterator[Row]:
    """Yield the rows of ops and modules, open down to `level`. Consecutive ops of one module form a group.

    depth is the number of modules around the nodes: the index, in their scopes, of the next module.
    """
    for name, run in groupby(nodes, key=lambda node: (node.record.scope[depth : depth + 1] or (None,))[0]):
        group = list(run)
        if name is None or len(group) == 1:  # a module of one op is one row
            for node in group:
                yield Row("op", f"{node.op.name} {name or ''}".rstrip(), _shape(node), [node], depth)
        elif depth >= level:
            yield Row("closed", name, f"{len(group)} ops → {_shape(group[-1])}", group, depth)
        else:
            yield Row("open", name, "", [], depth)
            yield from module_rows(group, level, depth + 1)


def layout(playback: Playback, level: int) -> list[Row]:
    """List the rows from top to bottom, with modules open down to `level`; a leaf precedes its first use."""
    rows = list(module_rows(playback.nodes, level))
    row_of = {target: i for i, row in enumerate(rows) for target in row.targets}
    shown: list[Row] = []
    shown_leaves: set[Leaf] = set()
    for row in rows:
        for parent in (parent for node in row.targets for parent in node.record.parents):
            if isinstance(parent, Tensor) and parent not in shown_leaves:
                shown_leaves.add(parent)
                if row.kind == "op" or len({row_of[use] for use in playback.uses[parent]}) > 1:
                    module = ".".join((*row.targets[0].record.scope[1 : row.depth], ""))
                    label = playback.leaves[parent].removeprefix(module)
                    shown.append(Row("leaf", label, str(parent.shape).replace(" ", ""), [parent], row.depth))
        shown.append(row)
    return shown


def _shape(node: Node) -> str:
    return str(node.record.y.shape).replace(" ", "")


class Edge(NamedTuple):
    """An edge from the row that computes a value to a row that uses it."""

    start: int
    end: int
    users: tuple[str, ...]  # keys of the ops that use the values
    made: tuple[str, ...]  # keys of the values


def drawings(playback: Playback) -> list[str]:
    """Draw the computation at every level of detail that shows more than one row, coarsest first."""
    levels = [layout(playback, 0)]
    while any(row.kind == "closed" for row in levels[-1]):
        levels.append(layout(playback, len(levels)))
    useful = [rows for rows in levels if len(rows) > 1] or levels[-1:]
    return [draw(playback, rows, shown=rows is useful[-1]) for rows in useful]


def edges(playback: Playback, rows: Sequence[Row]) -> list[Edge]:
    """List the edges between rows."""
    row_of = {target: i for i, row in enumerate(rows) for target in row.targets}
    pairs_by_ends: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for node in playback.nodes:
        for parent in node.record.parents:
            if parent is not None and row_of.get(parent, row_of[node]) != row_of[node]:
                ends = row_of[parent], row_of[node]
                pairs_by_ends.setdefault(ends, []).append((playback.keys[node], playback.keys[parent]))
    return [
        Edge(*ends, tuple(dict.fromkeys(u for u, _ in pairs)), tuple(dict.fromkeys(m for _, m in pairs)))
        for ends, pairs in pairs_by_ends.items()
    ]


def draw(playback: Playback, rows: Sequence[Row], *, shown: bool) -> str:
    """Draw the rows and edges of one level; shown says that it is visible without scripts."""
    tops, y = [], GAP
    for row in rows:
        tops.append(y)
        y += HEIGHT[row.kind] + GAP
    middles = [top + HEIGHT[row.kind] / 2 for top, row in zip(tops, rows, strict=True)]
    all_edges = edges(playback, rows)
    jumps = [edge for edge in all_edges if any(row.kind in ("op", "closed") for row in rows[edge.start + 1 : edge.end])]
    lane_of = _lanes(jumps)
    deepest = max(row.depth for row in rows)
    left = GAP + LANE * (1 + max(lane_of.values(), default=-1)) + _margin(0, deepest) + 2
    width = left + WIDTH + _margin(0, deepest) + 2
    elements = [
        f'<svg class="graph"{"" if shown else " hidden"} width="{width}" height="{y}" viewBox="0 0 {width} {y}" '
        f'role="group" aria-label="The computation: forward runs down, backward up">'
    ]
    for i, row in enumerate(rows):
        if row.kind == "open":
            margin = _margin(row.depth, deepest)
            last = next((j for j in range(i + 1, len(rows)) if rows[j].depth <= row.depth), len(rows)) - 1
            bottom = tops[last] + HEIGHT[rows[last].kind] + margin // 2
            elements.append(_open(row, left, tops[i], bottom, margin))
    for edge in all_edges:
        lane = left - _margin(0, deepest) - 2 - LANE * (lane_of[edge] + 0.5) if edge in lane_of else None
        elements.append(_edge(edge, rows, tops, middles, left, lane))
    elements += [_row(playback, row, left, top) for row, top in zip(rows, tops, strict=True) if row.kind != "open"]
    return "".join([*elements, "</svg>"])


def _lanes(jumps: Sequence[Edge]) -> dict[Edge, int]:
    """Assign lanes to edges, short edges nearest to the boxes, so that no two edges in a lane overlap."""
    lanes: list[list[Edge]] = []
    for edge in sorted(jumps, key=lambda e: (e.end - e.start, e.start)):
        for lane in lanes:
            if all(edge.end <= e.start or e.end <= edge.start for e in lane):
                lane.append(edge)
                break
        else:
            lanes.append([edge])
    return {edge: i for i, lane in enumerate(lanes) for edge in lane}


def _edge(edge: Edge, rows: Sequence[Row], tops: list[int], middles: list[float], left: int, lane: float | None) -> str:
    """Draw an edge with a tip in the direction of the gradient, from the user back to the value."""
    start, top = rows[edge.start], tops[edge.end]
    is_leaf = start.kind == "leaf"
    x, y = left + (INDENT if is_leaf else 0), middles[edge.start] + (0 if is_leaf else 6)
    tip = f"M{x} {y}l-7-4v8z"
    if lane is not None:
        line = f"M{x} {y}H{lane + 6:g}q-6 0-6 6V{middles[edge.end] - 12:g}q0 6 6 6H{left}"
    elif is_leaf:
        line = f"M{x} {y}h-4q-6 0-6 6V{top}"
    else:
        x, y = left + SPINE, tops[edge.start] + HEIGHT[start.kind]
        line, tip = f"M{x} {y}V{top}", f"M{x} {y}l-4 7h8z"
    return (
        f'<g class="edge" data-users="{" ".join(edge.users)}" data-made="{" ".join(edge.made)}">'
        f'<path class="line" d="{line}"/><path class="tip" d="{tip}"/></g>'
    )


def _margin(depth: int, deepest: int) -> int:
    """Return by how much the outline of a module exceeds its boxes, so that inner outlines fit inside it."""
    return 3 * (deepest - depth) + 4


def _open(row: Row, left: int, top: int, bottom: int, margin: int) -> str:
    return (
        f'<g class="module"><rect x="{left - margin}" y="{top}" width="{WIDTH + 2 * margin}" '
        f'height="{bottom - top}" rx="8"/><text x="{left + INDENT - 6}" y="{top + 17}">{_text(row.label, 34)}</text></g>'
    )


def _row(playback: Playback, row: Row, left: int, top: int) -> str:
    """Draw a box with its name, its shape and a mark for the state of the playback.

    An op is linked to its step, forward or backward (the script chooses), a leaf to the step that completes its gradient.
    """
    leaf = row.kind == "leaf"
    x, width, height = left + (INDENT if leaf else 0), WIDTH - (INDENT if leaf else 0), HEIGHT[row.kind]
    middle = top + height // 2 + 4
    room = LETTERS - len(row.detail) - (6 if leaf else 4)
    keys = " ".join(playback.keys[target] for target in row.targets)
    full = row.label if row.kind == "closed" else ", ".join(playback.name(target) for target in row.targets)
    uses = f' data-uses="{len(playback.uses[row.targets[0]])}"' if leaf else ""
    body = (
        f'<rect class="box" x="{x}" y="{top}" width="{width}" height="{height}" rx="{11 if leaf else 6}"/>'
        f'<text class="mark" x="{x + (10 if leaf else 8)}" y="{middle}"></text>'
        f'<text class="label" x="{x + (28 if leaf else INDENT - 6)}" y="{middle}">{_text(row.label, room)}</text>'
        f'<text class="shape" x="{x + width - 9}" y="{middle}">{escape(row.detail)}</text>'
    )
    group = f'<g class="row {row.kind}" data-keys="{keys}"{uses}><title>{_text(full, 300)}</title>{body}</g>'
    if isinstance(row.targets[0], Node):
        forward = playback.forward_step[row.targets[0]]
        backward = next(
            (playback.backward_step[t] for t in reversed(row.targets) if t in playback.backward_step), forward
        )
        return f'<a href="#step={forward}" data-forward="{forward}" data-backward="{backward}">{group}</a>'
    finished = playback.finished(row.targets[0])
    return f'<a href="#step={finished}">{group}</a>' if finished else group


def _text(text: str, room: int) -> str:
    """Return escaped text, cut to `room` letters."""
    return clean(text if len(text) <= room else text[: max(room - 1, 1)] + "…")
