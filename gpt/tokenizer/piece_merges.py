"""Merge pieces by rank, or by the score of what they make, as SentencePiece's byte-pair encoding does.

Of all neighbours that merge, those of the best rank do so first, and among equals the leftmost. Unlike `word_encoder.py`
it assumes no order of training: a file may rank the merge that makes a piece after those that use it, as that of Gemma 3
does, and by scores all the pairs that make a piece have one rank.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from operator import add

from nanograd.runtime.typed_json import quote

NO_RANK = 1 << 62  # greater than every rank
SHORT = 48  # symbols: below it a search of the whole list is faster than a heap
EMPTY = -1  # no id


class PieceMerges:
    """The pairs of pieces that merge.

    >>> pieces = {"l": 0, "o": 1, "w": 2, "lo": 3, "low": 4}
    >>> PieceMerges(pieces, [("l", "o"), ("lo", "w")]).merge([0, 1, 2, 0])
    [4, 0]
    >>> scores = {piece: -float(id) for piece, id in pieces.items()}
    >>> PieceMerges(pieces, scores=scores).merge([0, 1, 2, 0])  # every pair that makes a piece
    [4, 0]
    """

    def __init__(
        self,
        pieces: Mapping[str, int],
        merges: Iterable[tuple[str, str]] | None = None,
        *,
        scores: Mapping[str, float] | None = None,
        unmerged: frozenset[str] = frozenset(),
    ) -> None:
        """Take the pieces and their ids, and either the merges in order or the score of each piece that they join or make.

        Raises ValueError for a merge that is there twice, needs a piece that is missing, or joins one that is `unmerged`.
        """
        self.pieces, self.scores = dict(pieces), None if scores is None else dict(scores)
        self.texts = {id: piece for piece, id in pieces.items()}
        if len(self.texts) < len(pieces):
            piece, id = next((piece, id) for piece, id in pieces.items() if self.texts[id] != piece)
            raise ValueError(f"the pieces {quote(piece)} and {quote(self.texts[id])} have the same id, {id}")
        self.size = max(self.texts, default=0) + 1
        if unknown := next((piece for piece in scores or () if piece not in pieces), None):
            raise ValueError(f"the score of {quote(unknown)} is that of no piece")
        self.ranks: dict[int, int] = {}  # from left * size + right: half the memory of pairs as keys
        if scores is not None:
            self._rank_by_score(scores)
        made = set(scores or ())
        for rank, (left, right) in enumerate(merges or ()):
            try:
                key, piece = pieces[left] * self.size + pieces[right], left + right
                pieces[piece]
            except KeyError as error:
                needs = f"needs {quote(error.args[0])}, which is no piece"
                raise ValueError(f"merge {rank} of {quote(left)} and {quote(right)} {needs}") from None
            if not left or not right or left in unmerged or right in unmerged or piece in unmerged:
                raise ValueError(f"merge {rank} of {quote(left)} and {quote(right)} must join pieces of text")
            if self.ranks.setdefault(key, rank) != rank:
                raise ValueError(f"merge {rank} of {quote(left)} and {quote(right)} is there twice")
            made.add(piece)
        # The neighbouring characters inside of pieces that merges make. Between two others nothing ever merges.
        self.inner: set[str] = set()
        for piece in made:
            self.inner.update(map(add, piece, piece[1:]))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield the ids of each pair that merges."""
        return (divmod(key, self.size) for key in self.ranks)

    def made_by(self, left: int, right: int) -> int:
        """Return the id of the piece that two pieces make."""
        return self.pieces[self.texts[left] + self.texts[right]]

    def _rank_by_score(self, scores: Mapping[str, float]) -> None:
        rank_of = {score: rank for rank, score in enumerate(sorted(set(scores.values()), reverse=True))}
        lengths = set(map(len, scores)) - {0}
        get = {piece: self.pieces[piece] for piece in scores}.get
        for piece, score in scores.items():
            for i in lengths:
                if len(piece) - i not in lengths:
                    continue  # a piece of a million characters would be cut a million times
                left, right = get(piece[:i]), get(piece[i:])
                if left is not None and right is not None:
                    self.ranks[left * self.size + right] = rank_of[score]

    def merge(self, symbols: list[int]) -> list[int]:
        """Merge neighbours as long as any do, in place for a short list; return the ids that are left."""
        if len(symbols) > SHORT:
            return self._merge_long(symbols)
        for _ in self.steps(symbols):
            pass
        return symbols

    def steps(self, symbols: list[int]) -> Iterator[int]:
        """Merge neighbours in place, and yield the rank of each merge; ranks[i] is that of symbols i and i + 1."""
        size, rank_of = self.size, self.ranks.get
        ranks = [rank_of(left * size + right, NO_RANK) for left, right in pairwise(symbols)]
        while ranks and (rank := min(ranks)) != NO_RANK:
            i = ranks.index(rank)
            symbols[i] = new = self.made_by(symbols[i], symbols[i + 1])
            del symbols[i + 1], ranks[i]
            if i < len(ranks):
                ranks[i] = rank_of(new * size + symbols[i + 1], NO_RANK)
            if i > 0:
                ranks[i - 1] = rank_of(symbols[i - 1] * size + new, NO_RANK)
            yield rank

    def _merge_long(self, symbols: list[int]) -> list[int]:
        """Do the same in O(n log n): a heap of ranks, and for each rank a heap of the positions of its pairs.

        The symbols are a linked list: `after[i]` and `before[i]` are the neighbours of position i. A merge keeps the left
        position and empties the right one. The pair at a recorded position may have changed since, so it is looked up.
        """
        n, size, rank_of = len(symbols), self.size, self.ranks.get
        positions = list(range(-1, n + 1))
        before, after = positions[:-1], positions[2:]
        cells = [*symbols, EMPTY]  # cells[n] is right of the last symbol, and cells[-1] left of the first
        positions_of: dict[int, list[int]] = {}
        for i, (left, right) in enumerate(pairwise(symbols)):
            if (rank := rank_of(left * size + right)) is not None:
                positions_of.setdefault(rank, []).append(i)
        queue = sorted(positions_of)  # its keys; a sorted list is a heap
        made: dict[int, int] = {}  # the ids that pairs make, by key: joining texts takes longer
        while queue:
            rank = queue[0]
            waiting = positions_of[rank]
            if not waiting:
                del positions_of[heapq.heappop(queue)]
                continue
            i = heapq.heappop(waiting)
            j = after[i]
            left, right = cells[i], cells[j]
            key = left * size + right
            if left == EMPTY or right == EMPTY or rank_of(key) != rank:
                continue
            if (new := made.get(key, EMPTY)) == EMPTY:
                new = made[key] = self.made_by(left, right)
            cells[i], cells[j] = new, EMPTY
            after[i] = k = after[j]
            before[k] = i
            h = before[i]
            for position, left, right in ((i, new, cells[k]), (h, cells[h], new)):
                if left == EMPTY or right == EMPTY or (later := rank_of(left * size + right)) is None:
                    continue
                if later not in positions_of:
                    positions_of[later] = []
                    heapq.heappush(queue, later)
                heapq.heappush(positions_of[later], position)
        return [symbol for symbol in cells if symbol != EMPTY]
