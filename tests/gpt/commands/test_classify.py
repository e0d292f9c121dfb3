"""python -m gpt classify: texts from arguments, files and standard input, with scores where there are labels."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt.__main__ import main


def test_a_text_has_a_probability_for_each_class(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", str(folder / "run"), "win 10! call ann now"]) == 0
    first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (first[1], second[1]) == ("spam", "ham")
    assert float(first[0].rstrip("%")) + float(second[0].rstrip("%")) == pytest.approx(100, abs=0.011)
    assert main(["classify", str(folder / "run"), "see you at 4, bob", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["label"] == "ham"
    assert sum(result["probabilities"].values()) == pytest.approx(1)
    assert result["probabilities"]["ham"] > 0.5


def test_a_text_from_standard_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"see you at 2, ann")))
    assert main(["classify", str(folder / "run"), "-"]) == 0
    assert capsys.readouterr().out.split()[1] == "ham"


def test_the_test_texts_have_the_scores_of_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["classify", str(folder / "run"), "--data", str(folder / "run" / "test.jsonl"), "--json"]
    assert main(words) == 0
    *texts, scores = map(json.loads, capsys.readouterr().out.splitlines())
    stored = json.loads((folder / "run" / "scores.json").read_text(encoding="utf-8"))
    assert {key: stored[key] for key in scores} == scores
    assert stored["accuracy"] == sum(text["label"] == text["truth"] for text in texts) / 8
    assert main(words[:-1]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("%  ")[1].split()[0] == texts[0]["label"]
    assert f"accuracy {scores['accuracy']:.2%}, " in "\n".join(lines)


def test_a_text_a_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "texts.txt").write_text("see you at 1, eve\n\nwin €10! call now, " + "bob " * 20, encoding="utf-8")
    assert main(["classify", str(folder / "run"), "--data", str(tmp_path / "texts.txt")]) == 0
    output = capsys.readouterr()
    assert [line.split("%  ")[1][6:16] for line in output.out.splitlines()] == ["see you at", "win €10! c"]
    assert output.out.split()[1] == "ham"
    assert output.err.splitlines() == [
        "gpt classify: note: 1 blank line skipped",
        "gpt classify: note: 1 text cut to the context of 32 tokens, at the end",
        "gpt classify: note: 1 character left out that the tokenizer does not have",
    ]


def test_merged_adapters_give_the_same_probabilities(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(folder / "adapted"), "--out", str(tmp_path / "merged.safetensors")]) == 0
    probabilities = []
    for path in (folder / "adapted", tmp_path / "merged.safetensors"):
        capsys.readouterr()
        assert main(["classify", str(path), "win 10! see you", "--json"]) == 0
        probabilities.append(json.loads(capsys.readouterr().out)["probabilities"])
    assert probabilities[0] == pytest.approx(probabilities[1], abs=1e-6)


# Refusals


@pytest.fixture
def error_of(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs `classify`, checks its exit code, and returns its one-line error."""

    def run(*words: str, code: int = 1) -> str:
        capsys.readouterr()
        words = tuple(word.replace("FOLDER", str(folder)).replace("TMP", str(tmp_path)) for word in words)
        try:
            exit_code = main(["classify", *words])
        except SystemExit as stop:
            exit_code = int(stop.code or 0)
        (line,) = capsys.readouterr().err.splitlines()
        assert exit_code == code
        return line.replace(str(folder), "FOLDER").replace(str(tmp_path), "TMP")

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,text\nham,hi\neggs,see\n", "line 3: the classifier has no label 'eggs'; it knows ham, spam"),
        ("label,text\nspm,hi\n", "line 2: the classifier has no label 'spm'; did you mean spam?"),
        ("label,text\nham,see you\nham, \n", "line 3: the text is empty; take it out"),
        ("text\nsee you\n€€\n", "line 3: the text has no character that the tokenizer has: '€€'; take it out"),
    ],
)
def test_invalid_files(content: str, message: str, error_of: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(content, encoding="utf-8")
    assert error_of("FOLDER/run", "--data", "TMP/new.csv") == f"gpt classify: TMP/new.csv, {message}"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["FOLDER/run"], 2, 'give either a text, as in: classify RUN "a text", or --data FILE; see python -m gpt'),
        (["FOLDER/run", "a", "--data", "b"], 2, "give either a text"),
        (["FOLDER/run", " "], 1, "text, line 1: the text is empty"),
        (
            ["FOLDER/base", "hi"],
            1,
            "FOLDER/base/best.safetensors is no classifier; make one with: python -m gpt finetune",
        ),
        (["FOLDER/run", "--data", "missing.csv"], 1, "data: there is no file missing.csv"),
    ],
)
def test_invalid_arguments(words: list[str], code: int, message: str, error_of: Callable[..., str]) -> None:
    assert error_of(*words, code=code).startswith(f"gpt classify: {message}")
