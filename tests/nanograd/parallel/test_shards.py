"""Shards and threads: how many there are, and that shards run in parallel with products of one thread."""

import threading

import pytest

from nanograd.parallel.shards import choose_shards
from nanograd.runtime import blas
from nanograd.runtime.threads import available_threads, run

can_set = pytest.mark.skipif(not blas.can_set_threads(), reason="the threads of this NumPy's BLAS cannot be set")
before = blas.threads()


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread() -> None:
    """Leave BLAS all its threads: they are tested here."""


@can_set
def test_products_use_one_thread_in_shards_and_all_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("NANOGRAD_THREADS", threads)
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
