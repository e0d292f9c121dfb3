"""Measure what a computation costs: the memory that its tape holds, by op and line, and its time by op.

    with nanograd.memory_report() as report:      bytes saved for backward, by op and line
        model.loss(ids, targets).backward()
    print(report)

    with nanograd.profile() as p:                 times, forward and backward, and saved bytes, by op
        model.loss(ids, targets).backward()
    print(p)

Both are observers (`nanograd.op.Observer`). A profile has a stack of running ops and a table for each thread, so shards
that run side by side neither wait for each other nor lose a count. The time of an op excludes what ran inside it, such as
the ops of a `checkpoint`. Profiling costs about 6 µs an op, which are not counted as the op's time.
"""

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.inspect.anomaly import location
from nanograd.op import Observer, Op, observe
from nanograd.tape import Node, arrays_in, buffer_of

# Memory


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

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Node | None) -> None:
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


# Time

Sums = dict[tuple[str, str], tuple[int, float]]  # calls and seconds by kind (forward, backward, region) and name


class Row(NamedTuple):
    """The calls and times of one op, or of one region; times in seconds, added over the threads."""

    name: str
    calls: int
    forward: float  # the whole time of a region
    backward: float | None  # None for a region
    saved: int  # bytes saved for backward; each buffer is counted once, parameters and other leaves are not

    @property
    def seconds(self) -> float:
        return self.forward + (self.backward or 0.0)


@dataclass
class _Frame:
    """An op or a region that has begun; `nested` is the time of those that began and ended inside it."""

    key: object
    start: float
    nested: float = 0.0


class _Thread(threading.local):
    """The stack and the sums of the running thread.

    Python calls `__init__` again in every thread, at its first op; it appends that thread's sums to `all_sums`.
    """

    def __init__(self, all_sums: list[Sums]) -> None:
        self.stack: list[_Frame] = []
        self.sums: Sums = defaultdict(lambda: (0, 0.0))
        all_sums.append(self.sums)

    def begin(self, key: object) -> None:
        self.stack.append(_Frame(key, time.perf_counter()))

    def end(self, key: object, kind: str, name: str) -> None:
        """Add the time since `key` began, without the time of nested frames."""
        end = time.perf_counter()
        nested = 0.0
        while True:  # frames above `key` were left by an exception: their own time belongs to `key`
            frame = self.stack.pop()
            nested += frame.nested
            if frame.key is key:
                break
        duration = end - frame.start
        if self.stack:
            self.stack[-1].nested += duration
        calls, seconds = self.sums[kind, name]
        self.sums[kind, name] = calls + 1, seconds + duration - nested


class Profile(Observer):
    """The times of a computation by op: `rows()`, `regions()`, or print it. `elapsed` is the wall time in seconds.

    A forward that `checkpoint` repeats in backward counts as a call and a forward time of its op.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._sums: list[Sums] = []  # one for each thread
        self._thread = _Thread(self._sums)
        self._memory = MemoryReport()

    def before_forward(self, op: Op) -> None:
        self._thread.begin(op)

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Node | None) -> None:
        self._thread.end(op, "forward", op.name)
        if node is not None:  # leaves live without the tape, so their arrays do not count
            leaves = {id(buffer_of(p.data)) for p in node.parents or () if isinstance(p, Tensor)}
            self._memory.add(op.name, node, [a for a in arrays_in(saved) if id(buffer_of(a)) not in leaves])

    def before_backward(self, node: Node, dy: np.ndarray, saved: Any) -> None:
        self._thread.begin(node)

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        self._thread.end(node, "backward", node.op.name)
        self._memory.after_backward(node, dy, saved, dxs)

    def before_region(self, name: str) -> None:
        self._thread.begin(name)

    def after_region(self, name: str) -> None:
        self._thread.end(name, "region", name)

    def rows(self) -> list[Row]:
        """Return a row for each op, added over the threads, the slowest first."""
        totals = self._totals()
        rows = [
            Row(name, *totals["forward", name], totals["backward", name][1], self._memory.saved[name])
            for name in {name for kind, name in totals if kind != "region"}
        ]
        return sorted(rows, key=lambda row: -row.seconds)

    def regions(self) -> dict[str, Row]:
        """Return a row for each region, by name; its time excludes the ops and regions inside it."""
        return {name: Row(name, *sums, None, 0) for (kind, name), sums in self._totals().items() if kind == "region"}

    def _totals(self) -> Sums:
        """Add the sums of all threads."""
        totals: Sums = defaultdict(lambda: (0, 0.0))
        for sums in self._sums:
            for key, (calls, seconds) in sums.items():
                totals[key] = totals[key][0] + calls, totals[key][1] + seconds
        return totals

    def __str__(self) -> str:
        rows = [*self.rows(), *self.regions().values()]
        total = sum(row.seconds for row in rows)
        lines = [f"{1e3 * total:.1f} ms, added over the threads, in {1e3 * self.elapsed:.1f} ms", *table(rows, total)]
        return "\n".join(lines)


def table(rows: Sequence[Row], total: float, steps: int = 1) -> list[str]:
    """Return the lines of a table: times, calls and bytes per step, and each row's share of `total` seconds."""
    lines = [f"{'':<22}{'calls':>8}{'forward ms':>12}{'backward ms':>13}{'saved MB':>10}{'ms':>10}{'share':>9}"]
    for row in rows:
        calls = f"{row.calls / steps:g}" if row.calls else ""
        times = f"{'':>12}{'':>13}{'':>10}"
        if row.backward is not None:
            forward, backward, saved = (x / steps for x in (1e3 * row.forward, 1e3 * row.backward, row.saved / 1e6))
            times = f"{forward:>12.2f}{backward:>13.2f}{saved:>10.2f}"
        share = 100 * row.seconds / total if total else 0.0
        lines.append(f"{row.name:<22}{calls:>8}{times}{1e3 * row.seconds / steps:>10.2f}{share:>7.1f} %")
    return lines


@contextlib.contextmanager
def profile() -> Iterator[Profile]:
    """Time every op of the block that runs on Tensors; print the result afterwards.

    >>> with profile() as p:
    ...     loss = Tensor([1.0, 2.0]).exp().sum()
    >>> sorted((row.name, row.calls) for row in p.rows())
    [('exp', 1), ('sum', 1)]
    """
    result = Profile()
    with observe(result):
        start = time.perf_counter()
        try:
            yield result
        finally:
            result.elapsed = time.perf_counter() - start
