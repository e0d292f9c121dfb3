"""What is drawn: the ops of a computation in the order they ran, nested in their modules down to a level of detail."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from nanograd._tensor import Tensor
from nanograd.inspect.trace import Target
from nanograd.tape import Leaf, Node


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
