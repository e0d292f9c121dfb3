"""Who computes the shards of a run: threads of this process, processes of this machine, or the ranks of mpiexec.

The result is the same to the last bit; only the time differs.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

from nanograd.parallel.mpi import MPITeam, launched
from nanograd.parallel.processes import ProcessTeam
from nanograd.parallel.ranks import Solo, Team, shards_per_rank
from nanograd.runtime import blas
from nanograd.runtime.threads import available_threads, threads_for

SMALL = 2**17  # entries of a shard's activation (tokens, d_model)
LONG = 5e11  # floating-point operations of a run; about ten seconds
THREADS, PROCESSES = KINDS = ("threads", "processes")
OPTIONS = ("workers", "workers_as", "mixed_machines")  # no part of a run's config: they change no result


class Work(NamedTuple):
    """What a run has to do, as far as the choice of its workers depends on it.

    tokens      of a batch, at most
    d_model     of the model
    operations  floating-point operations of all steps that are left, about
    """

    tokens: int
    d_model: int
    operations: float

    def suits_processes(self, shards: int) -> bool:
        """Whether processes are faster than threads: the run is long enough to pay for their start, and arrays are small,
        so that threads wait for Python's lock, or the BLAS cannot be limited to one thread for each shard. Measured with
        `examples/bench.py`: with 2^16 entries in the activation of a shard (S), processes take 0.64 of the time of threads,
        with 2^19 (M, L) the same. On Windows this was never measured: there processes must be asked for.
        """
        small = self.tokens * self.d_model <= SMALL * shards
        pays = small or not blas.can_set_threads()
        return shards > 1 and pays and self.operations > LONG and sys.platform != "win32"


@cache
def world() -> MPITeam | None:
    """Return the ranks that mpiexec has started, or None."""
    return MPITeam() if launched() else None


@dataclass(frozen=True)
class Workers:
    """What the user asked for: how many workers, of which kind, and whether machines may differ; None is chosen."""

    count: int | None = None
    kind: str | None = None
    mixed_machines: bool = False

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> Self:
        """Return what the flags ask for; ValueError if mpiexec has started the workers already."""
        workers = cls(flags.get("workers"), flags.get("workers_as"), bool(flags.get("mixed_machines")))
        if workers.kind is not None and workers.kind not in KINDS:
            raise ValueError(f"workers_as must be threads or processes, got {workers.kind!r}")
        if workers.count is not None and workers.count < 1:
            raise ValueError(f"workers must be 1 or more, got {workers.count}")
        if world() is not None and (workers.count, workers.kind) != (None, None):
            raise ValueError("--workers and --workers-as are for one machine; mpiexec has started the workers already")
        return workers

    def ranks(self, shards: int, work: Work | None = None) -> int:
        """Return the number of processes that compute this many shards, in any team."""
        if (team := world()) is not None:
            return team.size
        count = self.count or max(n for n in range(1, min(available_threads(), shards) + 1) if fits(shards, n))
        if self.kind == PROCESSES:
            return count
        chosen = self.kind is None and work is not None and work.suits_processes(shards) and fits(shards, count)
        return count if chosen else 1

    def team(self, shards: int, work: Work) -> Team:
        """Return the team that computes the shards of a run; print what it is if there is more than one worker."""
        ranks = self.ranks(shards, work)
        n = share(shards, ranks)
        each = "1 shard of a batch each" if n == 1 else f"{n} shards of a batch each"
        if (team := world()) is not None:
            team.mixed = self.mixed_machines
            print(f"workers   {ranks} ranks of mpiexec, {each}")
            return team
        if ranks > 1:
            print(f"workers   {ranks} processes, {each}")
            return ProcessTeam(ranks)
        solo = Solo()
        solo.threads = self.count
        threads = min(threads_for(shards), self.count or shards)
        if shards > 1:
            print(f"workers   {threads} {'threads' if threads > 1 else 'thread'} for {shards} shards of a batch")
        return solo


def with_shards(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the flags of a new run with a number of shards that its workers can share, if the user gave none."""
    workers = Workers.of(flags)
    if flags.get("shards") is not None:
        share(flags["shards"], workers.ranks(flags["shards"]))
    elif (team := world()) is not None:
        return {**flags, "shards": team.size * power_of_two(team.threads or 1)}
    elif workers.count is not None:
        return {**flags, "shards": workers.count}
    return flags


def share(shards: int, ranks: int) -> int:
    """Return the number of shards for each rank; ValueError, with a way out, if the ranks cannot share them."""
    try:
        return shards_per_rank(shards, ranks)
    except ValueError as error:
        raise ValueError(f"--shards {shards}: {error}") from None


def fits(shards: int, ranks: int) -> bool:
    """Whether the ranks can share the shards."""
    try:
        shards_per_rank(shards, ranks)
    except ValueError:
        return False
    return True


def power_of_two(n: int) -> int:
    """Return the largest power of two up to n."""
    return 1 << (n.bit_length() - 1)
