"""Join what `trainer.py`, `pretokens.py` and `word_encoder.py` do into a tokenizer: byte-pair encoding as in GPT-2.

Text is split into pre-tokens, each is written in UTF-8, and pairs are merged in the order in which training found them.
As all 256 bytes are tokens, every text can be encoded, and decoding gives it back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from gpt.tokenizer.base import Tokenizer, check_fields, header
from gpt.tokenizer.pairs import Pair
from gpt.tokenizer.pretokens import EOT, Piece, check_special_tokens, split_text, word_finder
from gpt.tokenizer.trainer import train_on_chunks
from gpt.tokenizer.word_encoder import WordEncoder

AllowedSpecial = Literal["all"] | Collection[str]


class BPETokenizer(Tokenizer):
    """Byte-level BPE with special tokens.

    >>> tokenizer = BPETokenizer.train("low low low lower lowest", vocab_size=260)
    >>> tokenizer.merges
    [(b'o', b'w'), (b'l', b'ow'), (b' ', b'low')]
    >>> tokenizer.encode("low lower<|endoftext|>", allowed_special="all")  # 257 is low, 258 is " low"
    [257, 258, 101, 114, 259]
    """

    kind = "bpe"

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[Pair],
        special_tokens: Iterable[str] | None = (),
        *,
        pattern: str = "gpt2",
        allowed_special: AllowedSpecial = (),
    ) -> None:
        """Take any vocabulary, such as `train_bpe` returns; special tokens it lacks are numbered after its greatest id.

        `allowed_special` is what `encode` allows when it is not told: by default nothing, so that text from outside
        cannot forge a special token. Stanford's CS336 asks for a tokenizer that always sees them: for that, pass "all".

        Raises ValueError for tokens that are empty or have two ids, for merges that are not in the order of training or
        name tokens that the vocabulary lacks, for special tokens that text itself needs, and for an unknown pattern.
        """
        self.vocab = dict(vocab)
        self.merges = [(left, right) for left, right in merges]
        self.pattern = pattern
        word_finder(pattern)  # raises for an unknown name
        ids_of = _ids_of(self.vocab)
        made = _check_merges(self.merges, ids_of)
        self.special_tokens: dict[str, int] = {}
        for token in check_special_tokens("BPETokenizer", special_tokens or ()):
            data = token.encode("utf-8")
            if data in made:
                raise ValueError(
                    f"BPETokenizer: a special token must not be made by a merge, got {token!r}; write it like {EOT!r}"
                )
            if data not in ids_of:
                ids_of[data] = max(self.vocab) + 1
                self.vocab[ids_of[data]] = data
            self.special_tokens[token] = ids_of[data]
        self.eot_id = self.special_tokens.get(EOT)
        self.allowed_special = self._allowed(allowed_special)
        self._words = WordEncoder(ids_of, self.merges)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        special_tokens: Iterable[str] = (EOT,),
        allowed_special: AllowedSpecial = (),
    ) -> "BPETokenizer":
        """Learn the merges of `text`; see `train_bpe` for the order of the ids and for the errors.

        A text too small for `vocab_size` gives fewer tokens: `tokenizer.vocab_size` tells how many.
        """
        special_tokens = check_special_tokens("BPETokenizer.train", special_tokens)
        vocab, merges = train_on_chunks((text,), vocab_size, special_tokens, pattern=pattern, name="BPETokenizer.train")
        return cls(vocab, merges, special_tokens, pattern=pattern, allowed_special=allowed_special)

    def encode(self, text: str, *, allowed_special: AllowedSpecial | None = None) -> list[int]:
        """Return the ids of `text`.

        Special tokens in the text become their ids if `allowed_special` is "all" or names them, and are ordinary text
        if not; None leaves it to the constructor's `allowed_special`. Of those that begin together the longest
        counts.

        Raises ValueError for a lone surrogate or for an unknown name in `allowed_special`.
        """
        ids: list[int] = []
        for words, special in self._split((text,), allowed_special, "encode"):
            ids.extend(chain.from_iterable(map(self._words.__getitem__, words)))
            if special is not None:
                ids.append(self.special_tokens[special])
        return ids

    def encode_iterable(self, chunks: Iterable[str], *, allowed_special: AllowedSpecial | None = None) -> Iterator[int]:
        """Yield the ids of the text that `chunks`, such as the lines of a file, are parts of, in little memory.

        They are the ids of `encode("".join(chunks))`, wherever the text is cut; each comes when nothing that follows
        can change it.
        """
        for words, special in self._split(chunks, allowed_special, "encode_iterable"):
            yield from chain.from_iterable(map(self._words.__getitem__, words))
            if special is not None:
                yield self.special_tokens[special]

    def _split(self, chunks: Iterable[str], allowed_special: AllowedSpecial | None, name: str) -> Iterator[Piece]:
        allowed = self._allowed(self.allowed_special if allowed_special is None else allowed_special)
        return split_text(chunks, self.pattern, allowed, name=name)

    def _allowed(self, allowed_special: AllowedSpecial) -> tuple[str, ...]:
        """Return the special tokens that `allowed_special` means; ValueError for one that this tokenizer lacks."""
        if allowed_special == "all":
            return tuple(sorted(self.special_tokens))
        if isinstance(allowed_special, str):
            raise ValueError(f"allowed_special must be 'all' or a set of special tokens, got {allowed_special!r}")
        if unknown := [token for token in allowed_special if token not in self.special_tokens]:
            known = ", ".join(map(repr, self.special_tokens)) or "none"
            raise ValueError(
                f"allowed_special must name special tokens of this tokenizer ({known}), got {unknown[0]!r}"
            )
        return tuple(sorted(allowed_special))

    def to_dict(self) -> dict[str, Any]:
        """Return the whole tokenizer as an object that JSON can hold.

        A token of bytes is written as a text with one character, U+0000 to U+00FF, for each byte; a merge as two ids.
        """
        special_ids = set(self.special_tokens.values())
        ids_of = {token: id for id, token in self.vocab.items()}
        return {
            **header(self.kind),
            "pattern": self.pattern,
            "vocab": {token.decode("latin-1"): id for id, token in self.vocab.items() if id not in special_ids},
            "merges": [[ids_of[left], ids_of[right]] for left, right in self.merges],
            "special_tokens": dict(self.special_tokens),
            "allowed_special": list(self.allowed_special),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "BPETokenizer":
        """Read what `to_dict` wrote; ValueError says what is wrong with it."""
        check_fields(
            fields, {"pattern": str, "vocab": dict, "merges": list, "special_tokens": dict, "allowed_special": list}
        )
        vocab: dict[int, bytes] = {}
        for section, encoding in (("vocab", "latin-1"), ("special_tokens", "utf-8")):
            for token, id in fields[section].items():
                if not isinstance(token, str) or type(id) is not int:
                    raise ValueError(f"{section!r} must give texts an integer id, got {token!r}: {id!r}")
                if id in vocab:
                    raise ValueError(f"{section!r} gives {token!r} the id {id}, which another token has")
                try:
                    vocab[id] = token.encode(encoding)
                except UnicodeEncodeError:
                    raise ValueError(f"{section!r} has {token!r}, which is not written in {encoding}") from None
        merges: list[Pair] = []
        for merge in fields["merges"]:
            if not (isinstance(merge, list) and len(merge) == 2 and all(type(id) is int for id in merge)):
                raise ValueError(f"'merges' must hold pairs of ids, got {merge!r}")
            if unknown := [id for id in merge if id not in vocab]:
                raise ValueError(f"merge {len(merges)} names the id {unknown[0]}, which no token has")
            merges.append((vocab[merge[0]], vocab[merge[1]]))
        if wrong := [token for token in fields["allowed_special"] if not isinstance(token, str)]:
            raise ValueError(f"'allowed_special' must hold texts, got {wrong[0]!r}")
        return cls(
            vocab,
            merges,
            fields["special_tokens"],
            pattern=fields["pattern"],
            allowed_special=fields["allowed_special"],
        )


def _ids_of(vocab: Mapping[int, bytes]) -> dict[bytes, int]:
    """Turn the vocabulary round; raise unless its ids are natural numbers and its tokens distinct and not empty."""
    if not vocab:
        raise ValueError("BPETokenizer: the vocabulary must have tokens, got none")
    ids_of: dict[bytes, int] = {}
    for id, token in vocab.items():
        if not isinstance(id, int) or not isinstance(token, bytes):
            raise TypeError(f"BPETokenizer: vocab must map ids to bytes, got {id!r}: {token!r}")
        if id < 0:
            raise ValueError(f"BPETokenizer: ids must be 0 or greater, got {id} for {token!r}")
        if not token:
            raise ValueError(f"BPETokenizer: a token must have at least one byte, got {token!r} for id {id}")
        if token in ids_of:
            raise ValueError(f"BPETokenizer: a token must have one id, got {ids_of[token]} and {id} for {token!r}")
        ids_of[token] = id
    return ids_of


def _check_merges(merges: Sequence[Pair], ids_of: Mapping[bytes, int]) -> set[bytes]:
    """Return the tokens that the merges make; ValueError unless each joins tokens that bytes or earlier merges made."""
    made: set[bytes] = set()
    used: set[bytes] = set()
    seen: set[Pair] = set()
    for rank, (left, right) in enumerate(merges):
        problem = None
        if missing := [token for token in (left, right, left + right) if token not in ids_of]:
            problem = f"needs {missing[0]!r}, which the vocabulary does not have"
        elif early := [part for part in (left, right) if len(part) > 1 and part not in made]:
            problem = f"joins {early[0]!r}, which no earlier merge makes; keep the order of training"
        elif left + right in used:
            problem = f"makes {left + right!r}, which an earlier merge joined; keep the order of training"
        elif (left, right) in seen:
            problem = "is there twice"
        if problem is not None:
            raise ValueError(f"BPETokenizer: merge {rank} of {left!r} and {right!r} {problem}")
        seen.add((left, right))
        made.add(left + right)
        used.update((left, right))
    return made
