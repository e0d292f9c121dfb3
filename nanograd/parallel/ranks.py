"""A team: the ranks that share a training step. They are one process, several on this machine, or machines under MPI.

Rank 0 leads: `Team.call` runs a method of the `member` on every rank, and returns all results. The other ranks wait for
such calls in `Team.follow`. Within a call, the ranks exchange arrays with `sum_tree` and `gather`; rank r owns the part
bounds[r] : bounds[r + 1] of a flat array.

Sums over ranks have one fixed order, a binary tree over the rank numbers: ((0 + 1) + (2 + 3)) + …. A rank that holds 2^k
neighbouring shards adds those in the same way, so the bits of the result are the same for every number of ranks.
"""

import os
import pickle
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np

from nanograd.runtime.threads import at_most

WAIT, SLOWER = 60.0, 20.0  # a rank may take WAIT seconds, and SLOWER times the processor time of rank 0
LOOK = 0.1  # seconds between two looks at what a rank does
T = TypeVar("T")


class Call(NamedTuple):
    """A method of the member, and its arguments on one rank."""

    method: str
    arguments: tuple[Any, ...]


class Outcome(NamedTuple):
    """What a call returned or raised on one rank."""

    result: Any
    error: Exception | None = None


class Team(ABC):
    """The ranks of a run, seen from one of them. A subclass moves objects and arrays between them."""

    rank: int
    size: int
    member: Any  # what this rank works with
    threads: int | None = None  # that this rank may use at most
    copies = False  # whether each rank has parameters of its own, and averages of only the part that it owns
    mixed = False  # whether the ranks may compute different bits
    busy = False  # during a call; after it, if it was interrupted

    @abstractmethod
    def begin(self, make: Callable[..., Any], model: Any, optimizer: Any, *arguments: Any) -> None:
        """Make the member of every rank: make(team, model, optimizer, *arguments), with copies of rank 0's objects."""

    @abstractmethod
    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        """Scatter: give every rank its own of rank 0's calls, and return the one for this rank; None ends a rank."""

    @abstractmethod
    def collect(self, outcome: Outcome) -> list[Outcome]:
        """Gather: give rank 0 the outcomes of all ranks. It returns them in order, and the others return an empty list."""

    @abstractmethod
    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        """Reduce-scatter: add the arrays of all ranks as a tree; each rank receives the part of the sum that it owns."""

    @abstractmethod
    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        """All-gather: give every rank the parts of `flat` that the others own."""

    def call(self, method: str, *arguments: Any, each: Sequence[Any] | None = None) -> list[Any]:
        """Call a method of the member on every rank, and return the results by rank. Only rank 0 calls this.

        each    one more last argument for each rank
        An error on any rank is raised here, after all ranks have finished; its message names the rank unless it is 0.
        """
        last = [()] * self.size if each is None else [(value,) for value in each]
        self.busy = True
        return self.results(self._answer(self.share([Call(method, (*arguments, *value)) for value in last])))

    def results(self, own: Outcome) -> list[Any]:
        """Return the results of a call on all ranks; raise the first error of one, after all have finished."""
        try:
            outcomes = self.collect(own)
        except LostRankError as error:
            raise own.error or error from None  # the others may wait for what rank 0 could not do
        self.busy = False
        for rank, outcome in enumerate(outcomes):
            if outcome.error is not None:
                raise named(outcome.error, rank)
        return [outcome.result for outcome in outcomes]

    def follow(self) -> None:
        """Answer the calls of rank 0 until it ends this rank."""
        while (call := self.share()) is not None:
            self.collect(self._answer(call))

    def close(self) -> None:
        """End the other ranks."""
        self.share([None] * self.size)

    def _answer(self, call: Call | None) -> Outcome:
        assert call is not None
        try:
            with at_most(self.threads):
                return Outcome(getattr(self.member, call.method)(*call.arguments))
        except LostRankError:
            raise
        except Exception as error:
            return Outcome(None, sendable(error) if self.rank else error)


class Solo(Team):
    """A team of one: nothing is exchanged."""

    rank, size = 0, 1

    def begin(self, make: Callable[..., Any], model: Any, optimizer: Any, *arguments: Any) -> None:
        self.member = make(self, model, optimizer, *arguments)

    def share(self, calls: Sequence[Call | None] | None = None) -> Call | None:
        assert calls is not None
        return calls[0]

    def collect(self, outcome: Outcome) -> list[Outcome]:
        return [outcome]

    def sum_tree(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        pass

    def gather(self, flat: np.ndarray, bounds: Sequence[int]) -> None:
        pass


class MixedMachinesError(ValueError):
    """The ranks would compute different bits."""


class LostRankError(ChildProcessError):
    """A rank has ended, or does not answer."""


class NoTeamError(ChildProcessError):
    """The processes of a team, or the memory that they share, cannot be had."""


class Patience:
    """How long to wait for other ranks. Between two looks at most 2 LOOK seconds count, so that the time in which a whole
    run is stopped (Ctrl-Z, a closed laptop) does not.

    work    seconds that rank 0 took for the same
    NANOGRAD_WAIT in the environment replaces WAIT.
    """

    def __init__(self, work: float = 0.0) -> None:
        self.left = wait_seconds() + SLOWER * work
        self.looked = time.monotonic()

    def is_over(self) -> bool:
        """Look at the clock; return whether the time is over."""
        now = time.monotonic()
        self.left -= min(now - self.looked, 2 * LOOK)
        self.looked = now
        return self.left <= 0


def wait_seconds() -> float:
    """Return NANOGRAD_WAIT, or else WAIT."""
    setting = os.environ.get("NANOGRAD_WAIT") or WAIT
    try:
        return float(setting)
    except ValueError:
        raise ValueError(f"NANOGRAD_WAIT must be a number of seconds, got {setting!r}") from None


def leave_signals() -> None:
    """Ignore the signals that end a run: they are for rank 0, which finishes the step and saves."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def named(error: Exception, rank: int) -> Exception:
    """Return the error of a rank with the rank in its message; rank 0 is the run itself, and is not named."""
    if rank and isinstance(error, OSError) and error.strerror:
        error.strerror = f"rank {rank}: {error.strerror}"
    elif rank:
        return reworded(error, f"rank {rank}: {str(error) or type(error).__name__}")
    return error


def reworded(error: Exception, text: str) -> Exception:
    """Return the error with another message; one of a base class if the class makes the message from something else."""
    for kind in (type(error), *type(error).__mro__):
        error.args = (text,)
        if str(error) in (text, repr(text)):  # KeyError quotes its message
            return error
        with suppress(TypeError):
            error = kind(text)
    return Exception(text)


def sendable(error: Exception) -> Exception:
    """Return an error that another process can receive: itself, or one with its words."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def tree(parts: Sequence[T], add: Callable[[T, T], T]) -> T:
    """Add the parts as a binary tree: neighbours first, then neighbouring sums, until one is left.

    >>> tree(list("abcde"), lambda left, right: f"({left} + {right})")
    '(((a + b) + (c + d)) + e)'
    """
    while len(parts) > 1:
        sums = [add(left, right) for left, right in zip(parts[::2], parts[1::2], strict=False)]
        parts = [*sums, parts[-1]] if len(parts) % 2 else sums
    return parts[0]


def shards_per_rank(shards: int, size: int) -> int:
    """Return how many neighbouring shards each rank computes, a power of two: only then is a rank's sum one of the tree.

    Raises ValueError, with numbers of shards that fit, for a number that does not.
    """
    if size == 1:
        return shards
    n, rest = divmod(shards, size)
    if rest or n < 1 or n & (n - 1):
        fitting = [size * 2**k for k in range(shards.bit_length() + 1)]
        near = sorted(sorted(fitting, key=lambda fit: abs(fit - shards))[:2])
        sizes = [shards >> k for k in range(shards.bit_length()) if (shards >> k) << k == shards]
        more, fewer = (" or ".join(map(str, numbers)) for numbers in (near, sizes[::-1]))
        raise ValueError(
            f"{shards} shards on {size} ranks: each rank takes 1, 2, 4, … shards; take {more} shards, or {fewer} ranks"
        )
    return n


def bounds_of(cuts: Sequence[int], size: int) -> list[int]:
    """Return where the part of each rank begins in the flat arrays, and their end, at some of the `cuts`."""
    return [min(cuts, key=lambda at: abs(at * size - cuts[-1] * rank)) for rank in range(size + 1)]
