"""A team under MPI: `mpiexec -n 4 python -m gpt train …`, on one machine or on several without a common file system.

Gradients go from every rank to the owners of their parts, which add them in the order of the tree, update their part with
their own averages of the optimizer, and give the parameters to all. (Rajbhandari et al. 2020, arXiv:1910.02054: the
optimizer's state in parts, ZeRO-1.) MPI's own sums are never used: their order is the implementation's. Its other
collectives are not used either: a rank that waits in one cannot tell which rank is missing.
"""

import atexit
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nanograd.optim import AdamW
from nanograd.parallel.ranks import (
    SLOWER,
    Call,
    LostRankError,
    Outcome,
    Patience,
    Team,
    bounds_of,
    leave_signals,
    named,
    tree,
)  # fmt: skip
from nanograd.runtime.threads import available_threads

CALL, OUTCOME, PART = 1, 2, 3  # tags of messages
BUSY = 1.0  # seconds for which a transfer is watched without a pause
SLOW = 1e6  # bytes that the slowest network moves in a second


def launched() -> bool:
    """Return whether an mpiexec (of MPICH or Intel MPI, or of Open MPI) has started this process as one of several."""
    return int(os.environ.get("PMI_SIZE") or os.environ.get("OMPI_COMM_WORLD_SIZE") or 1) > 1


class MPITeam(Team):
    """The processes that mpiexec has started."""

    copies = True

    def __init__(self) -> None:
        atexit.register(self._end)
        self.parent, self.closed, self.exit_code = os.getppid(), False, 1
        self.called = time.process_time()
        with signals_later():
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
            unlink_shared_memory()

    def begin(self, make: Callable[..., Any], model: Any, optimizer: AdamW, *arguments: Any) -> None:
        if self.closed:
            raise ValueError("under mpiexec a program trains once: the other ranks have ended with the first training")
        bounds = bounds_of(optimizer.cuts(), self.size)
        calls: list[Call | None] = [None]
        for first, end in pairwise(bounds[1:]):
            averages = [a[first:end] for a in optimizer.flat[2:]]
            state = (
                make,
                model,
                type(optimizer),
                optimizer.options(),
                optimizer.t,
                optimizer.counts,
                averages,
                arguments,
            )
            calls.append(Call("join", state))
        self.busy = True
        self._send(calls, self.size * sum(a.nbytes for a in optimizer.flat))
        self.member = make(self, model, optimizer, *arguments)
        self.results(Outcome(None))

    def join(
        self, make: Callable[..., Any], model: Any, kind: type[AdamW], options: dict[str, Any], t: int,
        counts: dict[str, int], averages: Sequence[np.ndarray], arguments: tuple[Any, ...],
    ) -> None:  # fmt: skip
        """Make the member of this rank from what rank 0 has sent."""
        optimizer = kind(model.named_parameters(), **options)
        optimizer.t, optimizer.counts = t, counts
        self.member = make(self, model, optimizer, *arguments)
        optimizer.flat[2:] = averages

    def _answer(self, call: Call | None) -> Outcome:
        if call is not None and call.method == "join":
            self.member = self  # until there is one
        return super()._answer(call)

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        if calls is None:
            call: Call | None = self._receive({0: CALL})[0]
            return call
        self._send(calls)
        return calls[0]

    def _send(self, calls: Sequence[Call | None], nbytes: int = 0) -> None:
        requests = {rank: self.world.isend(calls[rank], rank, CALL) for rank in range(1, self.size)}
        self._transfer(requests, patience_for(nbytes))
        self.called = time.process_time()

    def collect(self, outcome: Outcome) -> list[Outcome]:
        if self.rank:
            self._transfer({0: self.world.isend(outcome, 0, OUTCOME)})
            return []
        others = self._receive(dict.fromkeys(range(1, self.size), OUTCOME), Patience(time.process_time() - self.called))
        return [outcome, *(others[rank] for rank in range(1, self.size))]

    def _receive(self, tags: Mapping[int, int], patience: Patience | None = None) -> dict[int, Any]:
        """Return the next message of each rank, with its tag."""
        requests, pause = dict[int, Any](), 1e-5
        while True:
            for rank in tags.keys() - requests.keys():
                if (message := self.world.improbe(rank, tags[rank])) is not None:
                    requests[rank] = message.irecv()
            if not (missing := tags.keys() - requests.keys()):
                break
            self._check(min(missing), patience)
            time.sleep(pause)  # MPI's own waiting would occupy a core
            pause = min(2 * pause, 1e-3)
        return self._transfer(requests, patience)

    def _transfer(self, requests: Mapping[int, Any], patience: Patience | None = None) -> dict[int, Any]:
        """Wait for the request of each rank; return what they have received."""
        received, began = dict[int, Any](), time.monotonic()
        for rank, request in requests.items():
            while not (tested := request.test())[0]:
                self._check(rank, patience)
                time.sleep(0 if time.monotonic() - began < BUSY else 1e-3)
            received[rank] = tested[1]
        return received

    def _check(self, rank: int, patience: Patience | None) -> None:
        """Raise LostRankError if the wait for a rank is over, or with it all of mpiexec; only rank 0 loses patience."""
        if os.getppid() != self.parent:
            raise LostRankError("mpiexec has ended")
        if patience is not None and patience.is_over():
            message = self.world.improbe(rank, OUTCOME)
            if message is not None and (error := message.recv().error) is not None:
                raise named(error, rank)
            raise LostRankError(f"rank {rank} does not answer")

    def _exchange(self, send: Sequence[np.ndarray], receive: Sequence[np.ndarray]) -> None:
        """Send an array to each rank, and receive one from each; those of this rank are left alone."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        incoming = {rank: self.world.Irecv(receive[rank], rank, PART) for rank in others}
        outgoing = {rank: self.world.Isend(send[rank], rank, PART) for rank in others}
        patience = None if self.rank else patience_for(self.size * send[0].nbytes)
        self._transfer(incoming, patience)
        self._transfer(outgoing, patience)

    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        send = parts_of(flat, bounds)
        own = send[self.rank]
        receive = [np.empty_like(own) if rank != self.rank else own for rank in range(self.size)]
        self._exchange(send, receive)
        own[:] = tree(receive, lambda a, b: np.add(a, b, out=a))

    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        parts = parts_of(flat, bounds)
        self._exchange([parts[self.rank]] * self.size, parts)

    def close(self) -> None:
        """End the other ranks. If a call was interrupted they may not hear of it: then all end when this process ends."""
        pending = sys.exception()
        self.exit_code = 130 if isinstance(pending, KeyboardInterrupt) else 1
        if self.busy or self.closed:
            return
        self.busy = True
        try:
            super().close()
            self.collect(Outcome(None))
        except LostRankError:
            if pending is None:
                raise
            return
        self.busy, self.closed = False, True

    def follow(self) -> None:
        """Answer the calls of rank 0, and leave signals to it: mpiexec passes them on to all ranks.

        Then sleep until rank 0 ends too: MPI's own waiting for it would occupy a core.
        """
        leave_signals()
        with suppress(LostRankError):
            super().follow()
            self.collect(Outcome(None))
            self.share()
            self.closed = True

    def _end(self) -> None:
        """End all ranks with this process: MPI's own end would wait for those that still do something."""
        if hasattr(self, "threads") and not self.busy and not self.rank:
            with suppress(Exception):
                self.close()
                self.share([None] * self.size)
        if not self.closed and (mpi := sys.modules.get("mpi4py.MPI")) and mpi.Is_initialized():
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError, AttributeError):
                    stream.flush()
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # MPI's words on it add nothing
            mpi.COMM_WORLD.Abort(self.exit_code)


def patience_for(nbytes: int) -> Patience:
    """Return how long to wait for so many bytes, beyond what a rank may take at any rate."""
    return Patience(nbytes / SLOW / SLOWER)


def parts_of(flat: np.ndarray, bounds: Sequence[int]) -> list[np.ndarray]:
    """Return the part of each rank."""
    return [flat[first:end] for first, end in pairwise(bounds)]


@contextmanager
def signals_later() -> Iterator[None]:
    """Let signals wait until the end of the block; Windows cannot."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def unlink_shared_memory() -> None:
    """Take the name off the memory that MPICH's ranks on this machine share: if one is killed, MPICH leaves it behind."""
    with suppress(OSError):  # only Linux has it
        for path in set(re.findall(r"/dev/shm/mpich_\S+$", Path("/proc/self/maps").read_text(), re.MULTILINE)):
            with suppress(OSError):  # another rank was faster
                os.unlink(path)
