"""The tokenizer: byte-pair encoding as in GPT-2, made of `pretokens.py`, `trainer.py` and `word_encoder.py`.

Text is split into pre-tokens, each is written in UTF-8, and pairs are merged in the order in which training learned them.
All 256 bytes are tokens, so every text can be encoded, and decoding returns it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self

from gpt.tokenizer.added_tokens import FLAGS, AddedToken
from gpt.tokenizer.base import Vocab
from gpt.tokenizer.pairs import Pair, Word, merge_steps, split_bytes
from gpt.tokenizer.pretokens import EOT, Segment, check_special_tokens, cuts_at_split_points, split_pretokens
from gpt.tokenizer.special_tokens import Allowed, Specials, SpecialTokenizer
from gpt.tokenizer.splits import NAMED, PATTERNS, Pretokenizer, resolve, word_finder
from gpt.tokenizer.trainer import Progress, count_files, train_on_chunks, train_on_counts
from gpt.tokenizer.word_encoder import WordEncoder
from nanograd.runtime.files import StrPath
from nanograd.runtime.typed_json import check_form, quote, short

ENDS_OF_TEXT = (EOT, "<|end_of_text|>", "<｜end▁of▁sentence｜>")  # of Llama 3 and DeepSeek V3


class Explanation(NamedTuple):
    """The steps by which one pre-token, or one special token, becomes ids."""

    text: str
    start: Word  # the tokens before the first merge; () for a special token
    steps: list[tuple[int, Word]]  # the rank of the merge, and the tokens after it
    ids: list[int]


class BPETokenizer(SpecialTokenizer):
    """Byte-level BPE with special tokens.

    >>> tokenizer = BPETokenizer.train("low low low lower lowest", vocab_size=260)
    >>> tokenizer.merges
    [(b'o', b'w'), (b'l', b'ow'), (b' ', b'low')]
    >>> tokenizer.encode("low lower<|endoftext|>", allowed_special="all")  # 257 is low, 258 is " low"
    [257, 258, 101, 114, 259]

    Without `allowed_special`, an <|endoftext|> in the text is an error: it would read as the end of a document.
    """

    kind = "bpe"

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[Pair],
        special_tokens: Iterable[str] | Mapping[str, int] | None = (),
        *,
        pattern: str | Pretokenizer = "gpt2",
        allowed_special: Specials = "all",
        ignore_merges: bool = False,
        drops_bytes: bool = False,
        flags: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Take any vocabulary, such as `train_bpe` returns; special tokens it lacks get the ids after its greatest.

        `allowed_special` is the default of `encode`. Constructed directly, a tokenizer reads all special tokens in a text,
        as Stanford's CS336 asks. One that was trained or loaded allows none, like tiktoken's: a special token in a text
        from outside could be forged, so `encode` raises.

        The rest is for other projects' files. Special tokens may come with their ids; then one may also be made by merges.
        `ignore_merges`: a word that is a token is not merged. `drops_bytes`: bytes that are no tokens are left out, and not
        an error. `flags` gives special tokens those of AddedToken: normalized, lstrip, rstrip or single_word.

        Raises ValueError for tokens that are empty or have two ids, for merges that use tokens that the vocabulary lacks,
        for special tokens that text itself needs, and for an unknown pattern.
        """
        self.vocab = dict(vocab)
        self.merges = [(left, right) for left, right in merges]
        pretokenizer = resolve(pattern)
        word_finder(pretokenizer)  # raises for an expression that is not supported
        self.pattern = next((name for name in PATTERNS if NAMED[name] == pretokenizer), pretokenizer)
        self.special_tokens, ids_of, merged = add_special_tokens(self.vocab, self.merges, special_tokens or ())
        self.eot_id = next((self.special_tokens[name] for name in ENDS_OF_TEXT if name in self.special_tokens), None)
        self.end_ids = () if self.eot_id is None else (self.eot_id,)
        self.allowed_special = self._resolve("allowed_special", allowed_special)
        self.ignore_merges, self.drops_bytes = ignore_merges, drops_bytes
        self.flags = {token: tuple(sorted(names)) for token, names in (flags or {}).items() if names}
        if unknown := [name for names in self.flags.values() for name in names if name not in FLAGS]:
            raise ValueError(f"BPETokenizer: flags must be among {', '.join(FLAGS)}, got {unknown[0]!r}")
        self._resolve("flags", self.flags.keys())
        self._tokens = {
            token: token if token not in self.flags else self._added(token) for token in self.special_tokens
        }
        self.cuts_at_split_points = cuts_at_split_points(pretokenizer, self._tokens.values())
        self._ids_of = ids_of
        special = set(self.special_tokens.values())
        whole = (
            {data: id for data, id in ids_of.items() if id not in special or data in merged} if ignore_merges else None
        )
        self._words = WordEncoder(ids_of, self.merges, whole=whole, drops_bytes=drops_bytes)

    def _added(self, token: str) -> AddedToken:
        flags: dict[str, Any] = dict.fromkeys(self.flags[token], True)
        return AddedToken(token, self.special_tokens[token], **flags)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        special_tokens: Iterable[str] = (EOT,),
        allowed_special: Specials = (),
    ) -> "BPETokenizer":
        """Learn the merges of `text`; see `train_bpe` for the order of the ids and for the errors.

        A text too small for `vocab_size` gives fewer tokens: see `tokenizer.vocab_size`.
        """
        special_tokens = check_special_tokens("BPETokenizer.train", special_tokens)
        vocab, merges = train_on_chunks((text,), vocab_size, special_tokens, pattern=pattern, name="BPETokenizer.train")
        return cls(vocab, merges, special_tokens, pattern=pattern, allowed_special=allowed_special)

    @classmethod
    def train_files(
        cls,
        paths: Iterable[StrPath],
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
        count = partial(count_files, paths, pattern=pattern, workers=workers, plain=True, progress=progress)
        vocab, merges = train_on_counts(count, vocab_size, special_tokens, name=name)
        return cls(vocab, merges, special_tokens, pattern=pattern, allowed_special=())

    def encode_bytes(self, data: bytes) -> list[int]:
        """Return the ids of any bytes, the inverse of `decode_bytes`; special tokens are ordinary bytes.

        Valid UTF-8 gets the ids of `encode_ordinary`; any other byte is a character of its own.
        """
        pattern = resolve(self.pattern)._replace(normalizer=None, prefix_space=False)
        segments = split_pretokens((data.decode("utf-8", "surrogateescape"),), pattern)
        return [id for segment in segments for word in segment.words for id in self._words[word]]

    def explain(
        self, text: str, *, allowed_special: Allowed = None, disallowed_special: Specials = "all"
    ) -> list[Explanation]:
        """Return how each pre-token of `text` becomes ids: every merge, in order.

        >>> tokenizer = BPETokenizer.train("low low low lower lowest", vocab_size=260)
        >>> tokenizer.explain("lower")[0].steps
        [(0, (b'l', b'ow', b'e', b'r')), (1, (b'low', b'e', b'r'))]
        """
        ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        explanations: list[Explanation] = []
        chunks, allowed = self._check((text,), allowed_special, disallowed_special, "explain")
        for words, special in self._split(chunks, allowed):
            for word in words:
                data = self._words.to_merge(word)
                steps = [(ranks[pair], tokens) for pair, tokens in merge_steps(data, ranks)]
                explanations.append(Explanation(word, split_bytes(data), steps, list(self._words[word])))
            if special is not None:
                explanations.append(Explanation(special, (), [], [self.special_tokens[special]]))
        return explanations

    def _encode(self, chunks: Iterable[str], allowed: Sequence[str]) -> Iterator[Iterable[int]]:
        return (
            chain.from_iterable(map(self._words.__getitem__, words))
            if special is None
            else (self.special_tokens[special],)
            for words, special in self._split(chunks, allowed)
        )

    def _split(self, chunks: Iterable[str], allowed: Sequence[str]) -> Iterator[Segment]:
        return split_pretokens(chunks, self.pattern, tuple(map(self._tokens.__getitem__, allowed)))

    def to_fields(self) -> dict[str, Any]:
        """Return the vocabulary, the merges and the special tokens as an object for JSON.

        A token is written as text with one character, U+0000 to U+00FF, for each byte; a merge as two ids.
        """
        special_ids = set(self.special_tokens.values())
        optional = {
            "ignore_merges": self.ignore_merges,
            "drops_bytes": self.drops_bytes,
            "flags": {token: list(names) for token, names in self.flags.items()},
        }
        return {
            "pattern": self.pattern if isinstance(self.pattern, str) else self.pattern.to_fields(),
            "vocab": {token.decode("latin-1"): id for id, token in self.vocab.items() if id not in special_ids},
            "merges": [[self._ids_of[left], self._ids_of[right]] for left, right in self.merges],
            "special_tokens": dict(self.special_tokens),
            "allowed_special": list(self.allowed_special),
            **{key: value for key, value in optional.items() if value},
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        form = {
            "pattern": str | dict, "vocab": dict, "merges": list, "special_tokens": dict, "allowed_special": list[str],
        }  # fmt: skip
        optional = {"ignore_merges": bool, "drops_bytes": bool, "flags": dict[str, list[str]]}
        form |= {key: optional[key] for key in fields if key in optional}  # type: ignore[misc]
        fields = check_form(fields, form)
        vocab: Vocab = {}
        add_tokens(vocab, "vocab", fields["vocab"], lambda token: token.encode("latin-1"))
        add_tokens(vocab, "special_tokens", fields["special_tokens"], lambda token: token.encode("utf-8"))
        merges: list[Pair] = []
        for merge in fields["merges"]:
            if not (isinstance(merge, list) and len(merge) == 2 and all(type(id) is int for id in merge)):
                raise ValueError(f"'merges' must hold pairs of ids, got {quote(merge)}")
            if unknown := [id for id in merge if id not in vocab]:
                raise ValueError(f"merge {len(merges)} names the id {unknown[0]}, which no token has")
            merges.append((vocab[merge[0]], vocab[merge[1]]))
        pattern = fields["pattern"]
        return cls(
            vocab,
            merges,
            fields["special_tokens"],
            pattern=pattern if isinstance(pattern, str) else Pretokenizer.from_fields(pattern),
            allowed_special=fields["allowed_special"],
            **{key: fields[key] for key in optional if key in fields},
        )


# Checks of a vocabulary and its merges, whatever file they come from: errors are reported before anything is encoded.


def add_tokens(vocab: Vocab, section: str, tokens: Mapping[Any, Any], to_bytes: Callable[[str], bytes]) -> None:
    """Add the tokens of a file's `section`, texts with their ids, to `vocab`; ValueError if they are invalid."""
    for token, id in tokens.items():
        if not isinstance(token, str) or type(id) is not int:
            raise ValueError(f"{section!r} must give texts an integer id, got {quote(token)}: {quote(id)}")
        if id in vocab:
            raise ValueError(f"{section!r} gives {quote(token)} the id {short(str(id))}, which another token has")
        try:
            vocab[id] = to_bytes(token)
        except UnicodeEncodeError as error:
            raise ValueError(f"{section!r} has {quote(token)}, which is not written in {error.encoding}") from None
        except ValueError as error:
            raise ValueError(f"{section!r} has {quote(token)}: {error}") from None


def add_special_tokens(
    vocab: Vocab, merges: Sequence[Pair], special_tokens: Iterable[str] | Mapping[str, int]
) -> tuple[dict[str, int], dict[bytes, int], set[bytes]]:
    """Add special tokens to `vocab`: with their ids, which merges may make too, or with the ids after its greatest.

    Return the ids of the special tokens, those of all tokens, and the tokens that merges make. Raises ValueError for an
    invalid vocabulary or merge, and for a special token without an id that a merge makes.
    """
    if isinstance(special_tokens, Mapping):
        special_ids = set(special_tokens.values())
        ids_of = invert_vocab({id: token for id, token in vocab.items() if id not in special_ids})
        for text, id in special_tokens.items():
            ids_of.setdefault(vocab.setdefault(id, text.encode("utf-8")), id)
        return dict(special_tokens), ids_of, check_merges(merges, ids_of)
    ids_of = invert_vocab(vocab)
    merged, special = check_merges(merges, ids_of), dict[str, int]()
    for text in check_special_tokens("BPETokenizer", special_tokens):
        token = text.encode("utf-8")
        if token in merged:
            rule = "a special token must not be the result of a merge"
            raise ValueError(f"BPETokenizer: {rule}, got {text!r}; write it like {EOT!r}")
        if token not in ids_of:
            ids_of[token] = max(vocab) + 1
            vocab[ids_of[token]] = token
        special[text] = ids_of[token]
    return special, ids_of, merged


def invert_vocab(vocab: Mapping[int, bytes]) -> dict[bytes, int]:
    """Return the id of each token; raise unless ids are natural numbers and tokens are distinct and not empty."""
    if not vocab:
        raise ValueError("BPETokenizer: the vocabulary must have tokens, got none")
    ids_of: dict[bytes, int] = {}
    for id, token in vocab.items():
        if not isinstance(id, int) or not isinstance(token, bytes):
            raise TypeError(f"BPETokenizer: vocab must map ids to bytes, got {quote(id)}: {quote(token)}")
        if id < 0:
            raise ValueError(f"BPETokenizer: ids must be 0 or greater, got {short(str(id))} for {quote(token)}")
        if not token:
            raise ValueError(f"BPETokenizer: a token must have at least one byte, got {quote(token)} for id {id}")
        if token in ids_of:
            raise ValueError(f"BPETokenizer: a token must have one id, got {ids_of[token]} and {id} for {quote(token)}")
        ids_of[token] = id
    return ids_of


def check_merges(merges: Sequence[Pair], ids_of: Mapping[bytes, int]) -> set[bytes]:
    """Return the merged tokens; ValueError unless the merges are distinct and join tokens to tokens."""
    seen: set[Pair] = set()
    merged: set[bytes] = set()
    for rank, (left, right) in enumerate(merges):
        both = left + right
        if not (left in ids_of and right in ids_of and both in ids_of) or (left, right) in seen:
            missing = [token for token in (left, right, both) if token not in ids_of]
            problem = f"needs {quote(missing[0])}, which the vocabulary does not have" if missing else "is there twice"
            raise ValueError(f"BPETokenizer: merge {rank} of {quote(left)} and {quote(right)} {problem}")
        seen.add((left, right))
        merged.add(both)
    return merged
