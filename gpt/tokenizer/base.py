"""Say what every tokenizer can do: turn text into ids and back, and be one JSON object."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar

from nanograd.runtime.files import write_text

FORMAT = "gpt-tokenizer"
VERSION = 1


class Tokenizer(ABC):
    """Turn text into ids and back.

    `vocab` gives the bytes that each id stands for. A tokenizer does not change once it is made, so `sha256`, the hash
    of all that it consists of, is its name: two with the same hash give the same ids for every text.
    """

    kind: ClassVar[str]
    vocab: dict[int, bytes]
    eot_id: int | None = None  # the id of <|endoftext|>, which stands between documents

    @cached_property
    def vocab_size(self) -> int:
        """Return the number of rows an embedding needs: the greatest id plus one."""
        return max(self.vocab) + 1

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""

    @abstractmethod
    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the text that `chunks` are parts of, in little memory."""

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, in which special tokens, if this tokenizer has any, are text like any other."""
        return self.encode(text)

    def encode_data(self, text: str) -> list[int]:
        """Return the ids of a text to learn or to measure: an <|endoftext|> written in it ends a document."""
        return self.encode(text)

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of each text."""
        return [self.encode(text) for text in texts]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the whole tokenizer as an object that JSON can hold; `tokenizer_from_dict` reads it back."""

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Return the bytes that `ids` stand for; they may begin or end inside a character.

        Raises ValueError for an id outside the vocabulary, TypeError for what is no flat row of ids.
        """
        try:
            return b"".join(map(self.vocab.__getitem__, ids))
        except KeyError as error:
            rule = f"decode: every id must be a token of this vocabulary, from 0 to {self.vocab_size - 1}"
            raise ValueError(f"{rule}, got {error.args[0]!r}; was it made by another tokenizer?") from None
        except TypeError:
            kind = type(ids).__name__
            raise TypeError(f"decode: ids must be a flat row of integers, got {kind}; for one id write [id]") from None

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`; bytes that are not UTF-8, such as half a character, become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    @property
    def sha256(self) -> str:
        """Return the SHA-256, in hex, of the canonical JSON of `to_dict()`."""
        return hashlib.sha256(self._json().encode("ascii")).hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokenizer as one JSON file, the whole of it or nothing."""
        write_text(path, self._json() + "\n")

    def _json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size})"


def check_text(name: str, text: str) -> None:
    """Raise unless `text` is a str that UTF-8 can write; `name` is the function the user called."""
    if not isinstance(text, str):
        kind = type(text).__name__
        raise TypeError(f"{name}: text must be a str, got {kind}; bytes become text with data.decode('utf-8')")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name}: UTF-8 cannot write a lone surrogate, got U+{ord(text[error.start]):04X} at index {error.start}; "
            "make it '?' with text.encode('utf-8', 'replace').decode('utf-8')"
        ) from None


def check_fields(fields: Mapping[str, Any], types: Mapping[str, type]) -> None:
    """Raise ValueError unless `fields` has exactly the keys of `types`, each with a value of its type.

    The keys format, version and kind, which every tokenizer has, are left to `tokenizer_from_dict`.
    """
    for name, kind in types.items():
        if name not in fields:
            raise ValueError(f"the key {name!r} is missing")
        if type(fields[name]) is not kind:
            raise ValueError(f"{name!r} must be a {kind.__name__}, got {type(fields[name]).__name__}")
    if unknown := sorted(fields.keys() - types.keys() - {"format", "version", "kind"}):
        raise ValueError(f"the key {unknown[0]!r} is unknown; the keys are {', '.join(types)}")


def header(kind: str) -> dict[str, Any]:
    """Return the keys with which every tokenizer's JSON says what it is."""
    return {"format": FORMAT, "version": VERSION, "kind": kind}
