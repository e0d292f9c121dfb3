"""detect_anomaly and detect_mutation: what they report, and that they are off by default."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect import anomaly
from nanograd.inspect.anomaly import AnomalyError, MutationError
from nanograd.op import CONTEXT

HERE = Path(__file__).name


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float32), requires_grad=True)


def line() -> int:
    """Return the line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# Anomalies

FORWARDS: list[tuple[str, Callable[[], Any], str]] = [
    ("log of 0", lambda: ng.log(leaf(1, 0)), r"∞ .* of log .*: the logarithm of 0; add an epsilon"),
    ("log below 0", lambda: ng.log(leaf(-1)), "NaN .* of log .*: log of a negative number"),
    ("sqrt below 0", lambda: ng.sqrt(leaf(-1)), "NaN .* of sqrt .*: sqrt of a negative number"),
    ("rsqrt at 0", lambda: ng.rsqrt(leaf(0)), "∞ .* of rsqrt .*: a division by 0"),
    ("1/0", lambda: ng.reciprocal(leaf(0)), "∞ .* of reciprocal .*: a division by 0"),
    ("a/0", lambda: leaf(1, 2) / leaf(1, 0), "∞ .* of div .*: a division by 0"),
    ("0/0", lambda: leaf(0) / leaf(0), "NaN .* of div .*: 0 / 0"),
    ("0 to the -1", lambda: leaf(0) ** leaf(-1), "∞ .* of pow .*: a division by 0"),
    ("a root below 0", lambda: leaf(-2) ** leaf(0.5), "NaN .* of pow .*: a fractional power of a negative number"),
    ("exp", lambda: ng.exp(leaf(1, 89)), r"∞ .* of exp .*: exp overflows above 88\.7; subtract the maximum first"),
    (
        "too large",
        lambda: leaf(1e30) * leaf(1e30),
        r"∞ .* of mul .*: overflow, a number above 3\.4e\+38, the largest in float32",
    ),
    ("∞ - ∞", lambda: leaf(np.inf) - leaf(np.inf), "NaN .* of sub .*: ∞ - ∞ or 0 · ∞, from an input that contains ∞"),
]


@pytest.mark.parametrize(("run", "message"), [case[1:] for case in FORWARDS], ids=[case[0] for case in FORWARDS])
def test_the_cause_in_a_forward_is_named(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(AnomalyError, match=message), ng.detect_anomaly():
        run()


def masked_log(x: Tensor) -> Tensor:
    return ng.where(x > 0, ng.log(x + 0), 0.0)


BACKWARDS: list[tuple[str, Callable[[], Tensor], str]] = [
    (
        "sqrt at 0",
        lambda: ng.sqrt(leaf(4, 0)),
        "∞ .* of sqrt .*: the derivative of sqrt at 0 is infinite; add an epsilon",
    ),
    ("pow at 0", lambda: leaf(4, 0) ** 0.5, "∞ .* of pow .*: the derivative of pow at 0 is infinite"),
    (
        "0·∞",
        lambda: ng.where(np.array([True, False]), ng.sqrt(leaf(4, 0)), 0.0),
        "NaN .* of sqrt .*: 0 · ∞, because a mask",
    ),
]


@pytest.mark.parametrize(("run", "message"), [case[1:] for case in BACKWARDS], ids=[case[0] for case in BACKWARDS])
def test_the_cause_in_a_backward_is_named(run: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(AnomalyError, match=message), ng.detect_anomaly():
        run().sum().backward()


def test_a_log_of_zero_that_where_hides_is_an_anomaly() -> None:
    with pytest.raises(AnomalyError, match="the logarithm of 0"), ng.detect_anomaly():
        masked_log(leaf(1, 0))
    with np.errstate(divide="ignore"):
        y = masked_log(leaf(1, 0)).sum()
    with (
        ng.detect_anomaly(),
        pytest.raises(AnomalyError, match=r"NaN .* of the backward of log, for .*guard the input"),
    ):
        y.backward()  # recorded before the block: the op is known, the line is not


def test_location_and_ranges_are_reported() -> None:
    x = leaf(3, -2, 0)
    with ng.detect_anomaly(), pytest.raises(AnomalyError) as caught:
        ng.div(1.0, x)
    message = str(caught.value)
    assert f"div ({__file__}:{line() - 2})" in message
    assert message.endswith("a () in [1, 1], b (3,) in [-2, 3]")


def test_a_backward_with_a_checkpoint_inside_counts_once() -> None:
    x = leaf(4, 0)
    with ng.detect_anomaly():
        for _ in range(2):
            ng.checkpoint(lambda t: t * 2, x).sum().backward()
        y = ng.sqrt(x).sum()
        message = rf"sqrt .*{HERE}:\d+.* for input 0, in backward number 3: .*dy \(2,\)"
        with pytest.raises(AnomalyError, match=message):
            y.backward()


def test_masks_of_minus_infinity_pass() -> None:
    q, mask = Tensor(np.random.default_rng(0).standard_normal((3, 2)), requires_grad=True), np.tri(3, dtype=bool)
    with ng.detect_anomaly():
        ng.softmax(ng.masked_fill(q @ q.T, ~mask, value=-np.inf)).sum().backward()
        ng.where(mask, q @ q.T, -np.inf).softmax().sum().backward()
        ng.attention(q, q, q, causal=True).sum().backward()
        ng.log_softmax(Tensor(np.full((1, 2), -np.inf)))
        ng.log_softmax(ng.masked_fill(q @ q.T, ~mask, value=-np.inf))


def test_only_the_first_op_that_is_not_finite_is_reported() -> None:
    x = leaf(np.nan, np.inf)
    with ng.detect_anomaly():
        ((x * 2).exp() + 1).sum().backward()


def small_gpt() -> GPT:
    config = ModelConfig(vocab_size=7, context_length=4, d_model=4, n_layers=2, n_heads=2)
    return GPT(config, np.random.default_rng(0))


IDS = np.array([[1, 2, 3]])


def test_the_path_of_the_module_is_reported() -> None:
    model = small_gpt()
    model.blocks[1].attn.w_qkv.weight.data *= 1e30  # products of q and k overflow
    with pytest.raises(AnomalyError, match=r"attention in GPT\.blocks\.1\.attn \(.*\.py:\d+\)"), ng.detect_anomaly():
        model.loss(IDS, IDS)
    for layer in (model.blocks[0].mlp.up, model.blocks[0].mlp.down):
        layer.weight.data *= 1e30
    with pytest.raises(AnomalyError, match=r"linear in GPT\.blocks\.0\.mlp\.down \("), ng.detect_anomaly():
        model(IDS)


# Mutations


@pytest.mark.parametrize("retain", [False, True])
def test_a_changed_array_is_named(retain: bool) -> None:
    x = leaf(1, 2)
    with ng.detect_mutation():
        y = (x * x).sum()
        if retain:
            y.backward(retain_graph=True)
        x.data[0] = 9
        with pytest.raises(MutationError, match=rf"shape \(2,\) that mul \(.*{HERE}:\d+\) saved .* was changed since"):
            y.backward()


def test_updates_after_backward_pass() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()  # recorded before the block
    x.data[0] = 9
    with ng.detect_mutation():
        y.backward()
        for _ in range(2):
            (x * x).exp().sum().backward()
            x.data -= 1


# Off


def test_nothing_is_recorded_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> str:
        raise AssertionError("there is no observer")

    monkeypatch.setattr(anomaly, "location", never)
    monkeypatch.setattr(anomaly, "user_line", never)
    x = leaf(1, 2)
    y = (x * x).sum()
    assert y.node is not None
    assert y.node.location is None
    y.backward()
    small_gpt().loss(np.array([[1, 2]]), np.array([[2, 3]])).backward()
    assert (CONTEXT.get().observers, CONTEXT.get().scope) == ((), ())


@pytest.mark.parametrize("tool", [ng.detect_anomaly, ng.detect_mutation, ng.memory_report])
def test_a_tool_ends_with_its_block_even_after_an_error(tool: Any) -> None:
    def fail() -> None:
        with tool():
            assert len(CONTEXT.get().observers) == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert CONTEXT.get().observers == ()


def test_tools_may_be_nested() -> None:
    x = leaf(1, 2)
    with ng.memory_report() as report, ng.detect_anomaly(), ng.detect_mutation():
        (x * x).sum().backward()
    assert report.peak == 8
    np.testing.assert_array_equal(x.grad, [2, 4])
