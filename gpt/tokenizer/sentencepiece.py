"""SentencePiece's byte-pair encoding, the tokenizer of Llama 2, Mistral, TinyLlama and Gemma.

Three things differ from `bpe.py`. Merging begins with characters, not with bytes. A text is not split into words first:
each space is written ▁ and merged like any character, and a ▁ may be added before the text, so that its first word is
the same token as after a space. A character that is no piece becomes its bytes, the tokens <0x00> to <0xFF>, or <unk>.

Sources: Kudo and Richardson 2018, "SentencePiece"; https://github.com/google/sentencepiece, src/bpe_model.cc;
https://github.com/huggingface/tokenizers, tokenizers/src/models/bpe and src/pre_tokenizers/metaspace.rs
"""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from operator import add
from typing import Any, NamedTuple, Self

from gpt.tokenizer.added_tokens import AddedToken, TokenFinder
from gpt.tokenizer.base import check_text
from gpt.tokenizer.bpe import Explanation
from gpt.tokenizer.piece_merges import PieceMerges
from gpt.tokenizer.pretokens import BLOCK
from gpt.tokenizer.special_tokens import Allowed, Specials, SpecialTokenizer
from nanograd.runtime.typed_json import check_form, quote

BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
PREFIXES = ("never", "segment", "missing", "first")
CACHED_WORDS = 1 << 16
CACHED_CHARACTERS = 48  # longer words are rarely repeated
_BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")


@dataclass(frozen=True)
class Spaces:
    """How spaces are written in pieces, and read back.

    `prefix` says where a ▁ is added: before every segment of a text between added tokens ("segment"), before those that do
    not begin with one ("missing"), or, of these, before the one at the beginning of the text ("first").
    """

    symbol: str = "▁"  # U+2581: what a space is written as
    prefix: str = "never"
    split: bool = False  # whether a word ends before each ▁, so that no merge has one inside
    strip: bool = False  # whether `decode` removes the space at the beginning of a text

    def __post_init__(self) -> None:
        if len(self.symbol) != 1 or self.prefix not in PREFIXES:
            rule = f"spaces: symbol must be one character, and prefix one of {', '.join(PREFIXES)}"
            raise ValueError(f"{rule}, got {quote(self.symbol)} and {quote(self.prefix)}")


@dataclass(frozen=True)
class Unknown:
    """How a character that is no piece is encoded: as its bytes or as the unknown token; else it is an error."""

    byte_fallback: bool = False  # it becomes its bytes, which are pieces
    id: int | None = None  # else it becomes this id; None: it is an error
    fuse: bool = True  # those that follow one another become one id


class _Finders(NamedTuple):
    """The finders of the added tokens that one call of `encode` allows."""

    raw: TokenFinder
    normalized: TokenFinder  # looks where spaces are written as ▁ already
    raw_pairs: frozenset[str]  # neighbouring characters inside of those tokens
    normalized_pairs: frozenset[str]
    edges: frozenset[str]  # characters at the ends of those that must be whole words
    strips: bool  # whether some take white space beside them


class SentencePieceTokenizer(SpecialTokenizer):
    """SentencePiece BPE with added tokens, which are cut out of a text before anything else.

    >>> pieces = {"<unk>": 0, "▁": 1, "l": 2, "o": 3, "w": 4, "lo": 5, "▁lo": 6}
    >>> merges = PieceMerges(pieces, [("l", "o"), ("▁", "lo")])
    >>> tokenizer = SentencePieceTokenizer(merges, spaces=Spaces(prefix="segment"), unknown=Unknown(id=0))
    >>> tokenizer.encode("low lot")
    [6, 4, 6, 0]
    """

    kind = "sentencepiece"

    def __init__(
        self,
        merges: PieceMerges,
        added_tokens: Iterable[AddedToken] = (),
        *,
        spaces: Spaces = Spaces(),
        unknown: Unknown = Unknown(),
        eot_id: int | None = None,
    ) -> None:
        """Take the pieces with their merges, and the added tokens, which may be pieces too; `eot_id` ends a document.

        Raises ValueError for an added token that is empty or has two ids, and for a piece that is needed and missing: the
        ▁, the bytes, the unknown token.
        """
        self.merges, self.spaces, self.unknown = merges, spaces, unknown
        self.added_tokens = tuple(added_tokens)
        texts = dict(merges.texts)
        ids = dict(merges.pieces)
        for token in self.added_tokens:
            if not token.text:
                raise ValueError(f"an added token must have a text, and the one of id {token.id} has none")
            if texts.setdefault(token.id, token.text) != token.text:
                raise ValueError(
                    f"the added token {quote(token.text)} has the id {token.id}, which {quote(texts[token.id])} has"
                )
            if ids.setdefault(token.text, token.id) != token.id:
                raise ValueError(f"{quote(token.text)} has two ids, {ids[token.text]} and {token.id}")
        check_text("vocabulary", "".join(texts.values()))
        needed = {f"the space, {spaces.symbol!r}": spaces.symbol in merges.pieces}
        if unknown.byte_fallback:
            needed |= {piece: piece in merges.pieces for piece in BYTE_PIECES}
        needed |= {f"the id {id}": id in texts for id in (unknown.id, eot_id) if id is not None}
        if missing := [name for name, there in needed.items() if not there]:
            raise ValueError(f"the vocabulary must have a piece for {missing[0]}")
        self.special_tokens = {token.text: token.id for token in self.added_tokens if token.special}
        self.allowed_special = ()
        texts |= {token.id: token.pattern for token in self.added_tokens if token.pattern}
        self.vocab = {id: self._bytes(text) for id, text in texts.items()}
        self.eot_id = eot_id
        self.end_ids = () if eot_id is None else (eot_id,)
        self._byte_ids = [merges.pieces[piece] for piece in BYTE_PIECES] if unknown.byte_fallback else []
        self._decoded_as_bytes = {id for id, text in texts.items() if self._is_byte(text)}
        joined = {pair for pair in merges.inner if pair[1] != spaces.symbol} if spaces.split else merges.inner
        self._joined = frozenset(joined)  # the neighbours between which no word ends
        self._fuses = unknown.fuse and unknown.id is not None and not unknown.byte_fallback
        self._words: dict[str, list[int]] = {}
        self._finders: dict[tuple[str, ...], _Finders] = {}

    def _is_byte(self, text: str) -> bool:
        return self.unknown.byte_fallback and len(text) == 6 and _BYTE.fullmatch(text) is not None

    def _bytes(self, text: str) -> bytes:
        """Return the bytes that a token is decoded to."""
        if self._is_byte(text):
            return bytes([int(text[3:5], 16)])
        return text.replace(self.spaces.symbol, " ").encode("utf-8")

    def explain(
        self, text: str, *, allowed_special: Allowed = None, disallowed_special: Specials = "all"
    ) -> list[Explanation]:
        """Return how each word of `text` becomes ids: every merge, in order. Nothing merges across the edges of words."""
        explanations: list[Explanation] = []
        checked = self._check((text,), allowed_special, disallowed_special, "explain")
        for words in self._split(*checked):
            if isinstance(words, AddedToken):
                explanations.append(Explanation(words.text, (), [], [words.id]))
                continue
            for word in words:
                ids = self._symbols(word)
                start = self._pieces(ids)
                steps = [(rank, self._pieces(ids)) for rank in self.merges.steps(ids)]
                explanations.append(Explanation(word, start, steps, ids))
        return explanations

    def _pieces(self, ids: Iterable[int]) -> tuple[bytes, ...]:
        return tuple(self.merges.texts.get(id, "").encode("utf-8") for id in ids)

    def encode_data(self, text: str, *, inside: bool = False) -> list[int]:
        """Return the ids of a text for training or evaluation, with special tokens as their ids.

        A text that continues another, `inside` of a document, gets no ▁ before it.
        """
        checked = self._check((text,), "all", "all", "encode_data")
        return [id for ids in self._encode(*checked, inside=inside) for id in ids]

    def _encode(
        self, chunks: Iterable[str], allowed: Sequence[str], *, inside: bool = False
    ) -> Iterator[Iterable[int]]:
        for words in self._split(chunks, allowed, inside=inside):
            if isinstance(words, AddedToken):
                yield (words.id,)
            else:
                yield from map(self._word_ids, words)

    def _word_ids(self, word: str) -> list[int]:
        ids = self._words.get(word)
        if ids is None:
            ids = self.merges.merge(self._symbols(word))
            if len(word) <= CACHED_CHARACTERS:
                if len(self._words) >= CACHED_WORDS:
                    self._words.clear()
                self._words[word] = ids
        return ids

    def _symbols(self, word: str) -> list[int]:
        """Return the ids of the characters of a word, with which merging begins."""
        ids: list[int] = []
        unknown = self.unknown.id
        for character in word:
            id = self.merges.pieces.get(character)
            if id is not None:
                ids.append(id)
            elif self._byte_ids:
                ids += [self._byte_ids[byte] for byte in character.encode("utf-8")]
            elif unknown is None:
                rule = "every character must be a piece, for the vocabulary has neither bytes nor an unknown token"
                raise ValueError(f"encode: {rule}, got {character!r}")
            elif not (self._fuses and ids and ids[-1] == unknown):
                ids.append(unknown)
        return ids

    def _split(
        self, chunks: Iterable[str], allowed: Sequence[str], *, inside: bool = False
    ) -> Iterator[list[str] | AddedToken]:
        """Yield the words and the added tokens of a text, each when no text that follows can change it."""
        finders = self._find(tuple(allowed))
        text, threshold, begins = "", BLOCK, not inside
        for chunk in chunks:
            for start in range(0, len(chunk), BLOCK):
                text += chunk[start : start + BLOCK]
                if len(text) >= threshold:
                    if end := self._last_cut(text, finders):
                        inside = yield from self._split_part(text[:end], finders, begins=begins, inside=inside)
                        text, begins = text[end:], False
                    threshold = max(BLOCK, 2 * len(text))  # doubling: a long word is searched few times
        yield from self._split_part(text, finders, begins=begins, inside=inside)

    def _split_part(
        self, text: str, finders: _Finders, *, begins: bool, inside: bool
    ) -> Generator[list[str] | AddedToken, None, bool]:
        """Yield the words and added tokens of a part of a text, and return whether it ends inside of a segment.

        The part `begins` the text, or begins `inside` of a segment, where no ▁ is added.
        """
        symbol, prefix = self.spaces.symbol, self.spaces.prefix
        for raw, token in finders.raw.split(text):
            if token is not None:
                yield token
                begins = inside = False
                continue
            segment = raw.replace(" ", symbol)
            if prefix == "segment" and not inside:
                segment = symbol + segment
                inside = True
            for words, token in finders.normalized.split(segment):
                if token is not None:
                    yield token
                    inside &= prefix == "segment"
                else:
                    added = not inside and (prefix == "missing" or (prefix == "first" and begins))
                    yield self._cut(symbol + words if added and not words.startswith(symbol) else words)
                    inside = True
                begins = False
        return inside

    def _cut(self, text: str) -> list[str]:
        """Cut a text into words, between neighbours that are nowhere inside of a piece: so no merge is lost."""
        joined = self._joined
        ends = [i for i, pair in enumerate(map(add, text, text[1:]), 1) if pair not in joined]
        if self._fuses and (unknown := set(text).difference(self.merges.pieces)):
            ends = [i for i in ends if text[i - 1] not in unknown or text[i] not in unknown]
        return [text[start:end] for start, end in pairwise([0, *ends, len(text)])]

    def _last_cut(self, text: str, finders: _Finders) -> int:
        """Return the last index where the two sides of a text can be split apart, whatever follows it, or 0."""
        for i in range(len(text) - 1, 0, -1):
            left, right = text[i - 1], text[i]
            if left + right in finders.raw_pairs or left in finders.edges or right in finders.edges:
                continue
            if finders.strips and (left.isspace() or right.isspace()):
                continue
            pair = (left + right).replace(" ", self.spaces.symbol)
            if pair in self._joined or pair in finders.normalized_pairs:
                continue
            if not (self._fuses and self.merges.pieces.keys().isdisjoint(pair)):
                return i
        return 0

    def _find(self, allowed: tuple[str, ...]) -> _Finders:
        """Return what looks for the added tokens that are not special, and for those that are allowed."""
        if allowed not in self._finders:
            tokens = [token for token in self.added_tokens if not token.special or token.text in allowed]
            normalized = [token._replace(text=token.pattern or token.text) for token in tokens if token.normalized]
            raw = [token for token in tokens if not token.normalized]
            whole = [token.text for token in raw + normalized if token.single_word]
            self._finders[allowed] = _Finders(
                TokenFinder(raw),
                TokenFinder(normalized),
                frozenset(pair for token in raw for pair in map(add, token.text, token.text[1:])),
                frozenset(pair for token in normalized for pair in map(add, token.text, token.text[1:])),
                frozenset(text[end] for text in whole for end in (0, -1)),
                any(token.lstrip or token.rstrip for token in tokens),
            )
        return self._finders[allowed]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; of neighbouring bytes that are not UTF-8, each becomes U+FFFD, as in Hugging Face's."""
        ids = list(ids)
        data = self.decode_bytes(ids)
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            runs = groupby(ids, self._decoded_as_bytes.__contains__)
            text = "".join(self._decode_run(run) for _, run in runs)
        return text.removeprefix(" ") if self.spaces.strip else text

    def _decode_run(self, run: Iterable[int]) -> str:
        data = self.decode_bytes(run)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "\ufffd" * len(data)

    def to_fields(self) -> dict[str, Any]:
        merges = self.merges
        ranked = (
            {"merges": [list(pair) for pair in merges.pairs()]} if merges.scores is None else {"scores": merges.scores}
        )
        return {
            "pieces": merges.pieces,
            **ranked,
            "added_tokens": [token._asdict() for token in self.added_tokens],
            "spaces": asdict(self.spaces),
            "unknown": asdict(self.unknown),
            "eot_id": self.eot_id,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        fields = check_form(fields, FIELDS | ({"scores": dict[str, float]} if "scores" in fields else {"merges": list}))
        pieces, scores = fields["pieces"], fields.get("scores")
        added = [AddedToken(**check_form(token, ADDED, "added_tokens")) for token in fields["added_tokens"]]
        if scores is not None:
            merges = PieceMerges(pieces, scores=scores)
        else:
            texts = {id: piece for piece, id in pieces.items()}
            merges = PieceMerges(pieces, (_merge_of_ids(merge, texts) for merge in fields["merges"]))
        return cls(merges, added, spaces=fields["spaces"], unknown=fields["unknown"], eot_id=fields["eot_id"])


ADDED = AddedToken.__annotations__
FIELDS = {"pieces": dict[str, int], "added_tokens": list, "spaces": Spaces, "unknown": Unknown, "eot_id": int | None}


def _merge_of_ids(merge: Any, texts: Mapping[int, str]) -> tuple[str, str]:
    """Return the pieces of a merge that is stored as two ids."""
    if not (isinstance(merge, list) and len(merge) == 2 and all(type(id) is int and id in texts for id in merge)):
        raise ValueError(f"'merges' must hold pairs of ids of pieces, got {quote(merge)}")
    return texts[merge[0]], texts[merge[1]]
