"""A graph of primitives: elementwise operations, sums, and copies of entries. A page's script evaluates it.

A node is a list: an operation, the nodes it reads, and constants. Whatever only moves entries (reshape, transpose,
indexing, broadcasting) is one primitive, `pick`: for every entry of the result the flat index of the source's entry.
"""

import math
from typing import Any

import numpy as np

Encoded = list[Any]
OPERATIONS = {
    "add": "+", "subtract": "-", "multiply": "*", "true_divide": "/", "divide": "/", "remainder": "%", "power": "**",
    "negative": "neg", "exp": "exp", "log": "log", "sqrt": "sqrt", "sin": "sin", "cos": "cos",
    "tanh": "tanh", "sinh": "sinh", "cosh": "cosh", "absolute": "abs", "sign": "sign", "maximum": "max",
    "minimum": "min", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=", "equal": "==",
    "not_equal": "!=", "logical_and": "and", "bitwise_and": "and", "logical_or": "or", "bitwise_or": "or",
    "logical_not": "not", "invert": "not", "erf": "erf",
}  # fmt: skip


class Graph:
    """Nodes in the order of their computation; equal nodes are one."""

    def __init__(self) -> None:
        self.nodes: list[Encoded] = []
        self.known: dict[str, int] = {}
        self.picks: dict[int, tuple[int, np.ndarray]] = {}  # of a node that copies one source: it and the flat indices

    def add(self, *node: Any) -> int:
        """Add a node, or find an equal one; return its number."""
        key = repr(node)
        if key not in self.known:
            self.known[key] = len(self.nodes)
            self.nodes.append(list(node))
        return self.known[key]

    def constant(self, a: np.ndarray) -> int:
        """Add an array of numbers; one with few different numbers copies them."""
        different, at = np.unique(a, return_inverse=True)
        if a.size > 4 * different.size > 0:
            return self.pick([(self.constant(different), different.size)], at.reshape(a.shape))
        return self.add("const", list(a.shape), encode(a), int(a.dtype.kind == "b"))

    def pick(self, sources: list[tuple[int, int]], at: np.ndarray) -> int:
        """Add an array whose entries are those of the sources at these indices, which count through all sources.

        sources: the node and the size of each.
        """
        used = [k for k, (start, end) in enumerate(_spans(sources)) if ((at >= start) & (at < end)).any()]
        if len(used) == 1 or len(sources) == 1:
            k = used[0] if used else 0
            return self._copy(sources[k][0], sources[k][1], at - _spans(sources)[k][0])
        return self.add("join", list(at.shape), [node for node, _ in sources], at.ravel().tolist())

    def _copy(self, source: int, size: int, at: np.ndarray) -> int:
        if source in self.picks:  # a copy of a copy is one copy
            source, before = self.picks[source]
            at = before.ravel()[at]
        node = self.nodes[source]
        if at.shape == self.shape_of_source(node) and np.array_equal(at.ravel(), np.arange(at.size)):
            return source
        made = self.add("pick", list(at.shape), source, *_encode_indices(at))
        self.picks[made] = source, at
        return made

    @staticmethod
    def shape_of_source(node: Encoded) -> tuple[int, ...] | None:
        """Return the shape that a node states, None where it follows from what the node reads."""
        return tuple(node[1]) if node[0] in ("const", "in", "pick", "join") else None

    def pruned(self, outputs: list[int]) -> tuple[list[Encoded], dict[int, int]]:
        """Return the nodes that the outputs need, renumbered, and the new numbers."""
        needed = set(outputs)
        for number in range(len(self.nodes) - 1, -1, -1):
            if number in needed:
                needed |= set(reads(self.nodes[number]))
        new = {old: number for number, old in enumerate(sorted(needed))}
        return [_renumbered(self.nodes[old], new) for old in new], new


def reads(node: Encoded) -> list[int]:
    """Return the nodes that a node reads."""
    match node:
        case ["const" | "in", *_]:
            return []
        case ["join", _, sources, _]:
            return list(sources)
        case ["pick", _, source, *_]:
            return [source]
        case ["fold" | "name", _, source, *_]:
            return [source]
    return list(node[1:])


def _renumbered(node: Encoded, new: dict[int, int]) -> Encoded:
    match node:
        case ["const" | "in", *_]:
            return node
        case ["join", shape, sources, at]:
            return ["join", shape, [new[i] for i in sources], at]
        case ["pick", shape, source, *rest]:
            return ["pick", shape, new[source], *rest]
        case ["fold" | "name", what, source, *rest]:
            return [node[0], what, new[source], *rest]
    return [node[0], *(new[i] for i in node[1:])]


def _spans(sources: list[tuple[int, int]]) -> list[tuple[int, int]]:
    ends = np.cumsum([size for _, size in sources]).tolist()
    return [(end - size, end) for end, (_, size) in zip(ends, sources, strict=True)]


def _encode_indices(at: np.ndarray) -> list[Any]:
    """Write flat indices as the first one and the distance of the next along each axis; or else one by one."""
    if not at.size:
        return [[], 0]
    start = int(at.flat[0])
    moves = [int(np.take(at, 1, axis).flat[0]) - start if n > 1 else 0 for axis, n in enumerate(at.shape)]
    regular = start + sum((np.arange(n) * m).reshape([-1 if k == i else 1 for k in range(at.ndim)])
                          for i, (n, m) in enumerate(zip(at.shape, moves, strict=True)))  # fmt: skip
    return [moves, start] if np.array_equal(np.broadcast_to(regular, at.shape), at) else [at.ravel().tolist()]


def encode(a: np.ndarray) -> list[Any]:
    """Write numbers so that JSON can hold them: infinities and NaN as text."""
    return [
        v if not isinstance(v, float) or math.isfinite(v) else str(v).replace("inf", "Infinity").replace("nan", "NaN")
        for v in (int(v) if isinstance(v, bool) else v for v in a.ravel().tolist())
    ]
