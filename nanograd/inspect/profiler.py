"""Measure the time of a computation by op, forward and backward, and the bytes that each op saves for backward.

    with nanograd.profile() as p:
        model.loss(ids, targets).backward()
    print(p)

A profile is an observer (`nanograd.op.Observer`). Each thread has a stack of what is running in it and a table of its
own, so shards that run side by side neither wait for each other nor lose a count. The time of an op excludes what ran
inside it, such as the ops of a `checkpoint`. Profiling costs about 6 µs an op, which are not counted as the op's time.
"""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nanograd._tensor import Tensor
from nanograd.inspect.memory import MemoryReport
from nanograd.op import Observer, Op, observe
from nanograd.tape import Node, arrays_in, buffer_of


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


class _Thread:
    """The stack of one thread, and its sums by kind (forward, backward, region) and name."""

    def __init__(self) -> None:
        self.stack: list[_Frame] = []
        self.calls: dict[tuple[str, str], int] = defaultdict(int)
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)

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
        self.calls[kind, name] += 1
        self.seconds[kind, name] += duration - nested


class Profile(Observer):
    """The times of a computation by op: `rows()`, `regions()`, or print it. `elapsed` is the wall time in seconds.

    A forward that `checkpoint` repeats in backward counts as a call and a forward time of its op.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._local = threading.local()
        self._threads: list[_Thread] = []
        self._memory = MemoryReport()

    def _current_thread(self) -> _Thread:
        """Return the record of the running thread, created at its first op."""
        thread: _Thread | None = getattr(self._local, "thread", None)
        if thread is None:
            thread = self._local.thread = _Thread()
            self._threads.append(thread)
        return thread

    def before_forward(self, op: Op) -> None:
        self._current_thread().begin(op)

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        self._current_thread().end(op, "forward", op.name)
        if node is not None:  # leaves live without the tape, so their arrays do not count
            leaves = {id(buffer_of(p.data)) for p in node.parents or () if isinstance(p, Tensor)}
            self._memory.add(op.name, node, [a for a in arrays_in(saved) if id(buffer_of(a)) not in leaves])

    def before_backward(self, node: Node, dy: np.ndarray, saved: Any) -> None:
        self._current_thread().begin(node)

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        self._current_thread().end(node, "backward", node.op.name)
        self._memory.after_backward(node, dy, saved, dxs)

    def before_region(self, name: str) -> None:
        self._current_thread().begin(name)

    def after_region(self, name: str) -> None:
        self._current_thread().end(name, "region", name)

    def rows(self) -> list[Row]:
        """Return a row for each op, added over the threads, the slowest first."""
        calls, seconds = self._sums()
        rows = [
            Row(
                name,
                calls["forward", name],
                seconds["forward", name],
                seconds["backward", name],
                self._memory.saved[name],
            )
            for name in {name for kind, name in calls if kind != "region"}
        ]
        return sorted(rows, key=lambda row: -row.seconds)

    def regions(self) -> dict[str, Row]:
        """Return a row for each region, by name; its time excludes the ops and regions inside it."""
        calls, seconds = self._sums()
        names = [name for kind, name in calls if kind == "region"]
        return {name: Row(name, calls["region", name], seconds["region", name], None, 0) for name in names}

    def _sums(self) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], float]]:
        """Add the calls and the seconds of all threads."""
        calls: dict[tuple[str, str], int] = defaultdict(int)
        seconds: dict[tuple[str, str], float] = defaultdict(float)
        for thread in self._threads:
            for key, n in thread.calls.items():
                calls[key] += n
                seconds[key] += thread.seconds[key]
        return calls, seconds

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
