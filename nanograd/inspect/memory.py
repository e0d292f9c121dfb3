"""Measure the memory that the tape holds for backward, by op and line.

with nanograd.memory_report() as report:
    model.loss(ids, targets).backward()
print(report)
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nanograd.inspect.anomaly import location
from nanograd.op import Observer, Op, observe
from nanograd.tape import Node, arrays_in, buffer_of


class MemoryReport(Observer):
    """The bytes of all saved arrays: `now`, at the `peak`, and `saved` by op and line. Print it for a table.

    A buffer that several ops save is counted once, for the first of them. A view counts as its whole buffer.
    """

    def __init__(self) -> None:
        self.saved: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.now = self.peak = 0
        self._users: Counter[int] = Counter()  # nodes that hold a buffer, by its id
        self._buffers: dict[int, list[tuple[int, int]]] = {}  # (id, bytes) of each buffer, by the node's seq
        self._lock = threading.Lock()  # shards call the report at the same time

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if node is not None:
            node.location = location(op)
            self.add(node.location, node, arrays_in(saved))

    def add(self, label: str, node: Node, arrays: Sequence[np.ndarray]) -> None:
        """Count, under a label, the arrays that a node holds until its backward."""
        with self._lock:
            self.calls[label] += 1
            buffers = []
            for a in arrays:
                buffer = buffer_of(a)
                key, size = id(buffer), getattr(buffer, "nbytes", a.nbytes)
                buffers.append((key, size))
                if not self._users[key]:
                    self.saved[label] += size
                    self.now += size
                self._users[key] += 1
            self._buffers[node.seq] = buffers
            self.peak = max(self.peak, self.now)

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        if node.parents is not None:
            return  # retain_graph: the arrays are still held
        with self._lock:
            for key, size in self._buffers.pop(node.seq, ()):
                self._users[key] -= 1
                if not self._users[key]:
                    del self._users[key]
                    self.now -= size

    def __str__(self) -> str:
        lines = [f"saved for backward: {self.peak:,} bytes at most"]
        for label, size in self.saved.most_common():
            if size:
                lines.append(f"{size:>14,}  {self.calls[label]:>5} ×  {label}")
        return "\n".join(lines)


@contextlib.contextmanager
def memory_report() -> Iterator[MemoryReport]:
    """Count what every op of the block saves for backward; print the report afterwards."""
    report = MemoryReport()
    with observe(report):
        yield report
