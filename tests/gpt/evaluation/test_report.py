"""Tests of gpt/evaluation/report.py, and of gpt eval with tasks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.evaluation.likelihood import Outcome
from gpt.evaluation.report import differences, item_line, json_lines, name_runs, page, summary
from gpt.evaluation.tasks import Item
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, TrainingState, save_checkpoint
from gpt.tokenizer import CharTokenizer
from gpt.training import make_optimizer

Output = pytest.CaptureFixture[str]
LETTERS = "\n ,.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def outcomes(right: str, task: str = "facts") -> list[Outcome]:
    """Return an outcome for each letter: r is right, w wrong."""
    log_p = {"r": (-1.0, -2.0), "w": (-2.0, -1.0)}
    return [
        Outcome(Item(i + 1, task, "a <b>\n", (" c", " d"), 0), log_p[letter], (2, 2), 0, False, "")
        for i, letter in enumerate(right)
    ]


def save_model(folder: Path, scale: float = 0.5, context_length: int = 64) -> str:
    tokenizer = CharTokenizer(LETTERS)
    model = GPT(
        ModelConfig(vocab_size=tokenizer.vocab_size, context_length=context_length, d_model=4, n_layers=1, n_heads=1)
    )
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.copy_(scale * rng.standard_normal(parameter.shape))
    config = TrainConfig()
    folder.mkdir()
    save_checkpoint(folder / LAST, model, make_optimizer(model, config), config, tokenizer, TrainingState())
    return str(folder)


def write_tasks(folder: Path) -> str:
    entries = [{"context": f"{c} is", "choices": ["no", "yes"], "answer": 1} for c in "abc"]
    entries += [{"prompt": "one", "completion": "two", "task": "counting"}, {"prompt": "3", "completion": "4"}]
    path = folder / "facts.jsonl"
    path.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
    return str(path)


def test_a_table_with_errors_and_chance() -> None:
    table = summary([*outcomes("rrrw"), *outcomes("w", "other")])
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["task", "items", "acc", "acc_norm", "p(right)", "chance", "uniform"]
    assert lines[1][:5] == ["facts", "4", "0.750", "±", "0.250"]
    assert lines[2][:5] == ["other", "1", "0.000", "±", "nan"]
    assert lines[3][:5] == ["all", "5", "0.600", "±", "0.245"]
    assert lines[1][-2:] == ["0.500", "0.500"]
    assert "all" not in summary(outcomes("rw"))


def test_differences_are_paired() -> None:
    first, second = differences({"a": outcomes("rwww"), "b": outcomes("rrrw")}).splitlines()
    assert first == "b against a, 4 items: acc +0.500 ± 0.289, 1.7 standard errors"
    assert second.startswith("b against a, 4 items: p(right) +0.231 ± 0.133")
    assert differences({"a": outcomes("rw"), "b": outcomes("rw")}).splitlines()[0].endswith("acc +0.000 ± 0.000")


def test_lines_of_items() -> None:
    right, wrong = outcomes("rw")
    assert item_line(right) == "    1  right  0.731  'a <b>\\n'  ' c'"
    assert item_line(wrong) == "    2  wrong  0.269  'a <b>\\n'  ' c', chose ' d'"
    first, second = map(json.loads, json_lines({"a": [right, wrong]}))
    assert first["log_probabilities"] == [-1, -2]
    assert (first["run"], first["item"], first["acc"], second["acc"]) == ("a", 1, 1, 0)


def test_the_page_is_whole_without_a_network_and_escapes_texts() -> None:
    html = page({"x<y": outcomes("rw"), "z": outcomes("rr")[:1]}, "a & b", ["one & two"])
    assert "a &lt;b&gt;⏎" in html
    assert "x&lt;y" in html
    assert "one &amp; two" in html
    assert "skipped" in html
    assert 'class="wrong"' in html
    assert not re.search(r"https?://|<script|src=", html)


def test_names_of_runs() -> None:
    assert name_runs(["runs/a"]) == ["a"]
    with pytest.raises(ValueError, match="the same run is named twice"):
        name_runs(["runs/a", "runs/a"])


def test_tasks_of_two_runs(tmp_path: Path, capsys: Output) -> None:
    runs = [save_model(tmp_path / "one"), save_model(tmp_path / "two", 0.1)]
    out, html = tmp_path / "out.jsonl", tmp_path / "page.html"
    words = ["--tasks", write_tasks(tmp_path), "--items", "--out", str(out), "--html", str(html)]
    assert main(["eval", *runs, *words]) == 0
    printed, notes = capsys.readouterr()
    assert printed.startswith("facts.jsonl: 5 items in 2 tasks, sha256 ")
    assert len(re.findall(r"^ +\d  (?:right|wrong)  ", printed, re.MULTILINE)) == 8
    assert "two against one, 4 items: acc " in printed
    assert len(out.read_text(encoding="utf-8").splitlines()) == 8
    assert "<title>Evaluation: one, two</title>" in html.read_text(encoding="utf-8")
    assert "note: one: 1 item of facts skipped, the first because: encode: characters must be among" in notes


def test_shots_and_items_that_are_too_long(tmp_path: Path, capsys: Output) -> None:
    run = save_model(tmp_path / "one", context_length=16)
    assert main(["eval", run, "--tasks", write_tasks(tmp_path), "--limit", "2", "--shots", "1"]) == 1
    assert "gpt eval: shots: counting has 0 other items, got shots=1" in capsys.readouterr().err
    (tmp_path / "mine.jsonl").write_text('{"context": "a", "choices": ["b", "c"], "answer": 0}\n' * 9, encoding="utf-8")
    assert main(["eval", run, "--tasks", str(tmp_path / "mine.jsonl"), "--limit", "4", "--shots", "3"]) == 0
    printed, notes = capsys.readouterr()
    assert printed.splitlines()[0].endswith(", after 3 others")
    # "a b", two line ends, three times, and "a b": 18 tokens, of which 17 find a place
    assert "note: one: 4 items longer than the context of 16 tokens lost their beginning, up to 1 token\n" in notes


def test_the_battery_skips_what_a_tokenizer_lacks(tmp_path: Path, capsys: Output) -> None:
    assert main(["eval", save_model(tmp_path / "one"), "--battery", "--limit", "3"]) == 0
    printed, notes = capsys.readouterr()
    skipped = set(re.findall(r"items? of (\w+) skipped", notes))
    assert skipped == {"brackets", "quotes", "colons", "code_order"}
    assert "articles" in printed
    assert "brackets" not in printed


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--battery", "--tasks", "x"], 2, "--battery and --tasks are two measurements; give one of them"),
        (["--shots", "1"], 2, "--shots is for tasks; give --battery or --tasks FILE too"),
        (["--tasks", "digits.jsonl", "--out", "./digits.jsonl"], 1, "is the file of the tasks; choose another --out"),
        (["--tasks", "missing"], 1, "there is no file missing"),
        (["--tasks", "bad.jsonl"], 1, "tasks: bad.jsonl, line 1: there is no 'context'"),
        (["--tasks", "digits.jsonl"], 1, "tasks: one can be asked none of the 1 item: encode: characters must be"),
    ],
)
def test_refusals(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = save_model(tmp_path / "one")
    (tmp_path / "bad.jsonl").write_text("{}\n", encoding="utf-8")
    (tmp_path / "digits.jsonl").write_text('{"prompt": "1", "completion": "2"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    try:
        ended = main(["eval", run, *words])
    except SystemExit as stop:
        ended = int(stop.code or 0)
    assert ended == code
    assert message in capsys.readouterr().err
