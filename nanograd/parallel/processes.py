"""A team of processes on this machine: each has an interpreter of its own, so that none waits for another's lock.

The parameters, the optimizer's averages and frozen weights lie once in shared memory. Each process has a gradient there,
of which every other reads the part that it owns. Rank 0 starts the other processes afresh, without the user's script, and
calls them over a pipe. They ignore Ctrl-C, which is for rank 0, and end with rank 0, even if it is killed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from typing import Any

import numpy as np

from nanograd.optim import CHUNK, AdamW
from nanograd.parallel.ranks import Call, LostRankError, Outcome, Team
from nanograd.parallel.shared_memory import SharedBlock, bytes_for, dumps, loads
from nanograd.runtime.threads import available_threads, parallel_map

WAIT, SLOWER = 60.0, 20.0  # a rank may take WAIT seconds, and SLOWER times as long as rank 0 took
CHILD = "import json, sys; a = json.loads(sys.argv[1]); sys.path[:] = a.pop(); from {0} import join; join(*a)"
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
        self.called = time.monotonic()

    def begin(self, make: Callable[..., Any], model: Any, optimizer: AdamW, *arguments: Any) -> None:
        p, g, m, v = optimizer.flat
        frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
        arrays = [p, m, v, *[g] * self.size, *(parameter.data for parameter in frozen)]
        block = SharedBlock(sum(bytes_for(a.nbytes) for a in arrays))
        shared = [block.copy_of(a) for a in (p, m, v)]
        self.gradients = [block.empty(g.shape, g.dtype) for _ in range(self.size)]
        optimizer.use_arrays([shared[0], self.gradients[0], *shared[1:]])
        for parameter in frozen:
            parameter.data = block.copy_of(parameter.data)
        self.member = make(self, model, optimizer, *arguments)
        state = (make, model, optimizer.options(), optimizer.t, optimizer.counts, shared, self.gradients, arguments)
        data = dumps(state, block)
        for rank in range(1, self.size):
            self._start(rank, block)
            self._send(rank, data)

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
        environment = os.environ | (dict.fromkeys(ONE_THREAD, "1") if self.threads == 1 else {})
        command = [sys.executable, "-c", CHILD.format(__name__), about]
        self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, **options))
        theirs.close()
        self.pipes.append(ours)

    def _send(self, rank: int, message: Any) -> None:
        try:
            self.pipes[rank - 1].send(message)
        except OSError:
            raise self._lost(rank) from None

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        assert calls is not None
        for rank in range(1, self.size):
            self._send(rank, calls[rank])
        self.called = time.monotonic()
        return calls[0]

    def collect(self, outcome: Outcome) -> list[Outcome]:
        limit = time.monotonic() + WAIT + SLOWER * (time.monotonic() - self.called)
        return [outcome, *(self._receive(rank, limit) for rank in range(1, self.size))]

    def _receive(self, rank: int, limit: float) -> Outcome:
        pipe = self.pipes[rank - 1]
        if not connection.wait([pipe], max(0.0, limit - time.monotonic())):
            raise LostRankError(f"rank {rank} (process {self.processes[rank - 1].pid}) does not answer")
        try:
            return Outcome(*pipe.recv())
        except (EOFError, OSError):
            raise self._lost(rank) from None

    def _lost(self, rank: int) -> LostRankError:
        with suppress(subprocess.TimeoutExpired):
            self.processes[rank - 1].wait(5)
        code = self.processes[rank - 1].poll()
        how = "is gone" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}" + (", perhaps for its memory" if code == -9 else "")
        return LostRankError(f"rank {rank} (a process of this machine) {how}")

    def close(self) -> None:
        """End the other processes; those that do not answer are killed."""
        for rank in range(1, len(self.pipes) + 1):
            with suppress(OSError):
                self.pipes[rank - 1].send(None)
        for process, pipe in zip(self.processes, self.pipes, strict=True):
            assert process.stdin is not None
            pipe.close()
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
        self.processes, self.pipes = [], []


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    kind: Any = getattr(connection, "PipeConnection" if sys.platform == "win32" else "Connection")
    team = Process(rank, size, threads, kind(pipe))
    block = SharedBlock(block_size, handle)
    with suppress(EOFError, BrokenPipeError, ConnectionError), np.errstate(all="ignore"):
        make, model, options, t, counts, (p, m, v), team.gradients, arguments = loads(team.pipe.recv(), block)
        optimizer = AdamW(model.named_parameters(), flat=[p, team.gradients[rank], m, v], **options)
        optimizer.t, optimizer.counts = t, counts
        team.begin(make, model, optimizer, *arguments)
        team.follow()


def _end_with_parent() -> None:
    """Read from the pipe that nobody writes to, until its other end is closed: rank 0 has ended."""
    os.read(0, 1)
    os._exit(1)
