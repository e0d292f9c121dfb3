"""Who computes the shards of a run: threads of this process, processes of this machine, or the ranks of mpiexec.

The result is the same to the last bit; only the time differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from nanograd.parallel.mpi import MPITeam, launched
from nanograd.parallel.processes import ProcessTeam
from nanograd.parallel.ranks import Team, shards_per_rank
from nanograd.runtime.threads import available_threads

THREADS, PROCESSES = KINDS = ("threads", "processes")
OPTIONS = ("workers", "workers_as", "mixed_machines")  # no part of a run's config: they change no result


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

    def ranks(self, shards: int) -> int:
        """Return the number of processes that compute this many shards, in any team."""
        if (team := world()) is not None:
            return team.size
        if self.kind != PROCESSES:
            return 1
        return min(available_threads(), shards) if self.count is None else self.count

    def team(self, shards: int) -> Team | None:
        """Return the team that computes the shards of a run, and print what it is; None for threads of this process."""
        ranks = self.ranks(shards)
        n = share(shards, ranks)
        each = "1 shard of a batch each" if n == 1 else f"{n} shards of a batch each"
        if (team := world()) is not None:
            team.mixed = self.mixed_machines
            print(f"workers   {ranks} ranks of mpiexec, {each}")
            return team
        if ranks == 1:
            return None
        print(f"workers   {ranks} processes, {each}")
        return ProcessTeam(ranks)


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


def power_of_two(n: int) -> int:
    """Return the largest power of two up to n."""
    return 1 << (n.bit_length() - 1)
