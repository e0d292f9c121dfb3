"""in_order: results in the order of the items, from processes that were initialised, and a clear error if one dies."""

import math
import os
from pathlib import Path

import pytest

from nanograd.runtime.workers import in_order

# The functions are Python's own: a worker imports them by name, and cannot import a test module.


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_order(math.isqrt, range(9), 2)) == [(n, math.isqrt(n)) for n in range(9)]


def test_every_worker_calls_the_initializer_first(tmp_path: Path) -> None:
    results = list(in_order(os.path.abspath, ["a", "b"], 2, initializer=os.chdir, initargs=(str(tmp_path),)))
    assert results == [(name, os.path.join(os.path.realpath(tmp_path), name)) for name in ("a", "b")]


def test_no_more_items_are_taken_than_keep_the_workers_busy() -> None:
    drawn: list[int] = []
    results = in_order(math.isqrt, (drawn.append(n) or n for n in range(50)), 1)  # type: ignore[func-returns-value]
    for n_results in range(1, 10):
        next(results)
        assert len(drawn) == n_results + 1  # 2 · workers at a time
    results.close()


def test_an_exception_of_the_function_is_raised() -> None:
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(in_order(math.sqrt, [4.0, -1.0], 1))


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(ChildProcessError, match="a worker process was killed, perhaps for its memory"):
        list(in_order(os._exit, [9], 1))
