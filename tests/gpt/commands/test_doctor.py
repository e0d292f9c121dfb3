"""python -m gpt doctor: runs, configs and fresh models; what it prints and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.commands.doctor import table
from gpt.runs.checkpoint import LAST, load_checkpoint, save_checkpoint
from gpt.runs.doctor import Finding
from gpt.runs.run import TRAIN_TOKENS
from gpt.training import make_optimizer

TEXT = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, capsys: Output) -> Path:
    """Return the folder of a run of 40 steps."""
    text, out = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT, encoding="utf-8")
    words = "--tokenizer char --d-model 16 --n-layers 2 --n-heads 2 --context-length 16 --batch-size 4 --max-steps 40"
    words += " --ema none"  # a checkpoint has the weights that the tests change, and no average beside them
    assert main(["train", "--data", str(text), "--out", str(out), "--warmup-steps", "4", *words.split()]) == 0
    capsys.readouterr()
    return out


def diagnosis(capsys: Output) -> dict[str, str]:
    """Return the verdict of each check that was printed."""
    lines = capsys.readouterr().out.splitlines()
    return {line[6:22].strip(): line[:5].strip() for line in lines if line[:5].strip() in ("ok", "warn", "bad")}


CHECKS = [
    "finite numbers",
    "initial loss",
    "init scale",
    "tied weights",
    "overfit a batch",
    "causality",
    "batch",
    "generation",
]
MORE_CHECKS = ["gradient norms", "dead units", "update:weight"]


def test_a_run_is_examined_and_left_as_it_was(run: Path, capsys: Output) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(["doctor", str(run)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"model     {run / LAST} at step 40, on its training text\n")
    lines = text.splitlines()
    assert [line[6:22].strip() for line in lines[1:14]] == [*CHECKS, "loss now", "val loss", *MORE_CHECKS]
    assert {line[:5].strip() for line in lines[1:14]} == {"ok"}
    assert lines[15].split() == ["layer", "gradient", "norms", "dead", "units", "update:weight"]
    assert [line.split()[:1] for line in lines[16:21]] == [["tok_emb"], ["blocks.0"], ["blocks.1"], ["norm"], []]
    assert lines[-1] == "nothing bad in 13 checks"
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_model_of_a_config_is_newly_initialised(run: Path, capsys: Output) -> None:
    path = run / "config.json"
    assert main(["doctor", str(path)]) == 0
    assert diagnosis(capsys) == dict.fromkeys([*CHECKS, *MORE_CHECKS], "ok")
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields["train"]["lr"] = 1.0
    path.write_text(json.dumps(fields), encoding="utf-8")
    assert main(["doctor", str(path)]) == 1
    assert {check for check, verdict in diagnosis(capsys).items() if verdict == "bad"} == {"update:weight"}


def test_a_run_that_learns_its_text_by_heart_is_said_to(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("abcdefgh" * 66 + "hgfedcba" * 29, encoding="utf-8")
    words = "--tokenizer char --d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 24 --max-steps 60"
    words += " --warmup-steps 4 --lr 0.02 --eval-every 10 --val-fraction 0.3"
    assert main(["train", "--data", "text.txt", "--out", "run", *words.split()]) == 0
    shown = capsys.readouterr().out
    assert "\npasses    each token is seen about 22 times\n" in shown
    state = load_checkpoint(Path("run", LAST)).state
    lines = [line for line in shown.splitlines() if line.startswith("step") and "val -" not in line]
    assert "*" in lines[0]
    assert "*" not in lines[-1]
    said = (
        f"best val {state.best_val_loss:.4f} at step {state.best_step}, and it has risen since: the model learns the "
    )
    assert said + "text by heart; more text, fewer steps or --dropout 0.1\n" in shown
    assert f"\n[a sample of step {state.best_step}, whose validation loss is the lowest]\n" in shown
    assert main(["doctor", "run"]) == 0
    assert diagnosis(capsys)["val loss"] == "warn"
    assert main(["train", "--data", "text.txt", "--out", "short", "--patience", "2", *words.split()]) == 0
    shown = capsys.readouterr().out
    assert f"early stop after step {state.best_step + 20}: nothing was better than step {state.best_step}" in shown
    assert "it has risen since" in shown


def test_a_checkpoint_away_from_its_text_gets_random_tokens(run: Path, capsys: Output) -> None:
    (run / TRAIN_TOKENS).unlink()
    main(["doctor", str(run / LAST)])
    assert "on random tokens, since its text is not beside it" in capsys.readouterr().out


def test_a_run_with_nan_names_the_weight_and_skips_the_other_checks(run: Path, capsys: Output) -> None:
    checkpoint = load_checkpoint(run / LAST)
    model = checkpoint.model()
    optimizer = make_optimizer(model, checkpoint.train_config)
    checkpoint.load_optimizer(optimizer)
    model.blocks[1].norm2.weight.data[4] = np.nan
    save_checkpoint(run / LAST, model, optimizer, checkpoint.train_config, checkpoint.tokenizer, checkpoint.state)
    assert main(["doctor", str(run)]) == 1
    text = capsys.readouterr().out
    assert "bad   finite numbers   blocks.1.norm2.weight[4] = nan" in text
    assert "causality" not in text
    assert text.endswith("\nbad: finite numbers\n")


def test_a_run_with_a_far_too_high_learning_rate_is_bad(run: Path, capsys: Output) -> None:
    words = ["--max-steps", "60", "--lr", "3", "--min-lr", "3", "--warmup-steps", "0", "--weight-decay", "0"]
    assert main(["train", "--resume", str(run), *words]) == 0
    capsys.readouterr()
    assert main(["doctor", str(run)]) == 1
    assert diagnosis(capsys)["loss now"] == "bad"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", ": it is not JSON: "),
        (b'"\xff"', ": it is not UTF-8: "),
        (b"[]", 'is no config of a run, {"model": {…}, "train": {…}}: it must be a dict, got list'),
        (b'{"model": 3}', "'model' must be a dict, got 3"),
        (b'{"model": {}, "train": []}', "'train' must be a dict, got list"),
        (b"[" * 9999, "it is nested too deeply"),
        (b'{"model": {"d_modl": 3}}', "unknown key 'd_modl'; did you mean d_model?"),
        (b'{"model": {"d_model": 6, "n_heads": 4}}', "d_model must be divisible by n_heads"),
    ],
)
def test_an_invalid_config_is_reported_in_one_line(
    tmp_path: Path, capsys: Output, content: bytes, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert main(["doctor", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpt doctor: ")
    assert message in line


def test_a_missing_file_is_reported_in_one_line(tmp_path: Path, capsys: Output) -> None:
    assert main(["doctor", str(tmp_path / "none")]) == 1
    assert "there is no run or checkpoint at" in capsys.readouterr().err
    assert main(["doctor", str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_the_table_has_a_column_for_each_check_that_measures_layers() -> None:
    findings = [
        Finding("ok", "a", "1", "…"),
        Finding("ok", "b", "1", "…", {"x": 0.5, "y": 2.0}),
        Finding("ok", "c", "1", "…", {"y": 3.0}),
    ]
    assert [line.split() for line in table(findings)] == [["layer", "b", "c"], ["x", "0.5"], ["y", "2", "3"]]
    assert table(findings[:1]) == []
