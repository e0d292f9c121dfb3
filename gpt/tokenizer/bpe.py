"""Join what `trainer.py`, `pretokens.py` and `word_encoder.py` do into a tokenizer: byte-pair encoding as in GPT-2.

Text is split into pre-tokens, each is written in UTF-8, and pairs are merged in the order in which training found them.
As all 256 bytes are tokens, every text can be encoded, and decoding gives it back.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Literal, NamedTuple

from gpt.tokenizer.base import Tokenizer, check_fields, header
from gpt.tokenizer.pairs import Pair, Word, merge_steps
from gpt.tokenizer.pretokens import EOT, Piece, check_special_tokens, checked_texts, split_text, word_finder
from gpt.tokenizer.trainer import build_vocab, learn_merges, room_for_merges, train_on_chunks
from gpt.tokenizer.vocabulary import add_tokens, check_merges, turn_round
from gpt.tokenizer.word_counts import Progress, count_files
from gpt.tokenizer.word_encoder import WordEncoder

SpecialTokens = Literal["all"] | Collection[str]


class Explanation(NamedTuple):
    """How one pre-token, or one special token, becomes ids."""

    text: str
    steps: list[tuple[int, Word]]  # the number of the merge made, and the tokens after it
    ids: list[int]


class BPETokenizer(Tokenizer):
    """Byte-level BPE with special tokens.

    >>> tokenizer = BPETokenizer.train("low low low lower lowest", vocab_size=260)
    >>> tokenizer.merges
    [(b'o', b'w'), (b'l', b'ow'), (b' ', b'low')]
    >>> tokenizer.encode("low lower<|endoftext|>", allowed_special="all")  # 257 is low, 258 is " low"
    [257, 258, 101, 114, 259]

    Without `allowed_special`, the text's <|endoftext|> raises: it would pass for the end of a document.
    """

    kind = "bpe"

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[Pair],
        special_tokens: Iterable[str] | None = (),
        *,
        pattern: str = "gpt2",
        allowed_special: SpecialTokens = "all",
    ) -> None:
        """Take any vocabulary, such as `train_bpe` returns; special tokens it lacks are numbered after its greatest id.

        `allowed_special` is what `encode` allows when it is not told. One built here, from its parts, sees all special
        tokens in a text, as Stanford's CS336 asks; one that was trained or loaded sees none, as tiktoken's: `encode`
        raises where a text from outside would forge one.

        Raises ValueError for tokens that are empty or have two ids, for merges that are not in the order of training or
        name tokens that the vocabulary lacks, for special tokens that text itself needs, and for an unknown pattern.
        """
        self.vocab = dict(vocab)
        self.merges = [(left, right) for left, right in merges]
        self.pattern = pattern
        word_finder(pattern)  # raises for an unknown name
        ids_of = turn_round(self.vocab)
        made = check_merges(self.merges, ids_of)
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
        self.allowed_special = self._named("allowed_special", allowed_special)
        self._words = WordEncoder(ids_of, self.merges)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        special_tokens: Iterable[str] = (EOT,),
        allowed_special: SpecialTokens = (),
    ) -> "BPETokenizer":
        """Learn the merges of `text`; see `train_bpe` for the order of the ids and for the errors.

        A text too small for `vocab_size` gives fewer tokens: `tokenizer.vocab_size` tells how many.
        """
        special_tokens = check_special_tokens("BPETokenizer.train", special_tokens)
        vocab, merges = train_on_chunks((text,), vocab_size, special_tokens, pattern=pattern, name="BPETokenizer.train")
        return cls(vocab, merges, special_tokens, pattern=pattern, allowed_special=allowed_special)

    @classmethod
    def train_files(
        cls,
        paths: Iterable[str | os.PathLike[str]],
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        special_tokens: Iterable[str] = (EOT,),
        workers: int = 1,
        progress: Progress | None = None,
    ) -> "BPETokenizer":
        """Learn the merges of text files of any size, read as `gpt.text.read.read_text` does; see `count_files`."""
        name = "BPETokenizer.train_files"
        special_tokens = check_special_tokens(name, special_tokens)
        n_merges = room_for_merges(vocab_size, special_tokens, name=name)
        counts = count_files(paths, special_tokens, pattern=pattern, workers=workers, plain=True, progress=progress)
        merges = learn_merges(counts, n_merges)
        vocab = build_vocab(merges, special_tokens)
        return cls(vocab, merges, special_tokens, pattern=pattern, allowed_special=())

    def encode(
        self, text: str, *, allowed_special: SpecialTokens | None = None, disallowed_special: SpecialTokens = "all"
    ) -> list[int]:
        """Return the ids of `text`.

        Special tokens in the text become their ids if `allowed_special` is "all" or names them; None leaves it to the
        constructor's `allowed_special`. Of those that begin together the longest counts. Others raise if
        `disallowed_special` names them, where "all" means all that are not allowed; the rest are ordinary text. So
        encode(text, disallowed_special=()) takes any text. This is how tiktoken treats them.

        Raises ValueError for a special token that is disallowed, for a lone surrogate, or for a name of no special
        token of this tokenizer.
        """
        ids: list[int] = []
        for piece in self._encode((text,), allowed_special, disallowed_special, "encode"):
            ids.extend(piece)
        return ids

    def encode_iterable(
        self,
        chunks: Iterable[str],
        *,
        allowed_special: SpecialTokens | None = None,
        disallowed_special: SpecialTokens = "all",
    ) -> Iterator[int]:
        """Yield the ids of the text that `chunks`, such as the lines of a file, are parts of, in little memory.

        They are the ids of `encode("".join(chunks))`, wherever the text is cut; each comes when nothing that follows
        can change it.
        """
        return chain.from_iterable(self._encode(chunks, allowed_special, disallowed_special, "encode_iterable"))

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: SpecialTokens | None = None,
        disallowed_special: SpecialTokens = "all",
    ) -> list[list[int]]:
        """Return the ids of each text."""
        return [
            self.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special) for text in texts
        ]

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, in which special tokens are text like any other."""
        return self.encode(text, allowed_special=(), disallowed_special=())

    def encode_data(self, text: str) -> list[int]:
        """Return the ids of a text to learn or to measure, in which special tokens count as such."""
        return self.encode(text, allowed_special="all")

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return ids of any bytes, which `decode_bytes` turns back; special tokens are bytes like any others.

        What is UTF-8 gets the ids of `encode_ordinary`; of the rest, each byte is a character of its own.
        """
        pieces = split_text((data.decode("utf-8", "surrogateescape"),), self.pattern)
        return [id for piece in pieces for word in piece.words for id in self._words[word]]

    def explain(
        self, text: str, *, allowed_special: SpecialTokens | None = None, disallowed_special: SpecialTokens = "all"
    ) -> list[Explanation]:
        """Return how each pre-token of `text` becomes ids: every merge, in the order in which they are made.

        >>> tokenizer = BPETokenizer.train("low low low lower lowest", vocab_size=260)
        >>> tokenizer.explain("lower")[0].steps
        [(0, (b'l', b'ow', b'e', b'r')), (1, (b'low', b'e', b'r'))]
        """
        ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        explained: list[Explanation] = []
        for words, special in self._split((text,), allowed_special, disallowed_special, "explain"):
            for word in words:
                steps = [(ranks[pair], tokens) for pair, tokens in merge_steps(word.encode("utf-8"), ranks)]
                explained.append(Explanation(word, steps, list(self._words[word])))
            if special is not None:
                explained.append(Explanation(special, [], [self.special_tokens[special]]))
        return explained

    def _encode(
        self, chunks: Iterable[str], allowed: SpecialTokens | None, disallowed: SpecialTokens, name: str
    ) -> Iterator[Iterable[int]]:
        """Return the ids piece by piece; names of special tokens are checked at once."""
        pieces = self._split(chunks, allowed, disallowed, name)
        return (
            chain.from_iterable(map(self._words.__getitem__, words))
            if special is None
            else (self.special_tokens[special],)
            for words, special in pieces
        )

    def _split(
        self, chunks: Iterable[str], allowed: SpecialTokens | None, disallowed: SpecialTokens, name: str
    ) -> Iterator[Piece]:
        may = self.allowed_special if allowed is None else self._named("allowed_special", allowed)
        may_not = self._named("disallowed_special", disallowed)
        if disallowed == "all":
            may_not = tuple(token for token in may_not if token not in may)
        return split_text(checked_texts(chunks, name, may_not), self.pattern, may)

    def _named(self, option: str, tokens: SpecialTokens) -> tuple[str, ...]:
        """Return the special tokens that an option means; ValueError for one that this tokenizer lacks."""
        if tokens == "all":
            return tuple(sorted(self.special_tokens))
        if isinstance(tokens, str):
            raise ValueError(f"{option} must be 'all' or a set of special tokens, got {tokens!r}")
        if unknown := [token for token in tokens if token not in self.special_tokens]:
            known = ", ".join(map(repr, self.special_tokens)) or "none"
            raise ValueError(f"{option} must name special tokens of this tokenizer ({known}), got {unknown[0]!r}")
        return tuple(sorted(tokens))

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
        add_tokens(vocab, "vocab", fields["vocab"], lambda token: token.encode("latin-1"))
        add_tokens(vocab, "special_tokens", fields["special_tokens"], lambda token: token.encode("utf-8"))
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
