"""Work in other processes, its results in order: for tokenizing files larger than memory."""

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
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    *,
    start: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with function(item), computed in worker processes, in the order of the items.

    No more of them wait in memory than keep the workers busy. Each worker first calls start(*given). The processes import
    the main script again: it must guard its work with `if __name__ == "__main__":`.

    Raises ChildProcessError where a worker was killed, and whatever the function raised.
    """
    context = multiprocessing.get_context("spawn")  # alike on all systems, and safe where there are threads
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start, given)) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) == 2 * workers:
                    item, future = waiting.popleft()
                    yield item, future.result()
            while waiting:
                item, future = waiting.popleft()
                yield item, future.result()
        except BrokenExecutor:
            message = "a worker process was killed, perhaps for its memory; try fewer --workers"
            raise ChildProcessError(message) from None
        finally:
            for _, future in waiting:
                future.cancel()


def _begin(start: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the parent, and end with it, even where it was killed."""
    if start is not None:
        start(*given)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
