"""Every Case of every op: the backward is the slope of the forward, and both keep the laws of the house."""

import copy
from itertools import product
from typing import Any

import numpy as np
import pytest

from nanograd.cases import CASES
from nanograd.cases.case import Case
from nanograd.gradcheck import GradcheckError, compare, finite_differences
from nanograd.op import OPS, Op, Pair

TOLERANCE = 1e-7


def test_every_op_has_cases() -> None:
    assert set(OPS) == set(CASES), "each registered op owes Cases, and Cases belong to an op"
    assert all(CASES.values())


def pairs(op: Op) -> list[tuple[str, Pair]]:
    return [("readable", op.pair), *([("fast", op.fast)] if op.fast else [])]


EACH = [
    pytest.param(op, pair, case, id=f"{name}-{kind}-{case.label.replace(' ', '_')}")
    for name, op in OPS.items()
    for kind, pair in pairs(op)
    for case in CASES.get(name, [])
]
each = pytest.mark.parametrize(("op", "pair", "case"), EACH)


def is_float(a: Any) -> bool:
    return a is not None and a.dtype.kind == "f"


def wanted(op: Op, arrays: list[Any]) -> tuple[bool, ...]:
    """Return which arrays are differentiated."""
    return tuple(is_float(a) and i not in op.discrete for i, a in enumerate(arrays))


def forward(op: Op, pair: Pair, arrays: list[Any], options: dict[str, Any], needs: tuple[bool, ...]) -> Any:
    y, saved = pair.forward(*arrays, **options, **({"needs": needs} if op.tells_forward else {}))
    return np.asarray(y), saved


def backward(op: Op, pair: Pair, dy: np.ndarray, saved: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
    return pair.backward(dy, saved, needs) if op.tells_backward else pair.backward(dy, saved)


def cotangent(y: np.ndarray, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


@each
def test_backward_is_the_slope_of_forward(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    needs = wanted(op, arrays)
    y, saved = forward(op, pair, arrays, case.options, needs)
    u = cotangent(y)
    dxs = backward(op, pair, u, saved, needs)
    assert len(dxs) == len(arrays)

    def loss() -> float:
        y = forward(op, pair, arrays, case.options, needs)[0]
        return float(u[u != 0].ravel() @ np.where(np.isfinite(y), y, 0)[u != 0].ravel())

    for x, dx, need in zip(arrays, dxs, needs, strict=True):
        if not need:
            assert dx is None
            continue
        numeric = np.where(np.isfinite(x), finite_differences_finite(loss, x), 0)
        compare(f"{op.name}: {case.label}", np.asarray(dx), numeric, TOLERANCE)
        if np.abs(numeric).max(initial=0) > 1e-3:  # the check can fail: one per cent too much is caught
            with pytest.raises(GradcheckError):
                compare("a planted error", np.asarray(dx) * 1.01, numeric, TOLERANCE)


def finite_differences_finite(loss: Any, x: np.ndarray) -> np.ndarray:
    """Leave entries of ±∞ alone: an infinite score is a mask, it has no slope."""
    if np.isfinite(x).all():
        return finite_differences(loss, x)
    with np.errstate(invalid="ignore"):
        return finite_differences(loss, x)


@each
def test_float32_stays_float32(op: Op, pair: Pair, case: Case) -> None:
    arrays = [a.astype(np.float32) if is_float(a) else a for a in case.arrays()]
    needs = wanted(op, arrays)
    if not any(needs) or "dtype" in case.options:
        pytest.skip("nothing to differentiate, or the dtype is what the op changes")
    y, saved = forward(op, pair, arrays, case.options, needs)
    assert y.dtype == np.float32
    for a, dx in zip(arrays, backward(op, pair, cotangent(y), saved, needs), strict=True):
        assert dx is None or (dx.dtype == np.float32 and dx.shape == a.shape)


@each
def test_each_pattern_of_needs_gives_the_same_gradients(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    full = wanted(op, arrays)
    y, saved = forward(op, pair, arrays, case.options, full)
    u = cotangent(y)
    reference = backward(op, pair, u, saved, full)
    for needs in product(*[(False, True) if need else (False,) for need in full]):
        if not any(needs):
            continue
        saved = forward(op, pair, arrays, case.options, needs)[1]
        for need, dx, expected in zip(needs, backward(op, pair, u, saved, needs), reference, strict=True):
            assert (dx is not None) == need, f"needs {needs}"
            if need:
                np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-12)


def leaves(saved: Any) -> list[np.ndarray]:
    """List the arrays in what a forward saved."""
    if isinstance(saved, np.ndarray):
        return [saved]
    return [a for part in saved for a in leaves(part)] if isinstance(saved, (tuple, list)) else []


@each
def test_nothing_is_written_into_and_nothing_saved_is_returned(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    before = copy.deepcopy(arrays)
    needs = wanted(op, arrays)
    y, saved = forward(op, pair, arrays, case.options, needs)
    u = cotangent(y)
    u_before, saved_before = u.copy(), [a.copy() for a in leaves(saved)]
    dxs = backward(op, pair, u, saved, needs)
    for a, b in zip([*arrays, u, *leaves(saved)], [*before, u_before, *saved_before], strict=True):
        assert (a is None and b is None) or np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    for dx in dxs:
        for array in leaves(saved):
            assert dx is None or not np.may_share_memory(dx, array)


@each
def test_no_gradient_comes_from_none_and_runs_agree_to_the_bit(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    needs = wanted(op, arrays)
    y, saved = forward(op, pair, arrays, case.options, needs)
    again, _ = forward(op, pair, arrays, case.options, needs)
    np.testing.assert_array_equal(y, again)
    for dx in backward(op, pair, np.zeros_like(y), saved, needs):
        assert dx is None or not dx.any()


@each
def test_layout_does_not_matter(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    needs = wanted(op, arrays)
    y, saved = forward(op, pair, arrays, case.options, needs)
    u = cotangent(y)
    reference = backward(op, pair, u, saved, needs)
    other = [np.asfortranarray(a) if is_float(a) else a for a in arrays]
    y_other, saved = forward(op, pair, other, case.options, needs)
    np.testing.assert_allclose(y_other, y, rtol=1e-12, atol=1e-12)
    for dx, expected in zip(backward(op, pair, np.asfortranarray(u), saved, needs), reference, strict=True):
        assert (dx is None) == (expected is None)
        if dx is not None:
            np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-12)


FAST = [each_ for each_ in EACH if "-fast-" in str(each_.id)]


@pytest.mark.parametrize(("op", "pair", "case"), FAST)
def test_fast_pair_equals_readable_pair(op: Op, pair: Pair, case: Case) -> None:
    arrays = case.arrays()
    needs = wanted(op, arrays)
    y, saved = forward(op, op.pair, arrays, case.options, needs)
    y_fast, saved_fast = forward(op, pair, arrays, case.options, needs)
    np.testing.assert_allclose(y_fast, y, rtol=1e-12, atol=1e-12)
    u = cotangent(y)
    slow, fast = backward(op, op.pair, u, saved, needs), backward(op, pair, u, saved_fast, needs)
    for dx, expected in zip(fast, slow, strict=True):
        if expected is not None:
            np.testing.assert_allclose(dx, expected, rtol=1e-12, atol=1e-12)
