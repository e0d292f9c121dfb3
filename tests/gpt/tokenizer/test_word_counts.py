"""Counting files: in parts, in processes, as text; the sum is always the count of the whole."""

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.tokenizer import PATTERNS, BPETokenizer, train_bpe, word_counts
from gpt.tokenizer.word_counts import Part, count_files, count_words, cut_file

EOT = "<|endoftext|>"
TEXT = "The cat's 12 hats,\n\n  they'll see: été, 中文 e\u0301 x\u3000y!\r\n/ 😀😀 \t"


def write(folder: Path, text: str, name: str = "text.txt") -> Path:
    (folder / name).write_bytes(text.encode("utf-8"))
    return folder / name


def test_parts_worked_by_hand(tmp_path: Path) -> None:
    # bytes 0-2 one, 3 space, 4-6 two, 7-9 line ends and space, 10-14 three: cut where a letter meets white space
    path = write(tmp_path, "one two\n\n three")
    parts = cut_file(path, part_size=2)
    assert [(part.start, part.stop) for part in parts] == [(0, 3), (3, 7), (7, 15)]
    assert cut_file(path, part_size=4)[0] == Part(str(path), 0, 7)
    assert [(part.start, part.stop) for part in cut_file(path, part_size=15)] == [(0, 15)]
    assert cut_file(write(tmp_path, ""), part_size=4) == []


def test_a_cut_never_falls_into_a_character_or_a_special_token(tmp_path: Path) -> None:
    path = write(tmp_path, "é\u3000é" * 9)  # 2 + 3 + 2 bytes: a cut after the first é of each, 2, 9, 16, …
    assert [part.start for part in cut_file(path, part_size=1)] == [0, *range(9, 63, 7)]  # from inside é, 2 is not seen
    assert len(cut_file(path, ["<|a b|>"], part_size=1)) == 1  # "a b" may be cut, so nothing is


def test_where_nothing_can_be_cut_the_part_is_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "WINDOW", 16)
    path = write(tmp_path, "a" * 1000 + " b")
    assert [(part.start, part.stop) for part in cut_file(path, part_size=10)] == [(0, 1000), (1000, 1002)]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=200, deadline=None)
@given(
    text=st.lists(st.sampled_from([*"aAé1²中\u0301 \t\n\r\u3000'/!s😀", EOT, "'ll", "  "]), max_size=40).map("".join),
    part_size=st.integers(1, 20),
)
def test_the_parts_add_up(tmp_path_factory: pytest.TempPathFactory, pattern: str, text: str, part_size: int) -> None:
    path = write(tmp_path_factory.getbasetemp(), text)
    whole = count_words([text], [EOT], pattern=pattern)
    assert count_files([path], [EOT], pattern=pattern, part_size=part_size) == whole
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    assert count_files([path], [EOT], pattern=pattern, part_size=part_size, plain=True) == count_words(
        [text], [EOT], pattern=pattern
    )


def test_a_byte_order_mark_is_no_word_of_plain_text(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffone")
    assert count_files([path], plain=True) == Counter({"one": 1})
    assert count_files([path]) == Counter({"\ufeff": 1, "one": 1})


def test_files_are_texts_of_their_own(tmp_path: Path) -> None:
    paths = [write(tmp_path, "one", "a"), write(tmp_path, "two", "b")]
    assert count_files(paths) == Counter({"one": 1, "two": 1})


def test_workers_change_nothing_and_progress_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, (TEXT + EOT) * 50)
    size = path.stat().st_size
    told: list[tuple[int, int]] = []
    counts = count_files([path], [EOT], workers=2, part_size=size // 5, progress=lambda *done: told.append(done))
    assert counts == count_words([(TEXT + EOT) * 50], [EOT])
    assert [total for _, total in told] == [size] * len(told)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) >= 5
    assert told[-1] == (size, size)
    assert multiprocessing.active_children() == []


def test_what_a_worker_cannot_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one two " * 20 + b"caf\xe9 " + b"one two " * 20)
    for workers in (1, 2):
        with pytest.raises(ValueError, match=r"latin\.txt must be UTF-8, got byte 0xe9 at 163; save it as UTF-8 first"):
            count_files([path], workers=workers, part_size=50)
    with pytest.raises(FileNotFoundError, match="none"):
        count_files([tmp_path / "none.txt"])
    with pytest.raises(ValueError, match="workers must be at least 1, got 0; 1 works in this process alone"):
        count_files([path], workers=0)


def test_a_character_cut_off_at_the_end_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.txt"
    path.write_bytes(b"one \xe4\xb8")
    with pytest.raises(ValueError, match=r"half\.txt must be UTF-8, got byte 0xe4 at 4"):
        count_files([path])


def test_training_from_files_is_training_from_text(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT * 9)
    trained = BPETokenizer.train_files([path], 300)
    plain = (TEXT * 9).replace("\r\n", "\n")
    assert trained.sha256 == BPETokenizer.train(plain, 300).sha256
    assert train_bpe(path, 300, [EOT]) == train_bpe(path, 300, [EOT], workers=2)
    with pytest.raises(ValueError, match=r"BPETokenizer\.train_files: vocab_size must be at least 257"):
        BPETokenizer.train_files([path], 256)
