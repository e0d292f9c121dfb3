"""The interface of every tokenizer: turn text into ids and back, and be stored as one JSON object."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

from nanograd.runtime.files import StrPath, write_text
from nanograd.runtime.typed_json import check_form

Vocab = dict[int, bytes]  # from each id to its bytes
FORMAT = "gpt-tokenizer"
VERSION = 1
BOS_EOS = {"bos_id": int | None, "adds_bos": bool, "end_ids": list[int]}  # what `with_bos_eos` takes


class Tokenizer(ABC):
    """Turn text into ids and back.

    `vocab` maps each id to its bytes. Nothing may change a tokenizer: `sha256`, the hash of its contents, is computed once
    and identifies it. Two with the same hash give the same ids for every text.
    """

    kind: ClassVar[str]
    vocab: Vocab
    special_tokens: Mapping[str, int] = {}  # the tokens that ordinary text never becomes, by their text
    allowed_special: Collection[str] = ()  # those that `encode` reads in any text
    eot_id: int | None = None  # the id of <|endoftext|>, which separates documents
    bos_id: int | None = None  # BOS, the token that begins a text without a prompt, if the model knows one
    adds_bos: bool = False  # whether bos_id precedes every text, as it did when the model was trained
    end_ids: tuple[int, ...] = ()  # EOS: the tokens at which generation ends
    cuts_at_split_points: bool = True  # whether a text can be cut there (see pretokens.py), and the ids joined
    _bos_eos: Mapping[str, Any] = {}  # what `with_bos_eos` changed

    @cached_property
    def vocab_size(self) -> int:
        """Return the number of rows an embedding needs: the greatest id plus one."""
        return max(self.vocab) + 1

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""

    @abstractmethod
    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the text "".join(chunks), in little memory."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, with special tokens, if this tokenizer has any, as ordinary text."""
        return self.encode(text)

    def encode_data(self, text: str, *, inside: bool = False) -> list[int]:
        """Return the ids of a text for training or evaluation: an <|endoftext|> written in it ends a document.

        The caller puts `prefix` before them. `inside`: the text continues another, cut at a split point.
        """
        return self.encode(text)

    @property
    def prefix(self) -> list[int]:
        """Return the ids that precede every text: [bos_id] or none."""
        return [self.bos_id] if self.adds_bos and self.bos_id is not None else []

    def with_bos_eos(self, *, bos_id: int | None, adds_bos: bool, end_ids: Iterable[int]) -> Self:
        """Return a copy with other BOS and EOS tokens, as the files of a model name them.

        bos_id    the token that begins a text without a prompt, or None
        adds_bos  whether it precedes every text
        end_ids   the tokens at which generation ends

        Raises ValueError for an id outside the vocabulary, and if no token can be added before a text.
        """
        end_ids = tuple(dict.fromkeys(end_ids))
        for id in end_ids if bos_id is None else (bos_id, *end_ids):
            if type(id) is not int or id not in self.vocab:
                raise ValueError(f"with_bos_eos: every id must be a token of this vocabulary, got {id!r}")
        if adds_bos and bos_id is None:
            raise ValueError("with_bos_eos: adds_bos needs a bos_id, got None")
        changed = {"bos_id": bos_id, "adds_bos": adds_bos, "end_ids": end_ids}
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, **changed, _bos_eos=changed)
        return copy

    def encode_batch(self, texts: Iterable[str], **options: Any) -> list[list[int]]:
        """Return the ids of each text; the options are those of `encode`."""
        return [self.encode(text, **options) for text in texts]

    @abstractmethod
    def to_fields(self) -> dict[str, Any]:
        """Return what is peculiar to this kind of tokenizer, for `to_dict`."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_fields` returned; ValueError says what is wrong with it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the whole tokenizer as an object for JSON; `tokenizer_from_dict` reads it."""
        changed = {**self._bos_eos, "end_ids": list(self.end_ids)} if self._bos_eos else {}
        return {"format": FORMAT, "version": VERSION, "kind": self.kind, **self.to_fields(), **changed}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote; ValueError says what is wrong with it."""
        own = {key: value for key, value in fields.items() if key not in ("format", "version", "kind", *BOS_EOS)}
        tokenizer = cls.from_fields(own)
        ids = {key: fields[key] for key in BOS_EOS if key in fields}
        return tokenizer.with_bos_eos(**check_form(ids, BOS_EOS)) if ids else tokenizer

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)  # pickled without its caches

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of `ids`; they may begin or end inside a character.

        Raises ValueError for an id outside the vocabulary, TypeError if `ids` is not a flat sequence of ids.
        """
        try:
            return b"".join(map(self.vocab.__getitem__, ids))
        except KeyError as error:
            rule = f"decode: every id must be a token of this vocabulary, from 0 to {self.vocab_size - 1}"
            raise ValueError(f"{rule}, got {error.args[0]!r}; was it made by another tokenizer?") from None
        except TypeError:
            kind = type(ids).__name__
            raise TypeError(f"decode: ids must be a flat sequence of ids, got {kind}; for one id write [id]") from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; invalid UTF-8, such as half a character, becomes U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @property
    def sha256(self) -> str:
        """Return the SHA-256, in hex, of the canonical JSON of `to_dict()`.

        BOS and EOS are left out if there is no `prefix`: then they change the ids of no text.
        """
        fields = self.to_dict()
        counts = {key: value for key, value in fields.items() if key not in BOS_EOS or self.prefix}
        return hashlib.sha256(_json(counts).encode("ascii")).hexdigest()

    def save(self, path: StrPath) -> None:
        """Write the tokenizer as one JSON file, atomically."""
        write_text(path, _json(self.to_dict()) + "\n")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def check_text(name: str, text: str) -> None:
    """Raise unless `text` is a str that UTF-8 can encode; `name` is the function that the user called."""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"{name}: text must be a str, got {kind}; bytes become text with data.decode('utf-8')")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at index {error.start}"
        way_out = "replace it, for example by '?'; text from a file or a terminal has one where it is not UTF-8"
        raise ValueError(f"{name}: UTF-8 cannot encode a lone surrogate, got {found}; {way_out}") from None
