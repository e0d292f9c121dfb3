"""Both ways to merge pieces give what a search for the best pair, repeated, gives."""

import random
from itertools import pairwise

import pytest

from gpt.tokenizer.piece_merges import PieceMerges


def merge_naively(merges: PieceMerges, symbols: list[int]) -> list[int]:
    """Merge the leftmost pair of the best rank, until no pair merges."""
    while True:
        keys = [(merges.ranks.get(left * merges.size + right), i) for i, (left, right) in enumerate(pairwise(symbols))]
        ranked = [(rank, i) for rank, i in keys if rank is not None]
        if not ranked:
            return symbols
        i = min(ranked)[1]
        symbols = [*symbols[:i], merges.made_by(symbols[i], symbols[i + 1]), *symbols[i + 2 :]]


def random_merges(rng: random.Random) -> PieceMerges:
    """Return merges in any order, or scores of which some are equal."""
    pieces, pairs = {"a": 0, "b": 1, "c": 2}, []
    for _ in range(rng.randint(1, 8)):
        pair = rng.choice(list(pieces)), rng.choice(list(pieces))
        if pair not in pairs:
            pairs.append(pair)
            pieces.setdefault("".join(pair), len(pieces))
    if rng.random() < 0.5:
        return PieceMerges(pieces, rng.sample(pairs, len(pairs)))
    return PieceMerges(pieces, scores={piece: float(rng.randint(0, 3)) for piece in pieces})


@pytest.mark.parametrize("seed", range(60))
def test_short_and_long_lists(seed: int) -> None:
    rng = random.Random(seed)
    merges = random_merges(rng)
    for length in (0, 1, 2, 5, 47, 48, 49, 80):
        symbols = rng.choices(range(3), k=length)
        expected = merge_naively(merges, symbols)
        assert merges.merge(list(symbols)) == merges._merge_long(list(symbols)) == expected


def test_a_rank_that_comes_before_those_that_make_it() -> None:
    merges = PieceMerges({"a": 0, "aa": 1, "aaa": 2}, [("aa", "a"), ("a", "aa"), ("a", "a")])
    assert merges.merge([0] * 7) == [2, 2, 0]  # as soon as there is aa, it becomes aaa
    tied = PieceMerges({"a": 0, "aa": 1, "aaa": 2}, scores={"a": 0.0, "aa": -1.0, "aaa": -2.0})
    assert tied.merge([0] * 7) == [1, 1, 2]  # aa aa aa a, of which only the last two make a piece


def test_a_piece_as_long_as_a_book_is_no_trap() -> None:
    pieces = {"a": 0, "aa": 1, "a" * 1_000_000: 2}
    assert len(PieceMerges(pieces, scores=dict.fromkeys(pieces, 0.0)).ranks) == 1  # cutting it everywhere took minutes
