"""Split text into pre-tokens: words, numbers, punctuation, spaces. No pair is merged across their edges.

Without them a merge could join a word, the space and the next word ("of the"), and the vocabulary would fill with such
accidents. Each of our patterns matches every character, so the pre-tokens of a text, joined, are the text again.

A text may come in chunks, cut anywhere; the result is that of the whole text. So a pre-token is passed on only when no
text that follows can change it, and the rest waits for the next chunk. At a *split point* the opposite holds: a text can
be cut there, its two sides encoded apart, and the ids joined. For an
unknown pattern, from another project's file, neither can be said: the whole text is read before it is split.
"""

import functools
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from gpt.tokenizer.added_tokens import AddedToken, TokenFinder
from gpt.tokenizer.base import check_text
from gpt.tokenizer.splits import FindWords, Pretokenizer, resolve, word_finder
from gpt.tokenizer.unicode import as_unicode_16, nfc

EOT = "<|endoftext|>"
BLOCK = 1 << 15  # characters searched at once: the strings found in them fit the cache, and memory stays small

_OPEN_RUN = regex.compile(r"(?r)\s+|[\p{L}\p{M}]+")  # (?r): match backwards, from the end


class Segment(NamedTuple):
    """Pre-tokens that follow one another, or none and one special token."""

    words: list[str]
    special: str | None


def split_pretokens(
    chunks: Iterable[str],
    pattern: str | Pretokenizer,
    special_tokens: Sequence[str | AddedToken] = (),
    *,
    block: int = BLOCK,
) -> Iterator[Segment]:
    """Split the text "".join(chunks) into pre-tokens and special tokens; where it is cut makes no difference.

    Of special tokens that begin at the same character the longest counts. Memory holds the current chunk and a few times
    `block` characters, or a few times the longest pre-token if that is more; with a normalizer the longest stretch
    without a split point; with a pattern that is not known, or added tokens that look at their neighbours, the text.

    Raises ValueError for an unknown pattern.
    """
    pretokenizer = resolve(pattern)
    find_words = word_finder(pretokenizer)
    finders = _token_finders(pretokenizer, tuple(special_tokens))
    if isinstance(finders, _SpecialFinder):
        yield from _split_stream(chunks, find_words, finders, block)
    else:
        texts = cut_chunks(chunks, block) if finders.cuts_at_split_points else ["".join(chunks)]
        for text in texts:
            yield from _split_whole(text, pretokenizer, find_words, finders)


def _split_stream(
    chunks: Iterable[str], find_words: FindWords, find_specials: "_SpecialFinder", block: int
) -> Iterator[Segment]:
    """Yield the segments of a text in chunks, where the words, joined, are the text."""
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


def cuts_at_split_points(pattern: str | Pretokenizer, special_tokens: Iterable[str | AddedToken]) -> bool:
    """Return whether every text can be cut at a split point, its two sides encoded apart, and the ids joined."""
    tokens = [token if isinstance(token, AddedToken) else AddedToken(token, 0) for token in special_tokens]
    return resolve(pattern).is_known and not any(
        token.lstrip or token.rstrip or token.single_word or first_split_point(token.text) is not None
        for token in tokens
    )


class _TokenFinders(NamedTuple):
    """The finders of added tokens before and after a text is normalized."""

    first: TokenFinder
    then: TokenFinder
    texts: dict[str, str]  # of the latter tokens, from their normalized texts
    cuts_at_split_points: bool


@functools.lru_cache(maxsize=64)
def _token_finders(
    pretokenizer: Pretokenizer, special_tokens: tuple[str | AddedToken, ...]
) -> "_SpecialFinder | _TokenFinders":
    """Return what finds special tokens: one pattern where a text can be streamed, else two finders."""
    plain = tuple(token for token in special_tokens if isinstance(token, str))
    if len(plain) == len(special_tokens) and pretokenizer.is_known and pretokenizer.normalizer is None:
        return _special_finder(plain)
    tokens = [token if isinstance(token, AddedToken) else AddedToken(token, 0) for token in special_tokens]
    late = {nfc(token.text) if pretokenizer.normalizer else token.text: token for token in tokens if token.normalized}
    first = TokenFinder(token for token in tokens if not token.normalized)
    then = TokenFinder(token._replace(text=text) for text, token in late.items())
    texts = {text: token.text for text, token in late.items()}
    return _TokenFinders(first, then, texts, cuts_at_split_points(pretokenizer, special_tokens))


def _split_whole(
    text: str, pretokenizer: Pretokenizer, find_words: FindWords, finders: _TokenFinders
) -> Iterator[Segment]:
    """Yield the segments of a text: what is between the first tokens is normalized, and searched for the others."""
    for between, token in finders.first.split(text):
        if token is not None:
            yield Segment([], token.text)
            continue
        for rest, late in finders.then.split(nfc(between) if pretokenizer.normalizer else between):
            yield Segment([], finders.texts[late.text]) if late is not None else Segment(find_words(rest), None)


def check_chunks(chunks: Iterable[str], name: str, disallowed: Sequence[str] = ()) -> Iterator[str]:
    """Yield the chunks of a text after checking that it can be encoded; errors begin with `name`, the function called.

    Raises TypeError for a chunk that is not a str, ValueError for a lone surrogate or for a special token that is
    disallowed, even if it lies across two chunks.
    """
    specials = _special_finder(tuple(disallowed))
    tail, end = "", 0
    for chunk in chunks:
        check_text(name, chunk)
        window = tail + chunk
        if match := specials.pattern.search(window):
            token, index = match[0], end - len(tail) + match.start()
            found = f"got {token!r} at index {index} of the text"
            way_out = f"allowed_special={{{token!r}}} gives its id, disallowed_special=() reads it as text"
            raise ValueError(f"{name}: a special token must be allowed, {found}; {way_out}")
        end += len(chunk)
        tail = window[max(0, len(window) - specials.longest + 1) :]
        yield chunk


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
def _special_finder(special_tokens: tuple[str, ...]) -> _SpecialFinder:
    if not special_tokens:
        return _SpecialFinder(re.compile(r"(?!)"), 1)  # nothing
    longest_first = sorted(special_tokens, key=len, reverse=True)  # `re` takes the first alternative that matches
    return _SpecialFinder(re.compile("|".join(map(re.escape, longest_first))), len(longest_first[0]))


def _split_final(
    text: str, find_words: FindWords, specials: _SpecialFinder, *, block: int, more: bool
) -> Generator[Segment, None, int]:
    """Yield the segments of `text` and return the index where they end. With `more` text to come, only the final ones."""
    start, stop = 0, len(text)
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
    text: str, start: int, stop: int, find_words: FindWords, *, block: int, more: bool
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


def cut_chunks(blocks: Iterable[str], size: int) -> Iterator[str]:
    """Cut a text into chunks of at most about `size` characters; where the text's blocks end makes no difference.

    A chunk ends at a split point (see `last_split_point`). A stretch without one is a longer chunk.
    """
    buffer, start, length = "", 0, size
    for block in blocks:
        if start:
            buffer, start = buffer[start:], 0
        buffer += block
        while len(buffer) - start >= length:
            end = last_split_point(buffer, start, start + length)
            if end is not None:
                yield buffer[start:end]
                start, length = end, size
            else:
                length *= 2
    if start < len(buffer):
        yield buffer[start:]
