"""Tests of gpt/text.py: what is a text, what is not, and what is said about it."""

import hashlib
import sys
from pathlib import Path

import pytest

from gpt.text import python_documentation, read_text, split_text, text_sha256


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\nb\n", "a\nb\n"),
        ("é€😀".encode(), "é€😀"),
        (b"\xef\xbb\xbfa", "a"),  # a byte-order mark
        (b"a\r\nb\rc\n\rd", "a\nb\nc\n\nd"),  # Windows, old Macintosh, and both in a row
    ],
)
def test_text_is_read_as_it_is_but_for_mark_and_line_ends(tmp_path: Path, raw: bytes, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    assert read_text(path) == text
    assert read_text(str(path)) == text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b" \n\t\r\n", "is empty"),
        (b"text\0text", r"is binary or UTF-16 \(it has zero bytes\); give plain text"),
        ("text".encode("utf-16"), "binary or UTF-16"),
        (b"caf\xe9 au lait", r"is not UTF-8: byte 0xe9 at position 3; .*iconv -f latin1 -t utf-8"),
        (b"a" * 70_000 + b"\xff", "byte 0xff at position 70000"),
        (b"\xc3", "byte 0xc3 at position 0"),  # half a character
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "data.txt"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        read_text(path)
    assert str(path) in str(caught.value)


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; give a text file"):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data: there is no file .*missing\.txt"):
        read_text(tmp_path / "missing.txt")


def test_the_documentation_of_python_is_text_in_a_fixed_order(monkeypatch: pytest.MonkeyPatch) -> None:
    text = python_documentation()
    assert len(text) > 100_000
    assert text == python_documentation()
    assert 'The "try" statement' in text
    topics = type(sys)("pydoc_data.topics")
    topics.topics = {"b": "second\n", "a": "\nfirst"}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", topics)
    assert python_documentation() == "first\n\nsecond\n"


def test_a_python_without_its_documentation_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)  # importing it is an ImportError
    with pytest.raises(ValueError, match=r"without its documentation .*give a text with --data FILE"):
        python_documentation()


def test_the_hash_is_that_of_the_bytes() -> None:
    assert text_sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert text_sha256("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


@pytest.mark.parametrize(("fraction", "train"), [(0, "abcdefghij"), (0.1, "abcdefghi"), (0.24, "abcdefgh"), (0.96, "")])
def test_validation_text_is_the_end(fraction: float, train: str) -> None:
    text = "abcdefghij"
    assert split_text(text, fraction) == (train, text[len(train) :])
