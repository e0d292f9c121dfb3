"""trace: keep what a computation looked like, op by op, for the tape player and for `explain`.

    with nanograd.trace():
        loss = model.loss(ids, targets)
    nanograd.graph(loss, path="tape.html")

Each Node gets a Record: where in the model it ran, what went in and came out, and, after a backward, what arrived where.
Arrays are kept as Summaries, a few numbers each, so that a trace holds no memory beyond the tape's own. A trace belongs
to one thread: shards that run side by side would mix their sums.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import CONTEXT, Observer, Op, observe
from nanograd.tape import Leaf, Node

ROWS, COLUMNS = 3, 4  # of the corner that a summary keeps
Target = Node | Leaf


class Summary(NamedTuple):
    """A few numbers of an array: its first rows and columns, where the leading axes are at 0, and its range."""

    shape: tuple[int, ...]
    corner: tuple[tuple[float, ...], ...]
    low: float
    mean: float
    high: float
    odd: int  # how many entries are not finite; the range is that of the others


class Arrival(NamedTuple):
    """One contribution of an op to the gradient of one of its inputs."""

    slot: int  # which input
    dx: Summary
    nth: int  # 1: the target's gradient is set to dx; more: dx is added to what came before
    total: Summary  # the target's gradient from now on


class Visit(NamedTuple):
    """What happened when the walk passed an op."""

    dy: Summary
    arrivals: tuple[Arrival, ...]


@dataclass(slots=True)
class Record:
    """What is kept of one op that ran."""

    scope: tuple[str, ...]  # the modules that were running, from the outermost
    parents: tuple[Target | None, ...]  # also after the walk has let go of the Node's own
    inputs: tuple[str, ...]  # what the op calls its arrays
    shapes: tuple[tuple[int, ...] | None, ...]  # of the inputs
    leaves: tuple[str | None, ...]  # the name of each input that is a parameter of a running module
    options: dict[str, Any]
    y: Summary
    visit: Visit | None = None


class Trace(Observer):
    """Leave a Record at every Node, and tell it what arrives in backward."""

    def __init__(self) -> None:
        self.sums: dict[Target, tuple[int, np.ndarray]] = {}  # what has arrived in the walk under way, and how often

    def after_forward(
        self, op: Op, arrays: Sequence[Any], options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if node is None or node.parents is None:
            return
        scope = CONTEXT.get().scope
        node.record = Record(
            scope=scope,
            parents=node.parents,
            inputs=tuple(f"x{i}" for i in range(len(arrays))) if op.variadic else op.arrays,
            shapes=tuple(None if a is None else np.shape(a) for a in arrays),
            leaves=tuple(_name(parent, scope) for parent in node.parents),
            options={k: v for k, v in options.items() if isinstance(v, (bool, int, float, str, tuple))},
            y=summarise(y),
        )

    def backward_begins(self) -> None:
        self.sums.clear()

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: tuple[Any, ...]) -> None:
        if node.record is None:
            return
        self.sums.pop(node, None)  # nothing more arrives at it
        arrivals = []
        for slot, (target, dx) in enumerate(zip(node.record.parents, dxs, strict=True)):
            if target is None or dx is None:
                continue
            dx = np.asarray(dx)
            sent = summarise(dx)
            if target in self.sums:
                count, total = self.sums[target]
                total += dx
                arrivals.append(Arrival(slot, sent, count + 1, summarise(total)))
            else:
                count, total = 0, dx.copy()  # the walk may add into dx itself
                arrivals.append(Arrival(slot, sent, 1, sent))
            self.sums[target] = count + 1, total
        node.record.visit = Visit(summarise(dy), tuple(arrivals))


@contextlib.contextmanager
def trace() -> Iterator[None]:
    """Record every op inside, and its backward if that runs inside too.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with trace():
    ...     y = x * x
    >>> y.node.record.y.corner
    ((1.0, 4.0),)
    """
    observer = Trace()
    with observe(observer):
        try:
            yield
        finally:
            observer.sums.clear()


def summarise(a: np.ndarray) -> Summary:
    """Return the few numbers that stand for an array."""
    corner = a.reshape(1, -1) if a.ndim < 2 else a[(0,) * (a.ndim - 2)] if 0 not in a.shape else a.reshape(0, 0)
    ranged, odd = a, 0
    with np.errstate(all="ignore"):
        if a.size and not np.isfinite(a.mean()):  # the mean of finite numbers is finite, unless their sum overflows
            ranged = a[np.isfinite(a)]
            odd = a.size - ranged.size
        low, mean, high = (float(f(ranged)) for f in (np.min, np.mean, np.max)) if ranged.size else (0.0, 0.0, 0.0)
    return Summary(a.shape, tuple(map(tuple, corner[:ROWS, :COLUMNS].tolist())), low, mean, high, odd)


def reachable(root: Node) -> list[Node]:
    """List the traced nodes that lead to the root, and the root, oldest first; ValueError where one was not traced."""
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        if node.record is None:
            raise ValueError(
                f"graph: the op {node.op.name} was not traced; compute the whole loss inside `with nanograd.trace():`"
            )
        for parent in node.record.parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.seq)


def leaf_names(nodes: Sequence[Node]) -> dict[Leaf, str]:
    """Name every leaf of traced nodes: by its place in a module, or as the input of the op that first used it."""
    names: dict[Leaf, str] = {}
    for i, node in enumerate(nodes):
        for parent, known, slot in zip(node.record.parents, node.record.leaves, node.record.inputs, strict=False):
            if isinstance(parent, Tensor) and parent not in names:
                names[parent] = known or f"{slot} of {node.op.name} {i}"
    return names


def _name(parent: Target | None, scope: tuple[str, ...]) -> str | None:
    """Return a parameter's name from the outermost module on, if the module that is running has it."""
    module = CONTEXT.get().module
    if module is None or not isinstance(parent, Tensor):
        return None
    found = next((name for name, parameter in module.named_parameters() if parameter is parent), None)
    return None if found is None else ".".join((*scope[1:], found))
