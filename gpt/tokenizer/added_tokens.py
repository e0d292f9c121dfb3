"""Find added tokens in a text: those that are no result of merges, such as <s>, <|endoftext|> or <unused0>.

They are cut out of a text before anything else. Of those that begin at the same character the longest counts. The rules
are those of Hugging Face's tokenizers, so that their files give the same ids.

Source: https://github.com/huggingface/tokenizers, tokenizers/src/tokenizer/added_vocabulary.rs (find_matches)
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

# As Rust defines them; Python's white space has U+001C to U+001F too
_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]")
_SPACES_BEFORE, _SPACES_AFTER = regex.compile(r"(?r)\p{White_Space}*"), regex.compile(r"\p{White_Space}*")
FLAGS = ("normalized", "lstrip", "rstrip", "single_word")  # fields of AddedToken


class AddedToken(NamedTuple):
    """A token that is found by its text."""

    text: str
    id: int
    special: bool = True  # read only where it is allowed; the others are read in every text
    normalized: bool = False  # looked for after normalization
    lstrip: bool = False  # takes the white space before it
    rstrip: bool = False  # takes the white space after it
    single_word: bool = False  # read only where no letter, digit or underscore is next to it
    pattern: str = ""  # what is looked for, if not `text`


class TokenFinder:
    """Cuts a text at added tokens.

    >>> finder = TokenFinder([AddedToken("<s>", 1), AddedToken("<s><s>", 7)])
    >>> [(text, token and token.id) for text, token in finder.split("a<s><s><s>b")]
    [('a', None), ('', 7), ('', 1), ('b', None)]
    """

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        self.tokens = {token.text: token for token in tokens}
        # The lengths, by the first two characters: after a line break few of Gemma's 31 tokens of line breaks are possible
        lengths: dict[str, set[int]] = {}
        for text in self.tokens:
            lengths.setdefault(text[:2], set()).add(len(text))
        self._lengths = {start: sorted(sizes, reverse=True) for start, sizes in lengths.items()}
        self._first = re.compile("|".join(map(re.escape, {start[0] for start in lengths})) or r"(?!)")

    def split(self, text: str) -> Iterator[tuple[str, AddedToken | None]]:
        """Yield the text before each token, unless it is empty, and the token."""
        end = 0  # of what was yielded
        for start, token in self._matches(text):
            stop = start + len(token.text)
            if token.single_word and (_WORD.match(text, stop) or (start > 0 and _WORD.match(text, start - 1))):
                continue
            if token.lstrip:
                start = _SPACES_BEFORE.match(text, end, max(end, start)).start()
            if token.rstrip:
                stop = _SPACES_AFTER.match(text, stop).end()
            if end < start:
                yield text[end:start], None
            if start < stop:  # else the token before has taken it as white space
                yield "", token
            end = stop
        if end < len(text):
            yield text[end:], None

    def _matches(self, text: str) -> Iterator[tuple[int, AddedToken]]:
        """Yield the tokens from left to right, none inside another, and where each begins."""
        match = self._first.search(text)
        while match:
            start = stop = match.start()
            longer, one = self._lengths.get(text[start : start + 2], ()), self._lengths.get(match[0], ())
            for length in (*longer, *one):
                token = self.tokens.get(text[start : start + length])
                if token is not None:
                    yield start, token
                    stop += length
                    break
            match = self._first.search(text, max(stop, start + 1))
