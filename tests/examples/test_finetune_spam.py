"""examples/finetune_spam.py: no base has seen what it is tested with, and the table says what was run."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

import gpt
from gpt.finetune.classification_data import read_rows


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(gpt.__file__).parents[1] / "examples" / "finetune_spam.py"
    spec = importlib.util.spec_from_file_location("finetune_spam", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    ham, spam = [f"see you at {n}" for n in range(60)], [f"win {n} now!" for n in range(20)]
    rows = [f"ham\t{text}" for text in ham] + [f"spam\t{text}" for text in spam]
    (tmp_path / "sms.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(example, "SHAPE", "--d-model 16 --n-layers 1 --n-heads 2")
    monkeypatch.setattr(example, "BASE", f"{example.SHAPE} --tokenizer char --context-length 32 --max-steps 2")
    monkeypatch.setattr(example, "LORA", "--lora-rank 1")
    monkeypatch.setattr(sys, "argv", ["finetune_spam.py", "sms.tsv", "--seeds", "4", "7"])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    for seed in (4, 7):
        seen = (tmp_path / f"runs/spam/unlabelled-{seed}.txt").read_text(encoding="utf-8").splitlines()
        parts = {name: read_rows(tmp_path / f"runs/spam/random-{seed}/{name}.jsonl").rows for name in ("val", "test")}
        kept_out = {row.text for rows in parts.values() for row in rows}
        assert len(kept_out) == 4 + 8
        assert set(seen) == {*ham, *spam} - kept_out
        again = read_rows(tmp_path / f"runs/spam/LoRA-{seed}/test.jsonl").rows
        assert again == parts["test"]  # all three are tested with the same texts
    table = {line.split()[0]: line for line in lines[lines.index("") + 2 : -2]}
    assert list(table) == ["random", "pretrained", "LoRA"]
    for name, line in table.items():
        runs = [json.loads((tmp_path / f"runs/spam/{name}-{seed}/scores.json").read_text()) for seed in (4, 7)]
        assert f"{50 * sum(run['accuracy'] for run in runs):.2f} ± " in line
    assert (
        "130 (" in table["LoRA"]
    )  # A (1, 16) and B (48, 1), A (1, 16) and B (16, 1), and a head of 2 · 17: 64 + 32 + 34
