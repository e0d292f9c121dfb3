"""The base class of tokenizers with special tokens, which `encode` reads only if they are allowed.

A text from outside could forge one: an <|im_end|> in a user's message would end it. tiktoken has the same rules.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

from gpt.tokenizer.base import Tokenizer
from gpt.tokenizer.pretokens import check_chunks

Specials = Literal["all"] | Collection[str]
Allowed = Specials | None  # None: those of the constructor


class SpecialTokenizer(Tokenizer):
    """A tokenizer with special tokens; `allowed_special` names those that `encode` reads by default."""

    special_tokens: dict[str, int]
    allowed_special: tuple[str, ...]

    @abstractmethod
    def _encode(self, chunks: Iterable[str], allowed: Sequence[str]) -> Iterator[Iterable[int]]:
        """Yield the ids of checked text segment by segment, with the allowed special tokens as their ids."""

    def encode(self, text: str, *, allowed_special: Allowed = None, disallowed_special: Specials = "all") -> list[int]:
        """Return the ids of `text`.

        Special tokens in the text become their ids if `allowed_special` is "all" or names them; None means the
        constructor's `allowed_special`. Of those that begin together the longest counts. The others are errors if
        `disallowed_special` names them, where "all" means all that are not allowed; else they are ordinary text. So
        encode(text, disallowed_special=()) accepts any text. tiktoken has the same rules.

        Raises ValueError for a special token that is disallowed, for a lone surrogate, or for a name that is not a
        special token of this tokenizer.
        """
        ids: list[int] = []
        for segment in self._encode(*self._check((text,), allowed_special, disallowed_special, "encode")):
            ids.extend(segment)
        return ids

    def encode_iterable(
        self, chunks: Iterable[str], *, allowed_special: Allowed = None, disallowed_special: Specials = "all"
    ) -> Iterator[int]:
        """Yield the ids of `encode("".join(chunks))` in little memory; the chunks may be the lines of a file.

        Ids are yielded while the text is read, each when no text that follows can change it.
        """
        checked = self._check(chunks, allowed_special, disallowed_special, "encode_iterable")
        return chain.from_iterable(self._encode(*checked))

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, with special tokens as ordinary text."""
        return self.encode(text, allowed_special=(), disallowed_special=())

    def encode_data(self, text: str, *, inside: bool = False) -> list[int]:
        """Return the ids of a text for training or evaluation, with special tokens as their ids."""
        return self.encode(text, allowed_special="all")

    def _check(
        self, chunks: Iterable[str], allowed: Allowed, disallowed: Specials, name: str
    ) -> tuple[Iterator[str], Sequence[str]]:
        """Return the chunks, which are checked while they are read, and the special tokens to read."""
        allowed = self.allowed_special if allowed is None else self._resolve("allowed_special", allowed)
        refused = self._resolve("disallowed_special", disallowed)
        if disallowed == "all":
            refused = tuple(sorted(set(refused).difference(allowed)))
        return check_chunks(chunks, name, refused), allowed

    def _resolve(self, option: str, tokens: Specials) -> tuple[str, ...]:
        """Return the special tokens that an option names; ValueError for one that this tokenizer lacks."""
        if tokens == "all":
            return tuple(sorted(self.special_tokens))
        if isinstance(tokens, str):
            raise ValueError(f"{option} must be 'all' or a set of special tokens, got {tokens!r}")
        if unknown := [token for token in tokens if token not in self.special_tokens]:
            known = ", ".join(map(repr, self.special_tokens)) or "none"
            raise ValueError(f"{option} must name special tokens of this tokenizer ({known}), got {unknown[0]!r}")
        return tuple(sorted(tokens))
