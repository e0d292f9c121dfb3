"""A team of threads: every rank of it is a thread of the test, with objects of its own."""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from nanograd.optim import AdamW
from nanograd.parallel.processes import SharedTeam
from nanograd.parallel.ranks import Call, Outcome, Solo, Team, tree


class Room:
    """Where the ranks meet: a barrier, and lists with an entry of each rank."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=10)
        self.calls: list[Call | None] = []
        self.outcomes: list[Any] = [None] * size
        self.arrays: list[Any] = [None] * size


class ThreadTeam(Team):
    """One rank of a team, which exchanges objects over lists."""

    def __init__(self, rank: int, size: int, room: Room, threads: int) -> None:
        self.rank, self.size, self.room, self.threads = rank, size, room, threads
        self.others: list[ThreadTeam] = []
        self.started: list[threading.Thread] = []

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        if calls is not None:
            self.room.calls = list(calls)
        self.room.barrier.wait()
        return self.room.calls[self.rank]

    def collect(self, outcome: Outcome) -> list[Outcome]:
        self.room.outcomes[self.rank] = outcome
        self.room.barrier.wait()
        return [] if self.rank else list(self.room.outcomes)

    def begin(self, make: Callable[..., Any], model: Any, optimizer: Any, *arguments: Any) -> None:
        members = [self.objects_of(other, model, optimizer) for other in self.others]
        for other, objects in zip(self.others, members, strict=True):
            other.member = make(other, *objects, *arguments)
        self.member = make(self, model, optimizer, *arguments)
        for other in self.others:
            self.started.append(threading.Thread(target=other.follow, daemon=True))
            self.started[-1].start()

    def objects_of(self, other: "ThreadTeam", model: Any, optimizer: AdamW) -> tuple[Any, AdamW]:
        """Return the model and the optimizer of another rank."""
        raise NotImplementedError

    def close(self) -> None:
        if self.started:
            super().close()
            for thread in self.started:
                thread.join(10)
            self.started = []


class SharingTeam(SharedTeam, ThreadTeam):
    """All ranks use the same parameters and averages, and see each other's gradients, as processes of a machine do."""

    def begin(self, make: Callable[..., Any], model: Any, optimizer: AdamW, *arguments: Any) -> None:
        self.gradients = [np.full_like(optimizer.flat[1], np.nan) for _ in range(self.size)]
        p, _, *averages = optimizer.flat
        optimizer.use_arrays([p, self.gradients[0], *averages])
        ThreadTeam.begin(self, make, model, optimizer, *arguments)

    def objects_of(self, other: ThreadTeam, model: Any, optimizer: AdamW) -> tuple[Any, AdamW]:
        assert isinstance(other, SharingTeam)
        p, _, *averages = optimizer.flat
        other.gradients, model = self.gradients, copy.deepcopy(model)
        flat = [p, self.gradients[other.rank], *averages]
        theirs = type(optimizer)(model.named_parameters(), flat=flat, **optimizer.options())
        theirs.t, theirs.counts = optimizer.t, dict(optimizer.counts)
        return model, theirs


class CopyingTeam(ThreadTeam):
    """Every rank has parameters of its own, as under MPI."""

    copies = True

    def objects_of(self, other: ThreadTeam, model: Any, optimizer: AdamW) -> tuple[Any, AdamW]:
        theirs = copy.deepcopy((model, optimizer))
        theirs[1].flat[1][...] = np.nan
        return theirs

    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        arrays, own = self.exchange(flat), slice(bounds[self.rank], bounds[self.rank + 1])
        total = tree([array[own] for array in arrays], np.add)
        self.room.barrier.wait()  # nobody reads any more
        flat[...] = np.nan  # the parts of the others are not needed
        flat[own] = total

    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        arrays = self.exchange(flat)
        for rank, array in enumerate(arrays):
            part = slice(bounds[rank], bounds[rank + 1])
            if rank != self.rank:
                flat[part] = array[part]
        self.room.barrier.wait()

    def exchange(self, flat: np.ndarray) -> list[np.ndarray]:
        self.room.arrays[self.rank] = flat
        self.room.barrier.wait()
        return list(self.room.arrays)


MakeTeam = Callable[..., Team]


@pytest.fixture(scope="session")
def team_of_threads() -> Iterator[MakeTeam]:
    """Return what makes a team: make(size, copies=False, threads=1)."""
    made: list[ThreadTeam] = []

    def make(size: int, *, copies: bool = False, threads: int = 1) -> Team:
        if size == 1:
            return Solo()
        room = Room(size)
        first, *others = [(CopyingTeam if copies else SharingTeam)(rank, size, room, threads) for rank in range(size)]
        first.others = others
        made.append(first)
        return first

    yield make
    assert not any(thread.is_alive() for team in made for thread in team.started), "a team was not closed"
