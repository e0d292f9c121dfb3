"""profile: times by hand, from a fake clock, in one thread and in several; memory_report: bytes by hand."""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanograd as ng
from gpt.config import ModelConfig
from gpt.model import GPT
from nanograd import Op, Tensor, nn, parallel
from nanograd.inspect import profiler
from nanograd.inspect.profiler import MemoryReport, Row, table
from nanograd.op import CONTEXT, region
from nanograd.optim import SGD


class Clock:
    """A clock per thread, which an op advances by hand."""

    def __init__(self) -> None:
        self.local = threading.local()

    def __call__(self) -> float:
        return getattr(self.local, "now", 0.0)

    def wait(self, seconds: float) -> None:
        self.local.now = self() + seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(profiler.time, "perf_counter", clock)
    return clock


def slow_op(clock: Clock, forward: float, backward: float) -> Op:
    def slow_forward(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take some time."""
        clock.wait(forward)
        return x * 2, x

    def slow_backward(dy: np.ndarray, saved: np.ndarray) -> tuple[np.ndarray]:
        """Take some more."""
        clock.wait(backward)
        return (dy * 2,)

    return Op(slow_forward, slow_backward)


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, np.float32), requires_grad=True)


def by_name(rows: list[Row]) -> dict[str, tuple[Any, ...]]:
    return {row.name: tuple(row[1:]) for row in rows}


def test_times_by_hand(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)
    x = leaf(1, 2)
    with ng.profile() as p:
        y = slow(slow(x))
        clock.wait(100)  # outside every op
        y.sum().backward()
    assert p.elapsed == 3 + 3 + 100 + 5 + 5
    assert by_name(p.rows()) == {"slow": (2, 6.0, 10.0, 8), "sum": (1, 0.0, 0.0, 0)}  # x is a leaf: 8 bytes, not 16
    assert [row.name for row in p.rows()] == ["slow", "sum"]  # the longest first


def test_only_the_block_is_counted(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)
    y = slow(leaf(1)).sum()
    with ng.profile() as p:
        y.backward()  # recorded before the block: only the backward counts
    slow(leaf(1))
    assert by_name(p.rows())["slow"] == (0, 0.0, 5.0, 0)
    assert CONTEXT.get().observers == ()


def test_bytes_are_counted_once() -> None:
    x, weight = leaf(1, 2, 3), leaf(1, 1, 1)
    with ng.profile() as p:
        y = x * weight  # leaves live without the tape
        z = y.exp()  # saves its output: 12 bytes
        (z * z).sum().backward()  # saves it twice again
    assert {row.name: row.saved for row in p.rows()} == {"mul": 0, "exp": 12, "sum": 0}


def test_ops_of_a_checkpoint_are_not_counted_twice(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)
    x = leaf(1)
    with ng.profile() as p:
        y = ng.checkpoint(lambda t: ng.checkpoint(slow, slow(t)), x)
        y.sum().backward()
    rows = by_name(p.rows())
    # forward 2; the outer backward runs both again; the inner one's backward runs its own once more
    assert rows["slow"][:3] == (2 + 2 + 1, 15.0, 10.0)
    assert rows["checkpoint"][1:3] == (0.0, 0.0)
    assert sum(row.seconds for row in p.rows()) == p.elapsed == 25.0


def test_an_op_that_fails_does_not_change_other_times(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)

    def caught(t: Tensor) -> Tensor:
        with pytest.raises(ValueError, match="broken"):
            broken(t)
        return slow(t)

    def broken_forward(x: np.ndarray) -> tuple[np.ndarray, None]:
        """Take some time, and fail."""
        clock.wait(7)
        raise ValueError("broken")

    def broken_backward(dy: np.ndarray, saved: None) -> tuple[np.ndarray]:
        """Never run."""
        raise AssertionError

    broken = Op(broken_forward, broken_backward)
    with ng.profile() as p:
        ng.checkpoint(caught, leaf(1)).sum()
        slow(leaf(1))
    rows = by_name(p.rows())
    assert rows["slow"][:2] == (2, 6.0)
    assert rows["checkpoint"][:2] == (1, 7.0)  # it includes the time of the failed op
    assert "broken" not in rows


def test_the_time_of_a_region_excludes_nested_ops_and_regions(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)
    with region("unseen"):
        pass
    with ng.profile() as p, region("outer"):
        clock.wait(1)
        with region("inner"):
            clock.wait(10)
            slow(leaf(1))
        with contextlib.suppress(KeyError), region("inner"):
            clock.wait(20)
            raise KeyError
        clock.wait(2)
    assert p.regions() == {"inner": Row("inner", 2, 30.0, None, 0), "outer": Row("outer", 1, 3.0, None, 0)}
    assert p.elapsed == 36.0


@pytest.mark.parametrize("threads", ["1", "3"])
def test_no_count_is_lost_between_shards(clock: Clock, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", threads)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads switch after every few instructions
    slow = slow_op(clock, 3, 5)
    w = leaf(1, 1)

    def loss_of(model: Any, rows: np.ndarray) -> Tensor:
        y = w * 1.0
        for _ in range(50):
            y = slow(y)
        return y.sum()

    model = parallel.DataParallel(nn.Module(), SGD([w]), loss_of, shards=3)
    try:
        with ng.profile() as p:
            for _ in range(4):
                model.gradients(0, [(np.zeros(3),)], 1)
    finally:
        sys.setswitchinterval(before)
    calls = 4 * 3 * 50
    assert by_name(p.rows())["slow"] == (calls, 3.0 * calls, 5.0 * calls, 8 * calls)
    assert p.regions()["shards"][1:3] == (12, 0.0)
    assert p.regions()["gradient sums"].calls == 4


def test_profiles_may_be_nested(clock: Clock) -> None:
    slow = slow_op(clock, 3, 5)
    with ng.profile() as outer:
        slow(leaf(1))
        with ng.profile() as inner, region("some"):
            slow(leaf(1))
    assert (by_name(outer.rows())["slow"][:2], by_name(inner.rows())["slow"][:2]) == ((2, 6.0), (1, 3.0))
    assert outer.regions().keys() == inner.regions().keys() == {"some"}


def test_the_table_by_hand() -> None:
    rows = [Row("mul", 4, 0.003, 0.005, 2_000_000), Row("batch", 2, 0.002, None, 0)]
    assert [line.split() for line in table(rows, total=0.020, steps=2)] == [
        ["calls", "forward", "ms", "backward", "ms", "saved", "MB", "ms", "share"],
        ["mul", "2", "1.50", "2.50", "1.00", "4.00", "40.0", "%"],
        ["batch", "1", "1.00", "10.0", "%"],
    ]


def test_printed_shares_add_up(clock: Clock) -> None:
    slow: Callable[..., Tensor] = slow_op(clock, 3, 5)
    with ng.profile() as p:
        slow(leaf(1)).sum().backward()
    with ng.profile() as nothing:
        pass
    assert str(p).splitlines()[0] == "8000.0 ms, added over the threads, in 8000.0 ms"
    assert str(p).splitlines()[2].split()[-2:] == ["100.0", "%"]
    assert len(str(nothing).splitlines()) == 2


# Memory: bytes counted by hand, once per buffer, also from several threads


def test_memory_by_hand() -> None:
    x = Tensor(np.ones((2, 3), np.float32), requires_grad=True)  # 24 bytes
    with ng.memory_report() as report:
        y = x * x  # x twice: counted once
        z = y.exp()  # exp saves its output
        loss = z.sum()  # a shape
        assert (report.now, report.peak) == (48, 48)
        loss.backward(retain_graph=True)
        assert report.now == 48
        loss.backward()
        assert (report.now, report.peak) == (0, 48)
    line_of_mul = test_memory_by_hand.__code__.co_firstlineno + 3
    lines = str(report).splitlines()
    assert lines[0] == "saved for backward: 48 bytes at most"
    assert len(lines) == 3
    assert lines[1].split() == ["24", "1", "×", "mul", f"({__file__}:{line_of_mul})"]


def test_a_view_counts_as_its_whole_buffer() -> None:
    x = Tensor(np.ones((100, 2)), requires_grad=True)
    with ng.memory_report() as report:
        _ = x[:1] * 2.0
        assert report.now == 8  # mul saves only the 2.0: no gradient of 2.0 is needed
        _ = x[:1].square()
        assert report.now == 8 + x.data.nbytes


def test_no_bytes_are_lost_between_threads() -> None:
    class Slow(Counter[str]):
        """A counter slow enough that, without a lock, another thread reads the old count."""

        def __getitem__(self, key: str) -> int:
            value = super().__getitem__(key)
            time.sleep(0.005)
            return value

    report = MemoryReport()
    report.saved = Slow()

    node = (Tensor([1.0], requires_grad=True) * 2.0).node
    assert node is not None
    threads = [threading.Thread(target=report.add, args=("here", node, [np.zeros(2)])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.saved["here"] == 3 * 16


def test_modules_are_named_in_the_report() -> None:
    model = GPT(ModelConfig(vocab_size=7, context_length=4, d_model=4, n_layers=2, n_heads=2))
    with ng.memory_report() as report:
        model.loss(np.array([[1, 2, 3]]), np.array([[2, 3, 4]]))
    assert "attention in GPT.blocks.1.attn (" in str(report)
    assert "linear_cross_entropy in GPT (" in str(report)
