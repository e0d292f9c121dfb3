"""A team of processes on this machine: each has an interpreter of its own, so that none waits for another's lock.

The parameters, the optimizer's averages and frozen weights lie once in shared memory. Each process has a gradient there,
of which every other reads the part that it owns. Rank 0 starts the other processes afresh, without the user's script, and
calls them over a pipe. They ignore Ctrl-C, which is for rank 0, and end with rank 0, even if it is killed.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from typing import IO, Any

import numpy as np

from nanograd.optim import CHUNK, AdamW
from nanograd.parallel.ranks import (
    LOOK,
    Call,
    LostRankError,
    NoTeamError,
    Outcome,
    Patience,
    Team,
    sendable,
)  # fmt: skip
from nanograd.parallel.shared_memory import SharedBlock, bytes_for, dumps, loads
from nanograd.runtime.threads import available_threads, parallel_map

CHILD = """
import json, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
arguments = json.loads(sys.argv[1])
sys.path[:] = arguments.pop()
from {0} import join
join(*arguments)
"""
SMALL = 2**15  # bytes that a pipe takes even if nobody reads them
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OMP_NUM_THREADS")
Pipe = Any  # one end: multiprocessing's Connection, or PipeConnection on Windows


class SharedTeam(Team):
    """What rank 0 and the others have in common: the arrays in shared memory."""

    gradients: Sequence[np.ndarray]  # of all ranks

    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        first, end = bounds[self.rank], bounds[self.rank + 1]
        spans = [slice(i, min(i + CHUNK, end)) for i in range(first, end, CHUNK)]
        parallel_map(partial(self._sum, flat), spans, [s.stop - s.start for s in spans])

    def _sum(self, flat: np.ndarray, span: slice) -> None:
        """Add a part of all gradients as a tree, into `flat`; only this rank uses these parts now."""
        parts = [gradient[span] for gradient in self.gradients]
        while len(parts) > 2:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [np.add(a, b, out=a) for a, b in pairs] + ([parts[-1]] if len(parts) % 2 else [])
        np.add(parts[0], parts[1], out=flat[span])

    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        pass  # all ranks have written to the same array


class ProcessTeam(SharedTeam):
    """Rank 0 of a team of processes."""

    rank = 0

    def __init__(self, size: int) -> None:
        self.size = size
        self.threads = max(1, available_threads() // size)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.pipes: list[Pipe] = []
        self.errors: list[IO[bytes]] = []  # what each process writes to stderr
        self.called = time.process_time()

    def begin(self, make: Callable[..., Any], model: Any, optimizer: AdamW, *arguments: Any) -> None:
        p, g, *averages = optimizer.flat
        frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
        arrays = [p, *averages, *[g] * self.size, *(parameter.data for parameter in frozen)]
        size = sum(bytes_for(a.nbytes) for a in arrays)
        try:
            block = SharedBlock(size)
        except OSError as error:
            raise NoTeamError(f"{self.size} processes cannot share {size:,} bytes: {error.strerror}") from error
        shared = [block.copy_of(a) for a in (p, *averages)]
        self.gradients = [block.empty(g.shape, g.dtype) for _ in range(self.size)]
        optimizer.use_arrays([shared[0], self.gradients[0], *shared[1:]])
        for parameter in frozen:
            parameter.data = block.copy_of(parameter.data)
        self.member = make(self, model, optimizer, *arguments)
        options = (type(optimizer), optimizer.options(), optimizer.t, optimizer.counts)
        state = (make, model, options, shared, self.gradients, arguments)
        data = dumps(state, block)
        self.busy = True
        try:
            for rank in range(1, self.size):
                self._start(rank, block)
                self._send(rank, data)
            self.results(Outcome(None))
        except LostRankError as error:
            raise NoTeamError(*error.args) from error

    def _start(self, rank: int, block: SharedBlock) -> None:
        """Start a process, with its end of a pipe and the block."""
        ours, theirs = connection.Pipe()
        handle = theirs.fileno()
        options: dict[str, Any] = {"pass_fds": (handle, block.handle), "start_new_session": True}
        if sys.platform == "win32":
            os.set_handle_inheritable(handle, True)
            startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
            options = {"startupinfo": startup, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        about = json.dumps([rank, self.size, self.threads, handle, block.handle, block.size, sys.path])
        options["env"] = os.environ | (dict.fromkeys(ONE_THREAD, "1") if self.threads == 1 else {})
        command = [sys.executable, "-c", CHILD.format(__name__), about]
        try:
            errors = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
            options |= {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": errors}
            self.processes.append(subprocess.Popen(command, **options))
        except OSError as error:
            raise NoTeamError(f"rank {rank} cannot start: {error.filename or 'a process'}: {error.strerror}") from error
        finally:
            theirs.close()
        self.errors.append(errors)
        self.pipes.append(ours)

    def _send(self, rank: int, message: Any) -> None:
        """Send a message; LostRankError if the process does not take it."""
        data, problems = pickle.dumps(message), list[OSError]()

        def send() -> None:
            try:
                self.pipes[rank - 1].send_bytes(data)
            except OSError as error:
                problems.append(error)

        if len(data) < SMALL:
            send()
        else:  # a process that is stopped does not read
            thread, patience = threading.Thread(target=send, daemon=True), Patience()
            thread.start()
            while thread.is_alive():
                thread.join(LOOK)
                if patience.is_over():
                    raise self._silent(rank)
        if problems:
            raise self._lost(rank)

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        assert calls is not None
        for rank in range(1, self.size):
            self._send(rank, calls[rank])
        self.called = time.process_time()
        return calls[0]

    def collect(self, outcome: Outcome) -> list[Outcome]:
        outcomes, patience = {0: outcome}, Patience(time.process_time() - self.called)
        waiting = {pipe: rank for rank, pipe in enumerate(self.pipes, start=1)}
        while waiting:
            pipe: Pipe
            for pipe in connection.wait(list(waiting), LOOK):
                rank = waiting.pop(pipe)
                try:
                    outcomes[rank] = Outcome(*pipe.recv())
                except (EOFError, OSError):
                    raise self._lost(rank) from None
            if waiting and patience.is_over():
                raise self._silent(min(waiting.values()))
        return [outcomes[rank] for rank in range(self.size)]

    def _silent(self, rank: int) -> LostRankError:
        return LostRankError(f"rank {rank} (process {self.processes[rank - 1].pid}) does not answer")

    def _lost(self, rank: int) -> LostRankError:
        process, errors = self.processes[rank - 1], self.errors[rank - 1]
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        code = process.poll()
        how = "is gone" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}" + (", perhaps for its memory" if code == -9 else "")
        errors.seek(0)
        last = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return LostRankError(f"rank {rank} (a process of this machine) {how}{f': {last}' if last else ''}")

    def close(self) -> None:
        """End the other processes; those that compute for a call that was interrupted, and those that hang, are killed."""
        if not self.busy:
            for pipe in self.pipes:
                with suppress(OSError):
                    pipe.send(None)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0 if self.busy else 2)
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        for file in (*self.pipes, *self.errors):
            file.close()
        self.processes, self.pipes, self.errors = [], [], []


class Process(SharedTeam):
    """Another rank of a team of processes, in a process of its own."""

    def __init__(self, rank: int, size: int, threads: int, pipe: Pipe) -> None:
        self.rank, self.size, self.threads, self.pipe = rank, size, threads, pipe

    def begin(self, make: Callable[..., Any], model: Any, optimizer: Any, *arguments: Any) -> None:
        self.member = make(self, model, optimizer, *arguments)

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        call: Call | None = self.pipe.recv()
        return call

    def collect(self, outcome: Outcome) -> list[Outcome]:
        self.pipe.send(outcome)
        return []


def join(rank: int, size: int, threads: int, pipe: int, handle: int | str, block_size: int) -> None:
    """Be a rank of a team, in a process that rank 0 has started."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kind: Any = getattr(connection, "PipeConnection" if sys.platform == "win32" else "Connection")
    team = Process(rank, size, threads, kind(pipe))
    block = SharedBlock(block_size, handle)
    with suppress(EOFError, BrokenPipeError, ConnectionError), np.errstate(all="ignore"):
        data = team.pipe.recv()
        try:
            make, model, (kind, options, t, counts), (p, *averages), team.gradients, arguments = loads(data, block)
            optimizer = kind(model.named_parameters(), flat=[p, team.gradients[rank], *averages], **options)
            optimizer.t, optimizer.counts = t, counts
            team.begin(make, model, optimizer, *arguments)
        except Exception as error:
            team.collect(Outcome(None, sendable(error)))
        else:
            team.collect(Outcome(None))
            team.follow()


def _end_with_parent() -> None:
    """Read from the pipe that nobody writes to, until its other end is closed: rank 0 has ended."""
    os.read(0, 1)
    os._exit(1)
