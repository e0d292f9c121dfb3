"""The contract of an op: the rules that a forward and its backward must keep, apart from the values of the gradients.

A rule takes a Target and a cotangent dy, and returns a message that says what is broken, or "". A message states the
fact, the reason and, where there is one, the remedy. gradcheck, the test suite and the drills' grader use these rules.
"""

import copy
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nanograd.check.target import Target
from nanograd.op import Needs
from nanograd.tape import arrays_in

Rule = Callable[[Target, np.ndarray], str]
identical = functools.partial(np.array_equal, equal_nan=True)
ROUNDING = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-4}  # relative to the largest entry, or to 1


def broken_rules(target: Target, dy: np.ndarray) -> Iterator[str]:
    """Yield a message for each broken rule of those that every forward and backward must keep."""
    for rule in RULES:
        if message := rule(target, dy):
            yield message


def check_form(target: Target, gradients: Sequence[Any]) -> str:
    """Say what is wrong with the number, type, shape or dtype of the gradients that a backward returned."""
    if message := wrong_count(target, gradients):
        return message
    for i in target.needed:
        dx, x = gradients[i], target.inputs[i]
        if not isinstance(dx, (np.ndarray, np.generic)):
            return f"input {i}: the gradient must be a NumPy array, got {type(dx).__name__}"
        if dx.shape != x.shape:
            return f"input {i}: the gradient has shape {dx.shape}, the input {x.shape}"
        if dx.dtype != x.dtype:
            return f"input {i}: the gradient is {dx.dtype}, the input {x.dtype}"
    return ""


def wrong_count(target: Target, gradients: Sequence[Any]) -> str:
    """Say whether backward returned too many or too few gradients, or None where one is needed."""
    if len(gradients) != len(target.inputs):
        return f"backward returned {len(gradients)} gradients for {len(target.inputs)} inputs"
    missing = [str(i) for i in target.needed if gradients[i] is None]
    return f"input {', '.join(missing)}: backward returned None, but its gradient is needed" if missing else ""


def runs_agree(target: Target, dy: np.ndarray) -> str:
    """Two runs give the same y and the same gradients, to the bit."""
    (y, vjp), (again, vjp_again) = target.run(), target.run()
    if identical(y, again) and _all_agree(vjp(dy.copy()), vjp_again(dy.copy()), identical):
        return ""
    return "two runs differ: draw random numbers from a seed that is an option, as dropout does"


def backward_is_linear(target: Target, dy: np.ndarray) -> str:
    """dx(0) = 0, and dx(2 u - 3 v) = 2 dx(u) - 3 dx(v), also for v = 1, where a backward may skip a product."""
    zeros = target.gradients(np.zeros_like(dy))
    if any(dx is not None and np.any(dx) for dx in zeros):
        return "dy = 0 gives a gradient that is not zero: backward must be linear in dy (is something divided by dy?)"
    of_u = target.gradients(dy)
    for other, v in (("v", np.flip(dy) + dy.dtype.type(0.5)), ("1", np.ones_like(dy))):
        v = np.where(dy == 0, dy, v)  # 0 where dy is, as y may be infinite there
        of_v, of_both = target.gradients(v), target.gradients(2 * dy - 3 * v)
        for i in target.needed:
            expected = 2 * np.asarray(of_u[i]) - 3 * np.asarray(of_v[i])
            if not near(of_both[i], expected, 100):  # the differences of larger numbers
                rule = f"the gradient of 2u - 3{other.strip('1')} is not 2 dx(u) - 3 dx({other})"
                return f"input {i}: {rule}: backward must be linear in dy"
    return ""


def layout_does_not_matter(target: Target, dy: np.ndarray) -> str:
    """Arrays in column order give the same y and the same gradients."""
    y, vjp = target.run()
    columns = [np.array(x, order="F") if isinstance(x, np.ndarray) else x for x in target.inputs]
    y_columns, vjp_columns = target.run(columns)
    if near(y_columns, y) and _all_agree(vjp_columns(np.array(dy, order="F")), vjp(dy.copy()), near):
        return ""
    return "the memory layout matters: the same numbers in column order give another result"


def float32_stays_float32(target: Target, dy: np.ndarray) -> str:
    """float32 in means float32 out: y, and every gradient."""
    if target.pair is None or "dtype" in target.options:
        return ""
    inputs = [x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in target.inputs]
    y, vjp = target.run(inputs)
    gradients = vjp(dy.astype(y.dtype))
    dtypes = {y.dtype, *(np.asarray(dx).dtype for dx in gradients if dx is not None)} - {np.dtype(np.float32)}
    if not dtypes:
        return ""
    return f"float32 in gives {', '.join(sorted(map(str, dtypes)))} out: a NumPy scalar or a float64 array promotes it"


def nothing_is_written_into(target: Target, dy: np.ndarray) -> str:
    """Forward and backward write into arrays of their own: not into inputs, y, dy or what forward saved."""
    if target.pair is None:
        return ""
    inputs, own_dy = copy.deepcopy(target.inputs), dy.copy()
    y, saved = target.run_forward()
    results = copy.deepcopy([y, *arrays_in(saved)])
    target.run_backward(own_dy, saved)
    for name, arrays, before in (
        ("an input", target.inputs, inputs),
        ("dy", [own_dy], [dy]),
        ("what forward returned or saved", [y, *arrays_in(saved)], results),
    ):
        pairs = zip(arrays, before, strict=True)
        if any(isinstance(a, np.ndarray) and a.tobytes() != b.tobytes() for a, b in pairs):
            return f"{name} was written into: others still need it; write into arrays of your own"
    return ""


def gradients_share_no_memory(target: Target, dy: np.ndarray) -> str:
    """No gradient shares memory with what forward saved; also not for dy = 1, where a backward may skip a product."""
    if target.pair is None:
        return ""
    for cotangent in (dy.copy(), np.ones_like(dy)):
        _, saved = target.run_forward()
        for i, dx in enumerate(target.run_backward(cotangent, saved)):
            if isinstance(dx, np.ndarray) and any(np.may_share_memory(dx, a) for a in arrays_in(saved)):
                return (
                    f"the gradient of input {i} shares memory with what forward saved: the engine adds into gradients, "
                    "and would change what was saved; return a copy"
                )
    return ""


def backward_can_repeat(target: Target, dy: np.ndarray) -> str:
    """A second backward gives the same gradients, also after the engine added into those of the first."""
    for cotangent in (dy, np.ones_like(dy)):
        _, vjp = target.run()
        first = vjp(cotangent.copy())
        expected = copy.deepcopy(first)
        for dx in first:
            if isinstance(dx, np.ndarray) and dx.flags.writeable:
                np.add(dx, 1, out=dx)
        if not _all_agree(vjp(cotangent.copy()), expected, near):
            return (
                "a second backward gives another gradient after the first was added into: it is an array that is kept "
                "between calls, or part of one; return a new array"
            )
    return ""


def needs_change_no_value(target: Target, dy: np.ndarray) -> str:
    """Whichever gradients are needed, y is the same to the bit, and so is every needed gradient.

    Every pattern of needs is tried; of many inputs, each alone.
    """
    if target.pair is None:
        return ""
    y, saved = target.run_forward()
    reference = target.run_backward(dy.copy(), saved)
    patterns: Iterator[Needs] = itertools.product(*[(False, True) if need else (False,) for need in target.needs])
    if len(target.needed) > 4:
        patterns = (tuple(j == i for j in range(len(target.needs))) for i in target.needed)
    for needs in patterns:
        y_again, saved = target.run_forward(needs=needs)
        if not identical(y, y_again):
            return f"with needs {needs}, y is another"
        for i, dx in enumerate(target.run_backward(dy.copy(), saved, needs) if any(needs) else ()):
            if needs[i] and (dx is None or not near(dx, reference[i])):
                return f"input {i}: with needs {needs} the gradient is another than with {target.needs}"
    return ""


RULES: tuple[Rule, ...] = (
    runs_agree,
    backward_is_linear,
    layout_does_not_matter,
    float32_stays_float32,
    nothing_is_written_into,
    gradients_share_no_memory,
    backward_can_repeat,
    needs_change_no_value,
)


def near(a: Any, b: Any, factor: float = 1.0) -> bool:
    """Tell whether two arrays have one shape and agree up to `factor` times the rounding error of their dtype."""
    dtype = np.asarray(b).dtype
    return within(a, b, factor * ROUNDING.get(dtype, 0.0))


def within(a: Any, b: Any, tolerance: float) -> bool:
    """Tell whether two arrays agree to tolerance · max(1, largest finite entry of b)."""
    a, b = np.asarray(a), np.asarray(b)
    finite = np.abs(b[np.isfinite(b)])
    bound = tolerance * max(1.0, float(finite.max(initial=0)))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=bound, equal_nan=True))


def _all_agree(a: Sequence[Any], b: Sequence[Any], agrees: Callable[[Any, Any], bool]) -> bool:
    """Tell whether two lists of gradients have None at the same inputs and agree at the others."""
    pairs = zip(a, b, strict=True)
    return all((x is None) == (y is None) and (x is None or agrees(x, y)) for x, y in pairs)
