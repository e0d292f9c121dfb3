"""Where the time of a computation goes: op by op, forward and backward, and what each keeps for backward.

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
from nanograd.inspect.anomaly import MemoryReport
from nanograd.op import Observer, Op, observe
from nanograd.tape import Node, arrays_in, buffer_of


class Row(NamedTuple):
    """What one op, or one part of a step that is no op, took; times in seconds, added over the threads."""

    name: str
    calls: int
    forward: float  # of a part: all of its time
    backward: float | None  # None for a part
    saved: int  # bytes kept for backward, each buffer counted once, and those of leaves (parameters) not at all

    @property
    def seconds(self) -> float:
        return self.forward + (self.backward or 0.0)


@dataclass
class _Running:
    """An op or a part that has begun; `inside` is the time of what began after it and has ended."""

    key: object
    began: float
    inside: float = 0.0


class _Thread:
    """What runs in one thread, and the sums of what ran there, by kind (forward, backward, part) and name."""

    def __init__(self) -> None:
        self.running: list[_Running] = []
        self.calls: dict[tuple[str, str], int] = defaultdict(int)
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)

    def begin(self, key: object) -> None:
        self.running.append(_Running(key, time.perf_counter()))

    def end(self, key: object, kind: str, name: str) -> None:
        """Add the time since `key` began, without what ran inside; drop what an exception ended there."""
        now = time.perf_counter()
        inside = 0.0
        while True:
            last = self.running.pop()
            inside += last.inside
            if last.key is key:
                break
        spent = now - last.began
        if self.running:
            self.running[-1].inside += spent
        self.calls[kind, name] += 1
        self.seconds[kind, name] += spent - inside


class Profile(Observer):
    """The table of a computation: `rows()`, or print it. `elapsed` is the wall time in seconds, once it has ended.

    What checkpoint computes again in backward counts among the calls and forward times of the ops concerned.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._local = threading.local()
        self._threads: list[_Thread] = []
        self._memory = MemoryReport()

    def _here(self) -> _Thread:
        """Return what belongs to the running thread, made at its first op."""
        thread: _Thread | None = getattr(self._local, "thread", None)
        if thread is None:
            thread = self._local.thread = _Thread()
            self._threads.append(thread)
        return thread

    def before_forward(self, op: Op) -> None:
        self._here().begin(op)

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        self._here().end(op, "forward", op.name)
        if node is not None:
            leaves = {
                id(buffer_of(p.data)) for p in node.parents or () if isinstance(p, Tensor)
            }  # live without the tape
            self._memory.add(op.name, node, [a for a in arrays_in(saved) if id(buffer_of(a)) not in leaves])

    def before_backward(self, node: Node, dy: np.ndarray, saved: Any) -> None:
        self._here().begin(node)

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        self._here().end(node, "backward", node.op.name)
        self._memory.after_backward(node, dy, saved, dxs)

    def before_region(self, name: str) -> None:
        self._here().begin(name)

    def after_region(self, name: str) -> None:
        self._here().end(name, "region", name)

    def rows(self) -> list[Row]:
        """Return a row for each op, the longest first, added over the threads."""
        calls, seconds = self._sums()
        names = {name for kind, name in calls if kind != "region"}
        rows = [
            Row(n, calls["forward", n], seconds["forward", n], seconds["backward", n], self._memory.saved[n])
            for n in names
        ]
        return sorted(rows, key=lambda row: -row.seconds)

    def regions(self) -> dict[str, Row]:
        """Return a row for each part, by name."""
        calls, seconds = self._sums()
        return {
            name: Row(name, calls[kind, name], seconds[kind, name], None, 0) for kind, name in calls if kind == "region"
        }

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
        spent = sum(row.seconds for row in rows)
        lines = [f"{1e3 * spent:.1f} ms, added over the threads, in {1e3 * self.elapsed:.1f} ms", *table(rows, spent)]
        return "\n".join(lines)


def table(rows: Sequence[Row], total: float, steps: int = 1) -> list[str]:
    """Return the lines of a table: each row's share of `total` seconds, and the rest of it for one step."""
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
    """Time every op inside, on Tensors; print the result afterwards.

    >>> with profile() as p:
    ...     loss = Tensor([1.0, 2.0]).exp().sum()
    >>> sorted((row.name, row.calls) for row in p.rows())
    [('exp', 1), ('sum', 1)]
    """
    result = Profile()
    with observe(result):
        began = time.perf_counter()
        try:
            yield result
        finally:
            result.elapsed = time.perf_counter() - began
