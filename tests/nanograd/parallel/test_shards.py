"""A step in shards: gradients are the sum over shards, with the same bits for any number of threads."""

import threading
from collections.abc import Callable

import numpy as np
import pytest

from nanograd import Tensor, detect_anomaly, ops
from nanograd.inspect.anomaly import AnomalyError
from nanograd.parallel.shards import available_threads, backward, choose_shards, run
from nanograd.runtime import blas

RNG = np.random.default_rng(0)
X = RNG.standard_normal((7, 5))
W = RNG.standard_normal((3, 5))

can_set = pytest.mark.skipif(not blas.can_set_threads(), reason="the threads of this NumPy's BLAS cannot be set")


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> None:
    """Leave BLAS all its threads: they are tested here."""


@pytest.fixture(params=["1", "2", "5"])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("NANOGRAD_THREADS", request.param)
    return int(request.param)


def shards_of(weight: Tensor, n: int) -> list[Callable[[], Tensor]]:
    return [lambda rows=rows: loss_of(rows, weight) for rows in np.array_split(X, n)]


def loss_of(rows: np.ndarray, weight: Tensor) -> Tensor:
    return ops.gelu(ops.linear(rows, weight)).square().sum()


def test_the_gradients_of_shards_add_up_by_hand(threads: int) -> None:
    w = Tensor([3.0], requires_grad=True)
    losses = backward([lambda: (w * 2.0).sum(), lambda: (w * w).sum()], 0.5)
    assert losses == [6.0, 9.0]
    assert w.grad is not None
    np.testing.assert_allclose(w.grad, 0.5 * (2 + 2 * 3))


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_shards_give_what_one_batch_gives(threads: int, n: int) -> None:
    whole, split = Tensor(W, requires_grad=True), Tensor(W, requires_grad=True)
    loss_of(X, whole).backward()
    backward(shards_of(split, n))
    assert whole.grad is not None
    assert split.grad is not None
    np.testing.assert_allclose(split.grad, whole.grad, rtol=1e-12, atol=1e-14)


def test_the_result_depends_on_the_shards_and_never_on_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for threads in ("1", "2", "3", "2"):
        monkeypatch.setenv("NANOGRAD_THREADS", threads)
        w = Tensor(W, requires_grad=True)
        losses = backward(shards_of(w, 3))
        assert w.grad is not None
        seen.add((tuple(losses), w.grad.tobytes()))
    assert len(seen) == 1


def test_gradients_add_to_earlier_ones(threads: int) -> None:
    w = Tensor(W, requires_grad=True)
    backward(shards_of(w, 2))
    assert w.grad is not None
    once = w.grad.copy()
    backward(shards_of(w, 2))
    np.testing.assert_allclose(w.grad, 2 * once, rtol=1e-12, atol=1e-14)


def test_the_error_of_a_shard_is_raised_and_nothing_is_added(threads: int) -> None:
    w = Tensor(W, requires_grad=True)
    ended = []

    def fails() -> Tensor:
        raise ValueError("the second shard has no data")

    def works() -> Tensor:
        ended.append(True)
        return (w * w).sum()

    with pytest.raises(ValueError, match="the second shard has no data"):
        backward([works, fails, works])
    assert w.grad is None
    assert len(ended) == (1 if threads == 1 else 2)  # in parallel, the other shards run to their end
    assert blas.threads() == before


before = blas.threads()


def test_anomalies_are_detected_in_every_shard(threads: int) -> None:
    w = Tensor([0.0], requires_grad=True)
    with detect_anomaly(), pytest.raises(AnomalyError, match="log"):
        backward([lambda: (w * 2.0).sum(), lambda: ops.log(w).sum()])


@can_set
def test_products_use_one_thread_in_shards_and_all_outside(threads: int) -> None:
    assert run([blas.threads, blas.threads]) == [1, 1]
    assert blas.threads() == before
    assert run([blas.threads]) == [before]


@can_set
def test_shards_run_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    meeting = threading.Barrier(2, timeout=10)  # breaks unless both run at once
    assert sorted(run([meeting.wait, meeting.wait])) == [0, 1]


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "3")
    assert available_threads() == 3
    for wrong in ("0", "two", "-1", "1.5"):
        monkeypatch.setenv("NANOGRAD_THREADS", wrong)
        with pytest.raises(ValueError, match="NANOGRAD_THREADS must be a whole number from 1, got"):
            available_threads()
    monkeypatch.delenv("NANOGRAD_THREADS")
    assert available_threads() >= 1


@can_set
def test_the_number_of_shards_depends_on_threads_rows_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "4")
    assert choose_shards(16, 128) == 4  # 512 tokens each
    assert choose_shards(3, 1024) == 3  # no more than rows
    assert choose_shards(8, 64) == 2  # 512 tokens in all: 256 each
    assert choose_shards(2, 16) == 1
