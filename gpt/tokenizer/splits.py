r"""Split a stretch of text into words by patterns: our three, or those that another project's tokenizer file brings.

A pre-tokenizer is a normalizer and a list of splits. Each split cuts the pieces that the one before left: SmolLM2's first
makes every digit a piece, and the second, GPT-2's pattern, cuts what is between them into words.

The patterns of a file were written for the engine of its project, Oniguruma. `compile_regex` accepts what means the same
to `regex` and names the rest: \w and \b, for example, count other characters, and x{2}+ is possessive for one of them only.
"""

import difflib
import functools
import re
import time
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import regex  # type: ignore[import-untyped]

from gpt.tokenizer.unicode import as_unicode_16, nfc
from nanograd.runtime.typed_json import check_form, short

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
QWEN2 = PATTERNS["cl100k"].replace(r"\p{N}{1,3}", r"\p{N}")
_IN_ASCII = (*PATTERNS.values(), QWEN2, r"\p{N}", r"\p{N}+", r"\p{N}{1,3}")  # those that can be written for ASCII
# All patterns for which the rules of `pretokens.py` hold: where a word is final, and where a text can be cut
KNOWN = (
    *_IN_ASCII,
    # DeepSeek V3: huggingface.co/deepseek-ai/DeepSeek-V3, tokenizer.json
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)

# The same for ASCII, faster: alternatives that cannot begin alike may change places, so the frequent ones come first, and
# one that begins with a fixed character fails at once. 1.1 MB of English: 34 instead of 41 ms.
FASTER = {
    PATTERNS[
        "gpt2"
    ]: r" [A-Za-z]+|[A-Za-z]+|'(?:[stmd]|re|ve|ll)|[^\sA-Za-z0-9]+| [^\sA-Za-z0-9]+| ?[0-9]+|\s+(?!\S)|\s+"
}
_ASCII = {"L": "A-Za-z", "Lu": "A-Z", "Ll": "a-z", "Lt": "", "Lm": "", "Lo": "", "M": "", "N": "0-9"}

FindWords = Callable[[str], list[str]]


class Split(NamedTuple):
    """One step: a regular expression, and the pieces that it leaves: its matches, the gaps between them, or all."""

    regex: str
    keep: str = "all"  # or "matches" or "gaps"


class Pretokenizer(NamedTuple):
    """How a text between special tokens becomes words."""

    splits: tuple[Split, ...]
    normalizer: str | None = None  # or "NFC"
    prefix_space: bool = False  # a space is added before a text that does not begin with one

    @property
    def is_known(self) -> bool:
        """Return whether a text can be cut at split points, and streamed unless the words are not the text itself."""
        return not self.prefix_space and all(split.regex in KNOWN and split.keep == "all" for split in self.splits)

    def to_fields(self) -> dict[str, Any]:
        """Return an object for JSON."""
        return {**self._asdict(), "splits": [split._asdict() for split in self.splits]}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> "Pretokenizer":
        """Read what `to_fields` returned; ValueError says what is wrong with it."""
        form = {"splits": list[dict], "normalizer": str | None, "prefix_space": bool}
        checked = check_form(fields, form)
        splits = tuple(Split(**check_form(split, {"regex": str, "keep": str})) for split in checked["splits"])
        if wrong := [split.keep for split in splits if split.keep not in ("all", "matches", "gaps")]:
            raise ValueError(f"'keep' must be all, matches or gaps, got {wrong[0]!r}")
        if checked["normalizer"] not in (None, "NFC"):
            raise ValueError(f"'normalizer' must be NFC or null, got {checked['normalizer']!r}")
        return cls(splits, checked["normalizer"], checked["prefix_space"])


# Pre-tokenizers by name, for files that do not hold theirs
NAMED = {
    **{name: Pretokenizer((Split(pattern),)) for name, pattern in PATTERNS.items()},
    "qwen2": Pretokenizer((Split(QWEN2),), "NFC"),
    "smollm": Pretokenizer((Split(r"\p{N}"), Split(PATTERNS["gpt2"]))),
}


def resolve(pattern: str | Pretokenizer) -> Pretokenizer:
    """Return the pre-tokenizer of a name; ValueError if NAMED does not have it."""
    if isinstance(pattern, Pretokenizer):
        return pattern
    if pattern not in NAMED:
        near = difflib.get_close_matches(str(pattern), NAMED, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"pattern must be one of {', '.join(map(repr, NAMED))}, got {pattern!r}{hint}")
    return NAMED[pattern]


def word_finder(pattern: str | Pretokenizer) -> FindWords:
    """Return the function that finds the pre-tokens of a text.

    Raises ValueError for a name that NAMED does not have, and for a regular expression that is not supported.
    """
    return _word_finder(resolve(pattern))


@functools.lru_cache(maxsize=64)
def _word_finder(pretokenizer: Pretokenizer) -> FindWords:
    cutters = [_cutter(split) for split in pretokenizer.splits]
    if pretokenizer in NAMED.values() and len(cutters) == 1 and pretokenizer.normalizer is None:
        return cutters[0]

    def find_words(text: str) -> list[str]:
        if pretokenizer.normalizer:
            text = nfc(text)
        if pretokenizer.prefix_space and not text.startswith(" "):
            text = f" {text}"
        pieces = [text]
        for cut in cutters:
            pieces = [word for piece in pieces for word in cut(piece)]
        return pieces

    return find_words


# One split

SECONDS, SECONDS_PER_CHARACTER = 5.0, 1e-5  # 100 times what a usual pattern takes


def _cutter(split: Split) -> FindWords:
    """Return the function that cuts a piece of text by one split, without empty pieces."""
    if split.regex in KNOWN:
        pattern = regex.compile(split.regex)
        find, find_spans = pattern.findall, pattern.finditer
    else:
        pattern = compile_regex(split.regex)
        find, find_spans = (
            _limited(split.regex, pattern.findall),
            _limited(split.regex, functools.partial(_spans, pattern)),
        )
    ascii_form = split.regex in _IN_ASCII and (FASTER.get(split.regex) or _ascii_form(split.regex))
    find_in_ascii = re.compile(ascii_form, re.ASCII).findall if ascii_form else find

    def cut(text: str) -> list[str]:
        is_ascii = text.isascii()
        mapped = text if is_ascii else as_unicode_16(text)
        words: list[str] = find_in_ascii(text) if is_ascii else find(mapped)  # ASCII, 1.1 MB: 41 instead of 93 ms
        if split.keep == "all" and not words:
            return [text] if text else []
        if split.keep != "gaps" and sum(map(len, words)) == len(text) and "" not in words:
            if mapped is text:
                return words
            ends = accumulate(map(len, words), initial=0)
            return [text[start:end] for start, end in pairwise(ends)]
        edges = [0, *(edge for match in find_spans(mapped) for edge in match.span()), len(text)]
        pieces = [text[start:end] for start, end in pairwise(edges)]  # a gap, a match, a gap, …
        kept = pieces if split.keep == "all" else pieces[1::2] if split.keep == "matches" else pieces[::2]
        return [piece for piece in kept if piece]

    return cut


def _limited(expression: str, search: Callable[..., Any]) -> Callable[[str], Any]:
    """Bound the time that searches by an unknown pattern take in all: some take 2ⁿ steps for n characters."""
    left = SECONDS

    def search_in_time(text: str) -> Any:
        nonlocal left
        start = time.monotonic()
        left += SECONDS_PER_CHARACTER * len(text)
        try:
            result = search(text, timeout=max(left, 1e-3))
        except (TimeoutError, MemoryError):
            found = f"got {short(expression)!r}, which takes too long on {short(text)!r}"
            raise ValueError(f"a pattern must be searched in a time in proportion to the text, {found}") from None
        left -= time.monotonic() - start
        return result

    return search_in_time


def _spans(pattern: Any, text: str, timeout: float) -> list[Any]:
    """Return the matches as Oniguruma finds them: after an empty one it goes on at the next character."""
    stop = time.monotonic() + timeout
    found: list[Any] = []
    start, last = 0, -1
    while start <= len(text) and (match := pattern.search(text, start, timeout=max(1e-3, stop - time.monotonic()))):
        begin, end = match.span()
        if begin == end == last:
            start += 1
            continue
        found.append(match)
        start = last = end
    return found


def _ascii_form(pattern: str) -> str:
    r"""Rewrite the classes \p{…} of a pattern for ASCII text, so that `re`, which is faster than `regex`, can search it."""

    def write_out(match: re.Match[str]) -> str:
        members = re.sub(r"\\p\{(\w+)\}", lambda name: _ASCII[name[1]], match[0])
        return members if members.startswith("[") else f"[{members}]"

    return re.sub(r"\[[^]]*\]|\\p\{\w+\}", write_out, pattern)


# The syntax that Oniguruma and `regex` read alike

LONGEST, DEEPEST, LARGEST = 10_000, 50, 10_000  # characters, groups in groups, size with repeats written out
CATEGORIES = r"L[ultmo]?|M[nce]?|N[dlo]?|P[cdseifo]?|S[mcko]?|Z[slp]?"
SCRIPTS = "Latin|Greek|Cyrillic|Armenian|Hebrew|Arabic|Devanagari|Bengali|Tamil|Thai|Hangul|Hiragana|Katakana|Han"
_ESCAPE = rf"\\(?:[rntfv\sdDsS]|[^\w\s]|u[0-9A-Fa-f]{{4}}|[pP]\{{(?:{CATEGORIES}|{SCRIPTS})\}})"
_SYNTAX = regex.compile(
    rf"(?P<escape>{_ESCAPE})|(?P<open>\((?:\?(?:i?:|=|!|<=|<!|>))?)|(?P<close>\))"
    r"|(?P<repeat>(?:\{(?P<n>\d+)(?P<comma>,(?P<m>\d*))?\})\??|[*+?][?+]?)|(?P<class>\[\^?)|(?P<plain>[^\\\[\](){}*+?^$])"
)
_MEMBER = regex.compile(
    rf"(?P<escape>{_ESCAPE})|(?P<class>\[(?!:)\^?)|(?P<end>\])|(?P<plain>(?!&&|--|~~|\|\|)[^\\\[\]])"
)


@functools.lru_cache(maxsize=64)
def compile_regex(pattern: str) -> Any:
    """Compile a regular expression of a tokenizer's file.

    Raises ValueError that names what Oniguruma and `regex` read in different ways, for what is invalid, and for an
    expression that is so large or deep that compiling it would take all memory.
    """
    rule = f"a pattern must be an expression that is read alike by all engines, got {short(pattern)!r}"
    if len(pattern) > LONGEST:
        raise ValueError(f"{rule}, of {len(pattern):,} characters")
    sizes, last, i, in_class, written = [0], 0, 0, 0, []
    while i < len(pattern):
        match = (_MEMBER if in_class else _SYNTAX).match(pattern, i)
        if match is None:
            raise ValueError(f"{rule}, where {short(pattern[i : i + 12])!r} is not supported")
        kind, token, i = match.lastgroup if match["escape"] is None else "escape", match[0], match.end()
        if kind == "class":
            in_class += 1
            if pattern[i : i + 1] == "]":
                raise ValueError(f"{rule}, where {pattern[i - 1 : i + 1]!r} is not supported")
        elif kind == "end":
            in_class -= 1
        elif match.groupdict().get("open") is not None:
            sizes.append(0)
            token = "(?:" if token == "(" else token  # without backreferences a capture has no use
        elif kind == "close" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif match.groupdict().get("repeat") is not None:
            if match["n"] is not None:
                if (token.endswith("?") and match["comma"] is None) or pattern[i : i + 1] in ("+", "*", "?", "{"):
                    raise ValueError(f"{rule}, where {short(token + pattern[i : i + 1])!r} is not supported")
                sizes[-1] += last * (max(int(match["n"][:9]), int((match["m"] or "1")[:9])) - 1)
            last = 0
        if kind not in ("repeat", "n", "m", "comma", "close") and not in_class:
            last = 1
            sizes[-1] += 1
        if len(sizes) > DEEPEST or in_class > DEEPEST or max(sizes) > LARGEST:
            raise ValueError(f"{rule}, which is too large or too deep")
        written.append(token)
    try:
        return regex.compile("".join(written), regex.V1)
    except (regex.error, ValueError, OverflowError, RecursionError, KeyError, IndexError) as error:
        raise ValueError(f"{rule}: {short(str(error))}") from None
