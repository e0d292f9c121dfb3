"""The ranks of a team: the order of their sums, how they share shards and arrays, and calls."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.training import NotFiniteError
from nanograd.nn import Module, Parameter
from nanograd.optim import AdamW, adamw
from nanograd.parallel import Solo, Team
from nanograd.parallel.ranks import bounds_of, shards_per_rank, tree
from nanograd.runtime.threads import available_threads

MakeTeam = Callable[..., Team]


def written(parts: list[str]) -> str:
    """Return the sum of the tree: the largest power of two below the number of parts, then the rest."""
    if len(parts) == 1:
        return parts[0]
    half = 2 ** ((len(parts) - 1).bit_length() - 1)
    return f"({written(parts[:half])} + {written(parts[half:])})"


def add(left: str, right: str) -> str:
    return f"({left} + {right})"


@pytest.mark.parametrize("n", range(1, 34))
def test_the_tree_is_the_recursive_one(n: int) -> None:
    parts = [str(i) for i in range(n)]
    before = list(parts)
    assert tree(parts, add) == written(parts)
    assert parts == before


def test_trees_by_hand() -> None:
    assert tree(list("abcd"), add) == "((a + b) + (c + d))"
    assert tree(list("abcdef"), add) == "(((a + b) + (c + d)) + (e + f))"
    assert tree(list("abcdefg"), add) == "(((a + b) + (c + d)) + ((e + f) + g))"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("per_rank", [1, 2, 4, 8])
def test_a_rank_with_a_power_of_two_of_shards_has_a_part_of_the_tree(size: int, per_rank: int) -> None:
    shards = [str(i) for i in range(size * per_rank)]
    own = [tree(shards[i : i + per_rank], add) for i in range(0, len(shards), per_rank)]
    assert tree(own, add) == tree(shards, add)
    assert shards_per_rank(len(shards), size) == per_rank


def test_one_rank_takes_any_number_of_shards() -> None:
    assert [shards_per_rank(n, 1) for n in range(1, 20)] == list(range(1, 20))


@pytest.mark.parametrize(
    ("shards", "size", "way_out"),
    [
        (4, 3, "take 3 or 6 shards, or 1 or 2 or 4 ranks"),
        (6, 2, "take 4 or 8 shards, or 3 or 6 ranks"),
        (1, 2, "take 2 or 4 shards, or 1 ranks"),
        (5, 2, "take 2 or 4 shards, or 5 ranks"),
        (12, 2, "take 8 or 16 shards, or 3 or 6 or 12 ranks"),
        (2, 5, "take 5 or 10 shards, or 1 or 2 ranks"),
    ],
)
def test_shards_that_ranks_cannot_share_are_refused_with_a_way_out(shards: int, size: int, way_out: str) -> None:
    with pytest.raises(ValueError, match=f"{shards} shards on {size} ranks: each rank takes 1, 2, 4, … shards; ") as e:
        shards_per_rank(shards, size)
    assert str(e.value).endswith(way_out)


@given(shards=st.integers(1, 64), size=st.integers(1, 16))
def test_every_way_out_works(shards: int, size: int) -> None:
    try:
        assert shards_per_rank(shards, size) * size == shards
    except ValueError as error:
        fits, fewer = (re.findall(r"\d+", part) for part in str(error).split("take ")[1].split(" shards, or "))
        assert len(fits) == 2
        for n in fits:
            assert shards_per_rank(int(n), size) * size == int(n)
        for n in fewer:
            assert shards_per_rank(shards, int(n)) * int(n) == shards


# Parts


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=8), n_ranks=st.integers(1, 9), chunk=st.integers(1, 20))
def test_parts_cover_everything_and_end_where_pieces_end(sizes: list[int], n_ranks: int, chunk: int) -> None:
    ends = np.cumsum(sizes).tolist()
    slices = {str(i): slice(end - n, end) for i, (end, n) in enumerate(zip(ends, sizes, strict=True))}
    bounds = bounds_of([*(i for s in slices.values() for i in range(s.start, s.stop, chunk)), ends[-1]], n_ranks)
    assert len(bounds) == n_ranks + 1
    assert bounds == sorted(bounds)
    assert (bounds[0], bounds[-1]) == (0, ends[-1])
    pieces = [range(i, min(i + chunk, s.stop)) for s in slices.values() for i in range(s.start, s.stop, chunk)]
    for piece in pieces:
        assert not any(piece.start < bound < piece.stop for bound in bounds)
    even = ends[-1] / n_ranks
    longest = max(len(piece) for piece in pieces)
    assert all(end - start <= even + longest for start, end in pairwise(bounds))


def test_parts_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adamw, "CHUNK", 10)
    optimizer = AdamW([Parameter(np.zeros(25)), Parameter(np.zeros(15))])
    assert optimizer.cuts() == [0, 10, 20, 25, 35, 40]
    assert bounds_of(optimizer.cuts(), 1) == [0, 40]
    assert bounds_of(optimizer.cuts(), 2) == [0, 20, 40]
    assert bounds_of(optimizer.cuts(), 3) == [0, 10, 25, 40]
    assert bounds_of([0, 3], 4) == [0, 0, 0, 3, 3]  # one piece is not cut


# Calls


class Member:
    """What the ranks of these tests work with."""

    def __init__(self, team: Team, model: Module, optimizer: AdamW, word: str) -> None:
        self.team, self.optimizer, self.word = team, optimizer, word

    def say(self, *arguments: Any) -> tuple[Any, ...]:
        return self.team.rank, self.word, *arguments

    def threads(self) -> int:
        return available_threads()

    def fail(self, error: Exception | None) -> str:
        if error is not None:
            raise error
        return "fine"


class Model(Module):
    def __init__(self) -> None:
        self.weight = Parameter(np.zeros(7))


def begin(team: Team) -> Team:
    model = Model()
    team.begin(Member, model, AdamW(model.named_parameters()), "yes")
    return team


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_a_call_reaches_every_rank_and_returns_all_results(team_of_threads: MakeTeam, size: int, copies: bool) -> None:
    team = begin(team_of_threads(size, copies=copies))
    assert team.call("say") == [(rank, "yes") for rank in range(size)]
    assert team.call("say", 1, each=[10 * rank for rank in range(size)]) == [
        (rank, "yes", 1, 10 * rank) for rank in range(size)
    ]
    assert not team.busy
    team.close()


def test_a_rank_uses_no_more_threads_than_its_share(team_of_threads: MakeTeam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRAD_THREADS", "4")
    team = begin(team_of_threads(2, threads=2))
    assert team.call("threads") == [2, 2]
    assert available_threads() == 4
    team.close()
    assert begin(Solo()).call("threads") == [4]


class OwnError(ArithmeticError):
    """An error that pickle cannot make again."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("wrong"), "wrong"),
        (NotFiniteError("wrong"), "wrong"),
        (MemoryError(), "MemoryError"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (FileNotFoundError(2, "No such file", "a.txt"), "No such file: 'a.txt'"),
    ],
)
def test_an_error_keeps_its_type_and_names_its_rank(team_of_threads: MakeTeam, error: Exception, message: str) -> None:
    team = begin(team_of_threads(3))
    with pytest.raises(type(error)) as raised:
        team.call("fail", each=[None, None, error])
    assert re.search(rf"\brank 2: .*{message}$", str(raised.value))
    assert team.call("say") == [(rank, "yes") for rank in range(3)]  # all ranks have finished the call
    team.close()


def test_an_error_that_cannot_be_sent_is_replaced_by_its_words(team_of_threads: MakeTeam) -> None:
    team = begin(team_of_threads(2))
    with pytest.raises(RuntimeError, match=r"^rank 1: OwnError: wrong$"):
        team.call("fail", each=[None, OwnError("wrong", 3)])
    with pytest.raises(OwnError, match=r"^wrong$"):
        team.call("fail", each=[OwnError("wrong", 3), None])
    team.close()


def test_the_first_rank_with_an_error_is_named(team_of_threads: MakeTeam) -> None:
    team = begin(team_of_threads(3))
    with pytest.raises(KeyError, match="rank 1: 'a'"):
        team.call("fail", each=[None, KeyError("a"), ValueError("b")])
    with pytest.raises(ValueError, match=r"^b$"):  # rank 0 is the run itself
        team.call("fail", each=[ValueError("b"), KeyError("a"), None])
    team.close()
