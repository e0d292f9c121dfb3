"""Split text into pre-tokens: words, numbers, punctuation, spaces. No pair is merged across their edges.

Without them a merge could join a word, the space and the next word ("of the"), and the vocabulary would fill with such
accidents. A pattern matches every character, so the pre-tokens of a text, joined, are the text again.

A text may come in chunks, cut anywhere; the result is that of the whole text. So a pre-token is passed on only when no
text that follows can change it, and the rest waits for the next chunk. At a *split point* the opposite holds: a text can
be cut there, its two sides encoded apart, and the ids joined.
"""

import difflib
import functools
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from gpt.tokenizer.base import check_text

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

# The same for ASCII, faster: alternatives that cannot begin alike may change places, so the frequent ones come first, and
# one that begins with a fixed character fails at once. 1.1 MB of English: 34 instead of 41 ms.
FASTER = {"gpt2": r" [A-Za-z]+|[A-Za-z]+|'(?:[stmd]|re|ve|ll)|[^\sA-Za-z0-9]+| [^\sA-Za-z0-9]+| ?[0-9]+|\s+(?!\S)|\s+"}

_ASCII = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}
_OPEN_RUN = regex.compile(r"(?r)\s+|[\p{L}\p{M}]+")  # (?r): match backwards, from the end


class Segment(NamedTuple):
    """Pre-tokens that follow one another, or none and one special token."""

    words: list[str]
    special: str | None


def split_pretokens(
    chunks: Iterable[str], pattern: str, special_tokens: Sequence[str] = (), *, block: int = BLOCK
) -> Iterator[Segment]:
    """Split the text "".join(chunks) into pre-tokens and special tokens; where it is cut makes no difference.

    Of special tokens that begin at the same character the longest counts. Memory holds the current chunk and a few times
    `block` characters, or a few times the longest pre-token if that is more.

    Raises ValueError for an unknown pattern.
    """
    find_words = word_finder(pattern)
    find_specials = _special_finder(tuple(special_tokens))
    buffer: list[str] = []
    size, threshold = 0, block
    for chunk in chunks:
        buffer.append(chunk)
        size += len(chunk)
        if size < threshold:
            continue
        text = "".join(buffer)
        end = yield from _split_final(text, find_words, find_specials, block=block, more=True)
        buffer = [text[end:]]
        size -= end
        threshold = max(block, 2 * size)  # doubling: a long word is searched again few times, not once a chunk
    yield from _split_final("".join(buffer), find_words, find_specials, block=block, more=False)


def check_chunks(chunks: Iterable[str], name: str, disallowed: Sequence[str] = ()) -> Iterator[str]:
    """Yield the chunks of a text after checking that it can be encoded; errors begin with `name`, the function called.

    Raises TypeError for a chunk that is not a str, ValueError for a lone surrogate or for a special token that is
    disallowed, even if it lies across two chunks.
    """
    specials = _special_finder(tuple(disallowed))
    tail, end = "", 0
    for chunk in chunks:
        check_text(name, chunk)
        if specials is not None:
            window = tail + chunk
            if match := specials.pattern.search(window):
                token, index = match[0], end - len(tail) + match.start()
                found = f"got {token!r} at index {index} of the text"
                way_out = f"allowed_special={{{token!r}}} gives its id, disallowed_special=() reads it as text"
                raise ValueError(f"{name}: a special token must be allowed, {found}; {way_out}")
            end += len(chunk)
            tail = window[max(0, len(window) - specials.longest + 1) :]
        yield chunk


@functools.cache
def word_finder(pattern: str) -> Callable[[str], list[str]]:
    """Return the function that finds the pre-tokens of a text; ValueError if PATTERNS has no such name."""
    if pattern not in PATTERNS:
        near = difflib.get_close_matches(str(pattern), PATTERNS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"pattern must be one of {', '.join(map(repr, PATTERNS))}, got {pattern!r}{hint}")
    find = regex.compile(PATTERNS[pattern]).findall
    find_in_ascii = re.compile(FASTER.get(pattern, _ascii_form(PATTERNS[pattern])), re.ASCII).findall

    def find_words(text: str) -> list[str]:
        if text.isascii():
            return find_in_ascii(text)  # 1.1 MB of English: 41 instead of 93 ms
        mapped = as_unicode_16(text)
        words: list[str] = find(mapped)
        if mapped is text:
            return words
        ends = accumulate(map(len, words), initial=0)
        return [text[start:end] for start, end in pairwise(ends)]

    return find_words


def check_special_tokens(name: str, special_tokens: Iterable[str]) -> tuple[str, ...]:
    """Return the special tokens as a tuple; raise unless they are distinct texts of two bytes or more."""
    if isinstance(special_tokens, str):
        raise TypeError(f"{name}: special_tokens must be a list of texts, got a str; write [{special_tokens!r}]")
    special_tokens = tuple(special_tokens)
    for i, token in enumerate(special_tokens):
        check_text(f"{name}: special_tokens", token)
        if len(token.encode("utf-8")) < 2:
            rule = f"a special token must be longer than a byte, got {token!r}, which text itself needs"
            raise ValueError(f"{name}: {rule}; write it like {EOT!r}")
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
    longest_first = sorted(special_tokens, key=len, reverse=True)  # `re` takes the first alternative that matches
    return _SpecialFinder(re.compile("|".join(map(re.escape, longest_first))), len(longest_first[0]))


def _split_final(
    text: str, find_words: Callable[[str], list[str]], specials: _SpecialFinder | None, *, block: int, more: bool
) -> Generator[Segment, None, int]:
    """Yield the segments of `text` and return the index where they end. With `more` text to come, only the final ones."""
    start, stop = 0, len(text)
    if specials is not None:
        for match in specials.pattern.finditer(text):
            if more and match.start() + specials.longest > len(text):
                break  # with more text a longer one may begin here
            yield from _split_words(text, start, match.start(), find_words, block=block, more=False)
            yield Segment([], match[0])
            start = match.end()
        if more:
            stop = max(start, stop - specials.longest + 1)  # one may begin in the last characters
    return (yield from _split_words(text, start, stop, find_words, block=block, more=more))


def _split_words(
    text: str, start: int, stop: int, find_words: Callable[[str], list[str]], *, block: int, more: bool
) -> Generator[Segment, None, int]:
    """Yield the pre-tokens of text[start:stop], a block at a time, and return the index where they end."""
    size = block
    while start < stop:
        window = text[start : min(start + size, stop)]
        words, end = find_words(window), len(window)
        last = start + end == stop
        if more or not last:
            final = _final_end(window)
            while words and end > final:
                end -= len(words.pop())
        if words:
            yield Segment(words, None)
            start, size = start + end, block
        else:
            size *= 2  # a word longer than the block
        if last:
            break
    return start


def _final_end(text: str) -> int:
    """Return an index such that no text that follows changes the pre-tokens that end there or before.

    No pattern looks back, so a pre-token depends only on the text after its beginning, as far as the search looked:
    - at most 3 characters past its end, for a contraction such as 'll;
    - to the end of a run of white space, which is cut before its last character or after its last line break;
    - to the end of a run of letters and marks, which o200k cuts before a capital only if no small letter follows later.
    So it is final if it ends 3 characters before the end of the text and not inside a run that reaches the end.
    """
    run = _OPEN_RUN.match(text)
    return min(len(text) - 3, run.start() if run else len(text))


def _ascii_form(pattern: str) -> str:
    r"""Rewrite the classes \p{…} of a pattern for ASCII text, so that `re`, which is faster than `regex`, can search it."""

    def write_out(match: re.Match[str]) -> str:
        members = re.sub(r"\\p\{(\w+)\}", lambda name: _ASCII[name[1]], match[0])
        return members if members.startswith("[") else f"[{members}]"

    return re.sub(r"\[[^]]*\]|\\p\{\w+\}", write_out, pattern)


# Unicode. Each version makes new letters, marks and digits, so an update of `regex` would change how a pattern splits.
# But the ids of a text belong to the tokenizer, and tokenizers are shared. So all patterns see the characters as Unicode 16
# (2024) classified them, as tiktoken 0.14 and Hugging Face's tokenizers 0.23 do.

PRIVATE = "\ue000"  # never a letter, mark, digit or white space
CHANGED = {ord("ʕ"): "a"}  # a lowercase letter in Unicode 16, without case since

# First and last of the code points that became letters, marks or digits in Unicode 17 and 18. Those in between that became
# something else were not letters, marks or digits in Unicode 16 either.
NEWER = (
    (0x558, 0x558), (0x58B, 0x58C), (0x5C8, 0x5C9), (0x88F, 0x88F), (0xB53, 0xB54), (0xC5C, 0xC5C), (0xCDC, 0xCDC),
    (0x1ACF, 0x1AF0), (0x208F, 0x208F), (0x209D, 0x209F), (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4),
    (0xA7DD, 0xA7F1), (0xAB6C, 0xAB6D), (0x107BB, 0x107BF), (0x10940, 0x10959), (0x10EC5, 0x10EFB), (0x11B0A, 0x11B67),
    (0x11DB0, 0x11DF1), (0x1246F, 0x1247F), (0x12550, 0x12686), (0x16EA0, 0x16ED3), (0x16FF2, 0x16FF6),
    (0x187F8, 0x187FF), (0x18CD6, 0x18CDA), (0x18D09, 0x191D2), (0x1B123, 0x1B128), (0x1B168, 0x1B168),
    (0x1D127, 0x1D128), (0x1D250, 0x1D281), (0x1D6A6, 0x1D6A6), (0x1DF1F, 0x1DF24), (0x1DF2B, 0x1DFFF),
    (0x1E6C0, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2B81E, 0x2B81E), (0x2CEA2, 0x2CEAD), (0x323B0, 0x3FC3F),
)  # fmt: skip


def as_unicode_16(text: str) -> str:
    """Return a text of the same length whose characters have the classes that those of `text` had in Unicode 16.

    It is `text` itself if no character changed, as in nearly all texts.

    >>> as_unicode_16("ab\\U00016ea0")  # a letter since Unicode 17
    'ab\\ue000'
    """
    substitutes = _unicode_16_substitutes()
    if substitutes.keys().isdisjoint(map(ord, set(text))):
        return text
    return text.translate(substitutes)


@functools.cache
def _unicode_16_substitutes() -> dict[int, str]:
    return {code: PRIVATE for first, last in NEWER for code in range(first, last + 1)} | CHANGED


# Split points: between a letter or digit and white space every pattern ends a pre-token. The pre-tokens before look no
# further, none looks back, and nothing is merged across pre-tokens.

_SPLIT_POINT = r"[\p{L}\p{N}]\s"
_FIRST_POINT, _LAST_POINT = regex.compile(_SPLIT_POINT), regex.compile("(?r)" + _SPLIT_POINT)


def first_split_point(text: str) -> int | None:
    """Return the first index where `text` can be cut so that the ids of its two sides, joined, are its ids, or None.

    >>> first_split_point("low, lower lowest")
    10
    """
    match = _FIRST_POINT.search(as_unicode_16(text))
    return match.start() + 1 if match else None


def last_split_point(text: str, start: int, stop: int) -> int | None:
    """Return the last such index between start and stop, or None.

    >>> last_split_point("low, lower lowest low", 0, 20)
    17
    """
    match = _LAST_POINT.search(text, start, stop)
    while match and not _FIRST_POINT.match(as_unicode_16(match[0])):  # a letter in `regex`, but not in Unicode 16
        match = _LAST_POINT.search(text, start, match.end() - 1)
    return match.start() + 1 if match else None
