"""Work spread over threads: NumPy lets go of Python's lock while it computes, so that threads run side by side.

What comes out never depends on how many threads there are, nor on which was first.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from nanograd.runtime import blas

Item = TypeVar("Item")
Result = TypeVar("Result")

PARALLEL_THRESHOLD = 2**18  # entries below which handing work to another thread costs more than it saves

_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()


def available_threads() -> int:
    """Return how many threads may run: NANOGRAD_THREADS, else the cores this process may use."""
    if given := os.environ.get("NANOGRAD_THREADS"):
        if not given.isdigit() or int(given) < 1:
            raise ValueError(f"NANOGRAD_THREADS must be a whole number from 1, got {given!r}")
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(tasks: int) -> int:
    """Return how many threads run so many tasks."""
    return min(tasks, available_threads()) if blas.can_set_threads() else 1


def run(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run the tasks side by side, each in a copy of this context, and return their results in order.

    A single task keeps all of BLAS's threads; several have one thread each. Where BLAS cannot be told so (Accelerate,
    MKL), or NANOGRAD_THREADS is 1, they run one after the other, to the same results. An exception in a task comes out
    here, the first task's first, when all have ended.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    with blas.one_thread():
        threads = threads_for(len(tasks))
        if threads == 1:
            return [task() for task in tasks]
        futures = [_threads(threads).submit(copy_context().run, task) for task in tasks]
        errors = [future.exception() for future in futures]  # waits for all
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item], sizes: Sequence[int]) -> list[Result]:
    """Return function(item) for every item, computed on all threads; sizes say how many entries each item touches.

    Neighbours go to the same thread, and each thread gets about as many entries as the others.
    """
    total = sum(sizes)
    parts = max(1, min(available_threads(), len(items), total // PARALLEL_THRESHOLD))
    groups: list[list[Item]] = [[] for _ in range(parts)]
    before = 0
    for item, size in zip(items, sizes, strict=True):
        groups[min((before + size // 2) * parts // max(total, 1), parts - 1)].append(item)
        before += size

    def work(group: list[Item]) -> list[Result]:
        return [function(item) for item in group]

    with blas.one_thread():  # also where there is one group: the bits of a sum depend on BLAS's threads
        return [result for results in run([partial(work, group) for group in groups]) for result in results]


def _threads(n: int) -> ThreadPoolExecutor:
    """Return the pool, made at its first use and made anew where more threads are wanted."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < n:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(n, thread_name_prefix="nanograd-shard"), n
        return _pool
