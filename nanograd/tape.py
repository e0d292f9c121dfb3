"""The tape: what one op leaves behind for backward, and the walk that visits it.

A Node holds the arrays its backward needs and the Nodes it came from, never a Tensor that came out of an op: so an
activation dies as soon as no backward wants it, and no reference cycle exists.
"""

from collections.abc import Callable, Container, Sequence
from contextvars import ContextVar
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from nanograd.op import MODE, Backward, Needs, Observer, Op

if TYPE_CHECKING:
    from nanograd._tensor import Tensor

_clock = count()  # next() is atomic, so several threads may record at once


class Node:
    """One op that was run: how to go back through it, and where from there."""

    __slots__ = ("backward", "needs", "op", "parents", "record", "saved", "seq", "where")

    def __init__(
        self, op: Op, backward: Backward, saved: Any, parents: "tuple[Node | Tensor | None, ...]", needs: Needs
    ) -> None:
        self.op = op
        self.backward = backward
        self.saved = saved
        self.parents: tuple[Node | Tensor | None, ...] | None = parents
        self.needs = needs
        self.seq = next(_clock)  # creation order is a topological order: an op is made after all it uses
        self.where: str | None = None  # op, module path and line, where somebody observes
        self.record: Any = None  # what a trace keeps of it, as long as the Node lives


Sink = Callable[[Any, np.ndarray, bool], None]

_SINK: ContextVar[Sink | None] = ContextVar("nanograd.sink", default=None)


def current_sink() -> Sink:
    """Return where the walk that is under way sends its gradients: for a backward that itself walks a graph."""
    sink = _SINK.get()
    assert sink is not None, "only a backward may ask, while a walk is under way"
    return sink


def pull(
    roots: Sequence[tuple[Node, np.ndarray]], sink: Sink, *, retain_graph: bool = False, watched: Container[Node] = ()
) -> None:
    """Walk from the roots, each with its dy, back to the leaves; call `sink` once for every use of a leaf.

    sink(leaf, dx, owned): `owned` says that nobody else holds dx, so that the sink may keep it and write into it. A
    watched Node is handed to the sink too, once, with all of its dy.

    Nodes are visited newest first: when one is reached, all that used it have already sent their contributions. There
    is no recursion, so depth has no limit, and each Node lets go of what it saved as soon as it is passed.
    """
    waiting: dict[Node, tuple[np.ndarray, bool]] = {}
    for root, dy in roots:
        waiting[root] = _add(*waiting[root], dy, False) if root in waiting else (dy, False)
    nodes = reachable(list(waiting))
    observers = MODE.get().observers
    if _SINK.get() is None:  # a walk inside a walk, by checkpoint, is part of the same backward
        for observer in observers:
            observer.walk_begins()
    token = _SINK.set(sink)
    try:
        _walk(nodes, waiting, sink, retain_graph, watched, observers)
    finally:
        _SINK.reset(token)


def _walk(
    nodes: list[Node],
    waiting: dict[Node, tuple[np.ndarray, bool]],
    sink: Sink,
    retain_graph: bool,
    watched: Container[Node],
    observers: tuple[Observer, ...],
) -> None:
    """Visit the nodes, given oldest first, from the newest on."""
    while nodes:
        node = nodes.pop()
        if node.parents is None:
            raise RuntimeError(
                f"backward: the graph at {node.op.name} was walked before and let go of what it saved; "
                "compute the loss again, or pass retain_graph=True to the first backward"
            )
        parents, saved = node.parents, node.saved
        if not retain_graph:
            node.parents = node.saved = None
        arrived = waiting.pop(node, None)
        if arrived is None:
            continue  # every use of it sent None: the loss does not depend on it
        dy = arrived[0]
        if node in watched:
            sink(node, dy, False)
        for observer in observers:
            observer.before_backward(node, dy, saved)
        dxs = node.op.pull(node.backward, dy, saved, node.needs)
        if not isinstance(dxs, tuple) or len(dxs) != len(parents):
            got = f"{len(dxs)} gradients" if isinstance(dxs, tuple) else type(dxs).__name__
            raise ValueError(f"{node.op.name}: backward must return a tuple of {len(parents)}, one an array, got {got}")
        for observer in observers:
            observer.after_backward(node, dy, saved, dxs)
        del saved
        for i, (parent, dx) in enumerate(zip(parents, dxs, strict=True)):
            if parent is None or dx is None:
                continue
            dx = np.asarray(dx)
            owned = dx.flags.writeable and not np.may_share_memory(dx, dy)
            if owned and any(j != i and d is not None and np.may_share_memory(dx, d) for j, d in enumerate(dxs)):
                owned = False
            if not isinstance(parent, Node):
                if dx.shape != parent.shape:
                    raise ValueError(
                        f"{node.op.name}: backward returned a gradient of shape {dx.shape} for input {i} of shape "
                        f"{parent.shape}; was it broadcast in the forward?"
                    )
                sink(parent, dx, owned)
            elif parent in waiting:
                waiting[parent] = _add(*waiting[parent], dx, owned)
            else:
                waiting[parent] = dx, owned


def reachable(roots: list[Node]) -> list[Node]:
    """List the roots and all nodes that lead to them, oldest first."""
    nodes, seen, stack = [], set(roots), list(roots)
    while stack:
        node = stack.pop()
        nodes.append(node)
        for parent in node.parents or ():
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    nodes.sort(key=attrgetter("seq"))
    return nodes


def _add(a: np.ndarray, a_owned: bool, b: np.ndarray, b_owned: bool) -> tuple[np.ndarray, bool]:
    """Add two contributions into whichever may be written, so that a residual join allocates nothing."""
    if a_owned:
        return np.add(a, b, out=a), True
    if b_owned:
        return np.add(a, b, out=b), True
    return np.asarray(a + b), True  # 0-d arrays add to a NumPy scalar, which could not be written into


def collect(sums: dict[Any, np.ndarray], target: Any, dx: np.ndarray, owned: bool) -> None:
    """Add dx to the sum of its target: for walks that leave `.grad` alone."""
    if target in sums:
        np.add(sums[target], dx, out=sums[target])
    else:
        sums[target] = dx if owned else dx.copy()


def accumulate(leaf: "Tensor", dx: np.ndarray, owned: bool) -> None:
    """Add dx to `leaf.grad`: the sink of `Tensor.backward()`."""
    if leaf.grad is not None:
        np.add(leaf.grad, dx, out=leaf.grad)
    elif leaf.grad_buffer is not None:  # an optimizer wants it there
        np.copyto(leaf.grad_buffer, dx)
        leaf.grad = leaf.grad_buffer
    else:
        leaf.grad = dx if owned and dx.dtype == leaf.dtype else dx.astype(leaf.dtype, order="C")


def accumulate_all(leaf: "Tensor", dxs: list[np.ndarray]) -> None:
    """Add several gradients, which nobody else holds, to `leaf.grad` in their order."""
    if leaf.grad is None and leaf.grad_buffer is not None and len(dxs) > 1:
        leaf.grad = np.add(dxs[0], dxs[1], out=leaf.grad_buffer)  # instead of a copy, and then a sum
        dxs = dxs[2:]
    for dx in dxs:
        accumulate(leaf, dx, True)


def arrays_in(saved: Any) -> list[np.ndarray]:
    """List the arrays in what a forward saved."""
    if isinstance(saved, np.ndarray):
        return [saved]
    return [a for part in saved for a in arrays_in(part)] if isinstance(saved, (tuple, list)) else []


def buffer_of(a: np.ndarray) -> Any:
    """Return what holds an array's numbers: itself, or what it is a view of."""
    return a if a.base is None else a.base
