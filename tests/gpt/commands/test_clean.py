"""Tests of `python -m gpt clean`: from files of every kind to one clean text, whole or not at all."""

import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt.__main__ import main
from gpt.text.clean import Cleaner
from nanograd.runtime.files import open_input

Output = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a text of every kind, in the order in which it is read."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes("One  two\u200b.\r\n\r\nA < b.\r\n".encode("utf-8-sig"))
    (folder / "b.HTML").write_text("<title>Page</title><p>A &lt; b.</p><p>Caf&eacute;</p><script>f()</script>")
    (folder / "c.jsonl").write_text('{"text": "<b>line</b> 1"}\n\n{"text": "line 2"}\n', encoding="utf-8")
    (folder / "sub" / "d.md").write_text("# Title\n\n    code\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\0\0")  # not read
    (folder / ".hidden.txt").write_text("not read", encoding="utf-8")
    return folder


CLEAN = "One two.\n\nA < b.\n\nPage\n\nCafé\n\n<b>line</b> 1\n\nline 2\n\n# Title\n\n    code\n"


def run(out: Path, *words: str | Path) -> str:
    """Run the command, which must succeed, and return what it wrote."""
    assert main(["clean", *map(str, words), "-o", str(out)]) == 0
    return out.read_bytes().decode("utf-8")


def refused(capsys: Output, *words: str | Path) -> str:
    """Run the command, which must fail, and return the one line it said."""
    assert main(["clean", *map(str, words)]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return shown


def test_a_folder_becomes_one_clean_text_and_what_was_removed_is_shown(
    folder: Path, tmp_path: Path, capsys: Output
) -> None:
    out = tmp_path / "out.txt"
    assert run(out, folder) == CLEAN
    shown = capsys.readouterr()
    assert shown.err == "skipped: 1 of other kinds: picture.png\n"
    assert re.fullmatch(
        r"step +characters\nread +\d+\nstrip_html +55\nremove_control +1\nstrip_gutenberg +0\n"
        r"normalise_unicode +0\ndrop_duplicates +8  \(1 paragraphs\)\ntidy_whitespace +\d+\nwritten +\d+\n\n"
        rf"5 documents in {re.escape(str(out))}; 0 had no text left, 0 skipped as unreadable\n",
        shown.out,
    )
    assert run(tmp_path / "again.txt", out) == CLEAN


def test_documents_can_be_lines_and_are_read_again(folder: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in run(tmp_path / "out.jsonl", folder).splitlines()]
    texts = ["One two.\n\nA < b.", "Page\n\nCafé", "<b>line</b> 1", "line 2", "# Title\n\n    code"]
    assert lines == [{"text": text} for text in texts]
    assert run(tmp_path / "again.txt", tmp_path / "out.jsonl") == CLEAN


def test_flags_choose_the_steps(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    flags = ["--lowercase", "--no-punctuation", "--ascii", "--skip", "drop_duplicates"]
    assert run(out, folder / "a.txt", folder / "b.HTML", *flags) == "one two\n\na < b\n\npage\n\na < b\n\ncaf\n"
    assert run(out, folder / "a.txt", "--skip", "tidy_whitespace") == "One  two.\n\nA < b.\n"
    skip = ["--skip", "remove_control", "--skip", "tidy_whitespace"]
    assert run(out, folder / "a.txt", folder / "c.jsonl", *skip) == (
        "One  two\u200b.\n\nA < b.\n\n<b>line</b> 1\n\nline 2\n"
    )
    assert run(out, folder / "c.jsonl", folder / "sub", "--html") == "line 1\n\nline 2\n\n# Title code\n"


def test_other_keys_and_encodings(tmp_path: Path, capsys: Output) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.txt"
    source.write_text('{"body": "naïve", "id": 1}\n', encoding="cp1252")
    assert run(out, source, "--text-key", "body", "--encoding", "cp1252") == "naïve\n"
    assert capsys.readouterr().err == ""
    assert run(out, source, "--text-key", "body") == "naïve\n"
    warning = capsys.readouterr().err
    assert warning.startswith(
        f"note: data: {source} is not utf-8: byte 0xef at position 12, in line 1; it is read as latin-1"
    )
    assert "there is no 'text', only 'body', 'id'; name it with --text-key" in refused(
        capsys, source, "-o", out, "--encoding", "cp1252"
    )
    assert "encoding: Python has none called 'cp125'" in refused(capsys, source, "-o", out, "--encoding", "cp125")


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("gone.txt", None, "there is no file .*gone.txt"),
        ("empty.txt", b"\xef\xbb\xbf \r\n", "empty.txt is empty"),
        ("binary.txt", b"text\0", "binary.txt is binary"),
        ("line.jsonl", b'{"text": "x"}\n{"text": 1}', "line.jsonl, line 2: 'text' must be a text, got int"),
    ],
)
def test_unreadable_files_stop_the_command_or_are_skipped_by_name(
    folder: Path, tmp_path: Path, capsys: Output, name: str, raw: bytes | None, message: str
) -> None:
    bad, out = tmp_path / name, tmp_path / "out.txt"
    if raw is not None:
        bad.write_bytes(raw)
    out.write_text("old", encoding="utf-8")
    assert re.search(f"^gpt clean: data: .*{message}", refused(capsys, folder, bad, "-o", out, "--on-error", "stop"))
    assert out.read_text(encoding="utf-8") == "old"
    assert {path.name for path in tmp_path.iterdir()} <= {"in", "out.txt", name}  # no half a file

    text = run(out, bad, folder, "--on-error", "skip")
    shown = capsys.readouterr()
    assert text == ("x\n\n" if name == "line.jsonl" else "") + CLEAN
    kind = {"empty.txt": "empty", "binary.txt": "binary"}.get(name, "unreadable")
    assert re.fullmatch(f"skipped: 1 {kind}: .*{message}.*\nskipped: 1 of other kinds: picture.png\n", shown.err)
    assert "1 skipped as unreadable" in shown.out

    if name == "line.jsonl":  # by default a line is skipped, and a file that is named is an error
        assert run(out, bad, folder) == text
    else:
        assert re.search(f"^gpt clean: data: .*{message}", refused(capsys, folder, bad, "-o", out))
    if raw is not None:
        bad.rename(folder / name)  # but not one among others in a folder
        assert run(out, folder).replace("x\n\n", "") == CLEAN


def test_a_file_and_a_folder_without_permission_are_named(
    folder: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(path: str | Path, *words: Any, **options: Any) -> Any:
            if Path(path).name == name:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *words, **options)

        return guarded

    monkeypatch.setattr("gpt.text.read.open_input", refuse("a.txt", open_input))
    monkeypatch.setattr("os.scandir", refuse("sub", os.scandir))
    said = refused(capsys, folder, "-o", tmp_path / "out.txt", "--on-error", "stop")
    assert said == f"gpt clean: {folder / 'a.txt'}: Permission denied\n"
    assert run(tmp_path / "out.txt", folder, "--on-error", "skip").endswith("line 2\n")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "skipped: 2 unreadable: " + "; ".join(
        f"{folder / name}: Permission denied" for name in ("a.txt", "sub")
    )


def test_a_document_of_which_nothing_is_left_is_no_document(tmp_path: Path, capsys: Output) -> None:
    for name, text in {"a": "a\n", "b": "\n\na\n", "c": "c\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    out = tmp_path / "out.text"
    assert run(out, tmp_path, "--skip", "tidy_whitespace") == "a\n\nc\n"
    assert f"2 documents in {out}; 1 had no text left, 0 skipped" in capsys.readouterr().out


def test_nothing_left_is_an_error(tmp_path: Path, capsys: Output) -> None:
    source, out = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("¡…!", encoding="utf-8")
    message = refused(capsys, source, "-o", out, "--no-punctuation")
    assert f"no text is left (0 skipped, 1 empty), so {out} is not written" in message
    assert not out.exists()
    (tmp_path / "empty").mkdir()
    assert "has no text: no .txt, .md, .html, .htm, .jsonl" in refused(capsys, tmp_path / "empty", "-o", out)


def test_an_input_is_never_the_output(folder: Path, tmp_path: Path, capsys: Output) -> None:
    source = folder / "a.txt"
    before = source.read_bytes()
    assert "is also an input; choose another name" in refused(capsys, source, "-o", folder / "sub" / ".." / "a.txt")
    link = tmp_path / "link.txt"
    os.link(source, link)
    assert "is also an input" in refused(capsys, source, "-o", link)
    assert "is in the input folder" in refused(capsys, folder, "-o", folder / "sub" / "clean.txt")
    assert source.read_bytes() == before
    run(folder / "clean.text", source)  # .text files are not read from a folder


def test_flags_that_cannot_be_are_refused_before_the_work(folder: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "out.txt"
    assert "skip: 'tidy' is not a step of this cleaning; the steps are " in refused(
        capsys, folder, "-o", out, "--skip", "tidy"
    )
    assert "did you mean tidy_whitespace?" in refused(capsys, folder, "-o", out, "--skip", "tidy_whitespaces")
    assert "out: must be a file in an existing folder" in refused(capsys, folder, "-o", tmp_path / "no" / "o.txt")
    assert "out: must be a file" in refused(capsys, folder, "-o", tmp_path)
    with pytest.raises(SystemExit):
        main(["clean", str(folder)])
    assert "required: -o/--out" in capsys.readouterr().err


def test_a_stop_in_the_midst_leaves_the_old_file(
    folder: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.txt"
    out.write_text("old", encoding="utf-8")

    def interrupt(*_: object, **__: object) -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    monkeypatch.setattr(Cleaner, "clean", interrupt)
    assert main(["clean", str(folder), "-o", str(out)]) == 130
    assert out.read_text(encoding="utf-8") == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out.txt"}


def test_a_long_document_is_written_in_chunks_as_it_would_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.txt"
    source.write_text("".join(f'"{i}"  é\n{i}\n \n\n' for i in range(200)), encoding="utf-8")
    expected = "\n\n".join(f'"{i}" é\n{i}' for i in range(200))
    monkeypatch.setattr("gpt.text.clean.CHUNK", 100)
    monkeypatch.setattr("gpt.text.read.BLOCK", 70)
    assert run(tmp_path / "out.txt", source) == expected + "\n"
    assert json.loads(run(tmp_path / "out.jsonl", source)) == {"text": expected}


def test_shakespeare_cleaned_twice_is_the_same(data_dir: Path, tmp_path: Path) -> None:
    once = run(tmp_path / "once.txt", data_dir / "the-verdict.txt", data_dir / "tinyshakespeare.txt")
    assert run(tmp_path / "twice.txt", tmp_path / "once.txt") == once
