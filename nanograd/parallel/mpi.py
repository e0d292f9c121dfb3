"""A team under MPI: `mpiexec -n 4 python -m gpt train …`, on one machine or on several without a common file system.

Gradients go from every rank to the owners of their parts (Alltoall), which add them in the order of the tree, update their
part with their own averages of the optimizer, and give the parameters to all (Allgather). MPI's own sums are never used:
their order is the implementation's. (Rajbhandari et al. 2020, arXiv:1910.02054: the optimizer's state in parts, ZeRO-1.)
"""

import atexit
import os
import signal
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nanograd.optim import AdamW
from nanograd.parallel.ranks import Call, LostRankError, Outcome, Team, bounds_of, named, tree
from nanograd.runtime.threads import available_threads

WAIT, SLOWER = 60.0, 20.0  # a rank may take WAIT seconds, and SLOWER times as long as rank 0 took
IDLE = 1800.0  # seconds that the others wait for a call of rank 0
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")  # set by the mpiexec of MPICH and Intel MPI, and Open MPI
CALL, OUTCOME = 1, 2  # tags of messages


def launched() -> bool:
    """Return whether an mpiexec has started this process as one of several."""
    return int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or 1) > 1


class MPITeam(Team):
    """The processes that mpiexec has started."""

    copies = True

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except ModuleNotFoundError as error:
            install = "python -m pip install mpi4py mpich (on Windows: mpi4py impi-rt)"
            raise ValueError(f"under mpiexec the package mpi4py is needed: {install}") from error
        self.mpi = MPI
        self.world = MPI.COMM_WORLD.Dup()
        self.rank, self.size = self.world.rank, self.world.size
        here = self.world.Split_type(MPI.COMM_TYPE_SHARED).size  # ranks on this machine
        self.threads = max(1, available_threads() // here)
        self.called = time.monotonic()
        self.closed = False

    def begin(self, make: Callable[..., Any], model: Any, optimizer: AdamW, *arguments: Any) -> None:
        bounds = bounds_of(optimizer.slices, self.size)
        calls: list[Call | None] = [None]
        for first, end in pairwise(bounds[1:]):
            averages = [a[first:end] for a in optimizer.flat[2:]]
            state = (make, model, optimizer.options(), optimizer.t, optimizer.counts, averages, arguments)
            calls.append(Call("join", state))
        self.share(calls)
        self.member = make(self, model, optimizer, *arguments)
        for rank, outcome in enumerate(self.collect(Outcome(None))):
            if outcome.error is not None:
                raise named(outcome.error, rank)

    def join(
        self, make: Callable[..., Any], model: Any, options: dict[str, Any], t: int, counts: dict[str, int],
        averages: Sequence[np.ndarray], arguments: tuple[Any, ...],
    ) -> None:  # fmt: skip
        """Make the member of this rank from what rank 0 has sent."""
        optimizer = AdamW(model.named_parameters(), **options)
        optimizer.t, optimizer.counts = t, counts
        self.member = make(self, model, optimizer, *arguments)
        optimizer.flat[2:] = averages

    def _answer(self, call: Call | None) -> Outcome:
        if call is not None and call.method == "join":
            self.member = self  # until there is one
        return super()._answer(call)

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        self.called = time.monotonic()
        if calls is None:
            call: Call | None = self._receive(0, CALL, self.called + IDLE)
            return call
        for rank in range(1, self.size):
            self.world.send(calls[rank], rank, CALL)
        return calls[0]

    def collect(self, outcome: Outcome) -> list[Outcome]:
        if self.rank:
            self.world.send(outcome, 0, OUTCOME)
            return []
        limit = time.monotonic() + WAIT + SLOWER * (time.monotonic() - self.called)
        return [outcome, *(self._receive(rank, OUTCOME, limit) for rank in range(1, self.size))]

    def _receive(self, rank: int, tag: int, limit: float) -> Any:
        """Return the next message of a rank. Between looks this sleeps: MPI's own waiting would occupy a core."""
        pause = 1e-5
        while (message := self.world.improbe(rank, tag)) is None:
            if time.monotonic() > limit:
                raise LostRankError(f"rank {rank} does not answer rank {self.rank}")
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)
        return message.recv()

    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        sizes = np.diff(bounds)
        own = int(sizes[self.rank])
        parts = np.empty((self.size, own), flat.dtype)
        self.world.Alltoallv([flat, (sizes, bounds[:-1])], [parts, ([own] * self.size, own * np.arange(self.size))])
        flat[bounds[self.rank] : bounds[self.rank + 1]] = tree(list(parts), lambda a, b: np.add(a, b, out=a))

    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        self.world.Allgatherv(self.mpi.IN_PLACE, [flat, (np.diff(bounds), bounds[:-1])])

    def close(self) -> None:
        """End the other ranks. If a call was interrupted they may not hear of it: then all end when this process ends."""
        if self.busy:
            atexit.register(self.world.Abort, 1)
        elif not self.closed:
            super().close()
        self.closed = True

    def follow(self) -> None:
        """Answer the calls of rank 0, and leave signals to it: mpiexec passes them on to all ranks."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):  # Windows has no SIGHUP
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        try:
            super().follow()
        except BaseException:
            atexit.register(self.world.Abort, 1)
            raise
