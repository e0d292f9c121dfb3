"""The tokenizer of llama2.c: Llama 2's pieces with their scores, and spaces written as spaces.

Tokens 0, 1 and 2 are <unk>, <s> and </s>, and 3 to 258 are the bytes. A space is added before every text, decoding does
not remove it, and no token is special.

Source: https://github.com/karpathy/llama2.c, run.c (encode, decode)
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

from gpt.tokenizer.piece_merges import PieceMerges
from gpt.tokenizer.sentencepiece import BYTE_PIECES, SentencePieceTokenizer, Spaces, Unknown
from nanograd.runtime.typed_json import check_form

BOS = 1  # <s>: begins every document, so it also separates two
FIRST_BYTE = 3


class ScoredTokenizer(SentencePieceTokenizer):
    """A vocabulary of pieces with scores; the id of a piece is its index.

    >>> bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    >>> tokenizer = ScoredTokenizer(["<unk>", "<s>", "</s>", *bytes_, " ", "a", "b", "ab", " a"], [0.0] * 263 + [2.0])
    >>> tokenizer.encode("ab")  # " ab": " a" has the better score, and is merged first
    [263, 261]
    """

    kind = "scored"

    def __init__(self, pieces: Sequence[str], scores: Sequence[float]) -> None:
        """Take the pieces, in the order of their ids, and a score for each; ValueError if the bytes are missing."""
        if len(pieces) != len(scores):
            raise ValueError(f"ScoredTokenizer: each piece must have a score, got {len(pieces)} and {len(scores)}")
        if not all(math.isfinite(score) for score in scores):
            raise ValueError("ScoredTokenizer: scores must be finite numbers")
        if tuple(pieces[FIRST_BYTE : FIRST_BYTE + 256]) != BYTE_PIECES or " " not in pieces:
            raise ValueError("ScoredTokenizer: tokens 3 to 258 must be the bytes <0x00> to <0xFF>, and ' ' a token")
        self.pieces, self.scores = list(pieces), list(scores)
        ids = {piece: id for id, piece in reversed([*enumerate(pieces)])}  # of equal pieces the first is used
        merges = PieceMerges(ids, scores={piece: scores[id] for piece, id in ids.items()})
        super().__init__(merges, spaces=Spaces(" ", "segment"), unknown=Unknown(byte_fallback=True), eot_id=BOS)
        self.vocab = {id: self._bytes(piece) for id, piece in enumerate(pieces)}
        self.bos_id, self.adds_bos = BOS, True

    def to_fields(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "scores": self.scores}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        fields = check_form(fields, {"pieces": list[str], "scores": list[float]})
        return cls(fields["pieces"], fields["scores"])
