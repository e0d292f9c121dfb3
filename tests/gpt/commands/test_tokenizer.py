"""python -m gpt tokenizer: what it writes, shows and refuses."""

import io
import json
import sys
from pathlib import Path

import pytest

from gpt.__main__ import main
from gpt.commands import tokenizer as command
from gpt.tokenizer import EOT, BPETokenizer, load_tokenizer

Output = pytest.CaptureFixture[str]
TEXT = "low low low lower lowest"


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "tokenizer.json"
    BPETokenizer.train(TEXT, 260).save(path)
    return str(path)


def test_training_takes_several_files_and_options(tmp_path: Path, capsys: Output) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbflow low lower lowest<|x|>\r\n")
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    out = tmp_path / "out.json"
    options = ["--vocab-size", "262", "--pattern", "o200k", "--special-token", EOT, "--special-token", "<|x|>"]
    assert main(["tokenizer", "train", *files, "-o", str(out), *options, "--workers", "2"]) == 0
    text = "low low lower lowest<|x|>\n" * 2
    made = load_tokenizer(out)
    n = len(made.encode_ordinary(text))
    assert f" s; the text is {n} of them, {len(text) / n:.2f} bytes a token; saved in" in capsys.readouterr().out
    same = BPETokenizer.train(text, 262, pattern="o200k", special_tokens=(EOT, "<|x|>"))
    assert made.sha256 == same.sha256


def test_progress_is_shown_for_big_files(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, saved: str
) -> None:
    monkeypatch.setattr(command, "LARGE", 10)
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    assert main(["tokenizer", "train", str(tmp_path / "text.txt"), "-o", saved, "--vocab-size", "260"]) == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("counted 0 of 0 MB, ")
    assert "the text is 24 bytes; saved in" in shown.out


def test_merges_are_shown_in_order(saved: str, capsys: Output) -> None:
    # o w, then l ow; 259 is the special token
    assert main(["tokenizer", "explain", saved, f"low é{EOT}", "--special"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "'low'",
        "     bytes  'l' 'o' 'w'",
        "   merge 0  'l' 'ow'",
        "   merge 1  'low'",
        "       ids  257",
        "' é'",
        r"       ids  32 195 169",
        f"'{EOT}'",
        "       ids  259",
    ]


def test_special_tokens_are_ids_only_if_asked(saved: str, capsys: Output) -> None:
    assert main(["tokenizer", "encode", saved, f"low{EOT}", "--special"]) == 0
    assert capsys.readouterr().out == "257 259\n"
    assert main(["tokenizer", "encode", saved, f"low{EOT}"]) == 1
    assert "a special token must be allowed, got '<|endoftext|>' at index 3" in capsys.readouterr().err


def test_a_tokenizer_is_converted_there_and_back(tmp_path: Path, saved: str, capsys: Output) -> None:
    theirs, again = str(tmp_path / "theirs.json"), str(tmp_path / "again.json")
    assert main(["tokenizer", "convert", saved, "--to", "huggingface", "-o", theirs]) == 0
    assert json.loads(Path(theirs).read_text(encoding="utf-8"))["model"]["type"] == "BPE"
    assert main(["tokenizer", "convert", theirs, "-o", again]) == 0
    assert Path(again).read_bytes() == Path(saved).read_bytes()
    assert capsys.readouterr().out.splitlines()[1] == f"260 tokens; saved in {again}"


@pytest.mark.parametrize("name", ["empty", "binary"])
def test_a_file_that_is_not_text_is_refused(tmp_path: Path, capsys: Output, name: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes({"empty": b"", "binary": b"a\0b"}[name])
    assert main(["tokenizer", "train", str(path), "-o", str(tmp_path / "out.json")]) == 1
    assert f"text.txt is {name}" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_a_character_tokenizer_has_nothing_to_explain_or_convert(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "text.txt").write_text("hello", encoding="utf-8")
    out = str(tmp_path / "char.json")
    assert main(["tokenizer", "train", str(tmp_path / "text.txt"), "--kind", "char", "-o", out]) == 0
    assert main(["tokenizer", "encode", out, "hole"]) == 0
    assert capsys.readouterr().out.endswith("1 3 2 0\n")
    assert main(["tokenizer", "explain", out, "hole"]) == 1
    assert "explain: the tokenizer must be bpe, got char" in capsys.readouterr().err
    assert main(["tokenizer", "convert", out, "-o", out, "--to", "huggingface"]) == 1
    assert "convert: the tokenizer must be bpe, got char" in capsys.readouterr().err


def test_ids_go_there_and_back(text: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "tokenizer.json")
    assert main(["tokenizer", "train", str(text), "-o", path, "--vocab-size", "260"]) == 0
    capsys.readouterr()
    sentence = "Là-bas, 3 € 😀"
    assert main(["tokenizer", "encode", path, sentence]) == 0
    ids = capsys.readouterr().out.split()
    assert [int(id) for id in ids] == load_tokenizer(path).encode(sentence)
    assert main(["tokenizer", "decode", path, *ids]) == 0
    assert capsys.readouterr().out == sentence + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(sentence.encode()), encoding="ascii"))
    assert main(["tokenizer", "encode", path]) == 0  # from standard input, whatever its encoding
    assert capsys.readouterr().out.split() == ids
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(ids)))
    assert main(["tokenizer", "decode", path]) == 0
    assert capsys.readouterr().out == sentence + "\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["tokenizer", "encode", path]) == 1
    assert "gpt tokenizer: standard input must be UTF-8" in capsys.readouterr().err


def test_without_an_action_the_tokenizer_explains_itself(capsys: Output) -> None:
    assert main(["tokenizer"]) == 0
    assert "python -m gpt tokenizer encode tokenizer.json" in capsys.readouterr().out


@pytest.mark.parametrize("action", ["encode", "explain"])
def test_a_special_token_needs_the_flag(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BPETokenizer.train("low lower lowest", 257).save(tmp_path / "tok.json")
    words = [action, str(tmp_path / "tok.json"), "low<|endoftext|>"]
    assert main(["tokenizer", *words]) == 1
    error = capsys.readouterr().err
    assert error.endswith("got '<|endoftext|>' at index 3 of the text; --special gives its id\n")
    assert main(["tokenizer", *words, "--special"]) == 0
    assert main(["tokenizer", action, str(tmp_path / "tok.json"), "low\udcff"]) == 1
    assert "replace it, for example by '?'" in capsys.readouterr().err
