"""in_order: results in the order of the items, from this process or others, and a clear error if one dies."""

import math
import os
from collections.abc import Callable
from functools import partial

import pytest

from nanograd.runtime.workers import in_order

# The functions are Python's own: a worker imports them by name, and cannot import a test module.


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    assert list(in_order(math.isqrt, range(9), workers)) == [(n, math.isqrt(n)) for n in range(9)]


class CountedPickles:
    """A function that counts how often it is pickled."""

    def __init__(self, function: Callable[[int], int]) -> None:
        self.function, self.pickled = function, 0

    def __reduce__(self) -> tuple[type[partial[int]], tuple[Callable[[int], int]]]:
        self.pickled += 1
        return partial, (self.function,)

    def __call__(self, item: int) -> int:
        raise AssertionError("called in this process")


def test_every_worker_receives_the_function_once() -> None:
    function = CountedPickles(math.isqrt)
    assert [result for _, result in in_order(function, range(20), 2)] == [math.isqrt(n) for n in range(20)]
    assert function.pickled in (1, 2)  # a worker that is not needed is not started


def test_one_worker_is_this_process() -> None:
    assert list(in_order(lambda item: (item, os.getpid()), "ab", 1)) == [(c, (c, os.getpid())) for c in "ab"]


def test_no_more_items_are_taken_than_keep_the_workers_busy() -> None:
    drawn: list[int] = []
    results = in_order(math.isqrt, (drawn.append(n) or n for n in range(50)), 2)  # type: ignore[func-returns-value]
    for n_results in range(1, 10):
        next(results)
        assert len(drawn) == n_results + 3  # 2 · workers at a time
    results.close()


def test_an_exception_of_the_function_is_raised() -> None:
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(in_order(math.sqrt, [4.0, -1.0], 2))


def test_a_worker_that_dies_is_reported() -> None:
    with pytest.raises(ChildProcessError, match="a worker process was killed, perhaps for its memory"):
        list(in_order(os._exit, [9], 2))
