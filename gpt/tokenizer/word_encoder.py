"""Encode one word by its merges, fast: what `pairs.encode_naively` specifies.

A text repeats its words, so each distinct word is merged once and remembered. What is left to speed up is the first
time: a short word keeps the ranks of its pairs in a list, where `min` and `index` run in C; a long word, such as a
million letters without a space, keeps for every rank the places where it occurs, so that no merge looks at the whole
word.
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise, repeat

from gpt.tokenizer.pairs import Pair

LONG = 64  # bytes: about 0.9 µs a byte both ways here; at 1024 the short way takes 7 µs a byte, the long way 0.5
CACHED_WORDS = 1 << 16
CACHED_BYTES = 48  # longer words seldom come twice; with this the cache stays under 50 MB
EMPTY = -1  # no id


class WordEncoder(dict[str, tuple[int, ...]]):
    """Map a word to its ids, working them out when they are first asked for.

    >>> ids_of = {b"l": 0, b"o": 1, b"w": 2, b"lo": 3, b"low": 4}
    >>> words = WordEncoder(ids_of, [(b"l", b"o"), (b"lo", b"w")])
    >>> words["lowlo"]
    (4, 3)

    `ids_of` gives the id of every token. The merges must be in the order of training: no merge before one that makes
    its parts. Then joining a pair creates only pairs of a later rank, and both ways below agree with the
    specification.
    """

    def __init__(self, ids_of: Mapping[bytes, int], merges: Sequence[Pair]) -> None:
        super().__init__()
        self._byte_ids = [ids_of.get(bytes([byte]), EMPTY) for byte in range(256)]
        self._ranks = {(ids_of[left], ids_of[right]): rank for rank, (left, right) in enumerate(merges)}
        self._merged = [ids_of[left + right] for left, right in merges]  # the id that the merge of each rank makes

    def __missing__(self, word: str) -> tuple[int, ...]:
        data = word.encode("utf-8", "surrogateescape")  # a surrogate is a byte that is no UTF-8, from encode_bytes
        symbols = [self._byte_ids[byte] for byte in data]
        if EMPTY in symbols:
            byte = data[symbols.index(EMPTY)]
            raise ValueError(
                f"encode: every byte must be a token of the vocabulary, got 0x{byte:02x} in {word[:20]!r}; "
                "give the vocabulary all 256 bytes"
            )
        merge = merge_short if len(data) < LONG else merge_long
        ids = tuple(merge(symbols, self._ranks, self._merged))
        if len(data) <= CACHED_BYTES:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


def merge_short(symbols: list[int], rank_at: dict[tuple[int, int], int], merged: list[int]) -> list[int]:
    """Merge the pair of the lowest rank, one place at a time; `ranks[i]` is the rank of symbols[i], symbols[i + 1]."""
    none = len(merged)  # greater than every rank
    rank_of = rank_at.get
    ranks = list(map(rank_of, pairwise(symbols), repeat(none)))
    while ranks and (rank := min(ranks)) != none:
        i = ranks.index(rank)
        symbols[i] = new = merged[rank]
        del symbols[i + 1], ranks[i]
        if i < len(ranks):
            ranks[i] = rank_of((new, symbols[i + 1]), none)
        if i > 0:
            ranks[i - 1] = rank_of((symbols[i - 1], new), none)
    return symbols


def merge_long(symbols: list[int], rank_at: dict[tuple[int, int], int], merged: list[int]) -> list[int]:
    """Merge rank after rank, at all its places from left to right, in O(n log n) at most.

    The symbols are a linked list: `after[i]` and `before[i]` are the neighbours of place i. A merge keeps the left
    place and empties the right one. A place noted for a rank may have changed since, so its pair is looked up again.
    """
    n = len(symbols)
    rank_of = rank_at.get
    places = list(range(-1, n + 1))
    before, after = places[:-1], places[2:]  # both share their integers with `places`
    cells = [*symbols, EMPTY, EMPTY]  # cells[n] is right of the last symbol, cells[-1] left of the first
    where: dict[int, list[int]] = {}  # rank -> the places of the left symbol of its pair
    for i, pair in zip(places[1:], pairwise(symbols), strict=False):
        if (rank := rank_of(pair)) is not None:
            where.setdefault(rank, []).append(i)
    queue = sorted(where)  # the ranks that are keys of `where`; a sorted list is a heap
    while queue:
        rank = heapq.heappop(queue)
        new = merged[rank]
        for i in where.pop(rank):  # in order: all were noted in the one pass that made the pair's younger symbol
            j = after[i]
            if rank_of((cells[i], cells[j])) != rank:
                continue
            cells[i], cells[j] = new, EMPTY
            after[i] = k = after[j]
            before[k] = i
            h = before[i]
            for place, pair in ((i, (new, cells[k])), (h, (cells[h], new))):
                later = rank_of(pair)
                if later is None:
                    continue
                if later not in where:
                    where[later] = []
                    heapq.heappush(queue, later)
                where[later].append(place)
    return [symbol for symbol in cells if symbol != EMPTY]
