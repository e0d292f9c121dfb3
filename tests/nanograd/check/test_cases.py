"""Every Case of every op: the backward is the slope of the forward, and both keep the laws of the house."""

import copy
import inspect
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest

from nanograd._tensor import Tensor
from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case, small_blocks
from nanograd.check.gradcheck import GradcheckError, compare, finite_differences
from nanograd.op import OPS, Needs, Op, Pair

TOLERANCE = 1e-7


def test_every_op_has_cases() -> None:
    assert set(OPS) == set(CASES), "each registered op owes Cases, and Cases belong to an op"
    assert all(CASES.values())


def test_every_case_has_its_own_name() -> None:
    for name, cases in CASES.items():
        labels = [case.label for case in cases]
        assert len(set(labels)) == len(labels), name


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_by_default_all_is_needed_that_can_be(op: Op) -> None:
    """So that a pair can be called without the tape."""
    for pair in (op.pair, op.fast):
        for function in pair or ():
            needs = inspect.signature(function).parameters.get("needs")
            if needs is not None and not op.variadic:
                assert needs.default == tuple(i not in op.nondifferentiable for i in range(len(op.arrays)))


class Run(NamedTuple):
    """One pair of one op on one Case."""

    op: Op
    pair: Pair
    case: Case

    def arrays(self, dtype: Any = np.float64) -> list[Any]:
        """Draw the arrays, floats as `dtype`, and bring integers beside floats to it, as a call of the op does."""
        return list(self.op.promote([a.astype(dtype) if is_float(a) else a for a in self.drawn()]))

    def drawn(self) -> list[Any]:
        """Draw the arrays, with None for each one that the Case leaves out at the end."""
        arrays = self.case.arrays()
        return [*arrays, *[None] * (len(self.op.arrays) - len(arrays))]

    def needs(self) -> Needs:
        """Return which arrays are differentiated: those drawn as floats; integers are constants."""
        return tuple(is_float(a) and i not in self.op.nondifferentiable for i, a in enumerate(self.drawn()))

    def forward(self, arrays: list[Any], needs: Needs) -> tuple[np.ndarray, Any]:
        told: dict[str, Any] = {"needs": needs} if self.op.forward_accepts_needs else {}
        told |= small_blocks(self.pair)
        y, saved = self.pair.forward(*arrays, **self.case.options, **told)
        return np.asarray(y), saved

    def backward(self, dy: np.ndarray, saved: Any, needs: Needs) -> tuple[Any, ...]:
        return self.pair.backward(dy, saved, needs) if self.op.backward_accepts_needs else self.pair.backward(dy, saved)


def is_float(a: Any) -> bool:
    return a is not None and a.dtype.kind == "f"


def runs(kinds: tuple[str, ...]) -> list[Any]:
    return [
        pytest.param(Run(op, pair, case), id=f"{name}-{kind}-{case.label.replace(' ', '_')}")
        for name, op in OPS.items()
        for kind, pair in (("readable", op.pair), ("fast", op.fast))
        if pair is not None and kind in kinds
        for case in CASES.get(name, [])
    ]


each = pytest.mark.parametrize("run", runs(("readable", "fast")))
each_fast = pytest.mark.parametrize("run", runs(("fast",)))


def cotangent(y: np.ndarray) -> np.ndarray:
    """Draw a random dy: a uniform one is blind to most mistakes. No loss depends on an entry that is infinite."""
    u = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    return np.where(np.isfinite(y), u, 0)


def assert_same(dxs: tuple[Any, ...], expected: tuple[Any, ...]) -> None:
    for dx, reference in zip(dxs, expected, strict=True):
        assert (dx is None) == (reference is None)
        if dx is not None:
            np.testing.assert_allclose(dx, reference, rtol=1e-12, atol=1e-12)


@each
def test_backward_is_the_slope_of_forward(run: Run) -> None:
    arrays, needs = run.arrays(), run.needs()
    y, saved = run.forward(arrays, needs)
    assert not np.isnan(y).any()
    finite = np.isfinite(y)
    u = cotangent(y)
    dxs = run.backward(u, saved, needs)
    assert len(dxs) == len(arrays)

    def loss() -> float:
        return float((u[finite] * run.forward(arrays, needs)[0][finite]).sum())

    for x, dx, need in zip(arrays, dxs, needs, strict=True):
        if not need:
            assert dx is None
            continue
        dx = np.asarray(dx)
        numeric = finite_differences(loss, x)  # an entry of -∞ stays where it is, and its slope is 0
        compare(f"{run.op.name}: {run.case.label}", dx, numeric, TOLERANCE)
        if np.abs(numeric).max(initial=0) > 1e-4:  # the check can fail: one per cent too much is caught
            with pytest.raises(GradcheckError):
                compare("a planted error", dx * 1.01, numeric, TOLERANCE)


@each
def test_the_tape_gives_the_same_gradients(run: Run) -> None:
    needs = run.needs()
    y, saved = run.forward(run.arrays(), needs)
    u = cotangent(y)
    expected = run.backward(u, saved, needs)
    inputs = [Tensor(a, need) if need else a for a, need in zip(run.drawn(), needs, strict=True)]
    out = run.op(*inputs, **run.case.options)
    assert isinstance(out, Tensor) == any(needs)
    if isinstance(out, Tensor):
        out.backward(u)
        assert_same(tuple(x.grad if need else None for x, need in zip(inputs, needs, strict=True)), expected)


@each
def test_float32_stays_float32(run: Run) -> None:
    arrays, needs = run.arrays(np.float32), run.needs()
    if not any(needs) or "dtype" in run.case.options:
        pytest.skip("nothing to differentiate, or the dtype is what the op changes")
    y, saved = run.forward(arrays, needs)
    assert y.dtype == np.float32
    u = cotangent(y)
    dxs = run.backward(u, saved, needs)
    exact = run.backward(u.astype(np.float64), run.forward(run.arrays(), needs)[1], needs)
    for a, dx, reference in zip(arrays, dxs, exact, strict=True):
        if dx is not None:
            assert dx.dtype == np.float32
            assert dx.shape == a.shape
            scale = np.abs(reference).max(initial=1)
            np.testing.assert_allclose(dx, reference, rtol=0, atol=2e-4 * scale)


@each
def test_each_pattern_of_needs_gives_the_same_gradients(run: Run) -> None:
    arrays, full = run.arrays(), run.needs()
    y, saved = run.forward(arrays, full)
    u = cotangent(y)
    reference = run.backward(u, saved, full)
    for needs in product(*[(False, True) if need else (False,) for need in full]):
        y_told, saved = run.forward(arrays, needs)
        np.testing.assert_array_equal(y_told, y)
        if any(needs):  # without, no backward is ever called
            wanted = tuple(dx if need else None for dx, need in zip(reference, needs, strict=True))
            assert_same(run.backward(u, saved, needs), wanted)


def leaves(saved: Any) -> list[np.ndarray]:
    """List the arrays in what a forward saved."""
    if isinstance(saved, np.ndarray):
        return [saved]
    return [a for part in saved for a in leaves(part)] if isinstance(saved, (tuple, list)) else []


@each
def test_nothing_is_written_into_and_nothing_saved_is_returned(run: Run) -> None:
    arrays, needs = run.arrays(), run.needs()
    arrays_before = copy.deepcopy(arrays)
    y, saved = run.forward(arrays, needs)
    u = cotangent(y)
    held = [y, u, *leaves(saved)]
    held_before = copy.deepcopy(held)
    dxs = run.backward(u, saved, needs)
    for a, before in zip([*arrays, *held], [*arrays_before, *held_before], strict=True):
        np.testing.assert_array_equal(a, before)
    for dx in dxs:
        for array in leaves(saved):
            assert dx is None or not np.may_share_memory(dx, array)


@each
def test_no_gradient_comes_from_none_and_runs_agree_to_the_bit(run: Run) -> None:
    arrays, needs = run.arrays(), run.needs()
    y, saved = run.forward(arrays, needs)
    again, _ = run.forward(arrays, needs)
    np.testing.assert_array_equal(y, again)
    for dx in run.backward(np.zeros_like(y), saved, needs):
        assert dx is None or not dx.any()


@each
def test_layout_does_not_matter(run: Run) -> None:
    arrays, needs = run.arrays(), run.needs()
    y, saved = run.forward(arrays, needs)
    u = cotangent(y)
    reference = run.backward(u, saved, needs)
    columns = [a.copy(order="F") if is_float(a) else a for a in arrays]
    y_columns, saved = run.forward(columns, needs)
    np.testing.assert_allclose(y_columns, y, rtol=1e-12, atol=1e-12)
    assert_same(run.backward(u.copy(order="F"), saved, needs), reference)


@each_fast
def test_fast_pair_equals_readable_pair(run: Run) -> None:
    readable = run._replace(pair=run.op.pair)
    arrays, needs = run.arrays(), run.needs()
    y, saved = readable.forward(arrays, needs)
    y_fast, saved_fast = run.forward(arrays, needs)
    np.testing.assert_allclose(y_fast, y, rtol=1e-12, atol=1e-12)
    u = cotangent(y)
    assert_same(run.backward(u, saved_fast, needs), readable.backward(u, saved, needs))
