"""Tests of gpt/text/read.py: what is a text, what is not, and what is said about it."""

import codecs
import hashlib
import json
import sys
from pathlib import Path

import pytest

import gpt.text.read
from gpt.text.read import Document, python_documentation, read_documents, read_text, split_text, text_sha256


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


# Documents of files and folders


def one(path: Path, **options: str) -> str:
    """Read a file that is one document, without a warning: pytest makes an error of it."""
    (document,) = read_documents([path], **options)  # type: ignore[arg-type]
    assert document.name == str(path)
    return document.text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        ("é€😀".encode(), "é€😀"),
        ("é€😀".encode("utf-8-sig"), "é€😀"),
        ("é€😀".encode("utf-16"), "é€😀"),
        (codecs.BOM_UTF16_BE + "é€😀".encode("utf-16-be"), "é€😀"),
        ("é€😀".encode("utf-32"), "é€😀"),  # its mark begins with that of UTF-16
        (b"a\x0c\x1b[0m", "a\x0c\x1b[0m"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, raw: bytes, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    assert one(path) == text


def test_the_encoding_is_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("“日本”".encode("shift_jis"))
    assert one(path, encoding="shift_jis") == "“日本”"
    path.write_bytes("日本".encode("utf-16-le"))
    assert one(path, encoding="UTF_16_LE") == one(path, encoding="UTF-16LE") == "日本"
    path.write_bytes(codecs.BOM_UTF8 + b"a")
    assert one(path, encoding="utf-8") == "a"
    with pytest.raises(ValueError, match=r"a\.txt is not ascii: byte 0xef at position 0"):
        one(path, encoding="ascii")
    for name in ("utf9", "hex", "a\0b"):
        with pytest.raises(ValueError, match=r"encoding: Python has none called .*; for example utf-8"):
            one(path, encoding=name)


def test_what_is_not_utf_8_is_latin_1_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("déjà vu".encode("latin-1"))
    said: list[str] = []
    assert [document.text for document in read_documents([path], warn=said.append)] == ["déjà vu"]
    assert len(said) == 1
    assert f"{path} is not utf-8: byte 0xe9 at position 1; it is read as latin-1" in said[0]
    with pytest.warns(UserWarning, match="read as latin-1"):
        list(read_documents([path]))


def test_a_page_may_name_its_encoding(tmp_path: Path) -> None:
    page = '<META http-equiv=x content="text/html; charset=windows-1252"><p>“é”'
    path = tmp_path / "a.htm"
    path.write_bytes(page.encode("cp1252"))
    assert one(path) == page
    path.write_bytes(page.encode("utf-8"))  # it is wrong: what is UTF-8 is hardly anything else
    assert one(path) == page
    for wrong in ("klingon", "hex", "ascii", "é"):
        page = f'<meta charset="{wrong}">é'
        path.write_bytes(page.encode("latin-1"))
        with pytest.warns(UserWarning, match="read as latin-1"):
            assert one(path) == page


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_join_to_the_text_wherever_they_are_cut(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt.text.read, "PART", size)
    path = tmp_path / "a.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        path.write_bytes("é€\r\n😀\r\r\n".encode(encoding))
        if encoding == "utf-8" or size > 3:  # a mark must lie in the first part
            (document,) = read_documents([path])
            assert list(document.parts) == list(document.parts)  # as often as one likes
            assert document.text == "é€\n😀\n\n"
    path.write_bytes("a€".encode() + b"\xe2\x82")
    with pytest.raises(ValueError, match="is not utf-8: byte 0xe2 at position 4"):
        one(path, encoding="utf-8")


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b/a.MD", "a/c/x.html", "a/y.htm", "B.txt", "a.jsonl", "c.py", ".git/x.txt", ".x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "x"}', encoding="utf-8")
    found = [Path(document.name).relative_to(tmp_path).as_posix() for document in read_documents([tmp_path])]
    assert found == ["B.txt", "a.jsonl:1", "a/y.htm", "a/c/x.html", "b/a.MD", "b/z.txt"]
    assert one(tmp_path / "c.py") == '{"text": "x"}'  # what is named is read, whatever its suffix


def test_each_line_of_a_jsonl_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"text": "a\u2028b\n"}, {"id": 1, "text": "😀"}, {"text": " "}]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8-sig")
    assert list(read_documents([path])) == [Document(f"{path}:1", ("a\u2028b\n",)), Document(f"{path}:3", ("😀",))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "a line must be JSON; "),
        ("[" * 100_000, "a line must be JSON; "),
        ("[1]", r"a line must be an object, got '\[1\]'"),
        ('{"body": 1}', "there is no 'text', only 'body'; see --text-key"),
        ("{}", "there is no 'text', only nothing"),
        ('{"text": null}', "'text' must be a text, got NoneType"),
        ('{"text": "\\ud83d"}', r"'text' has half of a character \(a lone surrogate\) at 0"),
    ],
)
def test_a_line_that_holds_no_text_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n{{"text": "b"}}', encoding="utf-8")
    with pytest.raises(ValueError, match=rf"a\.jsonl:2: {message}"):
        list(read_documents([path]))
    errors: list[Exception] = []
    assert [document.text for document in read_documents([path], on_error=errors.append)] == ["a", "b"]
    assert len(errors) == 1


def test_errors_are_raised_or_told_and_the_rest_is_read(tmp_path: Path) -> None:
    good, binary, empty, folder = (tmp_path / name for name in ("good.txt", "binary.txt", "empty.txt", "folder"))
    good.write_text("good", encoding="utf-8")
    binary.write_bytes(bytes(range(1, 256)))
    empty.write_bytes(b"\xef\xbb\xbf\n")
    folder.mkdir()
    bad = {
        tmp_path / "gone.txt": "there is no file .*gone.txt",
        binary: r"binary.txt is binary \(more than 1 in 100 bytes are control characters\)",
        empty: "empty.txt is empty",
        folder: "folder .*folder has no text: no .txt",
    }
    for path, message in bad.items():
        with pytest.raises((OSError, ValueError), match=message):
            list(read_documents([path]))
    errors: list[Exception] = []
    assert [document.text for document in read_documents([*bad, good], on_error=errors.append)] == ["good"]
    assert len(errors) == 4


def test_the_documents_before_an_error_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    documents = read_documents([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert next(documents).text == "a"
    with pytest.raises(FileNotFoundError):
        next(documents)
