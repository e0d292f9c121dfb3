"""Tests of gpt/commands/train.py: from a text to a model, its files and its sample; and of output through pipes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gpt
from gpt.__main__ import main
from gpt.runs.checkpoint import BEST, LAST, load_checkpoint
from gpt.runs.run import METRICS, SAMPLE, TRAIN_TOKENS, VAL_TOKENS, read_metrics
from gpt.text.read import python_documentation, text_sha256
from gpt.tokenizer import load_tokenizer

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
TEXT = "Où est le café ? Là-bas.\nThe cat sat on the mat.\n" * 30
TINY = "--d-model 16 --n-layers 1 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 1"
KEYS = ["step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "elapsed_s"]
Output = pytest.CaptureFixture[str]


def test_a_run_writes_all_its_files(run: Path) -> None:
    files = {"config.json", METRICS, LAST, BEST, SAMPLE, TRAIN_TOKENS, VAL_TOKENS}
    assert {path.name for path in run.iterdir()} == files
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    measured = [*KEYS, "grad_norms", "update_ratios", "sample"]
    assert [list(line) for line in lines] == [measured if line["step"] in (3, 6, 7) else KEYS for line in lines]
    assert [line["step"] for line in lines] == list(range(1, 8))
    assert [line["step"] for line in lines if line["val_loss"] is not None] == [3, 6, 7]
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["text_sha256"] == text_sha256(TEXT)
    assert config["model"]["vocab_size"] == len(set(TEXT))
    assert config["train"]["max_steps"] == 7
    assert len((run / SAMPLE).read_text(encoding="utf-8")) == 201  # 200 characters and a line end
    assert load_checkpoint(run / LAST).state.step == 7


def test_the_output_before_and_after_training(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "2", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    step = r"loss \d\.\d{4}  val (-|\d\.\d{4}\*)  lr \d\.\de-0[23]  grad \d\.\d\d  [\d,]+ tok/s  \d:\d\d left"
    patterns = [
        rf"data      .*café\.txt: 1,470 characters, sha256 {text_sha256(TEXT)[:16]}…",
        r"tokens    1,323 to train on, 147 to validate; char vocabulary of 23",
        r"model     3,744 parameters: 1 layers, d_model 16, 2 heads, context 8",
        r"memory    about \d+ kB with batches of 2",
        r"optimizer muon, \d+% more operations in a step than adamw",
        r"time      about \d:\d\d for 2 steps",
        "",
        rf"step 1/2  {step}",
        rf"step 2/2  {step}",
        r"sample    .{60}",
        "",
        rf"saved in {re.escape(str(out))}",
        "",
    ]
    for line, pattern in zip(shown.splitlines(), patterns, strict=False):
        assert re.fullmatch(pattern, line)
    assert "\r" not in shown  # plain lines, as this is no terminal
    sample = (out / SAMPLE).read_text(encoding="utf-8")
    assert shown.endswith(f'\n\n{sample}\nMore of it: python -m gpt sample {out} --prompt "…"\n')


def test_the_sample_is_that_of_the_best_model(run: Path, tmp_path: Path, capsys: Output) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    words = [
        "--max-steps",
        "8",
        "--lr",
        "9",
        "--min-lr",
        "9",
        "--warmup-steps",
        "0",
        "--weight-decay",
        "0",
    ]  # spoils it
    assert main(["train", "--resume", str(folder), *words]) == 0
    assert load_checkpoint(folder / BEST).state.step == 7
    assert load_checkpoint(folder / LAST).state.step == 8
    assert (folder / SAMPLE).read_bytes() == (run / SAMPLE).read_bytes()
    capsys.readouterr()
    assert main(["sample", str(folder)]) == 0
    assert capsys.readouterr().out == (run / SAMPLE).read_text(encoding="utf-8")
    assert main(["sample", str(folder / LAST)]) == 0
    assert capsys.readouterr().out != (run / SAMPLE).read_text(encoding="utf-8")


def test_without_arguments_it_learns_the_documentation_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY.split(), "--max-steps", "1", "--vocab-size", "257"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", folder.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["text_sha256"] == text_sha256(python_documentation())
    assert config["train"]["data"] is None
    capsys.readouterr()
    assert main(["info", str(folder)]) == 0
    assert "trained on the documentation of Python (sha256 " in capsys.readouterr().out


def test_without_validation_text(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--max-steps", "2", "--val-fraction", "0", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    assert {record.val_loss for record in read_metrics(out)} == {None}
    assert not (out / BEST).exists()
    assert (out / SAMPLE).exists()
    capsys.readouterr()
    assert main(["eval", str(out)]) == 1
    assert "data: needs two tokens or more, one to predict from, got 0; give --data FILE" in capsys.readouterr().err


def test_a_tokenizer_of_ones_own(text: Path, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "tokenizer.json"
    assert main(["tokenizer", "train", str(text), "-o", str(path), "--vocab-size", "280"]) == 0
    assert re.fullmatch(
        r"280 tokens learned in \d\.\d s; the text is [\d,]+ of them, \d\.\d\d bytes a token; saved in .*\n",
        capsys.readouterr().out,
    )
    words = ["--data", str(text), "--tokenizer", str(path), "--max-steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *words, *TINY.split()]) == 0
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.tokenizer.sha256 == load_tokenizer(path).sha256
    assert checkpoint.model_config.vocab_size == 280


def test_bpe_is_learned_from_the_training_text_alone(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ab " * 90 + "zz " * 10, encoding="utf-8")
    words = ["--data", str(tmp_path / "text.txt"), "--max-steps", "1", "--out", str(tmp_path / "run")]
    assert main(["train", *words, *TINY.split()]) == 0
    vocab = load_checkpoint(tmp_path / "run" / LAST).tokenizer.vocab
    assert b"ab" in vocab.values()
    assert b"zz" not in vocab.values()


def test_token_ids_beyond_the_vocabulary_are_never_sampled(text: Path, tmp_path: Path, capsys: Output) -> None:
    out = tmp_path / "run"
    words = ["--data", str(text), "--tokenizer", "char", "--vocab-size", "1000", "--max-steps", "1", "--out", str(out)]
    assert main(["train", *words, *TINY.split()]) == 0
    assert set((out / SAMPLE).read_text(encoding="utf-8")) <= set(TEXT)
    capsys.readouterr()
    assert main(["sample", str(out), "--temperature", "2"]) == 0
    assert set(capsys.readouterr().out) <= set(TEXT)


def test_a_text_of_one_line_is_sampled_too(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abc" * 50, encoding="utf-8")
    words = ["--data", str(tmp_path / "text.txt"), "--tokenizer", "char", "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--max-steps", "1", *TINY.split()]) == 0
    assert re.fullmatch("[abc]{200}\n", (tmp_path / "run" / SAMPLE).read_text(encoding="utf-8"))


def test_text_comes_out_as_utf8_whatever_the_locale(run: Path) -> None:
    env = {**ENV, "LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "gpt", "sample", str(run), "--max-new-tokens", "400", "--temperature", "3"]
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert done.stderr == b""
    assert set("éùà") & set(done.stdout.decode("utf-8"))


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("command", ["train", "sample"])
def test_a_reader_that_takes_one_line_is_no_traceback(run: Path, text: Path, tmp_path: Path, command: str) -> None:
    words = {
        "train": ["train", "--data", str(text), "--out", str(tmp_path / "run"), "--max-steps", "100000", *TINY.split()],
        "sample": ["sample", str(run), "--max-new-tokens", "100000"],
    }[command]
    with subprocess.Popen(
        [sys.executable, "-m", "gpt", *words], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while not (line := process.stdout.readline()).startswith(b"step" if command == "train" else b""):
            assert line
        process.stdout.close()
        errors = process.stderr.read().decode("utf-8")
        assert process.wait(timeout=60) == 141
    if command == "sample":
        assert errors == ""
    else:  # nothing is lost, and that is said
        step = load_checkpoint(tmp_path / "run" / LAST).state.step
        assert step == len(read_metrics(tmp_path / "run")) > 0
        folder = tmp_path / "run"
        assert errors == (
            f"\n{folder} has the checkpoint of step {step}; go on with: python -m gpt train --resume {folder}\n"
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_text_of_notepad_is_read(encoding: str, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode(encoding))  # with a byte-order mark, as Windows writes one
    assert main(["train", "--data", str(path), "--estimate", "--max-steps", "1", *TINY.split()]) == 0
    assert f"{len(TEXT):,} characters, sha256 {text_sha256(TEXT)[:16]}" in capsys.readouterr().out
