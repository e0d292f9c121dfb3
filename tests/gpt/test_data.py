"""Token files and batches: bytes by hand, damage, and every target once."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.data import IGNORE, check_length, consecutive_batches, random_batch, read_tokens, write_tokens

# Token files


def test_a_token_file_byte_by_byte(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t", [1, 258], vocab_size=300)
    expected = (
        b"GPTTOKEN"  # magic
        b"\x01\0\0\0"  # version 1
        b"\x02\0\0\0"  # two bytes an id
        b"\x02\0\0\0\0\0\0\0"  # two ids
        b"\x2c\x01\0\0\0\0\0\0"  # below 300 = 256 + 44
        b"\x01\0\x02\x01"  # 1, and 258 = 2 + 256
    )
    assert (tmp_path / "t").read_bytes() == expected
    assert read_tokens(tmp_path / "t").tolist() == [1, 258]


@pytest.mark.parametrize(("vocab_size", "width"), [(1, 2), (65535, 2), (65536, 2), (65537, 4), (2**32, 4)])
def test_ids_take_two_bytes_while_they_fit(tmp_path: Path, vocab_size: int, width: int) -> None:
    ids = [0, vocab_size - 1]
    write_tokens(tmp_path / "t", np.array(ids), vocab_size)
    assert (tmp_path / "t").stat().st_size == 32 + 2 * width
    read = read_tokens(tmp_path / "t")
    assert read.dtype == np.dtype(f"<u{width}")
    assert read.tolist() == ids  # 65535 and 65536 are where a narrow type would wrap round


@pytest.mark.parametrize("vocab_size", [300, 70000])
def test_no_ids_are_a_file_too(tmp_path: Path, vocab_size: int) -> None:
    write_tokens(tmp_path / "t", [], vocab_size)
    assert (tmp_path / "t").stat().st_size == 32
    assert read_tokens(tmp_path / "t").shape == (0,)


def test_the_ids_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    write_tokens(tmp_path / "t", [1, 2, 3], 4)
    tokens = read_tokens(str(tmp_path / "t"))
    assert isinstance(tokens, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 2


@pytest.mark.parametrize("ids", [[0, 5], [-1, 2]])
def test_ids_outside_the_vocabulary_are_not_written(tmp_path: Path, ids: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"write_tokens: ids must lie in \[0, 5\), got {min(ids)} to {max(ids)}"):
        write_tokens(tmp_path / "t", ids, 5)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("content", [b"", b"GPTTOKEN", b"once upon a time there was a king who", b"\0" * 40])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ValueError, match="t is no token file: it does not begin with GPTTOKEN"):
        read_tokens(tmp_path / "t")


@pytest.mark.parametrize("change", [-3, -1, 1, 2])
def test_a_file_of_another_length_is_damaged(tmp_path: Path, change: int) -> None:
    write_tokens(tmp_path / "t", [1, 2, 3], 4)
    whole = (tmp_path / "t").read_bytes()
    (tmp_path / "t").write_bytes(whole[:change] if change < 0 else whole + b"\0" * change)
    with pytest.raises(ValueError, match=f"t is damaged: 3 ids need 38 bytes, it has {38 + change}"):
        read_tokens(tmp_path / "t")


@pytest.mark.parametrize(("version", "width"), [(2, 2), (1, 8), (1, 0)])
def test_another_version_is_refused(tmp_path: Path, version: int, width: int) -> None:
    (tmp_path / "t").write_bytes(struct.pack("<8sIIQQ", b"GPTTOKEN", version, width, 0, 4))
    with pytest.raises(
        ValueError, match=f"t: version {version} with {width} bytes an id; this program reads version 1"
    ):
        read_tokens(tmp_path / "t")


# Random batches


def test_targets_are_the_ids_one_step_later() -> None:
    tokens = np.arange(100, dtype=np.uint16) * 3
    ids, targets = random_batch(tokens, 4, 7, np.random.default_rng(0))
    assert ids.shape == targets.shape == (4, 7)
    assert ids.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(np.diff(ids), 3)
    np.testing.assert_array_equal(targets, ids + 3)


def test_the_same_generator_draws_the_same_batch() -> None:
    def draw(seed: int) -> np.ndarray:
        return random_batch(np.arange(1000), 4, 7, np.random.default_rng(seed))[0]

    np.testing.assert_array_equal(draw(1), draw(1))
    assert not np.array_equal(draw(1), draw(2))


def test_every_window_is_drawn_the_first_and_the_last_too() -> None:
    ids, targets = random_batch(np.arange(10), 200, 7, np.random.default_rng(0))
    assert set(ids[:, 0].tolist()) == {0, 1, 2}  # windows of 8 in 10
    assert targets.max() == 9


def test_a_text_of_one_window_is_enough() -> None:
    ids, targets = random_batch(np.arange(4), 2, 3, np.random.default_rng(0))
    assert ids.tolist() == [[0, 1, 2]] * 2
    assert targets.tolist() == [[1, 2, 3]] * 2


def test_check_length_says_what_is_missing() -> None:
    check_length("training", np.arange(9), 8)
    with pytest.raises(
        ValueError,
        match=r"data: the training text has 8 tokens, and a window needs context_length \+ 1 = 9; "
        "give more text or a smaller --context-length",
    ):
        check_length("training", np.arange(8), 8)


# Consecutive batches


def test_windows_follow_one_another_and_the_last_is_filled_up() -> None:
    first, second = consecutive_batches(np.arange(10, 19), batch_size=2, context_length=3)
    assert first[0].tolist() == [[10, 11, 12], [13, 14, 15]]
    assert first[1].tolist() == [[11, 12, 13], [14, 15, 16]]
    assert second[0].tolist() == [[16, 17, 0]]
    assert second[1].tolist() == [[17, 18, IGNORE]]
    assert second[0].dtype == second[1].dtype == np.int64


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9))
def test_every_token_but_the_first_is_a_target_once(n: int, batch_size: int, context_length: int) -> None:
    tokens = np.arange(1, n + 1, dtype=np.uint16)
    targets: list[int] = []
    for ids, wanted in consecutive_batches(tokens, batch_size, context_length):
        assert ids.shape == wanted.shape
        assert ids.shape[0] <= batch_size
        assert ids.shape[1] == context_length
        counts = wanted != IGNORE
        np.testing.assert_array_equal(ids[counts] + 1, wanted[counts])
        targets += wanted[counts].tolist()
    assert targets == list(range(2, n + 1))


def test_a_limit_takes_batches_from_the_whole_text() -> None:
    tokens = np.arange(101)  # 20 windows of 5 targets
    rows = np.concatenate([ids for ids, _ in consecutive_batches(tokens, 2, 5, limit=2)])
    assert rows[:, 0].tolist() == [0, 30, 60, 95]  # windows 0, 6, 12 and 19: evenly, with the first and the last
    assert len(list(consecutive_batches(tokens, 3, 5, limit=100))) == 7  # more than there are: all of them


@settings(deadline=None)
@given(st.integers(2, 80), st.integers(1, 4), st.integers(1, 9), st.integers(1, 6))
def test_a_limit_takes_no_window_twice(n: int, batch_size: int, context_length: int, limit: int) -> None:
    got = list(consecutive_batches(np.arange(n), batch_size, context_length, limit))
    starts = [int(row[0]) for ids, _ in got for row in ids]
    windows = -(-(n - 1) // context_length)
    assert len(starts) == len(set(starts)) == min(windows, limit * batch_size)
    assert len(got) <= limit
