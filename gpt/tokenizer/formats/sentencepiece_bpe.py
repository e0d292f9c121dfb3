"""Encode as llama2.c does: merge the pair whose token has the best score, until no pair makes a token.

This is SentencePiece's BPE, with Llama 2's vocabulary or a similar one. A space is added before a text, so that its first
word is the same token as after a space. A character that is not a token becomes its bytes, <0x00> to <0xFF>, which are
the tokens 3 to 258. Tokens 0, 1 and 2 are <unk>, <s> and </s>.

Source: https://github.com/karpathy/llama2.c, run.c (encode, decode)
"""

import heapq
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from gpt.tokenizer.base import Tokenizer, check_text
from nanograd.runtime.typed_json import check_form

BOS = 1  # <s>: begins every document, so it also separates two
FIRST_BYTE = 3
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class ScoredTokenizer(Tokenizer):
    """A vocabulary of pieces with scores; the id of a piece is its index.

    >>> bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    >>> tokenizer = ScoredTokenizer(["<unk>", "<s>", "</s>", *bytes_, " ", "a", "b", "ab", " a"], [0.0] * 263 + [2.0])
    >>> tokenizer.encode("ab")  # " ab": " a" has the better score, and is merged first
    [263, 261]
    """

    kind = "scored"
    eot_id = bos_id = BOS
    adds_bos = True
    end_ids = (BOS,)

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        """Take the pieces, in the order of their ids, and a score for each; ValueError if the bytes are missing."""
        if len(pieces) != len(scores):
            raise ValueError(f"ScoredTokenizer: each piece must have a score, got {len(pieces)} and {len(scores)}")
        if not all(math.isfinite(score) for score in scores):
            raise ValueError("ScoredTokenizer: scores must be finite numbers")
        byte_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
        if list(pieces[FIRST_BYTE : FIRST_BYTE + 256]) != byte_pieces or " " not in pieces:
            raise ValueError("ScoredTokenizer: tokens 3 to 258 must be the bytes <0x00> to <0xFF>, and ' ' a token")
        self.pieces, self.scores = list(pieces), list(scores)
        self.vocab = {id: _bytes(piece) for id, piece in enumerate(pieces)}
        self._ids: dict[str, int] = {}
        for id, piece in enumerate(pieces):
            self._ids.setdefault(piece, id)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, with a space added before it; no token is special."""
        check_text("encode", text)
        ids = [self._ids[" "]] if text else []
        for character in text:
            id = self._ids.get(character)
            ids += [byte + FIRST_BYTE for byte in character.encode("utf-8")] if id is None else [id]
        return self._merge(ids)

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the text "".join(chunks): it is joined, since a merge may reach across any edge."""
        yield from self.encode("".join(chunks))

    def _merge(self, ids: list[int]) -> list[int]:
        """Merge neighbours, the best score first and among equals the leftmost, as long as two join to a token."""
        left, right = list(range(-1, len(ids) - 1)), list(range(1, len(ids) + 1))  # neighbours, as merged tokens vanish
        heap: list[tuple[float, int, int, int, int]] = []

        def push(index: int, after: int) -> None:
            if index >= 0 and after < len(ids):
                merged = self._ids.get(self.pieces[ids[index]] + self.pieces[ids[after]])
                if merged is not None:
                    heapq.heappush(heap, (-self.scores[merged], index, ids[index], ids[after], merged))

        for i in range(len(ids) - 1):
            push(i, i + 1)
        while heap:
            _, index, first, second, merged = heapq.heappop(heap)
            after = right[index]
            if ids[index] != first or after >= len(ids) or ids[after] != second:
                continue  # one of the two has been merged with another
            ids[index], ids[after] = merged, -1
            right[index] = right[after]
            if right[index] < len(ids):
                left[right[index]] = index
            push(left[index], index)
            push(index, right[index])
        return [id for id in ids if id >= 0]

    def to_fields(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "scores": self.scores}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        check_form(fields, {"pieces": list, "scores": list})
        if not all(isinstance(piece, str) for piece in fields["pieces"]):
            raise ValueError("'pieces' must hold texts")
        if not all(type(score) in (int, float) for score in fields["scores"]):
            raise ValueError("'scores' must hold numbers")
        return cls(fields["pieces"], [float(score) for score in fields["scores"]])


def _bytes(piece: str) -> bytes:
    """Return the bytes of a piece."""
    byte = _BYTE.fullmatch(piece)
    return bytes([int(byte[1], 16)]) if byte else piece.encode("utf-8")
