"""trace: record a computation op by op, for the tape player and for `explain`.

    with nanograd.trace():
        loss = model.loss(ids, targets)
    nanograd.graph(loss, path="tape.html")

Every Node gets a Record: the modules it ran in, the shapes of its inputs and its result, and, after a backward, the
gradients that it received and passed on. It stores a Summary of a few numbers per array, so a trace needs little memory
beyond the tape's own. A trace belongs to one thread: shards that run in parallel would mix their sums.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.op import CONTEXT, Observer, Op, observe
from nanograd.tape import Leaf, Node

ROWS, COLUMNS = 3, 4  # of the corner that a Summary stores
Target = Node | Leaf


class Summary(NamedTuple):
    """A few numbers of an array: its first rows and columns (at index 0 of the leading axes), and its range."""

    shape: tuple[int, ...]
    corner: tuple[tuple[float, ...], ...]
    low: float
    mean: float
    high: float
    nonfinite: int  # number of NaN and infinite entries, which low, mean and high leave out


class Contribution(NamedTuple):
    """The gradient that an op passes to one of its inputs."""

    slot: int  # index of the input
    dx: Summary
    nth: int  # 1: the input's gradient is set to dx; 2 or more: dx is added to it
    total: Summary  # the input's gradient after that


class BackwardRecord(NamedTuple):
    """The backward of one op: its upstream gradient, and its contributions to the gradients of its inputs."""

    dy: Summary
    contributions: tuple[Contribution, ...]


@dataclass(slots=True)
class Record:
    """What a trace stores of one op."""

    scope: tuple[str, ...]  # the running modules, outermost first
    parents: tuple[Target | None, ...]  # stored here, since the backward pass drops the Node's own
    inputs: tuple[str, ...]  # the op's names of its arrays
    shapes: tuple[tuple[int, ...] | None, ...]  # of the inputs
    parameter_names: tuple[str | None, ...]  # of the inputs that are parameters of a running module
    options: dict[str, Any]
    y: Summary
    backward: BackwardRecord | None = None


class Trace(Observer):
    """Store a Record at every Node, and complete it in the backward."""

    def __init__(self) -> None:
        self.sums: dict[Target, tuple[int, np.ndarray]] = {}  # number and sum of the contributions in this backward

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Node | None) -> None:
        if node is None or node.parents is None:
            return
        scope = CONTEXT.get().scope
        node.record = Record(
            scope=scope,
            parents=node.parents,
            inputs=tuple(f"x{i}" for i in range(len(arrays))) if op.variadic else op.arrays,
            shapes=tuple(None if a is None else np.shape(a) for a in arrays),
            parameter_names=tuple(_name(parent, scope) for parent in node.parents),
            options={k: v for k, v in options.items() if isinstance(v, (bool, int, float, str, tuple))},
            y=summarise(y),
        )

    def backward_begins(self) -> None:
        self.sums.clear()

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: tuple[Any, ...]) -> None:
        if node.record is None:
            return
        self.sums.pop(node, None)  # its gradient is complete
        contributions = []
        for slot, (target, dx) in enumerate(zip(node.record.parents, dxs, strict=True)):
            if target is None or dx is None:
                continue
            dx = np.asarray(dx)
            summary = summarise(dx)
            if target in self.sums:
                count, total = self.sums[target]
                total += dx
                contributions.append(Contribution(slot, summary, count + 1, summarise(total)))
            else:
                count, total = 0, dx.copy()  # a copy, since the backward pass may add into dx
                contributions.append(Contribution(slot, summary, 1, summary))
            self.sums[target] = count + 1, total
        node.record.backward = BackwardRecord(summarise(dy), tuple(contributions))


@contextlib.contextmanager
def trace() -> Iterator[None]:
    """Record every op that runs in the block, and its backward if that runs in the block too.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with trace():
    ...     y = x * x
    >>> y.node.record.y.corner
    ((1.0, 4.0),)
    """
    with observe(Trace()):
        yield


def summarise(a: np.ndarray) -> Summary:
    """Return the Summary of an array."""
    corner = a.reshape(1, -1) if a.ndim < 2 else a[(0,) * (a.ndim - 2)] if 0 not in a.shape else a.reshape(0, 0)
    finite, nonfinite = a, 0
    with np.errstate(all="ignore"):
        if a.size and not np.isfinite(a.mean()):  # the mean of finite numbers is finite, unless their sum overflows
            finite = a[np.isfinite(a)]
            nonfinite = a.size - finite.size
        low, mean, high = (float(f(finite)) for f in (np.min, np.mean, np.max)) if finite.size else (0.0, 0.0, 0.0)
    return Summary(a.shape, tuple(map(tuple, corner[:ROWS, :COLUMNS].tolist())), low, mean, high, nonfinite)


def reachable(root: Node) -> list[Node]:
    """List the root and the traced nodes that it was computed from, oldest first.

    Raises ValueError if a node was not traced.
    """
    seen, stack = {root}, [root]
    while stack:
        node = stack.pop()
        if node.record is None:
            raise ValueError(f"graph: {node.op.name} was not traced; compute the loss inside `with nanograd.trace():`")
        for parent in node.record.parents:
            if isinstance(parent, Node) and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: node.seq)


def leaf_names(nodes: Sequence[Node]) -> dict[Leaf, str]:
    """Name every leaf of traced nodes: by its module, or as the input of the op that first used it."""
    names: dict[Leaf, str] = {}
    for i, node in enumerate(nodes):
        record = node.record
        for parent, name, slot in zip(record.parents, record.parameter_names, record.inputs, strict=False):
            if isinstance(parent, Tensor) and parent not in names:
                names[parent] = name or f"{slot} of {node.op.name} {i}"
    return names


def _name(parent: Target | None, scope: tuple[str, ...]) -> str | None:
    """Return the full name of a parameter of the running module, or None."""
    module = CONTEXT.get().module
    if module is None or not isinstance(parent, Tensor):
        return None
    name = next((name for name, parameter in module.named_parameters() if parameter is parent), None)
    return None if name is None else ".".join((*scope[1:], name))
