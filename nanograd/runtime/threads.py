"""Run work on several threads: NumPy releases the GIL while it computes, so threads run in parallel.

Results never depend on the number of threads, nor on which of them finishes first.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TypeVar

from nanograd.runtime import blas

Item = TypeVar("Item")
Result = TypeVar("Result")

# Entries below which handing work to another thread costs more than it saves
PARALLEL_THRESHOLD = 2**18

_LIMIT: ContextVar[int | None] = ContextVar("nanograd.threads", default=None)
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_lock = threading.Lock()


def available_threads() -> int:
    """Return the number of threads that may run: NANOGRAD_THREADS, or else the number of cores; at most `at_most`."""
    n = _threads_of_machine()
    limit = _LIMIT.get()
    return n if limit is None else min(n, limit)


@contextmanager
def at_most(n: int | None) -> Iterator[None]:
    """Let at most n threads run in the block, as where several processes share the cores."""
    token = _LIMIT.set(n)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def _threads_of_machine() -> int:
    if setting := os.environ.get("NANOGRAD_THREADS"):
        if not setting.isdigit() or int(setting) < 1:
            raise ValueError(f"NANOGRAD_THREADS must be a whole number from 1, got {setting!r}")
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_for(tasks: int) -> int:
    """Return the number of threads on which `run` runs this many tasks."""
    return min(tasks, available_threads()) if blas.can_set_threads() else 1


def run(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run the tasks in parallel, each in a copy of this context, and return their results in order.

    A single task uses all BLAS threads; several tasks use one each. If the BLAS cannot be limited (Accelerate, MKL), or
    NANOGRAD_THREADS is 1, the tasks run one after the other in this context, with the same results. An exception is raised
    when no task runs any more; of several, that of the first task.
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
    """Return function(item) for every item, computed on all threads. sizes are the numbers of entries per item.

    Each thread gets neighbouring items, and about as many entries as the others.
    """
    total = sum(sizes)
    n_groups = max(1, min(available_threads(), len(items), total // PARALLEL_THRESHOLD))
    groups: list[list[Item]] = [[] for _ in range(n_groups)]
    before = 0
    for item, size in zip(items, sizes, strict=True):
        groups[min((before + size // 2) * n_groups // max(total, 1), n_groups - 1)].append(item)
        before += size

    def work(group: list[Item]) -> list[Result]:
        return [function(item) for item in group]

    with blas.one_thread():  # even for one group: the bits of a sum depend on BLAS threads
        return [result for results in run([partial(work, group) for group in groups]) for result in results]


def _threads(n: int) -> ThreadPoolExecutor:
    """Return the pool; create it at first use, and again when more threads are needed."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < n:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(n, thread_name_prefix="nanograd-shard"), n
        return _pool
