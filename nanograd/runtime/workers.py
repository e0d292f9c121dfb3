"""Run work in other processes and yield its results in order, for tokenizing files larger than memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield (item, function(item)) in the order of the items, computed in worker processes; one worker is this process.

    At most two items per worker are in memory. Each worker receives the function once, so it may hold large data. The
    processes import the main script again, which must guard its work with `if __name__ == "__main__":`.

    Raises ChildProcessError if a worker was killed, and whatever the function raised.
    """
    if workers == 1:
        for item in items:
            yield item, function(item)
        return
    context = multiprocessing.get_context("spawn")  # the same on all systems, and safe with threads
    pending: deque[tuple[Item, Future[Result]]] = deque()
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(function,)) as pool:
        try:
            for item in items:
                pending.append((item, pool.submit(_call, item)))
                if len(pending) == 2 * workers:
                    item, future = pending.popleft()
                    yield item, future.result()
            while pending:
                item, future = pending.popleft()
                yield item, future.result()
        except BrokenExecutor:
            message = "a worker process was killed, perhaps for its memory; try fewer --workers"
            raise ChildProcessError(message) from None
        finally:
            for _, future in pending:
                future.cancel()


_function: Callable[[Any], Any]  # of a worker process


def _start(function: Callable[[Any], Any]) -> None:
    """Prepare a worker: leave Ctrl-C to the parent, and end with the parent, even if it is killed."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(item: Any) -> Any:
    return _function(item)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
