"""Pre-tokens: each pattern on cases split by hand, and that no cut of the text is seen in the result."""

import itertools
from collections.abc import Sequence
from functools import cache

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import BPETokenizer
from gpt.tokenizer.pretokens import (
    BLOCK,
    _final_end,
    check_special_tokens,
    first_split_point,
    last_split_point,
    split_pretokens,
)
from gpt.tokenizer.splits import PATTERNS, word_finder

# Characters on which the patterns differ: contractions, capitals, caseless letters, marks, digits, line ends, slashes.
EDGES = st.text(alphabet="'sSlLrRe aAéДж中\u0301ǅʰ12³ \t\n\r\u00a0\u3000\x1c/.!€😀<|>", max_size=40)
OLD = st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="ʕ"))  # in Unicode 16 as it is today
SPECIALS = ("<|", "<|a|>", "<|a|><|a|>", "ab", "bcd")


def split(
    chunks: Sequence[str], pattern: str, specials: Sequence[str] = (), *, block: int = BLOCK
) -> list[str | tuple[str]]:
    """Return the pre-tokens as texts and the special tokens as tuples."""
    found: list[str | tuple[str]] = []
    for words, special in split_pretokens(chunks, pattern, specials, block=block):
        found.extend(words)
        if special is not None:
            found.append((special,))
    return found


def cut(text: str, offsets: Sequence[int]) -> list[str]:
    edges = [0, *sorted(offset % (len(text) + 1) for offset in offsets), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("pattern", "text", "words"),
    [
        ("gpt2", "Hello world, I'll  go", ["Hello", " world", ",", " I", "'ll", " ", " go"]),
        ("gpt2", "a\n\n123  ", ["a", "\n", "\n", "123", "  "]),  # of white space the last character stays before a word
        ("gpt2", "DON'T 12345!?", ["DON", "'", "T", " 12345", "!?"]),
        ("gpt2", "n\u0303a 中文", ["n", "\u0303", "a", " 中文"]),  # a mark is no letter
        ("cl100k", "DON'T 12345!?\n\nx", ["DON", "'T", " ", "123", "45", "!?\n\n", "x"]),
        ("cl100k", "\n  \n  x", ["\n  \n", " ", " x"]),
        ("o200k", "DON'T helloWorld", ["DON'T", " hello", "World"]),
        ("o200k", "n\u0303a a/\n/b", ["n\u0303a", " a", "/\n/", "b"]),
        ("o200k", "中BB", ["中", "BB"]),
        ("o200k", "中BBb", ["中BBb"]),  # one small letter far behind joins what stood apart
    ],
)
def test_split_by_hand(pattern: str, text: str, words: list[str]) -> None:
    assert split([text], pattern) == words
    assert "".join(words) == text


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None)
@given(text=EDGES | OLD)
def test_pre_tokens_are_what_the_pattern_finds_and_cover_the_text(pattern: str, text: str) -> None:
    assert split([text], pattern) == regex.findall(PATTERNS[pattern], text)
    assert "".join(word_finder(pattern)(text)) == text


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None)
@given(text=st.text(st.characters(max_codepoint=127)))
def test_ascii_is_split_as_the_whole_pattern_does(pattern: str, text: str) -> None:
    assert word_finder(pattern)(text) == regex.findall(PATTERNS[pattern], text)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pair_of_ascii_characters_is_split_as_the_whole_pattern_does(pattern: str) -> None:
    find = regex.compile(PATTERNS[pattern]).findall
    for pair in itertools.product(map(chr, range(128)), repeat=2):
        assert word_finder(pattern)("".join(pair)) == find("".join(pair))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("alphabet", ["I'le", "a \n/!", "中Aa\u0301'", "1a\r'中"])
def test_what_is_settled_stays_whatever_follows(alphabet: str, pattern: str) -> None:
    find = regex.compile(PATTERNS[pattern]).findall

    @cache  # many texts begin alike
    def settled(part: str) -> list[int]:
        return [end for end in itertools.accumulate(map(len, find(part))) if end <= _final_end(part)]

    for text in map("".join, itertools.product(alphabet, repeat=6)):
        ends = set(itertools.accumulate(map(len, find(text))))
        for part in (text[:4], text[:5]):  # what is settled in the beginning must be so in the whole
            assert ends.issuperset(settled(part)), (part, text)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=400, deadline=None)
@given(
    text=EDGES | st.text() | st.text("a' \nS1\u0558\u05c9\U00011de0ʕ"),
    offsets=st.lists(st.integers(min_value=0), max_size=6),
    block=st.integers(1, 12),
)
def test_no_cut_is_seen_in_the_pre_tokens(pattern: str, text: str, offsets: list[int], block: int) -> None:
    words = split(cut(text, offsets), pattern, block=block)
    assert words == word_finder(pattern)(text)
    assert "".join(map(str, words)) == text


@pytest.mark.parametrize(
    ("pattern", "text", "words"),
    [
        ("gpt2", "a\u0558", ["a", "\u0558"]),  # a letter since Unicode 17 or 18
        ("gpt2", "1\U00011de0", ["1", "\U00011de0"]),  # and a digit
        ("o200k", "a\u05c9b", ["a", "\u05c9b"]),  # and a mark
        ("o200k", "ʕAb", ["ʕ", "Ab"]),  # a small letter in Unicode 16, which ends where a capital begins
    ],
)
def test_new_characters_are_seen_as_they_were_in_unicode_16(pattern: str, text: str, words: list[str]) -> None:
    assert word_finder(pattern)(text) == words


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=400, deadline=None)
@given(
    text=st.lists(st.sampled_from([*SPECIALS, *"<|a>bcd \n'l"]), max_size=20).map("".join),
    offsets=st.lists(st.integers(min_value=0), max_size=6),
    block=st.integers(1, 12),
)
def test_no_cut_is_seen_in_special_tokens(pattern: str, text: str, offsets: list[int], block: int) -> None:
    whole = split([text], pattern, SPECIALS)
    assert split(cut(text, offsets), pattern, SPECIALS, block=block) == whole
    assert split(list(text), pattern, SPECIALS, block=block) == whole
    assert "".join(part if isinstance(part, str) else part[0] for part in whole) == text


def test_the_longest_special_token_counts_and_ends_the_words_around_it() -> None:
    found = split(["x <|a|><|a|> y<|a|> <|b"], "gpt2", SPECIALS)
    assert found == ["x", " ", ("<|a|><|a|>",), " y", ("<|a|>",), " ", ("<|",), "b"]
    assert split(["abcd bcd"], "gpt2", SPECIALS) == [
        ("ab",),
        "cd",
        " ",
        ("bcd",),
    ]  # the first to begin, not the longest


def test_text_is_handed_on_before_all_of_it_is_there() -> None:
    pieces = split_pretokens(itertools.repeat("word "), "gpt2", ("<|endoftext|>",))
    assert next(pieces).words[:2] == ["word", " word"]


def test_a_word_longer_than_the_block_is_searched_few_times() -> None:
    # one character a chunk: a search at every chunk would look at 2e5 ** 2 / 2 characters, which takes a minute
    assert split(["a"] * 200_000 + [" b"], "gpt2", block=16) == ["a" * 200_000, " b"]


def test_an_unknown_pattern_gets_a_suggestion() -> None:
    with pytest.raises(
        ValueError,
        match=r"pattern must be one of 'gpt2', 'cl100k', 'o200k', 'qwen2', 'smollm', got 'gtp2'; did you mean 'gpt2'\?",
    ):
        word_finder("gtp2")


@pytest.mark.parametrize(
    ("special_tokens", "error", "message"),
    [
        (
            "<|endoftext|>",
            TypeError,
            r"f: special_tokens must be a list of texts, got a str; write \['<\|endoftext\|>'\]",
        ),
        (["a"], ValueError, "f: a special token must be longer than a byte, got 'a'"),
        ([""], ValueError, "f: a special token must be longer than a byte, got ''"),
        (["ab", "cd", "ab"], ValueError, "f: special_tokens must be distinct, got 'ab' twice"),
        ([b"ab"], TypeError, "f: special_tokens: text must be a str, got bytes"),
        (["a\ud800"], ValueError, "f: special_tokens: UTF-8 cannot encode a lone surrogate"),
    ],
)
def test_special_tokens_are_checked(special_tokens: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check_special_tokens("f", special_tokens)


# Split points


NEW_LETTER = "\U00016ea0"  # since Unicode 17; no letter to the patterns
BPE = {name: BPETokenizer.train("the cat\n the hat 12 \n", 270, pattern=name) for name in PATTERNS}


def test_split_points_by_hand() -> None:
    text = "a, b c. d"
    assert (first_split_point(text), last_split_point(text, 0, len(text))) == (4, 4)
    assert last_split_point(text, 0, 4) is None  # the white space after b is outside
    assert (first_split_point("one. two"), first_split_point("")) == (None, None)


def test_a_letter_of_a_later_unicode_makes_no_split_point() -> None:
    text = f"a b{NEW_LETTER}\nx"
    assert (first_split_point(text), last_split_point(text, 0, len(text))) == (1, 1)
    assert last_split_point(f"{NEW_LETTER}\nx", 0, 3) is None


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=st.text(st.sampled_from(f"ab1 .'\n\té{NEW_LETTER}"), max_size=30))
def test_the_ids_of_the_two_sides_are_those_of_the_text(pattern: str, text: str) -> None:
    tokenizer = BPE[pattern]
    for index in (first_split_point(text), last_split_point(text, 0, len(text))):
        if index is not None:
            assert tokenizer.encode(text[:index]) + tokenizer.encode(text[index:]) == tokenizer.encode(text)
