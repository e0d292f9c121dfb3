"""detect_anomaly, detect_mutation, memory_report: what they say, and that they cost nothing while off."""

import inspect
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Tensor
from nanograd.inspect import anomaly as debug
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
        r"∞ .* of mul .*: numbers above 3\.4e\+38, more than float32 can hold",
    ),
    ("∞ - ∞", lambda: leaf(np.inf) - leaf(np.inf), "NaN .* of sub .*: ∞ - ∞ or 0 · ∞, of an input that holds ∞"),
    (
        "a row masked whole",
        lambda: ng.cross_entropy(leaf(-np.inf, -np.inf).reshape(1, 2), np.array([0])),
        "NaN .* of cross_entropy .*: a row is masked whole, so that no score is left",
    ),
]


@pytest.mark.parametrize(("run", "said"), [each[1:] for each in FORWARDS], ids=[each[0] for each in FORWARDS])
def test_the_mechanism_of_a_forward_is_named(run: Callable[[], Any], said: str) -> None:
    with pytest.raises(AnomalyError, match=said), ng.detect_anomaly():
        run()


def masked_log(x: Tensor) -> Tensor:
    return ng.where(x > 0, ng.log(x + 0), 0.0)


BACKWARDS: list[tuple[str, Callable[[], Tensor], str]] = [
    ("sqrt at 0", lambda: ng.sqrt(leaf(4, 0)), "∞ .* of sqrt .*: the slope of sqrt at 0 is infinite; add an epsilon"),
    ("pow at 0", lambda: leaf(4, 0) ** 0.5, "∞ .* of pow .*: the slope of pow at 0 is infinite"),
    (
        "0·∞",
        lambda: ng.where(np.array([True, False]), ng.sqrt(leaf(4, 0)), 0.0),
        "NaN .* of sqrt .*: 0 · ∞, where a mask",
    ),
]


@pytest.mark.parametrize(("run", "said"), [each[1:] for each in BACKWARDS], ids=[each[0] for each in BACKWARDS])
def test_the_mechanism_of_a_backward_is_named(run: Callable[[], Tensor], said: str) -> None:
    with pytest.raises(AnomalyError, match=said), ng.detect_anomaly():
        run().sum().backward()


def test_the_log_that_where_hides_is_found_before_its_backward() -> None:
    with pytest.raises(AnomalyError, match="the logarithm of 0"), ng.detect_anomaly():
        masked_log(leaf(1, 0))
    with np.errstate(divide="ignore"):
        y = masked_log(leaf(1, 0)).sum()
    with (
        ng.detect_anomaly(),
        pytest.raises(AnomalyError, match=r"NaN .* of the backward of log, for .*guard the input"),
    ):
        y.backward()  # recorded before anybody looked: no line, but the op


def test_place_and_ranges_are_told() -> None:
    x = leaf(3, -2, 0)
    with ng.detect_anomaly(), pytest.raises(AnomalyError) as caught:
        ng.div(1.0, x)
    said = str(caught.value)
    assert f"div ({__file__}:{line() - 2})" in said
    assert said.endswith("a () in [1, 1], b (3,) in [-2, 3]")


def test_backwards_are_counted_also_with_a_checkpoint_inside() -> None:
    x = leaf(4, 0)
    with ng.detect_anomaly():
        for _ in range(2):
            ng.checkpoint(lambda t: t * 2, x).sum().backward()
        y = ng.sqrt(x).sum()
        said = rf"sqrt .*{HERE}:\d+.* for input 0, in backward number 3: .*dy \(2,\)"
        with pytest.raises(AnomalyError, match=said):
            y.backward()


def test_masks_of_minus_infinity_pass() -> None:
    q, mask = Tensor(np.random.default_rng(0).standard_normal((3, 2)), requires_grad=True), np.tri(3, dtype=bool)
    with ng.detect_anomaly():
        ng.softmax(ng.masked_fill(q @ q.T, ~mask, value=-np.inf)).sum().backward()
        ng.where(mask, q @ q.T, -np.inf).softmax().sum().backward()
        ng.attention(q, q, q, causal=True).sum().backward()
        ng.log_softmax(Tensor(np.full((1, 2), -np.inf)))
        ng.log_softmax(ng.masked_fill(q @ q.T, ~mask, value=-np.inf))


def test_what_was_not_finite_before_is_not_blamed_again() -> None:
    x = leaf(np.nan, np.inf)
    with ng.detect_anomaly():
        ((x * 2).exp() + 1).sum().backward()


def small_gpt() -> GPT:
    config = ModelConfig(vocab_size=7, context_length=4, d_model=4, n_layers=2, n_heads=2)
    return GPT(config, np.random.default_rng(0))


IDS = np.array([[1, 2, 3]])


def test_the_path_of_the_module_is_told() -> None:
    model = small_gpt()
    model.blocks[1].attn.w_qkv.weight.data *= 1e30  # whose products of q and k overflow
    with pytest.raises(AnomalyError, match=r"attention in GPT\.blocks\.1\.attn \(.*\.py:\d+\)"), ng.detect_anomaly():
        model.loss(IDS, IDS)
    for each in (model.blocks[0].mlp.up, model.blocks[0].mlp.down):
        each.weight.data *= 1e30
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
    y = (x * x).sum()  # recorded before anybody looked
    x.data[0] = 9
    with ng.detect_mutation():
        y.backward()
        for _ in range(2):
            (x * x).exp().sum().backward()
            x.data -= 1


# Memory


def test_memory_by_hand() -> None:
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)  # 24 bytes
    with ng.memory_report() as report:
        y = x * x  # x twice: counted once
        expected = line() - 1
        z = y.exp()  # exp saves its output
        loss = z.sum()  # a shape
        assert (report.now, report.peak) == (48, 48)
        loss.backward(retain_graph=True)
        assert report.now == 48
        loss.backward()
        assert (report.now, report.peak) == (0, 48)
    lines = str(report).splitlines()
    assert lines[0] == "saved for backward: 48 bytes at most"
    assert len(lines) == 3
    assert lines[1].split() == ["24", "1", "×", "mul", f"({__file__}:{expected})"]


def test_a_view_holds_all_of_its_buffer() -> None:
    x = Tensor(np.ones((100, 2)), requires_grad=True)
    with ng.memory_report() as report:
        _ = x[:1] * 2.0
        assert report.now == 8  # needs tells mul to keep the 2.0 alone
        _ = x[:1].square()
        assert report.now == 8 + x.data.nbytes


def test_no_bytes_are_lost_between_threads() -> None:
    class Slow(Counter[str]):
        """A count that another thread has time to read before it is written."""

        def __getitem__(self, key: str) -> int:
            value = super().__getitem__(key)
            time.sleep(0.005)
            return value

    report = debug.MemoryReport()
    report.saved = Slow()

    def keep() -> None:
        node = (leaf(1) * leaf(2)).node
        assert node is not None
        report.add("here", node, [np.zeros(2)])

    threads = [threading.Thread(target=keep) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert report.saved["here"] == 3 * 16


def test_modules_are_named_in_the_report() -> None:
    with ng.memory_report() as report:
        small_gpt().loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    assert "attention in GPT.blocks.1.attn (" in str(report)
    assert "linear_cross_entropy in GPT (" in str(report)


# Off


def test_nothing_is_recorded_while_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> str:
        raise AssertionError("nobody observes")

    monkeypatch.setattr(debug, "location", never)
    monkeypatch.setattr(debug, "user_line", never)
    x = leaf(1, 2)
    y = (x * x).sum()
    assert y.node is not None
    assert y.node.location is None
    y.backward()
    small_gpt().loss(np.array([[1, 2]]), np.array([[2, 3]])).backward()
    assert (CONTEXT.get().observers, CONTEXT.get().scope) == ((), ())


@pytest.mark.parametrize("tool", [ng.detect_anomaly, ng.detect_mutation, ng.memory_report])
def test_a_tool_is_taken_off_also_after_an_error(tool: Any) -> None:
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
