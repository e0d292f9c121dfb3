"""Give every character its own id: the simplest tokenizer there is.

A text has few distinct characters (65 in all of tinyshakespeare), so the vocabulary is tiny and nothing needs to be
learned. The price is length: one id for every character. Byte pairs (`bpe.py`, 4096 tokens) need a third as many.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise
from typing import Any, Self

from gpt.tokenizer.base import Tokenizer, check_text
from nanograd.runtime.typed_json import check_form


class CharTokenizer(Tokenizer):
    """Number the distinct characters of a text in sorted order.

    >>> tokenizer = CharTokenizer.train("hello")
    >>> tokenizer.encode("hole")  # e h l o are 0 1 2 3
    [1, 3, 2, 0]
    >>> tokenizer.decode([1, 3, 2, 0])
    'hole'
    """

    kind = "char"

    def __init__(self, characters: str) -> None:
        """Take the characters in the order of their ids: sorted, each once.

        Raises ValueError if there are none, if they are unsorted or repeated, or for a lone surrogate.
        """
        check_text("CharTokenizer", characters)
        if not characters:
            raise ValueError("CharTokenizer: the vocabulary needs at least one character, got none; is the text empty?")
        for before, after in pairwise(characters):
            if before == after:
                raise ValueError(f"CharTokenizer: characters must be distinct, got {_name(after)} twice")
            if before > after:
                found = f"{_name(after)} after {_name(before)}; give them sorted"
                raise ValueError(f"CharTokenizer: characters must be sorted, got {found}")
        self.characters = characters
        self.vocab = {id: character.encode("utf-8") for id, character in enumerate(characters)}
        self._ids = {character: id for id, character in enumerate(characters)}

    @classmethod
    def train(cls, text: str) -> "CharTokenizer":
        """Return the tokenizer of the distinct characters of `text`; ValueError if it is empty."""
        check_text("CharTokenizer.train", text)
        return cls("".join(sorted(set(text))))

    def encode(self, text: str) -> list[int]:
        """Return one id for each character; ValueError names the characters that the vocabulary lacks."""
        try:
            return list(map(self._ids.__getitem__, text))
        except (KeyError, TypeError):
            check_text("encode", text)
            missing = sorted(set(text) - self._ids.keys())
            names = ", ".join(map(_name, missing[:5])) + (", …" if len(missing) > 5 else "")
            others = f"{len(missing)} others: {names}; train on a text that has them, or remove them from this one"
            rule = f"characters must be among the {len(self._ids)} of the vocabulary"
            raise ValueError(f"encode: {rule}, got {others}") from None

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """Yield the ids of the text "".join(chunks)."""
        return chain.from_iterable(map(self.encode, chunks))

    def to_fields(self) -> dict[str, Any]:
        return {"characters": self.characters}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        check_form(fields, {"characters": str})
        return cls(fields["characters"])


def _name(character: str) -> str:
    return f"{character!r} (U+{ord(character):04X})"
