"""Both ways of merging a word against the specification, in time, with a cache that stays small."""

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt.tokenizer import word_encoder
from gpt.tokenizer.pairs import Pair, encode_naively, train_naively
from gpt.tokenizer.word_encoder import LONG, WordEncoder


def encoder_of(merges: list[Pair]) -> tuple[WordEncoder, dict[int, bytes]]:
    made = [token for left, right in merges for token in (left, right, left + right)]
    tokens = dict.fromkeys([*(bytes([byte]) for byte in range(256)), *made])
    vocab = dict(enumerate(reversed(tokens)))  # ids in an order of their own, unlike ranks and bytes
    return WordEncoder({token: id for id, token in vocab.items()}, merges), vocab


@st.composite
def ordered_merges(draw: st.DrawFn) -> list[Pair]:
    """Draw merges of any tokens that exist so far, in which no part is made again once it was joined."""
    tokens, joined = [b"a", b"b", b"c"], set()
    merges: list[Pair] = []
    for _ in range(draw(st.integers(0, 12))):
        pair = (draw(st.sampled_from(tokens)), draw(st.sampled_from(tokens)))
        if pair in merges or pair[0] + pair[1] in joined or len(pair[0] + pair[1]) > 20:
            continue
        merges.append(pair)
        joined.update(pair)
        tokens.append(pair[0] + pair[1])
    return merges


def test_a_word_worked_by_hand() -> None:
    # ranks: o w 0, l ow 1, e r 2. lower: l ow e r, low e r, low er
    merges = [(b"o", b"w"), (b"l", b"ow"), (b"e", b"r")]
    words = WordEncoder({**{bytes([byte]): byte for byte in range(256)}, b"ow": 256, b"low": 257, b"er": 258}, merges)
    assert words["lower"] == (257, 258)
    assert words["lowest"] == (257, 101, 115, 116)
    assert words["é"] == (0xC3, 0xA9)
    assert words["lower" * LONG] == (257, 258) * LONG


merge_ways = pytest.mark.parametrize("merge", [word_encoder.merge_short, word_encoder.merge_long])
Merge = Callable[[list[int], dict[tuple[int, int], int], list[int]], list[int]]


def apply(merge: Merge, word: str, merges: list[Pair]) -> tuple[bytes, ...]:
    encoder, vocab = encoder_of(merges)
    symbols = [encoder._byte_ids[byte] for byte in word.encode("utf-8")]
    return tuple(vocab[id] for id in merge(symbols, encoder._ranks, encoder._merged))


@merge_ways
@settings(max_examples=400, deadline=None)
@given(merges=ordered_merges(), word=st.text("abcd", max_size=40))
def test_fast_is_naive_for_any_merges_in_order(merge: Merge, merges: list[Pair], word: str) -> None:
    assert apply(merge, word, merges) == encode_naively(word.encode(), merges)


ANY_TOKEN = st.text("ab", min_size=1, max_size=3).map(str.encode)


@merge_ways
@settings(max_examples=100, deadline=None)
@given(merges=st.lists(st.tuples(ANY_TOKEN, ANY_TOKEN), max_size=25, unique=True), word=st.text("ab", max_size=40))
@example(merges=[(b"ab", b"a"), (b"a", b"b")], word="abab")  # aba b: the second a b is not merged before
def test_fast_is_naive_for_merges_in_any_order(merge: Merge, merges: list[Pair], word: str) -> None:
    """A merge may make a pair of a lower rank, as in the files of Llama 3 and gpt-oss, which list all ways to a token."""
    assert apply(merge, word, merges) == encode_naively(word.encode(), merges)


@merge_ways
@settings(deadline=None)
@given(words=st.dictionaries(st.text(max_size=12), st.integers(1, 3), max_size=6), other=st.text())
def test_fast_is_naive_for_learned_merges(merge: Merge, words: dict[str, int], other: str) -> None:
    merges = train_naively(words, 40)
    for word in (*words, other, "".join(words)):
        assert apply(merge, word, merges) == encode_naively(word.encode("utf-8"), merges)


@pytest.mark.parametrize("length", [LONG - 1, LONG, LONG + 1, 3 * LONG])
def test_short_and_long_words_meet_without_a_seam(length: int) -> None:
    merges = [(b"a", b"b"), (b"ab", b"ab"), (b"c", b"abab"), (b"a", b"c")]
    encoder, vocab = encoder_of(merges)
    word = ("abababcab" * length)[:length]
    assert tuple(vocab[id] for id in encoder[word]) == encode_naively(word.encode(), merges)


def doubling(times: int) -> list[Pair]:
    """Return a a -> aa, aa aa -> aaaa, …: the merges that keep a run of one letter busiest."""
    return [(b"a" * 2**i, b"a" * 2**i) for i in range(times)]


@pytest.mark.parametrize("length", [2**18, pytest.param(2**20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("merges", "longest"),
    [(doubling(16), 2**16), ([(b"a" * i, b"a") for i in range(1, 1000)], None), ([], 1)],
    ids=["doubling", "growing", "none"],
)
def test_a_megabyte_of_one_letter_takes_seconds(merges: list[Pair], longest: int | None, length: int) -> None:
    encoder, vocab = encoder_of(merges)
    start = time.process_time()
    ids = encoder["a" * length]
    assert time.process_time() - start < 5e-6 * length
    assert b"".join(vocab[id] for id in ids) == b"a" * length
    assert longest is None or len(ids) == length // longest


def test_the_cache_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_encoder, "CACHED_WORDS", 10)
    encoder, _ = encoder_of([(b"1", b"0")])
    for number in range(1000):
        word = str(number)
        assert encoder[word] == encoder[word]
        assert word in encoder
        assert len(encoder) <= 10
    _ = encoder["1" * 1000]
    assert "1" * 1000 not in encoder


def test_a_byte_that_is_no_token_is_named() -> None:
    words = WordEncoder({b"a": 0}, [])
    assert words["aa"] == (0, 0)
    with pytest.raises(ValueError, match=r"every byte must be a token of the vocabulary, got 0x7a in 'az'; give"):
        words["az"]
