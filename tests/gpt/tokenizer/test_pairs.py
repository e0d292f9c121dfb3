"""The specification itself, held to numbers worked by hand."""

from gpt.tokenizer.pairs import count_pairs, encode_naively, merge_pair, split_bytes, train_naively

WORDS = {"low": 5, "lower": 2, "newer": 3}
MERGES = [
    # l o 7, o w 7, w e 5 (lower 2, newer 3), e r 5, n e 3, e w 3: of the two with 7, (o, w) > (l, o)
    (b"o", b"w"),
    # l ow 7, ow e 2, e r 5, n e 3, e w 3, w e 3 (newer alone)
    (b"l", b"ow"),
    # low e 2, e r 5, n e 3, e w 3, w e 3
    (b"e", b"r"),
    # low er 2, n e 3, e w 3, w er 3: of the three with 3, (w, er) > (n, e) > (e, w)
    (b"w", b"er"),
    # low er 2, n e 3, e wer 3
    (b"n", b"e"),
    # low er 2, ne wer 3
    (b"ne", b"wer"),
    # low er 2
    (b"low", b"er"),
]


def test_pairs_are_counted_as_often_as_their_words_occur() -> None:
    words = {split_bytes(word.encode()): count for word, count in WORDS.items()}
    assert count_pairs(words) == {
        (b"l", b"o"): 7,
        (b"o", b"w"): 7,
        (b"w", b"e"): 5,
        (b"e", b"r"): 5,
        (b"n", b"e"): 3,
        (b"e", b"w"): 3,
    }


def test_merges_are_those_worked_by_hand_and_end_with_the_last_pair() -> None:
    assert train_naively(WORDS, 100) == MERGES
    assert train_naively(WORDS, 3) == MERGES[:3]


def test_of_equals_the_greater_pair_is_merged() -> None:
    assert train_naively({"ab": 1, "ac": 1, "bz": 1, "ba": 1}, 1) == [(b"b", b"z")]
    assert train_naively({"é": 1, "zz": 1}, 1) == [(b"\xc3", b"\xa9")]  # bytes compare as numbers: 0xc3 > "z"


def test_a_pair_is_merged_from_left_to_right() -> None:
    a, aa = b"a", b"aa"
    assert merge_pair((a, a, a, a, a), (a, a)) == (aa, aa, a)
    assert merge_pair((b"b", a, a, b"b"), (a, a)) == (b"b", aa, b"b")
    assert merge_pair((a,), (a, a)) == (a,)


def test_encoding_takes_the_merge_that_was_learned_first() -> None:
    # n e w e r: e r joins before w er can; then n e, then ne wer
    assert encode_naively(b"newer", MERGES) == (b"newer",)
    # l o w e s t: o w (rank 0) before l ow (rank 1); e s and s t were never learned
    assert encode_naively(b"lowest", MERGES) == (b"low", b"e", b"s", b"t")
    # abc with b c learned before a b: b c is joined, and a stays alone
    assert encode_naively(b"abc", [(b"b", b"c"), (b"a", b"b")]) == (b"a", b"bc")
    assert encode_naively(b"", MERGES) == ()
