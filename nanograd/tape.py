"""The tape (the autograd graph): a Node for each recorded op, and backpropagation through the Nodes.

A Node holds the arrays that its backward needs and its parent Nodes, but no Tensor that an op returned. So an activation
is freed as soon as no backward needs it, and there is no reference cycle.
"""

from collections.abc import Callable, Container, Sequence
from contextvars import ContextVar
from itertools import count
from operator import attrgetter
from typing import Any, Protocol

import numpy as np

from nanograd.op import CONTEXT, Backward, Needs, Observer, Op

_clock = count()  # next() is atomic, so several threads may record at once


class Leaf(Protocol):
    """The interface of a leaf tensor: no recorded op computed it, and its gradient accumulates in `grad`."""

    grad: np.ndarray | None
    grad_buffer: np.ndarray | None  # where an optimizer keeps the gradient, or None

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...


class Node:
    """One recorded op: its backward function, its saved arrays, and its parents: a Node or a leaf for each input."""

    __slots__ = ("backward", "location", "needs", "op", "parents", "record", "saved", "seq")

    def __init__(
        self, op: Op, backward: Backward, saved: Any, parents: "tuple[Node | Leaf | None, ...]", needs: Needs
    ) -> None:
        self.op = op
        self.backward = backward
        self.saved = saved
        self.parents: tuple[Node | Leaf | None, ...] | None = parents
        self.needs = needs
        self.seq = next(_clock)  # creation order is a topological order: an op is recorded after all its parents
        self.location: str | None = None  # op, module path and line of the call; set by an observer
        self.record: Any = None  # set by a trace, and freed with the Node


def clock() -> int:
    """Return a number above the `seq` of all Nodes so far, and below that of all later ones."""
    return next(_clock)


Accumulate = Callable[[Any, np.ndarray, bool], None]

_ACCUMULATE: ContextVar[Accumulate | None] = ContextVar("nanograd.accumulate", default=None)


def current_accumulate() -> Accumulate:
    """Return the `accumulate` of the running backward pass; `checkpoint` passes it to its inner backward pass."""
    accumulate = _ACCUMULATE.get()
    assert accumulate is not None, "there is a callback only while a walk is in progress"
    return accumulate


def backpropagate(
    roots: Sequence[tuple[Node, np.ndarray]],
    accumulate: Accumulate,
    *,
    retain_graph: bool = False,
    retained: Container[Node] = (),
) -> None:
    """Backpropagate from the roots, (node, dy) pairs, to the leaves; call `accumulate` once for each use of a leaf.

    accumulate(leaf, dx, owned): if `owned`, nothing else refers to dx, so the callback may keep it and write into it.
    For each Node in `retained`, accumulate(node, dy, False) is also called once, with the complete gradient dy.

    Nodes are visited newest first, so that all uses of a Node have contributed to its dy before it is visited. There
    is no recursion, so the depth has no limit, and each Node frees its saved arrays as soon as it has been visited.
    """
    pending: dict[Node, tuple[np.ndarray, bool]] = {}
    for root, dy in roots:
        pending[root] = _add(*pending[root], dy, False) if root in pending else (dy, False)
    nodes = reachable(list(pending))
    observers = CONTEXT.get().observers
    if _ACCUMULATE.get() is None:  # the inner walk of a checkpoint belongs to the same backward
        for observer in observers:
            observer.backward_begins()
    token = _ACCUMULATE.set(accumulate)
    try:
        _walk(nodes, pending, accumulate, retain_graph, retained, observers)
    finally:
        _ACCUMULATE.reset(token)


def _walk(
    nodes: list[Node],
    pending: dict[Node, tuple[np.ndarray, bool]],
    accumulate: Accumulate,
    retain_graph: bool,
    retained: Container[Node],
    observers: tuple[Observer, ...],
) -> None:
    """Visit the nodes, which are sorted oldest first, from the newest to the oldest."""
    while nodes:
        node = nodes.pop()
        if node.parents is None:
            raise RuntimeError(
                f"backward: the graph at {node.op.name} was walked before, which freed its saved arrays; "
                "compute the loss again, or pass retain_graph=True to the first backward"
            )
        parents, saved = node.parents, node.saved
        if not retain_graph:
            node.parents = node.saved = None
        if node not in pending:
            continue  # every use of it returned None: the loss does not depend on it
        dy, _ = pending.pop(node)
        if node in retained:
            accumulate(node, dy, False)
        for observer in observers:
            observer.before_backward(node, dy, saved)
        dxs = node.op.run_backward(node.backward, dy, saved, node.needs)
        if not isinstance(dxs, tuple) or len(dxs) != len(parents):
            got = f"{len(dxs)} gradients" if isinstance(dxs, tuple) else type(dxs).__name__
            raise ValueError(f"{node.op.name}: backward must return a tuple of {len(parents)}, one an array; got {got}")
        for observer in observers:
            observer.after_backward(node, dy, saved, dxs)
        dxs = tuple(None if dx is None else np.asarray(dx) for dx in dxs)
        owned = _owned(dxs, [dy, *arrays_in(saved)])
        del saved
        for i, (parent, dx) in enumerate(zip(parents, dxs, strict=True)):
            if parent is None or dx is None:
                continue
            if not isinstance(parent, Node):
                if dx.shape != parent.shape:
                    raise ValueError(
                        f"{node.op.name}: backward returned a gradient of shape {dx.shape} for input {i} of shape "
                        f"{parent.shape}; was it broadcast in the forward?"
                    )
                accumulate(parent, dx, owned[i])
            elif parent in pending:
                pending[parent] = _add(*pending[parent], dx, owned[i])
            else:
                pending[parent] = dx, owned[i]


def _owned(dxs: Sequence[np.ndarray | None], others: Sequence[np.ndarray]) -> list[bool]:
    """Return for each gradient whether it shares no memory with dy, with what forward saved or with another gradient.

    Nearly every gradient is alone in its memory, which is known at once; only views of one buffer are compared.
    """
    arrays = [*others, *(dx for dx in dxs if dx is not None)]
    owners = [id(buffer_of(a)) for a in arrays]

    def is_alone(dx: np.ndarray) -> bool:
        own = id(buffer_of(dx))
        neighbours = [a for a, owner in zip(arrays, owners, strict=True) if owner == own]  # dx itself is one of them
        return len(neighbours) == 1 or sum(np.may_share_memory(dx, a) for a in neighbours) <= 1

    return [dx is not None and dx.flags.writeable and is_alone(dx) for dx in dxs]


def reachable(roots: list[Node]) -> list[Node]:
    """Return the roots and all nodes from which they were computed, oldest first."""
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
    """Add two gradients, in place if either is owned: this saves an allocation at each residual connection."""
    if a_owned:
        return np.add(a, b, out=a), True
    if b_owned:
        return np.add(a, b, out=b), True
    return np.asarray(a + b), True  # two 0-d arrays add to a NumPy scalar, which is not writeable


def accumulate_sum(sums: dict[Any, np.ndarray], target: Any, dx: np.ndarray, owned: bool) -> None:
    """Add dx to sums[target]: the callback of backward passes that do not change `.grad`."""
    if target in sums:
        np.add(sums[target], dx, out=sums[target])
    else:
        sums[target] = dx if owned else dx.copy()


def accumulate_grad(leaf: Leaf, dx: np.ndarray, owned: bool) -> None:
    """Add dx to `leaf.grad`: the callback of `Tensor.backward()`."""
    if leaf.grad is not None:
        np.add(leaf.grad, dx, out=leaf.grad)
    elif leaf.grad_buffer is not None:
        np.copyto(leaf.grad_buffer, dx)
        leaf.grad = leaf.grad_buffer
    else:
        leaf.grad = dx if owned and dx.dtype == leaf.dtype else dx.astype(leaf.dtype, order="C")


def arrays_in(saved: Any) -> list[np.ndarray]:
    """Return the arrays in the nested tuples, lists and dicts that a forward saved."""
    if isinstance(saved, np.ndarray):
        return [saved]
    if isinstance(saved, dict):
        saved = list(saved.values())
    return [a for item in saved for a in arrays_in(item)] if isinstance(saved, (tuple, list)) else []


def buffer_of(a: np.ndarray) -> Any:
    """Return the object that owns an array's memory: the array itself, or the last base of a view."""
    owner: Any = a
    while (base := getattr(owner, "base", None)) is not None:  # as_strided puts an object between the two
        owner = base
    return owner
