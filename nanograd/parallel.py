"""A step in shards of the batch: one thread a shard, each with a tape and gradient sums of its own, then one sum.

NumPy's elementwise functions use one core, and its products use all: half of a step leaves cores idle. Splitting single
ops over threads loses, since BLAS has threads too and they contend. Splitting the *batch* doubles everything at once: each
thread runs the whole model on its rows, with products that use one thread each. It costs a second set of gradients.

A shard is a function that returns a loss; where it runs does not matter to the result, so that a rank on another machine
could be one more shard. The sums are added in the order of the shards: results depend on their number, never on timing.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import numpy as np

from nanograd import blas
from nanograd.tape import accumulate, collect, pull
from nanograd.tensor import Tensor

Gradients = dict[Tensor, np.ndarray]
Result = TypeVar("Result")

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


def gradients(shard: Callable[[], Tensor], gradient: float = 1.0) -> tuple[float, Gradients]:
    """Run one shard forward and backward; return its loss and its gradient sums, touching no `.grad`."""
    sums: Gradients = {}
    loss = shard()
    dy = loss.cotangent(np.full(loss.shape, gradient, loss.dtype))
    if loss._node is not None:
        pull([(loss._node, dy)], partial(collect, sums))
    return float(loss.item()), sums


def backward(shards: Sequence[Callable[[], Tensor]], gradient: float = 1.0) -> list[float]:
    """Run all shards, add their gradients to `.grad` in their order, and return their losses."""
    results = run([partial(gradients, shard, gradient) for shard in shards])
    for _, sums in results:
        for leaf, dx in sums.items():
            accumulate(leaf, dx, True)
    return [loss for loss, _ in results]


def run(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run the tasks side by side, each in a copy of this context, and return their results in order.

    A single task keeps all of BLAS's threads; several have one thread each. Where BLAS cannot be told so (Accelerate,
    MKL), or NANOGRAD_THREADS is 1, they run one after the other, to the same results. An exception in a task comes out
    here, the first task's first, when all have ended.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    with blas.one_thread():
        threads = min(len(tasks), available_threads()) if blas.can_set_threads() else 1
        if threads == 1:
            return [task() for task in tasks]
        futures = [_threads(threads).submit(copy_context().run, task) for task in tasks]
        errors = [future.exception() for future in futures]  # waits for all
        for error in errors:
            if error is not None:
                raise error
        return [future.result() for future in futures]


def choose_shards(batch_size: int, context_length: int) -> int:
    """Return into how many shards to split a batch: one a thread, each of at least 256 tokens.

    Fewer tokens do not make up for a second set of gradients; there, threads inside each product are as good.
    """
    if not blas.can_set_threads():
        return 1
    return max(1, min(available_threads(), batch_size, batch_size * context_length // 256))


def _threads(n: int) -> ThreadPoolExecutor:
    """Return the pool, made at its first use and made anew where more threads are wanted."""
    global _pool, _pool_size
    with _lock:
        if _pool is None or _pool_size < n:
            if _pool is not None:
                _pool.shutdown(wait=False)
            _pool, _pool_size = ThreadPoolExecutor(n, thread_name_prefix="nanograd-shard"), n
        return _pool
