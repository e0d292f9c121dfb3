"""Look while a computation runs: the first number that is not finite, arrays changed too early, memory by op and line.

    with nanograd.detect_anomaly():      stop at the first NaN or ∞, and say where it came from
    with nanograd.detect_mutation():     stop where a saved array was changed before its backward
    with nanograd.memory_report() as r:  print(r) afterwards

All three are observers (`nanograd.op.Observer`). Without an observer, an op pays for two empty loops forward and two
backward.
"""

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nanograd.op import CONTEXT, Observer, Op, observe
from nanograd.tape import Node, arrays_in, buffer_of

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
SCOPE_SEPARATOR = "."


class AnomalyError(FloatingPointError):
    """A number that is not finite came out of finite ones."""


class MutationError(RuntimeError):
    """An array that backward needs was changed after the op saved it."""


def user_line() -> str:
    """Return file:line of the innermost caller outside of nanograd."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_HERE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def location(op: Op) -> str:
    """Return what is recorded of an op while somebody observes: name, module path, line."""
    scope = SCOPE_SEPARATOR.join(CONTEXT.get().scope)
    return f"{op.name}{f' in {scope}' if scope else ''} ({user_line()})"


# Anomalies


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise AnomalyError at the first NaN, or ∞ that came from finite numbers, in a forward or a backward inside.

    -∞ that a mask wrote on purpose passes. Everything inside runs a few times slower.
    """
    with np.errstate(all="ignore"), observe(_Anomaly()):
        yield


class _Anomaly(Observer):
    def __init__(self) -> None:
        self.walks = 0

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if node is not None:
            node.location = location(op)
        named = dict(zip(op.arrays if not op.variadic else map(str, range(len(arrays))), arrays, strict=False))
        if kind := _new_kind(y, [a for a in arrays if a is not None]):
            if kind == "∞" and not np.isfinite(options.get("value", 0.0)):
                return
            why = _forward_mechanism(op.name, arrays, y)
            raise AnomalyError(f"{kind} came out of the forward of {location(op)}{why}; {_ranges(named)}")

    def backward_begins(self) -> None:
        self.walks += 1

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        for i, dx in enumerate(dxs):
            if dx is not None and (kind := _new_kind(np.asarray(dx), [dy, *arrays_in(saved)])):
                why = _backward_mechanism(node.op.name, dy, np.asarray(dx))
                raise AnomalyError(
                    f"{kind} came out of the backward of {node.location or node.op.name}, for input {i}, in backward "
                    f"number {self.walks}{why}; {_ranges({'dy': dy})}"
                )


def _new_kind(y: np.ndarray, sources: list[Any]) -> str | None:
    """Return NaN or ∞ if y has some and none of the sources has; None where all is as it was."""
    if y.dtype.kind != "f" or np.isfinite(y).all():
        return None
    floats = [a for a in sources if a.dtype.kind == "f"]
    if np.isnan(y).any():
        return None if any(np.isnan(a).any() for a in floats) else "NaN"
    return None if any(np.isinf(a).any() for a in floats) else "∞"


def _forward_mechanism(name: str, arrays: Any, y: np.ndarray) -> str:
    first = arrays[0]
    top = float(np.log(np.finfo(y.dtype).max))
    if name == "log" and (first == 0).any():
        return ": the logarithm of 0; add an epsilon, or clip"
    if name in ("log", "sqrt", "rsqrt") and (first < 0).any():
        return f": {name} of a negative number"
    if name in ("reciprocal", "rsqrt") and (first == 0).any():
        return ": a division by 0"
    if name == "pow" and (first < 0).any() and np.isnan(y).any():
        return ": a fractional power of a negative number"
    if name == "pow" and ((first == 0) & (arrays[1] < 0)).any():
        return ": a division by 0"
    if name == "div" and (arrays[1] == 0).any():
        return ": 0 / 0" if np.isnan(y).any() else ": a division by 0"
    if name == "exp" and np.nanmax(first) > top:
        return f": exp overflows above {top:.1f}; subtract the maximum first"
    if name in ("log_softmax", "cross_entropy", "softmax", "logsumexp") and np.isneginf(first).all(axis=-1).any():
        return ": a row is masked whole, so that no score is left"
    if any(np.isinf(a).any() for a in arrays if a is not None and a.dtype.kind == "f"):
        return ": ∞ - ∞ or 0 · ∞, of an input that holds ∞"
    return f": numbers above {np.finfo(y.dtype).max:.1e}, more than {y.dtype} can hold"


def _backward_mechanism(name: str, dy: np.ndarray, dx: np.ndarray) -> str:
    bad = ~np.isfinite(dx)
    if dy.shape == dx.shape and (dy[bad] == 0).all():
        return (
            ": 0 · ∞, where a mask or `where` sent dy = 0 to an infinite slope; guard the input too, as in "
            "where(x > 0, log(where(x > 0, x, 1)), 0)"
        )
    if name in ("sqrt", "norm", "pow"):
        return f": the slope of {name} at 0 is infinite; add an epsilon"
    if name in ("log", "div", "reciprocal", "rsqrt"):
        return ": a division by 0"
    return ""


def _ranges(arrays: dict[str, Any]) -> str:
    """Write the range of each array, finite entries only, and how many are not."""
    parts = []
    for name, a in arrays.items():
        if a is None or not a.size:
            continue
        finite = a[np.isfinite(a)] if a.dtype.kind == "f" else a
        span = f"[{finite.min():.4g}, {finite.max():.4g}]" if finite.size else "nothing finite"
        odd = a.size - finite.size
        parts.append(f"{name} {a.shape} in {span}{f' and {odd} not finite' if odd else ''}")
    return ", ".join(parts)


# Mutations


@contextlib.contextmanager
def detect_mutation() -> Iterator[None]:
    """Raise MutationError where an array that an op saved was changed before its backward, at the op that saved it.

    Each saved array is summed up by its bytes when it is saved and when it is used: everything inside runs slower.
    """
    with observe(_Mutation()):
        yield


class _Mutation(Observer):
    def __init__(self) -> None:
        self.marks: dict[int, list[int]] = {}

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if node is not None:
            node.location = location(op)
            self.marks[node.seq] = [_mark(a) for a in arrays_in(saved)]

    def before_backward(self, node: Node, dy: np.ndarray, saved: Any) -> None:
        marks = self.marks.get(node.seq)
        if marks is None:
            return  # recorded before anybody looked
        for a, mark in zip(arrays_in(saved), marks, strict=True):
            if _mark(a) != mark:
                raise MutationError(
                    f"an array of shape {a.shape} that {node.location} saved for its backward was changed since; "
                    "write into a copy, or update parameters after backward"
                )

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        if node.parents is None:  # let go of; with retain_graph another walk may come
            self.marks.pop(node.seq, None)


def _mark(a: np.ndarray) -> int:
    return hash(a.tobytes())


# Memory


class MemoryReport(Observer):
    """How many bytes the tape holds for backward: by op and line, now and at most."""

    def __init__(self) -> None:
        self.saved: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.now = self.peak = 0
        self._owners: dict[int, int] = {}
        self._nodes: dict[int, list[tuple[int, int]]] = {}
        self._lock = threading.Lock()  # shards tell it of their ops at the same time

    def after_forward(
        self, op: Op, arrays: Any, options: dict[str, Any], y: np.ndarray, saved: Any, node: Node | None
    ) -> None:
        if node is not None:
            node.location = location(op)
            self.add(node.location, node, arrays_in(saved))

    def add(self, place: str, node: Node, arrays: Sequence[np.ndarray]) -> None:
        """Note, under the name of a place, the arrays that a node keeps alive until it is walked."""
        with self._lock:
            self.calls[place] += 1
            held = []
            for a in arrays:
                buffer = buffer_of(a)
                key, size = id(buffer), getattr(buffer, "nbytes", a.nbytes)
                held.append((key, size))
                if self._owners.get(key, 0) == 0:  # several ops may save one array: it is counted where it came first
                    self.saved[place] += size
                    self.now += size
                self._owners[key] = self._owners.get(key, 0) + 1
            self._nodes[node.seq] = held
            self.peak = max(self.peak, self.now)

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        if node.parents is not None:
            return  # retain_graph: still held
        with self._lock:
            for key, size in self._nodes.pop(node.seq, ()):
                self._owners[key] -= 1
                if self._owners[key] == 0:
                    del self._owners[key]
                    self.now -= size

    def __str__(self) -> str:
        lines = [f"saved for backward: {self.peak:,} bytes at most"]
        for place, size in self.saved.most_common():
            if size:
                lines.append(f"{size:>14,}  {self.calls[place]:>5} ×  {place}")
        return "\n".join(lines)


@contextlib.contextmanager
def memory_report() -> Iterator[MemoryReport]:
    """Record what every op inside saves for backward; print the report afterwards."""
    report = MemoryReport()
    with observe(report):
        yield report
