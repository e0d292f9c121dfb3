"""The contract of an op: each rule catches the pair that breaks it, and passes one that is right."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest

import nanograd as ng
from nanograd import Tensor, gradcheck
from nanograd.check import contract
from nanograd.check.contract import RULES, Rule, broken_rules, check_form, near, within
from nanograd.check.target import Target
from nanograd.op import OPS, Needs

X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6]])
KEPT = np.full(X.shape, 2.0)  # an array that a backward returns at every call


def double_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
    return x * 2, None


def double_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
    return (dy * 2,)


def product_forward(a: np.ndarray, b: np.ndarray) -> Any:
    return a * b, (a, b)


def gradients_have_the_right_form(target: Target, dy: np.ndarray) -> str:
    return check_form(target, target.gradients(dy))


class Broken(NamedTuple):
    """A pair of functions that breaks one rule, and what the rule says."""

    rule: Rule
    message: str
    forward: Any
    backward: Any
    inputs: tuple[Any, ...] = (X,)


def count_calls(results: Any) -> Any:
    """Return a forward that adds to y, at each call, the next of these numbers."""
    numbers = iter(results)
    return lambda x: (x * 2 + next(numbers), None)


BROKEN = [
    Broken(contract.runs_agree, "two runs differ", count_calls(range(99)), double_backward),
    Broken(
        contract.runs_agree,
        "two runs differ",
        double_forward,
        lambda dy, s: (dy * (2 + 1e-12 * np.random.default_rng().random()),),
    ),
    Broken(
        contract.backward_is_linear,
        "dy = 0 gives a gradient that is not zero",
        double_forward,
        lambda dy, s: (dy * 2 + 1e-12,),
    ),
    Broken(
        contract.backward_is_linear, "the gradient of 2u - 3v is not", double_forward, lambda dy, s: (np.abs(dy) * 2,)
    ),
    Broken(
        contract.layout_does_not_matter,
        "the memory layout matters",
        lambda x: (x * 2, x.flags.c_contiguous),
        lambda dy, c: (dy * (2 if c else 3),),
    ),
    Broken(
        contract.float32_stays_float32,
        "float32 in gives float64 out",
        double_forward,
        lambda dy, s: (dy * np.float64(2),),
    ),
    Broken(contract.float32_stays_float32, "float32 in", lambda x: (x * np.full(x.shape, 2.0), None), double_backward),
    Broken(
        contract.nothing_is_written_into,
        "an input was written into",
        lambda x: (np.multiply(x, 2, out=x), None),
        double_backward,
    ),
    Broken(
        contract.nothing_is_written_into,
        "dy was written into",
        double_forward,
        lambda dy, s: (np.multiply(dy, 2, out=dy),),
    ),
    Broken(
        contract.nothing_is_written_into,
        "what forward returned or saved was written into",
        lambda x: (x * 2, np.full(x.shape, 2.0)),
        lambda dy, s: (dy * 2 + 0 * np.add(s, 1, out=s),),
    ),
    Broken(
        contract.gradients_share_no_memory,
        "shares memory with what forward saved",
        lambda x: (x * 2, np.full(x.shape, 2.0)),
        lambda dy, s: (np.copyto(s, dy * 2) or s,),
    ),
    Broken(  # only for dy = 1, as a loss has it
        contract.gradients_share_no_memory,
        "shares memory with what forward saved",
        lambda x: (x * 2, np.full(x.shape, 2.0)),
        lambda dy, s: (s if (dy == 1).all() else dy * s,),
    ),
    Broken(  # only for dy = 1, which is 0 in no random cotangent
        contract.backward_is_linear,
        r"the gradient of 2u - 3 is not 2 dx\(u\) - 3 dx\(1\)",
        double_forward,
        lambda dy, s: (dy * (3 if (dy == 1).all() else 2),),
    ),
    Broken(
        contract.backward_can_repeat,
        "a second backward gives another gradient",
        double_forward,
        lambda dy, s: (KEPT if (dy == 1).all() else dy * 2,),
    ),
    Broken(
        contract.needs_change_no_value,
        r"input 1: with needs \(False, True\) the gradient is another",
        product_forward,
        lambda dy, s, needs: (dy * s[1], dy * s[0] * (1 if needs[0] else 2)),
        (X, X + 2),
    ),
    Broken(
        gradients_have_the_right_form,
        r"the gradient has shape \(2, 3\), the input \(3,\)",
        lambda a, b: (a + b, None),
        lambda dy, s, needs: (dy, dy),
        (X, X[0]),
    ),
    Broken(
        gradients_have_the_right_form,
        "the gradient is float32, the input float64",
        double_forward,
        lambda dy, s: ((dy * 2).astype(np.float32),),
    ),
    Broken(
        gradients_have_the_right_form,
        "backward returned 2 gradients for 1 inputs",
        double_forward,
        lambda dy, s: (dy * 2, None),
    ),
    Broken(gradients_have_the_right_form, "must be a NumPy array, got list", double_forward, lambda dy, s: ([dy * 2],)),
]
ALL = {rule.__name__: rule for rule in (*RULES, gradients_have_the_right_form)}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.rule.__name__}-{broken.message}")
def test_a_broken_rule_is_named(broken: Broken) -> None:
    target = Target((broken.forward, broken.backward), broken.inputs)
    assert re.search(broken.message, broken.rule(target, target.cotangent()))


def test_every_rule_can_be_broken() -> None:
    assert {broken.rule for broken in BROKEN} == set(ALL.values())


@pytest.mark.parametrize("rule", ALL.values(), ids=ALL)
def test_a_right_pair_keeps_every_rule(rule: Rule) -> None:
    for inputs, pair in (
        ([X], (double_forward, double_backward)),
        ([X, X + 2], (product_forward, lambda dy, s, needs: [dy * s[1 - i] if needs[i] else None for i in (0, 1)])),
        ([X, np.array([0, 1, 1])], OPS["embedding"]),
        ([X], lambda x: (x * x).sum(axis=0)),
    ):
        target = Target(pair, inputs)
        assert rule(target, target.cotangent()) == ""


WRONG_VALUES = "the gradient of 2u"  # where the values are wrong too, gradcheck reports only these


@pytest.mark.parametrize(
    "broken",
    [b for b in BROKEN if b.rule in RULES and not b.message.startswith(WRONG_VALUES)],
    ids=lambda b: b.rule.__name__,
)
def test_gradcheck_reports_broken_rules(broken: Broken) -> None:
    report = gradcheck((broken.forward, broken.backward), *broken.inputs, raises=False)
    assert any(re.search(broken.message, problem) for problem in report.problems), str(report)


def test_nothing_is_reported_of_a_right_op() -> None:
    target = Target(ng.softmax, [X], {"axis": 0})
    assert list(broken_rules(target, target.cotangent())) == []


def test_many_inputs_are_needed_one_at_a_time() -> None:
    seen: list[Needs] = []

    def backward(dy: np.ndarray, saved: None, needs: Needs) -> list[Any]:
        seen.append(needs)
        return [dy.copy() if need else None for need in needs]

    target = Target((lambda *xs: (sum(xs), None), backward), [X] * 6)
    assert contract.needs_change_no_value(target, target.cotangent()) == ""
    assert len(seen) == 1 + 6


def test_near_is_relative_to_the_largest_entry_and_to_the_dtype() -> None:
    a = np.array([1000.0, 1.0])
    assert near(a + [0, 1e-10], a)
    assert not near(a + [0, 1e-8], a)
    assert near((a + [0, 0.05]).astype(np.float32), a.astype(np.float32))
    assert not near(a[:1], a)
    assert near(np.array([np.inf, np.nan]), np.array([np.inf, np.nan]))
    assert not near(np.array([np.inf]), np.array([-np.inf]))


def test_a_tensor_function_has_no_pair() -> None:
    target = Target(lambda x: Tensor(x.data * 2), [X])
    assert target.pair is None
    assert contract.nothing_is_written_into(target, target.cotangent()) == ""


def test_tolerance_is_relative_to_the_largest_entry() -> None:
    a, b = np.array([1000.0, 0.05]), np.array([1000.0, 0.0])
    assert within(a, b, 1e-4)  # 0.05 of 1000
    assert not within(a, b, 1e-5)
    assert not within(np.ones(2), np.ones((2, 1)), 1e-7)
