"""Tests of stopping a run in every way and going on: the result is that of a run that was never stopped, to the bit."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.config import TrainConfig
from gpt.runs.checkpoint import BEST, LAST, STABLE, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.progress import Progress
from gpt.runs.run import METRICS, SAMPLE, TRAIN_TOKENS, VAL_TOKENS, read_metrics
from gpt.training import Record, make_optimizer
from nanograd.runtime import blas
from nanograd.runtime.files import write_text

ROOT = Path(gpt.__file__).parents[1]
ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
VERSES = [f"{n} green bottles, hanging on the wall; {n * n % 97} fell. Só foi.\n" for n in range(99)]
TEXT = "<|endoftext|>".join("".join(VERSES[i : i + i % 4 + 1]) for i in range(0, 99, 3))  # of one to three verses
TINY = (
    "--d-model 16 --n-layers 2 --n-heads 2 --context-length 8 --batch-size 2 --eval-batches 3 --warmup-steps 5 "
    "--save-every 10"
)
SETTINGS = {
    "plain": "--tokenizer char --norm layernorm --position learned --mlp plain --bias --optimizer adamw --eval-every 7 "
    "--lr 9 --warmup-steps 90",  # rising, so that the best step comes early
    "modern": "--tokenizer char --norm rmsnorm --position rope --mlp gated --no-bias --n-kv-heads 1 --qk-norm --shards 2 "
    "--no-tie-embeddings --dropout 0.1 --eval-every 9 --optimizer muon --schedule wsd --decay-steps 14",
    "dropout": "--vocab-size 270 --dropout 0.2 --grad-accum-steps 2 --shards 2 --eval-every 9 --no-bias --ema 0.9 "
    "--documents apart",
}
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "bottles.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def flags(data: Path, setting: str, steps: int) -> list[str]:
    return ["train", "--data", str(data), *TINY.split(), *SETTINGS[setting].split(), "--max-steps", str(steps)]


def result(folder: Path) -> dict[str, Any]:
    """Return what must not depend on how often a run was stopped."""
    metrics = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    keys = ("grad_norms", "update_ratios", "sample")  # of some steps
    outcome: dict[str, Any] = {
        "metrics": [[record[key] for key in ("step", "loss", "val_loss", "lr", "grad_norm")] for record in metrics],
        "seen": [[record.get(key) for key in keys] for record in metrics],
    }
    for name in (LAST, BEST):
        checkpoint = load_checkpoint(folder / name)
        position = checkpoint.state
        outcome[name] = (position.step, position.val_loss, position.best_val_loss)
        for part in ("model.", "adamw.", "muon."):
            digest = hashlib.sha256()
            for tensor in sorted(checkpoint.tensors):
                if tensor.startswith(part):
                    digest.update(tensor.encode() + checkpoint.tensors[tensor].tobytes())
            outcome[f"{name} {part}"] = digest.hexdigest()
    return outcome


class Killed(BaseException):
    """The end of a process, as far as one process can play it: nothing catches it."""


def die_in_step(step: int, arguments: list[str]) -> None:
    """Die in this step, when its line is in metrics.jsonl and nothing is saved yet."""
    show = Progress.show

    def die(self: Progress, record: Record) -> None:
        if record.step == step:
            raise Killed
        show(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "show", die)
        with pytest.raises(Killed):
            main(arguments)


@pytest.fixture(scope="module", autouse=True)
def no_sample() -> Iterator[None]:
    """Write a shorter text at the end of a run: it takes longer than the runs here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpt.commands.train.write_sample", lambda run: write_text(run.folder / SAMPLE, "text\n"))
        yield


@pytest.fixture(scope="module", params=SETTINGS)
def unbroken(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """Return a setting, and the result of 30 steps of it in one go."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert main([*flags(data, request.param, 30), "--out", str(out)]) == 0
    return request.param, result(out)


@pytest.mark.parametrize("every", [0, 4])
def test_samples_change_nothing_of_a_run(unbroken: tuple[str, Any], data: Path, tmp_path: Path, every: int) -> None:
    setting, expected = unbroken
    out = tmp_path / "run"
    arguments = [*flags(data, setting, 30), "--out", str(out), "--sample-every", str(every)]
    die_in_step(21, arguments)
    assert main(["train", "--resume", str(out)]) == 0
    got = result(out)
    samples = [sample for *_, sample in got.pop("seen")]
    assert got == {key: value for key, value in expected.items() if key != "seen"}
    assert [i for i, sample in enumerate(samples, start=1) if sample is not None] == [
        step for step in range(1, 31) if every and step % every == 0
    ]
    both = [(a, b) for (*_, a), b in zip(expected["seen"], samples, strict=True) if a is not None and b is not None]
    assert all(a == b for a, b in both)
    assert len(both) == (setting == "plain" and every == 4)  # step 28


def test_the_unbroken_run_is_what_it_should_be(unbroken: tuple[str, Any]) -> None:
    setting, expected = unbroken
    metrics = expected["metrics"]
    assert [record[0] for record in metrics] == list(range(1, 31))
    every = 7 if setting == "plain" else 9
    assert [record[0] for record in metrics if record[2] is not None] == [*range(every, 30, every), 30]
    assert len({record[1] for record in metrics}) == 30  # all losses differ, so a repeated step would show
    losses = {record[0]: record[2] for record in metrics if record[2] is not None}
    step, val_loss, best = expected[BEST]
    assert val_loss == best == losses[step] == min(losses.values())
    assert expected[LAST] == (30, losses[30], best)
    if setting == "plain":
        assert step == 7, "the best must come before the steps at which the run is resumed"


@pytest.mark.parametrize(  # before any save, in a step that saves, between, in the last
    "step", [*(pytest.param(step, marks=pytest.mark.slow) for step in (1, 10, 17, 27)), 9, 30]
)
def test_a_run_that_died_goes_on_to_the_same_result(
    unbroken: tuple[str, Any], data: Path, tmp_path: Path, step: int
) -> None:
    setting, expected = unbroken
    die_in_step(step, [*flags(data, setting, 30), "--out", str(tmp_path / "run")])
    assert load_checkpoint(tmp_path / "run" / LAST).state.step == (step - 1) // 10 * 10
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert result(tmp_path / "run") == expected
    elapsed = [record.elapsed_s for record in read_metrics(tmp_path / "run")]
    assert elapsed == sorted(elapsed)  # the time of before counts


def test_a_line_cut_off_and_one_too_many_are_dropped(unbroken: tuple[str, Any], data: Path, tmp_path: Path) -> None:
    setting, expected = unbroken
    out = tmp_path / "run"
    die_in_step(14, [*flags(data, setting, 30), "--out", str(out)])
    lines = (out / METRICS).read_bytes().splitlines(keepends=True)
    assert len(lines) == 14
    (out / METRICS).write_bytes(b"".join(lines) + lines[-1][:25])
    (out / f".{LAST}.0123.tmp").write_bytes(b"half a checkpoint")
    assert main(["train", "--resume", str(out)]) == 0
    assert result(out) == expected
    assert not list(out.glob(".*"))


def test_a_run_goes_on_from_its_best_checkpoint_too(unbroken: tuple[str, Any], data: Path, tmp_path: Path) -> None:
    setting, expected = unbroken
    out = tmp_path / "run"
    assert main([*flags(data, setting, 30), "--out", str(out)]) == 0
    (out / LAST).write_bytes(b"damaged")
    assert main(["train", "--resume", str(out / BEST), "--max-steps", "31"]) == 0
    metrics = result(out)["metrics"]
    same = min(expected[BEST][0], 16)  # after step 16 the rate of a wsd schedule falls, and later in a longer run
    assert metrics[:same] == expected["metrics"][:same]
    assert [record[0] for record in metrics] == list(range(1, 32))


CHILD = """
import os, signal, sys, time
from gpt.runs import run
from gpt import training as train
from gpt.__main__ import main

how, *arguments = sys.argv[1:]
after_step, replace, gradients = run.Run.after_step, os.replace, train.accumulate_gradients

def slow_step(self, record):  # so that the parent can act on metrics.jsonl before the run ends
    time.sleep(0.01)
    return after_step(self, record)

def kill_before_rename(old, new):
    if new.name == "last.safetensors" and run.read_metrics(new.parent)[-1].step == 160:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)

def endless_step(parallel, objective, config, step):
    if step == 3:
        (run.Path(arguments[-1]) / "in step 3").touch()
        time.sleep(60)
    return gradients(parallel, objective, config, step)

if how == "slow":
    run.Run.after_step = slow_step
elif how == "die in a save":
    os.replace = kill_before_rename
elif how == "endless":
    train.accumulate_gradients = endless_step
sys.exit(main(arguments))
"""


def start(how: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, how, *arguments]
    return subprocess.Popen(
        command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def wait_for(process: "subprocess.Popen[str]", happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.001)


def lines(folder: Path) -> int:
    path = folder / METRICS
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
@posix_only
def test_interrupted_and_killed_it_ends_as_if_nothing_had_been(data: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    process = start("", *flags(data, "dropout", 200), "--out", str(whole))

    broken = start("slow", *flags(data, "dropout", 200), "--out", str(out))
    wait_for(broken, lambda: lines(out) >= 23)
    broken.send_signal(signal.SIGINT)
    output, errors = broken.communicate(timeout=60)
    step = lines(out)
    assert broken.returncode == 130
    assert f"stopped after step {step}; go on with: python -m gpt train --resume {out}" in output
    assert errors == "\nfinishing the step, then saving; Ctrl-C again stops at once\n"
    assert load_checkpoint(out / LAST).state.step == step

    broken = start("slow", "train", "--resume", str(out))
    wait_for(broken, lambda: lines(out) >= 67)
    broken.kill()
    broken.communicate(timeout=60)
    assert 60 <= load_checkpoint(out / LAST).state.step < 160

    broken = start("die in a save", "train", "--resume", str(out))
    broken.communicate(timeout=60)
    assert broken.returncode == -signal.SIGKILL
    assert lines(out) == 160
    assert load_checkpoint(out / LAST).state.step == 150

    broken = start("", "train", "--resume", str(out))
    output = broken.communicate(timeout=60)[0]
    assert output.startswith(f"note      the process that wrote in {out} is gone: its lock is taken over\n")
    assert output.count("note") == 1
    assert broken.returncode == 0
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert result(out) == result(whole)
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
    assert (out / "sample.txt").read_bytes() == (whole / "sample.txt").read_bytes()


@posix_only
def test_a_second_ctrl_c_stops_at_once(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("endless", *flags(data, "plain", 200), "--out", str(out))
    wait_for(process, (out / "in step 3").exists)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert process.stderr.readline() == "finishing the step, then saving; Ctrl-C again stops at once\n"
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert time.monotonic() - began < 20
    lost = f"{out} has the checkpoint of step 0; the 3 steps after it are lost"
    assert errors == f"\n{lost}; go on with: python -m gpt train --resume {out}\n\ninterrupted\n"
    assert process.returncode == 130
    assert load_checkpoint(out / LAST).state.step == 0


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main([*flags(data, "plain", 12), "--out", str(out)]) == 0
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_flags_may_be_given_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = flags(data, "plain", 12)
    assert main([*words, "--out", str(out)]) == 0
    assert main([*words, "--resume", str(out), "--max-steps", "15", "--lr", "0.01", "--batch-size", "3"]) == 0
    assert [record[0] for record in result(out)["metrics"]] == list(range(1, 16))
    config = TrainConfig.from_dict(json.loads((out / "config.json").read_text(encoding="utf-8"))["train"])
    assert (config.max_steps, config.lr, config.batch_size) == (15, 0.01, 3)
    assert load_checkpoint(out / LAST).train_config == config
    shown = capsys.readouterr().out
    assert f"resume    {out / LAST} at step 12 of 15" in shown
    assert "for 3 steps" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the run is finished, at step 12 of 12; go on with a larger --max-steps"),
        (["--max-steps", "12"], "the run is finished, at step 12 of 12; go on with a larger --max-steps"),
        (["--max-steps", "5"], "the run is finished, at step 12 of 5; go on with a larger --max-steps"),
        (["--tokenizer", "bpe"], "resume: --tokenizer was char and cannot change to bpe; start a new run for that"),
        (["--d-model", "32"], "resume: --d-model was 16 and cannot change to 32"),
        (["--d-ff", "32"], "resume: --d-ff was 64 and cannot change to 32"),
        (["--no-bias"], "resume: --bias was True and cannot change to False"),
        (["--dropout", "0.5"], "resume: --dropout was 0.0 and cannot change to 0.5"),
        (["--context-length", "9"], "resume: --context-length was 8 and cannot change to 9"),
        (["--data", "other.txt"], "and cannot change to other.txt"),
        (["--seed", "1"], "resume: --seed was 0 and cannot change to 1"),
        (["--val-fraction", "0.2"], "resume: --val-fraction was 0.1 and cannot change to 0.2"),
        (["--vocab-size", "999"], "cannot change to 999"),
        (["--out", "elsewhere"], "--out and --resume exclude each other"),
        (["--max-steps", "20", "--lr", "nan"], "lr must be finite, got nan"),
    ],
)
def test_a_refused_resumption_leaves_the_run_unchanged(
    finished: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    before = contents(finished)
    assert main(["train", "--resume", str(finished), *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpt train: ")
    assert message in line
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (LAST, b"", "last.safetensors: a safetensors file begins with"),
        (TRAIN_TOKENS, None, "train.tokens is missing: this checkpoint was trained with it"),
        (VAL_TOKENS, None, "val.tokens is missing: this checkpoint was trained with it"),
        (TRAIN_TOKENS, b"GPTTOKEN", "train.tokens is not the file this checkpoint was trained with"),
    ],
)
def test_a_run_whose_files_were_touched_is_left_alone(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    for file, data in contents(finished).items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    assert main(["train", "--resume", str(tmp_path), "--max-steps", "20"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert contents(tmp_path) == before


def test_tokens_of_a_run_with_another_tokenizer_are_refused(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert main([*flags(data, "dropout", 1), "--out", str(other)]) == 0
    capsys.readouterr()
    (other / LAST).write_bytes((finished / LAST).read_bytes())  # of char, beside tokens of bpe
    assert main(["train", "--resume", str(other), "--max-steps", "20"]) == 1
    assert "train.tokens is not the file this checkpoint was trained with" in capsys.readouterr().err


def test_another_machine_is_noted(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file, data in contents(finished).items():
        (tmp_path / file).write_bytes(data)
    checkpoint = load_checkpoint(tmp_path / LAST)
    model = checkpoint.model()
    optimizer = make_optimizer(model, checkpoint.train_config)
    checkpoint.load_optimizer(optimizer)
    position = TrainingState(**{**vars(checkpoint.state), "machine": {"kernel": "abacus"}})
    save_checkpoint(tmp_path / LAST, model, optimizer, checkpoint.train_config, checkpoint.tokenizer, position)
    assert main(["train", "--resume", str(tmp_path), "--max-steps", "13"]) == 0
    shown = capsys.readouterr().out
    assert f"note      numpy unknown → {np.__version__}, blas unknown → " in shown
    assert f", kernel abacus → {blas.kernel()}, " in shown
    assert ": the result will not be the same to the last bit\n" in shown


# Prolonging


def test_a_run_is_prolonged_from_before_its_rate_fell(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stable = ["--schedule", "wsd", "--decay-steps", "4", "--warmup-steps", "3", "--lr", "0.01"]
    long, short = tmp_path / "long", tmp_path / "short"
    assert main([*flags(data, "plain", 20), *stable, "--out", str(long)]) == 0
    assert main([*flags(data, "plain", 12), *stable, "--out", str(short)]) == 0
    assert load_checkpoint(short / STABLE).state.step == 8
    capsys.readouterr()
    assert main(["train", "--resume", str(short), "--max-steps", "20"]) == 0
    assert "note      prolonged from step 8, before the rate began to fall" in capsys.readouterr().out
    assert result(short) == result(long)


def test_while_the_rate_has_not_fallen_a_run_goes_on_from_its_end(data: Path, tmp_path: Path) -> None:
    stable = ["--schedule", "wsd", "--decay-steps", "4", "--warmup-steps", "3", "--lr", "0.01"]
    arguments = [*flags(data, "plain", 12), *stable, "--out", str(tmp_path / "run"), "--save-every", "1"]
    die_in_step(8, arguments)  # step 7 is saved
    assert main(["train", "--resume", str(tmp_path / "run"), "--max-steps", "20"]) == 0
    assert main([*flags(data, "plain", 20), *stable, "--out", str(tmp_path / "long")]) == 0
    assert result(tmp_path / "run") == result(tmp_path / "long")
