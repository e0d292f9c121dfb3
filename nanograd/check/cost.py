"""The cost of an op: its FLOPs and saved bytes, counted by running it on a Case; and the table of all ops."""

import copy
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case
from nanograd.check.target import Target
from nanograd.op import OPS, Op
from nanograd.ops._equations import equations
from nanograd.tape import arrays_in, buffer_of


class Counter(np.ndarray):
    """An array that counts the floating-point operations on it in `Counter.flops`.

    An elementwise function counts one per entry, whichever it is, a reduction one per entry added, and a matrix product
    2 n k m.
    """

    flops = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        plain = [np.asarray(a) if isinstance(a, Counter) else a for a in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(a) if isinstance(a, Counter) else a for a in out)
        y = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counter.flops += 2 * np.size(y) * np.shape(plain[0])[-1]
        elif method in ("reduce", "accumulate"):
            Counter.flops += np.size(plain[0])
        else:
            Counter.flops += np.size(y) if y is not None else np.size(plain[-1])
        return y.view(Counter) if _is_float(y) else y

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        plain = _plain(args)
        if function is np.einsum:
            sizes: dict[str, int] = {}
            for letters, a in zip(plain[0].partition("->")[0].split(","), plain[1:], strict=False):
                sizes |= dict(zip(letters, np.shape(a), strict=False))
            Counter.flops += 2 * math.prod(sizes.values())
        elif function in (np.cumsum, np.cumprod, np.clip):
            Counter.flops += np.size(plain[0])
        y = function(*plain, **{name: _plain(value) for name, value in options.items()})
        return y.view(Counter) if _is_float(y) else y


def _is_float(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(item) for item in value)
    return np.asarray(value) if isinstance(value, Counter) else value


@dataclass
class Cost:
    """One row of the table of all ops."""

    name: str
    equation: str
    gradients: list[str]
    shapes: str
    saved: int  # bytes, in float32
    forward: int  # FLOPs
    backward: int
    location: str  # file and line of the backward


def cost(op: Op, case: Case | None = None) -> Cost:
    """Run the readable pair of an op on a Case, by default its first, in float32, and count."""
    case = case or CASES[op.name][0]
    target = Target(op, case.arrays(), case.options, np.float32)
    arrays = [a for a in target.inputs if a is not None]
    Counter.flops = 0
    y, saved = target.run_forward([a.view(Counter) if _is_float(a) else a for a in target.inputs])
    forward, Counter.flops = Counter.flops, 0
    saved_bytes = {id(buffer_of(a)): a.nbytes for a in arrays_in(saved)}
    target.run_backward(np.ones(y.shape, y.dtype).view(Counter), copy.deepcopy(saved))
    code = op.pair.backward.__code__
    folder = code.co_filename.replace("\\", "/").rpartition("nanograd/ops/")
    shapes = " ".join(str(a.shape).replace(" ", "") for a in arrays)
    names = op.arrays or ("x",)
    lines = equations(op.pair.backward)
    is_gradient = re.compile(rf"(^|\s)d({'|'.join(names)})(\b|_)")
    gradients = [line for line in lines if is_gradient.search(line.partition("=")[0])] or lines[-1:]
    location = f"ops/{folder[2]}:{code.co_firstlineno}"
    equation = (equations(op.pair.forward) or [""])[-1]
    return Cost(op.name, equation, gradients, shapes, sum(saved_bytes.values()), forward, Counter.flops, location)


def table(names: Iterable[str] = OPS) -> str:
    """Return a table of ops, by default all: equation, gradient, cost on the first Case, and location of each."""
    rows = [cost(OPS[name]) for name in sorted(names)]
    lines = []
    for row in rows:
        fast = ", with a fast pair" if OPS[row.name].fast else ""
        lines.append(f"{row.name:<16} {row.equation}")
        lines += [f"{'':<16} {gradient}" for gradient in row.gradients]
        lines.append(
            f"{'':<16} on {row.shapes}: saves {row.saved} bytes, {row.forward} FLOPs forward, {row.backward} backward; "
            f"{row.location}{fast}\n"
        )
    fast = "a fast pair computes the same, and runs instead except inside nanograd.readable()"
    lines.append(f"{len(rows)} ops, each a pair of functions; {fast}; sizes are of the op's first Case, in float32")
    return "\n".join(lines)
