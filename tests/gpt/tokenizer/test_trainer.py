"""The fast trainer: by hand, against the naive one, and the order of ids, ties and special tokens."""

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import PATTERNS, train_bpe
from gpt.tokenizer.pairs import train_naively
from gpt.tokenizer.trainer import learn_merges, train_on_chunks
from gpt.tokenizer.word_counts import count_words

EOT = "<|endoftext|>"


def test_merges_worked_by_hand() -> None:
    # low 5, lower 2, newer 3; test_pairs.py counts every step
    merges = [(b"o", b"w"), (b"l", b"ow"), (b"e", b"r"), (b"w", b"er"), (b"n", b"e"), (b"ne", b"wer"), (b"low", b"er")]
    assert learn_merges({"low": 5, "lower": 2, "newer": 3}, 100) == merges
    assert learn_merges({"low": 5, "lower": 2, "newer": 3}, 4) == merges[:4]


def test_a_run_of_one_letter_is_counted_with_its_overlaps() -> None:
    # aaaaa: a a 4 times, merged to aa aa a; then aa aa once, aa a once, and (aa, aa) > (aa, a)
    assert learn_merges({"aaaaa": 1}, 9) == [(b"a", b"a"), (b"aa", b"aa"), (b"aaaa", b"a")]


def test_of_equals_the_greater_bytes_are_merged() -> None:
    assert learn_merges({"ab": 1, "ac": 1, "bz": 1, "ba": 1}, 1) == [(b"b", b"z")]
    # after (b, a), the pairs (ba, c) and (b, z) both occur 3 times, and b"ba" > b"b" although it begins alike
    assert learn_merges({"bac": 3, "ba": 1, "bz": 3}, 2) == [(b"b", b"a"), (b"ba", b"c")]
    # and the second bytes decide alike: (z, ba) > (z, b)
    assert learn_merges({"zba": 3, "qba": 9, "zb": 3}, 2)[1] == (b"q", b"ba")
    assert learn_merges({"zba": 3, "qba": 9, "zb": 3}, 3)[2] == (b"z", b"ba")


words = st.dictionaries(st.text("abc", min_size=1, max_size=14) | st.text(max_size=6), st.integers(1, 4), max_size=8)


@settings(max_examples=400, deadline=None)
@given(words, st.integers(0, 30))
def test_fast_is_naive_on_words(word_counts: dict[str, int], n_merges: int) -> None:
    assert learn_merges(word_counts, n_merges) == train_naively(word_counts, n_merges)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None)
@given(st.text("ab \n'sé1") | st.text(), st.integers(0, 40))
def test_fast_is_naive_on_texts(pattern: str, text: str, n_merges: int) -> None:
    counts = count_words([text], pattern=pattern)
    _, merges = train_on_chunks([text], 256 + n_merges, pattern=pattern)
    assert merges == train_naively(counts, n_merges)


def test_ids_are_bytes_then_merges_then_special_tokens(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"low low low\r\nlow")
    vocab, merges = train_bpe(path, 260, [EOT, "<|pad|>"])
    # low, " low" twice, "\r" (a space before more), "\n", low: o w 4, l o 4 -> (o, w), then (l, ow)
    assert merges == [(b"o", b"w"), (b"l", b"ow")]
    assert list(vocab) == list(range(260))
    assert [vocab[id] for id in (0, 97, 255)] == [b"\x00", b"a", b"\xff"]
    assert [vocab[id] for id in range(256, 260)] == [b"ow", b"low", EOT.encode(), b"<|pad|>"]


def test_line_ends_are_learned_as_they_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\r\nb\r\n")  # words: a, "\r", "\n" (the space nearest to a word stands alone), b, "\r\n"
    assert train_bpe(path, 300)[1] == [(b"\r", b"\n")]


def test_words_are_counted_without_special_tokens() -> None:
    text = f"one two{EOT} two{EOT}{EOT}one"
    assert count_words([text], [EOT]) == Counter({"one": 2, " two": 2})
    assert count_words(list(text), [EOT]) == count_words([text], [EOT])


def test_no_merge_reaches_across_a_special_token() -> None:
    text = f"ab{EOT}ab{EOT}ab{EOT}"
    _, merges = train_on_chunks([text], 999, [EOT])
    assert merges == [(b"a", b"b")]
    _, merges = train_on_chunks([text], 999)  # not special: its letters are merged like others
    assert b"endoftext" in {left + right for left, right in merges}


def test_a_small_text_gives_fewer_tokens() -> None:
    vocab, merges = train_on_chunks(["abab"], 5000, [EOT])
    assert merges == [(b"a", b"b"), (b"ab", b"ab")]
    assert len(vocab) == 259
    assert len(train_on_chunks([""], 5000, [EOT])[0]) == 257


def test_a_vocabulary_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"vocab_size must be at least 257 \(256 bytes and 1 special tokens\), got 256; raise"
    ):
        train_on_chunks(["text"], 256, [EOT])
    with pytest.raises(TypeError, match=r"train_bpe: vocab_size must be an integer, got 300\.5"):
        train_bpe(tmp_path / "none.txt", 300.5)  # type: ignore[arg-type]


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("café".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.txt must be UTF-8, got byte 0xe9 at 3; save it as UTF-8 first"):
        train_bpe(path, 300)


def test_training_is_the_same_in_every_process() -> None:
    code = (
        "from gpt.tokenizer.trainer import train_on_chunks as t;"
        "print(t(['the cat sat on the mat, the end ' * 3 + 'abcdefgh hgfedcba'], 320)[1])"
    )
    root = Path(__file__).parents[3]
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outs) == 1
    assert b"[(b't', b'h'), (b'th', b'e'), (b'a', b't')" in outs.pop()


@pytest.mark.parametrize("text", ["a" * 300_000, "ab" * 150_000, "abcdefghijklmnop" * 12_000])
def test_one_huge_word_is_learned_in_time(text: str) -> None:
    start = time.process_time()
    train_on_chunks([text], 1024)
    assert time.process_time() - start < 5


def test_shakespeare_is_learned_in_time(data_dir: Path) -> None:
    start = time.process_time()
    vocab, _ = train_bpe(data_dir / "tinyshakespeare.txt", 4096, [EOT])
    assert time.process_time() - start < 2  # 0.3 s on the machine where this was written
    assert len(vocab) == 4096


def test_fast_is_naive_on_a_story(data_dir: Path) -> None:
    counts = count_words([(data_dir / "the-verdict.txt").read_text(encoding="utf-8")])
    assert learn_merges(counts, 60) == train_naively(counts, 60)
