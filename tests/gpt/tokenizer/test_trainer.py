"""Tests of gpt/tokenizer/trainer.py: merges by hand and against the naive trainer, order of ids and ties, counted files."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import PATTERNS, BPETokenizer, train_bpe, trainer
from gpt.tokenizer.pairs import train_naively
from gpt.tokenizer.trainer import FileRange, count_files, count_words, learn_merges, split_file, train_on_chunks

EOT = "<|endoftext|>"
TEXT = "The cat's 12 hats,\n\n  they'll see: été, 中文 e\u0301 x\u3000y!\r\n/ 😀😀 \t"


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
    with pytest.raises(ValueError, match=r"latin\.txt is not UTF-8: byte 0xe9 at position 3; save it as UTF-8 first"):
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


# Counting words


def write(folder: Path, text: str, name: str = "text.txt") -> Path:
    (folder / name).write_bytes(text.encode("utf-8"))
    return folder / name


def test_ranges_worked_by_hand(tmp_path: Path) -> None:
    # bytes 0-2 one, 3 space, 4-6 two, 7-9 line ends and space, 10-14 three: cut where a letter meets white space
    path = write(tmp_path, "one two\n\n three")
    ranges = split_file(path, range_size=2)
    assert [(r.start, r.stop) for r in ranges] == [(0, 3), (3, 7), (7, 15)]
    assert split_file(path, range_size=4)[0] == FileRange(str(path), 0, 7)
    assert [(r.start, r.stop) for r in split_file(path, range_size=15)] == [(0, 15)]
    assert split_file(write(tmp_path, ""), range_size=4) == []


def test_no_character_and_no_special_token_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "é\u3000é" * 9)  # 2 + 3 + 2 bytes: a cut after the first é of each, 2, 9, 16, …
    assert [r.start for r in split_file(path, range_size=1)] == [0, *range(9, 63, 7)]  # from inside é, 2 is not seen
    assert len(split_file(path, ["<|a b|>"], range_size=1)) == 1  # "a b" may be cut, so nothing is


def test_a_stretch_without_a_split_point_is_one_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "WINDOW", 16)
    path = write(tmp_path, "a" * 1000 + " b")
    assert [(r.start, r.stop) for r in split_file(path, range_size=10)] == [(0, 1000), (1000, 1002)]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=200, deadline=None)
@given(
    text=st.lists(st.sampled_from([*"aAé1²中\u0301 \t\n\r\u3000'/!s😀", EOT, "'ll", "  "]), max_size=40).map("".join),
    range_size=st.integers(1, 20),
)
def test_the_counts_of_ranges_add_up(
    tmp_path_factory: pytest.TempPathFactory, pattern: str, text: str, range_size: int
) -> None:
    path = write(tmp_path_factory.getbasetemp(), text)
    whole = count_words([text], [EOT], pattern=pattern)
    assert count_files([path], [EOT], pattern=pattern, range_size=range_size) == whole
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.strip():  # an empty file is refused
        plain = count_files([path], [EOT], pattern=pattern, range_size=range_size, plain=True)
        assert plain == count_words([text], [EOT], pattern=pattern)


def test_a_byte_order_mark_is_not_part_of_a_plain_text(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffone")
    assert count_files([path], plain=True) == Counter({"one": 1})
    assert count_files([path]) == Counter({"\ufeff": 1, "one": 1})


def test_files_are_texts_of_their_own(tmp_path: Path) -> None:
    paths = [write(tmp_path, "one", "a"), write(tmp_path, "two", "b")]
    assert count_files(paths) == Counter({"one": 1, "two": 1})


def test_workers_change_nothing_and_progress_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, (TEXT + EOT) * 50)
    size = path.stat().st_size
    calls: list[tuple[int, int]] = []
    counts = count_files([path], [EOT], workers=2, range_size=size // 5, progress=lambda *done: calls.append(done))
    assert counts == count_words([(TEXT + EOT) * 50], [EOT])
    assert [total for _, total in calls] == [size] * len(calls)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert len(calls) >= 5
    assert calls[-1] == (size, size)
    assert multiprocessing.active_children() == []


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one two " * 20 + b"caf\xe9 " + b"one two " * 20)
    for workers in (1, 2):
        with pytest.raises(
            ValueError, match=r"latin\.txt is not UTF-8: byte 0xe9 at position 163; save it as UTF-8 first"
        ):
            count_files([path], workers=workers, range_size=50)
    with pytest.raises(FileNotFoundError, match="none"):
        count_files([tmp_path / "none.txt"])
    with pytest.raises(ValueError, match="workers must be at least 1, got 0; 1 works in this process alone"):
        count_files([path], workers=0)


def test_a_character_cut_off_at_the_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.txt"
    path.write_bytes(b"one \xe4\xb8")
    with pytest.raises(ValueError, match=r"half\.txt is not UTF-8: byte 0xe4 at position 4"):
        count_files([path])


def test_training_from_files_is_training_from_text(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT * 9)
    trained = BPETokenizer.train_files([path], 300)
    plain = (TEXT * 9).replace("\r\n", "\n")
    assert trained.sha256 == BPETokenizer.train(plain, 300).sha256
    assert train_bpe(path, 300, [EOT]) == train_bpe(path, 300, [EOT], workers=2)
    with pytest.raises(ValueError, match=r"BPETokenizer\.train_files: vocab_size must be at least 257"):
        BPETokenizer.train_files([path], 256)


def test_a_plain_file_may_have_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "wide.txt"
    path.write_bytes("été\r\n中".encode("utf-16"))
    assert count_files([path], plain=True) == Counter({"été": 1, "\n": 1, "中": 1})
    path.write_bytes("été ".encode("latin-1") * 9)
    with pytest.warns(UserWarning, match="it is read as latin-1"):
        assert count_files([path], plain=True) == count_words(["été " * 9])
