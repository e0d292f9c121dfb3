"""Encode one word by its merges, fast: the same ids as `pairs.encode_naively`.

A text repeats its words, so each distinct word is merged once and cached. There are two ways to merge it. A short word
keeps the ranks of its pairs in a list, where `min` and `index` run in C. A long word, such as a million letters without a
space, keeps for every rank the positions where it occurs, so that no merge searches the whole word.
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise, repeat

from gpt.tokenizer.pairs import Pair

LONG = 64  # bytes: here both ways take 0.9 µs per byte; at 1024 the short way takes 7 µs per byte, the long way 0.5
CACHED_WORDS = 1 << 16
CACHED_BYTES = 48  # longer words are rarely repeated; the cache stays under 50 MB
EMPTY = -1  # no id


class WordEncoder(dict[str, tuple[int, ...]]):
    """Maps a word to its ids, which are computed when they are first needed.

    >>> ids_of = {b"l": 0, b"o": 1, b"w": 2, b"lo": 3, b"low": 4}
    >>> words = WordEncoder(ids_of, [(b"l", b"o"), (b"lo", b"w")])
    >>> words["lowlo"]
    (4, 3)

    `ids_of` maps every token to its id. With `whole`, a word that is in it is not merged. With `drops_bytes`, a byte that
    is no token is left out of a word; else it is an error.
    """

    def __init__(
        self,
        ids_of: Mapping[bytes, int],
        merges: Sequence[Pair],
        *,
        whole: Mapping[bytes, int] | None = None,
        drops_bytes: bool = False,
    ) -> None:
        super().__init__()
        self._whole, self._drops_bytes = whole or {}, drops_bytes
        self._byte_ids = [ids_of.get(bytes([byte]), EMPTY) for byte in range(256)]
        self._ranks = {(ids_of[left], ids_of[right]): rank for rank, (left, right) in enumerate(merges)}
        self._merged = [ids_of[left + right] for left, right in merges]  # the id of the token that each merge makes

    def to_merge(self, word: str) -> bytes:
        """Return the bytes of a word that are merged: none of a word that is taken whole."""
        data = word.encode("utf-8", "surrogateescape")
        return b"" if data in self._whole else bytes(byte for byte in data if self._byte_ids[byte] != EMPTY)

    def __missing__(self, word: str) -> tuple[int, ...]:
        data = word.encode("utf-8", "surrogateescape")  # a surrogate is an invalid byte, from encode_bytes
        symbols = [self._byte_ids[byte] for byte in data]
        if (id := self._whole.get(data)) is not None:
            symbols = [id]
        elif EMPTY in symbols and self._drops_bytes:
            symbols = [symbol for symbol in symbols if symbol != EMPTY]
        elif EMPTY in symbols:
            byte = data[symbols.index(EMPTY)]
            found = f"0x{byte:02x} in {word[:20]!r}; give it all 256 bytes"
            raise ValueError(f"encode: every byte must be a token of the vocabulary, got {found}")
        merge = merge_short if len(data) < LONG else merge_long
        ids = tuple(merge(symbols, self._ranks, self._merged))
        if len(data) <= CACHED_BYTES:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids


def merge_short(symbols: list[int], rank_at: dict[tuple[int, int], int], merged: list[int]) -> list[int]:
    """Merge the leftmost pair of the lowest rank, repeatedly; ranks[i] is the rank of (symbols[i], symbols[i + 1])."""
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
    """Merge rank after rank, at all its positions from left to right, in O(n log n).

    The symbols are a linked list: `after[i]` and `before[i]` are the neighbours of position i. A merge keeps the left
    position and empties the right one. The pair at a recorded position may have changed since, so it is looked up again.
    Merges in the order of training make only pairs of later ranks; where others make an earlier one, that goes first.
    """
    n = len(symbols)
    rank_of = rank_at.get
    positions = list(range(-1, n + 1))
    before, after = positions[:-1], positions[2:]  # both share their integers with `positions`
    cells = [*symbols, EMPTY, EMPTY]  # cells[n] is right of the last symbol, cells[-1] left of the first
    positions_of: dict[int, list[int]] = {}  # rank -> the positions of the left symbol of its pair
    interrupted: set[int] = set()  # ranks whose positions are a heap since an earlier rank came between
    for i, pair in zip(positions[1:], pairwise(symbols), strict=False):
        if (rank := rank_of(pair)) is not None:
            positions_of.setdefault(rank, []).append(i)
    queue = sorted(positions_of)  # its keys; a sorted list is a heap
    push, pop = heapq.heappush, heapq.heappop
    while queue:
        rank = pop(queue)
        new = merged[rank]
        waiting, earliest = positions_of[rank], rank
        take = pop if rank in interrupted else list.pop
        if rank not in interrupted:
            waiting.sort(reverse=True)  # the leftmost is last
        while waiting and earliest == rank:
            i = take(waiting)
            j = after[i]
            if rank_of((cells[i], cells[j])) != rank:
                continue
            cells[i], cells[j] = new, EMPTY
            after[i] = k = after[j]
            before[k] = i
            h = before[i]
            for position, pair in ((i, (new, cells[k])), (h, (cells[h], new))):
                later = rank_of(pair)
                if later is None:
                    continue
                if later not in positions_of:
                    positions_of[later] = []
                    push(queue, later)
                if later in interrupted:
                    push(positions_of[later], position)
                else:
                    positions_of[later].append(position)
                if later < rank:
                    earliest = later
        if waiting:
            push(queue, rank)
            if rank not in interrupted:
                interrupted.add(rank)
                waiting.reverse()
        else:
            del positions_of[rank]
            interrupted.discard(rank)
    return [symbol for symbol in cells if symbol != EMPTY]
