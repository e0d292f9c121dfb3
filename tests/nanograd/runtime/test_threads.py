"""parallel_map: every item once, results in order, and the same bits for any number of threads."""

import threading

import numpy as np
import pytest

from nanograd.runtime import blas, threads
from nanograd.runtime.threads import at_most, available_threads, parallel_map, run


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> None:
    """Leave BLAS all its threads: they are tested here."""


@pytest.fixture(params=["1", "2", "5"])
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("NANOGRAD_THREADS", request.param)
    monkeypatch.setattr(threads, "PARALLEL_THRESHOLD", 2)  # two entries are enough for a thread
    return int(request.param)


@pytest.mark.parametrize("sizes", [[], [0], [1], [0, 0, 0], [1, 1, 1, 1], [9, 1, 1], [1, 1, 9], [3] * 17])
def test_every_item_is_visited_once_and_in_order(n_threads: int, sizes: list[int]) -> None:
    seen: list[int] = []
    results = parallel_map(lambda item: seen.append(item) or 10 * item, range(len(sizes)), sizes)
    assert results == [10 * i for i in range(len(sizes))]
    assert sorted(seen) == list(range(len(sizes)))


@pytest.mark.skipif(not blas.can_set_threads(), reason="the threads of this NumPy's BLAS cannot be set")
def test_threads_get_neighbouring_items_and_equal_numbers_of_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    monkeypatch.setattr(threads, "PARALLEL_THRESHOLD", 1)
    gate = threading.Barrier(2, timeout=10)  # both threads run at the same time

    def work(item: int) -> int:
        if item in (0, 3):
            gate.wait()
        return threading.get_ident()

    a, b, c, d = parallel_map(work, range(4), [2, 2, 2, 2])
    assert a == b != c == d


def test_little_work_stays_in_this_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "2")
    here = threading.get_ident()
    assert parallel_map(lambda _: threading.get_ident(), range(3), [10, 10, 10]) == [here] * 3


def test_sums_do_not_depend_on_threads(n_threads: int) -> None:
    arrays = [np.random.default_rng(i).standard_normal(100_001).astype(np.float32) for i in range(3)]
    with blas.one_thread():
        expected = [float(np.vdot(a, a)) for a in arrays]
    assert parallel_map(lambda a: float(np.vdot(a, a)), arrays, [a.size for a in arrays]) == expected


def test_an_exception_is_raised(n_threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda item: 1 // item, [1, 0, 2], [5, 5, 5])


@pytest.mark.skipif(not blas.can_set_threads(), reason="the threads of this NumPy's BLAS cannot be set")
def test_a_limit_holds_in_its_block_in_its_threads_and_in_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "4")
    seen: list[int] = []
    with at_most(3):
        assert run([available_threads, available_threads]) == [3, 3]
        with at_most(1):
            assert available_threads() == 1
            here = threading.get_ident()
            assert run([threading.get_ident] * 3) == [here] * 3
        other = threading.Thread(target=lambda: seen.append(available_threads()))
        other.start()
        other.join()
        with at_most(9), at_most(None):
            assert available_threads() == 4
        assert available_threads() == 3
    assert seen == [4]
    assert available_threads() == 4
