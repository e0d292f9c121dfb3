"""trace: record a computation op by op, for the tape player and for `explain`.

    with nanograd.trace():
        loss = model.loss(ids, targets)
    nanograd.graph(loss, path="tape.html")

Every Node gets a Record: the modules it ran in, a Summary of its inputs, its result and what it saved, and, after a
backward, of the gradients that it received and passed on. A Summary holds a small array whole and a few numbers of a
larger one, so a trace needs little memory beyond the tape's own. A trace belongs to one thread: shards that run in
parallel would mix their sums.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.inspect.saved import saved_names
from nanograd.inspect.unfused import unfused as compute_unfused
from nanograd.op import CONTEXT, Observer, Op, observe
from nanograd.tape import Leaf, Node

ROWS, COLUMNS = 3, 4  # of the corner that a Summary stores of a large array
WHOLE, WIDEST = 128, 16  # entries, and entries in a row, up to which it stores the whole array
Target = Node | Leaf


class Summary(NamedTuple):
    """A few numbers of an array: its rows, and its range.

    rows is the array with its leading axes joined to one, if it is whole; of a larger array the first rows and columns, at
    index 0 of the leading axes.
    """

    shape: tuple[int, ...]
    rows: tuple[tuple[float, ...], ...]
    low: float
    mean: float
    high: float
    nonfinite: int  # number of NaN and infinite entries, which low, mean and high leave out

    @property
    def whole(self) -> bool:
        """Return whether rows holds every entry."""
        return is_whole(self.shape)


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


class SavedValue(NamedTuple):
    """An array that the forward saved, by the name that the backward gives it."""

    name: str
    source: int | None  # the index of the input that it is; -1 for the result, None for an array of its own
    value: Summary


@dataclass(slots=True)
class Record:
    """What a trace stores of one op."""

    scope: tuple[str, ...]  # the running modules, outermost first
    parents: tuple[Target | None, ...]  # stored here, since the backward pass drops the Node's own
    inputs: tuple[str, ...]  # the op's names of its arrays
    values: tuple[Summary | None, ...]  # of the inputs
    parameter_names: tuple[str | None, ...]  # of the inputs that are parameters of a running module
    options: dict[str, Any]
    y: Summary
    dtype: np.dtype  # of y
    saved: tuple[SavedValue, ...]  # in the order in which backward unpacks them
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
            values=tuple(None if a is None else summarise(np.asarray(a)) for a in arrays),
            parameter_names=tuple(_name(parent, scope) for parent in node.parents),
            options={k: v for k, v in options.items() if isinstance(v, (bool, int, float, str, tuple))},
            y=summarise(y),
            dtype=y.dtype,
            saved=tuple(_saved_values(node, arrays, y)),
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
def trace(*, unfused: bool = False) -> Iterator[None]:
    """Record every op that runs in the block, and its backward if that runs in the block too.

    unfused: compute fused ops, such as packed_attention, from their parts, which are then recorded one by one.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> with trace():
    ...     y = x * x
    >>> y.node.record.y.rows
    ((1.0, 4.0),)
    """
    with compute_unfused() if unfused else contextlib.nullcontext(), observe(Trace()):
        yield


def is_whole(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is small enough for a Summary to hold every entry."""
    return math.prod(shape) <= WHOLE and (not shape or shape[-1] <= WIDEST)


def summarise(a: np.ndarray) -> Summary:
    """Return the Summary of an array."""
    if 0 in a.shape:
        return Summary(a.shape, (), 0.0, 0.0, 0.0, 0)
    if is_whole(a.shape):
        rows = a.reshape(-1, a.shape[-1] if a.ndim else 1)
    else:
        rows = (a.reshape(1, -1) if a.ndim < 2 else a[(0,) * (a.ndim - 2)])[:ROWS, :COLUMNS]
    finite, nonfinite = a, 0
    with np.errstate(all="ignore"):
        if not np.isfinite(a.mean()):  # the mean of finite numbers is finite, unless their sum overflows
            finite = a[np.isfinite(a)]
            nonfinite = a.size - finite.size
        low, mean, high = (float(f(finite)) for f in (np.min, np.mean, np.max)) if finite.size else (0.0, 0.0, 0.0)
    return Summary(a.shape, tuple(map(tuple, rows.tolist())), low, mean, high, nonfinite)


def _saved_values(node: Node, arrays: Sequence[Any], y: np.ndarray) -> Iterator[SavedValue]:
    """Yield the arrays that the forward saved, each once."""
    seen: set[int | None] = set()
    for name, value in saved_names(node.backward, node.saved):
        if not isinstance(value, np.ndarray) or value.ndim == 0:
            continue
        source = next((i for i, a in [*enumerate(arrays), (-1, y)] if _same_array(value, a)), None)
        if source is None or source not in seen:
            yield SavedValue(name, source, summarise(value))
        seen.add(source)


def _same_array(a: np.ndarray, b: Any) -> bool:
    """Return whether a and b are the same numbers in the same order: one array, or a reshaped view of it."""
    if not isinstance(b, np.ndarray) or a.size != b.size or not np.may_share_memory(a, b):
        return False
    return a.strides == b.strides if a.shape == b.shape else bool(a.flags.c_contiguous and b.flags.c_contiguous)


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
