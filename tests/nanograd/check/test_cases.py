"""Every Case of every op: the backward is the derivative of the forward, and both keep the contract of an op."""

import inspect
import itertools
from typing import NamedTuple

import numpy as np
import pytest

from nanograd._tensor import Tensor
from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case
from nanograd.check.contract import RULES, check_form, near, within
from nanograd.check.numeric import finite_differences
from nanograd.check.target import Target
from nanograd.op import OPS, Op, Pair

TOLERANCE = 1e-7


def test_every_op_has_cases() -> None:
    assert set(OPS) == set(CASES), "each registered op must have Cases, and Cases belong to an op"
    assert all(CASES.values())


def test_every_case_has_its_own_name() -> None:
    for name, cases in CASES.items():
        labels = [case.label for case in cases]
        assert len(set(labels)) == len(labels), name


@pytest.mark.parametrize("op", OPS.values(), ids=OPS)
def test_by_default_every_gradient_is_needed(op: Op) -> None:
    """So a pair can be called without the tape."""
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

    def target(self, pair: Pair | None = None) -> Target:
        return Target(self.op, self.case.arrays(), self.case.options, pair=pair or self.pair)


def runs(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "run",
        [
            pytest.param(Run(op, pair, case), id=f"{name}-{kind}-{case.label.replace(' ', '_')}")
            for name, op in OPS.items()
            for kind, pair in (("readable", op.pair), ("fast", op.fast))
            if pair is not None and kind in kinds
            for case in CASES.get(name, [])
        ],
    )


@runs("readable", "fast")
def test_backward_is_the_derivative_of_forward(run: Run) -> None:
    target = run.target()
    y = target.value()
    assert not np.isnan(y).any()
    finite = np.isfinite(y)  # no loss depends on an entry that is infinite
    u = target.cotangent()
    dxs = target.gradients(u)
    assert len(dxs) == len(target.inputs)

    def loss() -> float:
        return float((u[finite] * target.value()[finite]).sum())

    for x, dx, need in zip(target.inputs, dxs, target.needs, strict=True):
        if not need:
            assert dx is None
            continue
        dx = np.asarray(dx)
        numeric = finite_differences(loss, x)  # an entry of -∞ stays where it is, and its derivative is 0
        assert np.isfinite(dx).all()
        assert within(dx, numeric, TOLERANCE)
        if np.abs(numeric).max(initial=0) > 1e-4:  # the check can fail: one per cent too much is caught
            assert not within(dx * 1.01, numeric, TOLERANCE)


@runs("readable", "fast")
def test_the_tape_gives_the_same_gradients(run: Run) -> None:
    target = run.target()
    u = target.cotangent()
    expected = target.gradients(u)
    arrays = [*run.case.arrays(), *[None] * (len(run.op.arrays) - len(run.case.makes))]
    inputs = [Tensor(a, need) if need else a for a, need in zip(arrays, target.needs, strict=True)]
    out = run.op(*inputs, **run.case.options)
    assert isinstance(out, Tensor) == any(target.needs)
    if isinstance(out, Tensor):
        out.backward(u)
        for i in target.needed:
            assert near(inputs[i].grad, expected[i]), i


@runs("readable", "fast")
def test_the_contract_is_kept(run: Run) -> None:
    dy = run.target().cotangent()
    broken = {rule.__name__: message for rule in REGISTERED if (message := rule(run.target(), dy.copy()))}
    assert broken == {}


def gradients_have_the_right_form(target: Target, dy: np.ndarray) -> str:
    return check_form(target, target.gradients(dy))


def unneeded_gradients_are_none(target: Target, dy: np.ndarray) -> str:
    """What is not needed is returned as None, so that nobody spends time on it."""
    for needs in itertools.product(*[(False, True) if need else (False,) for need in target.needs]):
        _, saved = target.run_forward(needs=needs)
        for i, dx in enumerate(target.run_backward(dy.copy(), saved, needs) if any(needs) else ()):
            if not needs[i] and dx is not None:
                return f"input {i}: with needs {needs} its gradient is not needed, and must be None"
    return ""


def float32_is_accurate(target: Target, dy: np.ndarray) -> str:
    """Gradients in float32 have the input's shape, and agree with those in float64 up to rounding."""
    if "dtype" in target.options:
        return ""
    exact = target.gradients(dy)
    inputs = [x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in target.inputs]
    y, vjp = target.run(inputs)
    for i, dx in enumerate(vjp(dy.astype(y.dtype))):
        if dx is not None and np.shape(dx) != np.shape(target.inputs[i]):
            return f"input {i}: in float32 the gradient has shape {np.shape(dx)}"
        if dx is not None and not within(dx, exact[i], 2e-4):
            return f"input {i}: in float32 the gradient differs from that in float64 by more than rounding"
    return ""


REGISTERED = (*RULES, gradients_have_the_right_form, unneeded_gradients_are_none, float32_is_accurate)


def test_a_gradient_that_is_not_needed_is_seen() -> None:
    target = Target(
        (lambda a, b: (a * b, (a, b)), lambda dy, s, needs: (dy * s[1], dy * s[0])), [np.ones(3), np.ones(3)]
    )
    message = "input 0: with needs (False, True) its gradient is not needed, and must be None"
    assert unneeded_gradients_are_none(target, target.cotangent()) == message


def test_an_inaccurate_gradient_in_float32_is_seen() -> None:
    def backward(dy: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray]:
        return (dy * 2 if dtype == np.float64 else dy.astype(np.float16).astype(dtype) * 2,)

    target = Target((lambda x: (x * 2, x.dtype), backward), [np.ones(3)])
    assert "in float32 the gradient differs" in float32_is_accurate(target, target.cotangent())


@runs("fast")
def test_fast_pair_equals_readable_pair(run: Run) -> None:
    fast, readable = run.target(), run.target(run.op.pair)
    assert agree(fast, readable, fast.cotangent()) == ""


def agree(fast: Target, readable: Target, dy: np.ndarray) -> str:
    """Say whether two pairs of one op differ by more than rounding, in y or in a gradient."""
    (y, vjp), (expected, expected_vjp) = fast.run(), readable.run()
    if not near(y, expected):
        return "y differs from that of the readable pair"
    for i, (dx, right) in enumerate(zip(vjp(dy.copy()), expected_vjp(dy.copy()), strict=True)):
        if (dx is None) != (right is None) or (dx is not None and not near(dx, right)):
            return f"input {i}: the gradient differs from that of the readable pair"
    return ""


def test_a_fast_pair_must_agree_with_the_readable_one() -> None:
    def forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        return x * 2, None

    def backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
        return (dy * 2,)

    readable = Target((forward, backward), [np.ones(3)])
    dy = readable.cotangent()
    assert agree(readable, readable, dy) == ""
    wrong_y = Target((lambda x: (x * 2.001, None), backward), [np.ones(3)])
    wrong_dx = Target((forward, lambda dy, s: (dy * 2.001,)), [np.ones(3)])
    assert agree(wrong_y, readable, dy) == "y differs from that of the readable pair"
    assert agree(wrong_dx, readable, dy) == "input 0: the gradient differs from that of the readable pair"
