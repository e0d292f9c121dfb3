"""Split text into pre-tokens, the words across whose edges no pair is ever merged.

Without them a merge could join a word, the space and the next word ("of the"), and the vocabulary would fill with such
accidents. A pattern covers every character, so the pre-tokens of a text, joined, are the text again.

The text comes in chunks, and where it is cut must not be seen in the result. So only those pre-tokens are handed on
which stay as they are whatever follows; the others wait for the next chunk.
"""

import difflib
import functools
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from gpt.tokenizer.base import check_text
from gpt.tokenizer.unicode16 import as_unicode_16

EOT = "<|endoftext|>"
BLOCK = 1 << 15  # characters searched at once: the strings found in them fit the cache, and memory stays small

PATTERNS = {
    # GPT-2: github.com/openai/gpt-2, src/encoder.py, Encoder.__init__
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # GPT-3.5 and GPT-4: github.com/openai/tiktoken, tiktoken_ext/openai_public.py, cl100k_base
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    # GPT-4o: the same file, o200k_base
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

# The same for ASCII, in an order that fails seldom: alternatives which cannot begin alike may change places, and one
# whose first character is known is passed over at once. 1.1 MB of English: 34 instead of 41 ms.
FASTER = {"gpt2": r" [A-Za-z]+|[A-Za-z]+|'(?:[stmd]|re|ve|ll)|[^\sA-Za-z0-9]+| [^\sA-Za-z0-9]+| ?[0-9]+|\s+(?!\S)|\s+"}

_ASCII = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}
_OPEN_RUN = regex.compile(r"(?r)\s+|[\p{L}\p{M}]+")  # (?r): match backwards, from the end


class Piece(NamedTuple):
    """Some pre-tokens, or none of them and a special token."""

    words: list[str]
    special: str | None


def split_text(
    chunks: Iterable[str], pattern: str, special_tokens: Sequence[str] = (), *, block: int = BLOCK
) -> Iterator[Piece]:
    """Split the text that `chunks` are parts of into pre-tokens and special tokens, alike for every way to cut it.

    Of special tokens that begin at the same character the longest counts. Beside the chunk at hand, what is held in
    memory is a few times `block` characters, or a few times the longest pre-token if that is more.

    Raises ValueError for an unknown pattern.
    """
    find_words = word_finder(pattern)
    find_specials = _special_finder(tuple(special_tokens))
    waiting: list[str] = []
    size, enough = 0, block
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size < enough:
            continue
        text = "".join(waiting)
        settled = yield from _split_settled(text, find_words, find_specials, block=block, more=True)
        waiting = [text[settled:]]
        size -= settled
        enough = max(block, 2 * size)  # doubling: a long word is searched again few times, not once a chunk
    yield from _split_settled("".join(waiting), find_words, find_specials, block=block, more=False)


def checked_texts(chunks: Iterable[str], name: str, refused: Sequence[str] = ()) -> Iterator[str]:
    """Hand on the chunks of a text that is fit to be encoded; `name` is the function that errors speak of.

    Raises TypeError for a chunk that is no str, ValueError for a lone surrogate, or for a special token that is
    `refused`, also where chunks cut it.
    """
    specials = _special_finder(tuple(refused))
    tail, end = "", 0
    for chunk in chunks:
        check_text(name, chunk)
        if specials is not None:
            window = tail + chunk
            if found := specials.pattern.search(window):
                token, at = found[0], end - len(tail) + found.start()
                raise ValueError(
                    f"{name}: a special token must be allowed, got {token!r} at index {at} of the text; "
                    f"allowed_special={{{token!r}}} gives its id, disallowed_special=() takes it as text"
                )
            end += len(chunk)
            tail = window[max(0, len(window) - specials.longest + 1) :]
        yield chunk


@functools.cache
def word_finder(pattern: str) -> Callable[[str], list[str]]:
    """Return the function that finds the pre-tokens of a text; ValueError for a name that PATTERNS does not have."""
    if pattern not in PATTERNS:
        near = difflib.get_close_matches(str(pattern), PATTERNS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"pattern must be one of {', '.join(map(repr, PATTERNS))}, got {pattern!r}{hint}")
    find = regex.compile(PATTERNS[pattern]).findall
    find_in_ascii = re.compile(FASTER.get(pattern, _ascii_form(PATTERNS[pattern])), re.ASCII).findall

    def find_words(text: str) -> list[str]:
        if text.isascii():
            return find_in_ascii(text)  # 1.1 MB of English: 41 instead of 93 ms
        seen = as_unicode_16(text)
        words: list[str] = find(seen)
        if seen is text:
            return words
        ends = accumulate(map(len, words), initial=0)
        return [text[start:end] for start, end in pairwise(ends)]

    return find_words


def check_special_tokens(name: str, special_tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the special tokens as a tuple; raise unless they are distinct texts of more than one byte."""
    if isinstance(special_tokens, str):
        raise TypeError(f"{name}: special_tokens must be a list of texts, got a str; write [{special_tokens!r}]")
    special_tokens = tuple(special_tokens)
    for i, token in enumerate(special_tokens):
        check_text(f"{name}: special_tokens", token)
        if len(token.encode("utf-8")) < 2:
            raise ValueError(
                f"{name}: a special token must be longer than a byte, got {token!r}, which text itself needs; "
                f"write it like {EOT!r}"
            )
        if token in special_tokens[:i]:
            raise ValueError(f"{name}: special_tokens must be distinct, got {token!r} twice")
    return special_tokens


class _SpecialFinder(NamedTuple):
    pattern: re.Pattern[str]
    longest: int


@functools.lru_cache(maxsize=64)
def _special_finder(special_tokens: tuple[str, ...]) -> _SpecialFinder | None:
    if not special_tokens:
        return None
    longest_first = sorted(special_tokens, key=len, reverse=True)  # of the alternatives, `re` takes the first that fits
    return _SpecialFinder(re.compile("|".join(map(re.escape, longest_first))), len(longest_first[0]))


def _split_settled(
    text: str, find_words: Callable[[str], list[str]], specials: _SpecialFinder | None, *, block: int, more: bool
) -> Generator[Piece, None, int]:
    """Yield the pieces of `text` and return where they end: its end or, with `more` to come, where it is unsettled."""
    start, stop = 0, len(text)
    if specials is not None:
        for found in specials.pattern.finditer(text):
            if more and found.start() + specials.longest > len(text):
                break  # with more text a longer one may begin here
            yield from _split_words(text, start, found.start(), find_words, block=block, more=False)
            yield Piece([], found[0])
            start = found.end()
        if more:
            stop = max(start, stop - specials.longest + 1)  # one may begin in the last characters
    return (yield from _split_words(text, start, stop, find_words, block=block, more=more))


def _split_words(
    text: str, start: int, stop: int, find_words: Callable[[str], list[str]], *, block: int, more: bool
) -> Generator[Piece, None, int]:
    """Yield the pre-tokens of text[start:stop], a block at a time, and return where they end."""
    size = block
    while start < stop:
        part = text[start : min(start + size, stop)]
        words, end = find_words(part), len(part)
        last = start + end == stop
        if more or not last:
            settled = _settled_end(part)
            while words and end > settled:
                end -= len(words.pop())
        if words:
            yield Piece(words, None)
            start, size = start + end, block
        else:
            size *= 2  # a word longer than the block
        if last:
            break
    return start


def _settled_end(text: str) -> int:
    """Return an index such that the pre-tokens which end there or before stay as they are, whatever text follows.

    No pattern looks back, so a pre-token depends on what follows it alone, and on how far the search for it looked:
    - at most 3 characters past its end, for a contraction such as 'll;
    - to the end of a run of white space, which is cut before its last character or after its last line break;
    - to the end of a run of letters and marks, which o200k cuts before a capital only if no small letter follows later.
    So it is settled if it ends 3 characters before the end of the text and not inside such a run that the end cuts off.
    """
    run = _OPEN_RUN.match(text)
    return min(len(text) - 3, run.start() if run else len(text))


def _ascii_form(pattern: str) -> str:
    r"""Write the classes \p{…} out for text that is ASCII, so that `re`, faster than `regex`, can search it."""

    def write_out(found: re.Match[str]) -> str:
        members = re.sub(r"\\p\{(\w+)\}", lambda name: _ASCII[name[1]], found[0])
        return members if members.startswith("[") else f"[{members}]"

    return re.sub(r"\[[^]]*\]|\\p\{\w+\}", write_out, pattern)
