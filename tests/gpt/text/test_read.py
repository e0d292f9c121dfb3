"""Tests of gpt/text/read.py: which encoding a file is read in, and which files are refused."""

import codecs
import hashlib
import sys
from pathlib import Path

import pytest

import gpt.text.read
from gpt.text.read import (
    WEB,
    WEB_LABELS,
    TextFile,
    check_encoding,
    detect_encoding,
    python_documentation,
    read_text,
    split_text,
    text_sha256,
)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\nb\n", "a\nb\n"),
        ("é€😀".encode(), "é€😀"),
        (b"\xef\xbb\xbfa", "a"),  # a byte-order mark
        (b"a\r\nb\rc\n\rd", "a\nb\nc\n\nd"),  # Windows, old Macintosh, and both in a row
    ],
)
def test_only_the_mark_and_the_line_ends_are_changed(tmp_path: Path, raw: bytes, text: str) -> None:
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
        (b"text\0text", r"is binary, or UTF-16 without a byte-order mark: it has zero bytes; give UTF-8"),
        ("text".encode("utf-16-le"), "binary, or UTF-16"),
        (bytes(range(1, 256)), r"is binary \(more than 1 in 100 bytes are control characters\)"),
    ],
)
def test_a_file_without_text_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
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
    with pytest.raises(ValueError, match=r"lacks its documentation .*give a text: --data FILE"):
        python_documentation()


def test_the_hash_is_that_of_the_bytes() -> None:
    assert text_sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert text_sha256("é") == hashlib.sha256(b"\xc3\xa9").hexdigest()


@pytest.mark.parametrize(("fraction", "train"), [(0, "abcdefghij"), (0.1, "abcdefghi"), (0.24, "abcdefgh"), (0.96, "")])
def test_validation_text_is_the_end(fraction: float, train: str) -> None:
    text = "abcdefghij"
    assert split_text(text, fraction) == (train, text[len(train) :])


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("é€😀".encode("utf-8-sig"), "é€😀"),
        ("é€😀".encode("utf-16"), "é€😀"),
        (codecs.BOM_UTF16_BE + "é€😀".encode("utf-16-be"), "é€😀"),
        ("é€😀".encode("utf-32"), "é€😀"),  # its mark begins with that of UTF-16
        (b"a\x0c\x1b[0m", "a\x0c\x1b[0m"),
    ],
)
def test_the_encoding_is_detected(tmp_path: Path, raw: bytes, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    assert read_text(path) == "".join(TextFile(path, detect_encoding(path))) == text


def test_the_encoding_may_be_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("“日本”".encode("shift_jis"))
    assert read_text(path, encoding="shift_jis") == "“日本”"
    path.write_bytes("日本".encode("utf-16-le"))
    assert read_text(path, encoding="UTF_16_LE") == read_text(path, encoding="UTF-16LE") == "日本"
    path.write_bytes(codecs.BOM_UTF8 + b"a")
    assert read_text(path, encoding="utf-8") == "a"
    with pytest.raises(ValueError, match=r"a\.txt is not ascii: byte 0xef at position 0, in line 1"):
        read_text(path, encoding="ascii")
    for name in ("utf9", "hex", "a\0b"):
        with pytest.raises(ValueError, match=r"encoding: Python has none called .*; for example utf-8"):
            read_text(path, encoding=name)


def test_a_file_that_is_not_utf_8_is_latin_1_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("un\ndéjà vu".encode("latin-1"))
    warnings: list[str] = []
    assert read_text(path, warn=warnings.append) == "un\ndéjà vu"
    (warning,) = warnings
    assert f"{path} is not utf-8: byte 0xe9 at position 4, in line 2; it is read as latin-1" in warning
    assert "iconv -f cp1252 -t utf-8" in warning
    with pytest.warns(UserWarning, match="read as latin-1"):
        read_text(path)


def test_mixed_reads_only_the_lines_that_are_not_utf_8_as_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffcafé\n".encode() + b"caf\xe9\r\n\xa3100\n")
    warnings: list[str] = []
    assert read_text(path, encoding="mixed", warn=warnings.append) == "café\ncafé\n£100\n"
    assert warnings == ["2 lines read as latin-1"]
    path.write_bytes(b"a\0")
    with pytest.raises(ValueError, match=r"it has zero bytes.*; if it is text, name its encoding"):
        read_text(path, encoding="mixed")


def test_line_ends_may_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\n")
    assert read_text(path, keep_line_ends=True) == "a\r\nb\rc\n"


PYTHON_ONLY = (
    "unicode_escape",
    "raw_unicode_escape",
    "utf-7",
    "utf-16",
    "idna",
    "punycode",
    "rot13",
    "hex",
    "cp037",
    "u8",
)


@pytest.mark.parametrize(
    ("label", "encoding", "text"),
    [
        ("ISO-8859-1", "cp1252", "“é”"),  # as browsers read it
        ("us-ascii", "cp1252", "é"),
        ("gb2312", "gb18030", "漢字"),
        ("Shift_JIS", "cp932", "①漢字"),
        ("EUC-KR", "cp949", "한국"),
        ("big5", "big5hkscs", "漢字"),
        ("koi8-r", "koi8-r", "Привет"),
        ("tis-620", "cp874", "ไทย"),
        ("latin5", "cp1254", "ığ"),
        ("x-mac-ukrainian", "mac-cyrillic", "Привет"),
    ],
)
def test_a_page_declares_an_encoding_of_the_web(tmp_path: Path, label: str, encoding: str, text: str) -> None:
    page = f'<meta charset="{label}"><p>{text}'
    (tmp_path / "a.html").write_bytes(page.encode(encoding))
    assert read_text(tmp_path / "a.html") == page


def test_every_label_of_the_web_is_of_one_encoding_of_python() -> None:
    assert len(WEB_LABELS) == sum(len(labels.split()) for labels in WEB.values())
    for name in WEB:
        check_encoding(name)


def test_a_page_may_declare_its_encoding(tmp_path: Path) -> None:
    page = '<META http-equiv=x content="text/html; charset=windows-1252"><p>“é”'
    path = tmp_path / "a.htm"
    path.write_bytes(page.encode("cp1252"))
    assert read_text(path) == page
    path.write_bytes(
        page.encode("utf-8")
    )  # the declaration is wrong: a text that is valid UTF-8 is hardly anything else
    assert read_text(path) == page
    for wrong in ("klingon", "é", *PYTHON_ONLY):
        page = f'<meta charset="{wrong}">é'
        path.write_bytes(page.encode("latin-1"))
        with pytest.warns(UserWarning, match="read as latin-1"):
            assert read_text(path) == page


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_blocks_join_to_the_text_wherever_they_are_cut(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt.text.read, "BLOCK", size)
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("é€\r\n😀\r\r\n".encode(encoding))
        if encoding == "utf-8" or size > 3:  # a mark must lie in the first block
            file = TextFile(path, detect_encoding(path))
            assert list(file) == list(file)  # it can be read again
            assert "".join(file) == "".join(file.lines()) == "é€\n😀\n\n"
    path.write_bytes("a€".encode() + b"\xe2\x82")
    with pytest.raises(ValueError, match="is not utf-8: byte 0xe2 at position 4, in line 1"):
        detect_encoding(path, "utf-8")
