"""Tests of gpt/text/documents.py: which files of a folder are read, in which order, and what happens to the others."""

import json
from pathlib import Path

import pytest

from gpt.text.documents import Document, read_documents


def test_folders_are_walked_in_order(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b/a.MD", "a/c/x.html", "a/y.htm", "B.txt", "a.jsonl", "c.py", ".git/x.txt", ".x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "x"}', encoding="utf-8")
    found = [Path(document.name).relative_to(tmp_path).as_posix() for document in read_documents([tmp_path])]
    assert found == ["B.txt", "a.jsonl:1", "c.py", "a/y.htm", "a/c/x.html", "b/a.MD", "b/z.txt"]
    (document,) = read_documents([tmp_path / "c.py"])  # a file that is named is read, whatever its suffix
    assert document == Document(str(tmp_path / "c.py"), document.blocks)
    assert document.text == '{"text": "x"}'


def test_each_line_of_a_jsonl_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"text": "a\u2028b\n"}, {"id": 1, "text": "😀"}, {"text": " "}]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8-sig")
    assert list(read_documents([path])) == [Document(f"{path}:1", ("a\u2028b\n",)), Document(f"{path}:3", ("😀",))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "a line must be one JSON object, but it is not JSON: Expecting"),
        ("[" * 100_000, "a line must be one JSON object, but it is nested too deeply"),
        ("[1]", r"must be an object like .*, got list"),
        ('{"body": 1}', "there is no 'text', only 'body'; name it with --text-key of clean or data prepare"),
        ('{"text": 1, "text": 2}', "a line must be one JSON object, but the key 'text' is there twice"),
        ("{}", "there is no 'text', only nothing"),
        ('{"text": null}', "'text' must be a text, got NoneType"),
        ('{"text": "\\ud83d"}', r"'text' has a lone surrogate at 0"),
    ],
)
def test_a_line_that_holds_no_text_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "a"}}\n{line}\n{{"text": "b"}}', encoding="utf-8")
    with pytest.raises(ValueError, match=rf"data: .*a\.jsonl, line 2: {message}"):
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


def test_of_many_files_in_latin_1_a_few_are_named(tmp_path: Path) -> None:
    for i in range(1000):
        (tmp_path / f"{i:03}.txt").write_bytes(b"caf\xe9")
    warnings: list[str] = []
    assert [document.text for document in read_documents([tmp_path], warn=warnings.append)] == ["café"] * 1000
    assert len(warnings) == 4
    assert "000.txt is not utf-8" in warnings[0]
    assert warnings[-1] == "997 more files are read as latin-1"


def test_the_documents_before_an_error_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    documents = read_documents([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert next(documents).text == "a"
    with pytest.raises(FileNotFoundError):
        next(documents)
