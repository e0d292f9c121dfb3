"""Find the op that made a NaN or an ∞, or whose saved array was overwritten before its backward.

    with nanograd.detect_anomaly():      stop at the first NaN or ∞, and say which op and line made it
    with nanograd.detect_mutation():     stop if a saved array was changed before its backward

Both are observers (`nanograd.op.Observer`) and slow the computation down several times.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from nanograd.op import CONTEXT, Observer, Op, observe
from nanograd.tape import Node, arrays_in

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class AnomalyError(FloatingPointError):
    """An op computed a NaN or an ∞ from finite numbers."""


class MutationError(RuntimeError):
    """An array was changed between the forward that saved it and its backward."""


def user_line() -> str:
    """Return file:line of the innermost caller outside nanograd."""
    frame = sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def location(op: Op) -> str:
    """Return the name of an op that is running, the path of its module and the user's line that called it."""
    scope = ".".join(CONTEXT.get().scope)
    return f"{op.name}{f' in {scope}' if scope else ''} ({user_line()})"


# Numbers that are not finite


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise AnomalyError at the first NaN, or the first ∞ made of finite numbers, in a forward or backward of the block.

    A -∞ that a mask writes on purpose is no anomaly.
    """
    with np.errstate(all="ignore"), observe(_AnomalyDetector()):
        yield


class _AnomalyDetector(Observer):
    def __init__(self) -> None:
        self.backwards = 0

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Node | None) -> None:
        if node is not None:
            node.location = location(op)
        names = map(str, range(len(arrays))) if op.variadic else op.arrays
        if kind := _new_kind(y, [a for a in arrays if a is not None]):
            if kind == "∞" and not np.isfinite(options.get("value", 0.0)):
                return
            cause = _forward_cause(op.name, arrays, y)
            ranges = _ranges(dict(zip(names, arrays, strict=False)))
            raise AnomalyError(f"{kind} came out of the forward of {location(op)}{cause}; {ranges}")

    def backward_begins(self) -> None:
        self.backwards += 1

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        for i, dx in enumerate(dxs):
            if dx is not None and (kind := _new_kind(np.asarray(dx), [dy, *arrays_in(saved)])):
                cause = _backward_cause(node.op.name, dy, np.asarray(dx))
                raise AnomalyError(
                    f"{kind} came out of the backward of {node.location or node.op.name}, for input {i}, in backward "
                    f"number {self.backwards}{cause}; {_ranges({'dy': dy})}"
                )


def _new_kind(y: np.ndarray, sources: list[Any]) -> str | None:
    """Return "NaN" or "∞" if y has one and no source has one; else None."""
    if y.dtype.kind != "f" or np.isfinite(y).all():
        return None
    floats = [a for a in sources if a.dtype.kind == "f"]
    if np.isnan(y).any():
        return None if any(np.isnan(a).any() for a in floats) else "NaN"
    return None if any(np.isinf(a).any() for a in floats) else "∞"


def _forward_cause(name: str, arrays: Any, y: np.ndarray) -> str:
    """Say why the forward of an op made a NaN or an ∞, and what helps, as the rest of a sentence."""
    first = arrays[0]
    largest_exponent = float(np.log(np.finfo(y.dtype).max))
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
    if name == "exp" and np.nanmax(first) > largest_exponent:
        return f": exp overflows above {largest_exponent:.1f}; subtract the maximum first"
    if any(np.isinf(a).any() for a in arrays if a is not None and a.dtype.kind == "f"):
        return ": ∞ - ∞ or 0 · ∞, from an input that contains ∞"
    return f": overflow, a number above {np.finfo(y.dtype).max:.1e}, the largest in {y.dtype}"


def _backward_cause(name: str, dy: np.ndarray, dx: np.ndarray) -> str:
    """Say why the backward of an op made a NaN or an ∞, and what helps, as the rest of a sentence."""
    bad = ~np.isfinite(dx)
    if dy.shape == dx.shape and (dy[bad] == 0).all():
        return (
            ": 0 · ∞, because a mask or `where` sent dy = 0 to an infinite derivative; guard the input too, as in "
            "where(x > 0, log(where(x > 0, x, 1)), 0)"
        )
    if name in ("sqrt", "norm", "pow"):
        return f": the derivative of {name} at 0 is infinite; add an epsilon"
    if name in ("log", "div", "reciprocal", "rsqrt"):
        return ": a division by 0"
    return ""


def _ranges(arrays: dict[str, Any]) -> str:
    """Describe each array by its shape, the range of its finite entries, and the number of the others."""
    descriptions = []
    for name, a in arrays.items():
        if a is None or not a.size:
            continue
        finite = a[np.isfinite(a)] if a.dtype.kind == "f" else a
        span = f"[{finite.min():.4g}, {finite.max():.4g}]" if finite.size else "nothing finite"
        n_other = a.size - finite.size
        descriptions.append(f"{name} {a.shape} in {span}{f' and {n_other} not finite' if n_other else ''}")
    return ", ".join(descriptions)


# Arrays that were overwritten


@contextlib.contextmanager
def detect_mutation() -> Iterator[None]:
    """Raise MutationError, with the op and line, if an array that an op saved was changed before its backward.

    Every saved array is hashed when it is saved and again when it is used.
    """
    with observe(_MutationDetector()):
        yield


class _MutationDetector(Observer):
    def __init__(self) -> None:
        self.hashes: dict[int, list[int]] = {}  # of the saved arrays, by the node's seq

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Node | None) -> None:
        if node is not None:
            node.location = location(op)
            self.hashes[node.seq] = [hash(a.tobytes()) for a in arrays_in(saved)]

    def before_backward(self, node: Node, dy: np.ndarray, saved: Any) -> None:
        if node.seq not in self.hashes:
            return  # recorded before the block began
        for a, before in zip(arrays_in(saved), self.hashes[node.seq], strict=True):
            if hash(a.tobytes()) != before:
                raise MutationError(
                    f"an array of shape {a.shape} that {node.location} saved for its backward was changed since; "
                    "write into a copy, or update parameters after backward"
                )

    def after_backward(self, node: Node, dy: np.ndarray, saved: Any, dxs: Any) -> None:
        if node.parents is None:  # freed; with retain_graph another backward may follow
            self.hashes.pop(node.seq, None)
