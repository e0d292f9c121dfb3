"""What a forward and a backward owe beside right values: to be repeatable, linear, and to leave others' arrays alone."""

import copy
from typing import Any

import numpy as np

from nanograd.check.target import Subject
from nanograd.tape import arrays_in


def broken_laws(subject: Subject, u: np.ndarray, gradients: list[Any]) -> list[str]:
    """Check what an op owes beside its values; return what is broken."""
    said = []
    y, back = subject.run(subject.inputs)
    again, _ = subject.run(subject.inputs)
    if not np.array_equal(y, again, equal_nan=True) or not _same(back(u.copy()), gradients):
        said.append("two runs differ: draw random numbers from a seed that is an option, as dropout does")
    zeros = back(np.zeros_like(u))
    if any(dx is not None and np.any(dx) for dx in zeros):
        said.append("a zero cotangent gives a gradient that is not zero: backward must be linear in dy")
    turned = [np.array(x, order="F") if isinstance(x, np.ndarray) else x for x in subject.inputs]
    if not _same(subject.run(turned)[1](np.array(u, order="F")), gradients, 1e-9):
        said.append("the memory layout matters: the same numbers in column order give another gradient")
    if subject.pair:
        said += _of_pairs(subject, u, gradients)
    return said


def _of_pairs(subject: Subject, u: np.ndarray, gradients: list[Any]) -> list[str]:
    """Check what can only be seen where forward and backward are plain functions: writing, aliasing, needs."""
    said = []
    narrow = [x.astype(np.float32) if need else x for x, need in zip(subject.inputs, subject.needs, strict=True)]
    y32, back32 = subject.run(narrow)
    dtypes = {y32.dtype, *(np.asarray(dx).dtype for dx in back32(u.astype(y32.dtype)) if dx is not None)}
    if dtypes - {np.dtype(np.float32)}:
        said.append(
            f"float32 in gives {', '.join(sorted(map(str, dtypes)))} out: a NumPy scalar or np.float64 array widens"
        )
    inputs, dy = copy.deepcopy(subject.inputs), u.copy()
    _, saved = subject.save(inputs, subject.needs)
    kept = [a.copy() for a in arrays_in(saved)]
    dxs = subject.pull(dy, saved, subject.needs)
    for x, before in zip(inputs, subject.inputs, strict=True):
        if isinstance(x, np.ndarray) and not np.array_equal(x, before, equal_nan=x.dtype.kind == "f"):
            said.append("an input was written into")
    if not np.array_equal(dy, u):
        said.append("dy was written into: other uses of it would see the change")
    if any(
        not np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(arrays_in(saved), kept, strict=True)
    ):
        said.append("what forward saved was written into: a second walk would see the change")
    if any(isinstance(dx, np.ndarray) and np.may_share_memory(dx, a) for dx in dxs for a in arrays_in(saved)):
        said.append("a gradient shares memory with what forward saved: adding to it would change that")
    if sum(subject.needs) > 1 and subject.backward_accepts_needs:
        for i in [i for i, need in enumerate(subject.needs) if need]:
            needs = tuple(j == i for j in range(len(subject.needs)))
            _, saved = subject.save(subject.inputs, needs)
            dxs = subject.pull(u.copy(), saved, needs)
            if not _same([dxs[i]], [gradients[i]], 1e-9):
                said.append(f"input {i} alone gets another gradient than together with the others")
    return said


def _same(a: list[Any], b: list[Any], tolerance: float = 0.0) -> bool:
    """Tell whether two lists of gradients agree, to the bit or to a tolerance."""
    for x, y in zip(a, b, strict=True):
        if (x is None) != (y is None):
            return False
        if x is not None and not np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True):
            return False
    return True
