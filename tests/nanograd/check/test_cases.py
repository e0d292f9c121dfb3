"""Every Case of every op: the backward is the derivative of the forward, and both keep the contract of an op."""

import inspect
from typing import NamedTuple

import numpy as np
import pytest

from nanograd._tensor import Tensor
from nanograd.check.cases import CASES
from nanograd.check.cases.case import Case
from nanograd.check.contract import REGISTERED, agree, near, within
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


@runs("fast")
def test_fast_pair_equals_readable_pair(run: Run) -> None:
    fast, readable = run.target(), run.target(run.op.pair)
    assert agree(fast, readable, fast.cotangent()) == ""
