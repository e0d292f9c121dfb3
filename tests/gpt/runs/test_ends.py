"""A run that dies before its first step or after its last one: every command that trains makes what is missing."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.__main__ import main
from gpt.config import LoopConfig, TrainConfig
from gpt.runs.checkpoint import BEST, LAST, _write, find_checkpoint, load_checkpoint
from gpt.runs.presets import NARROW, RATES
from gpt.runs.run import CONFIG, METRICS, Run, read_metrics
from gpt.runs.safetensors import load_file
from gpt.training import learning_rate

Output = pytest.CaptureFixture[str]
RESULTS = {"train": "sample.txt", "classify": "scores.json", "instruct": "responses.jsonl", "prefer": "scores.json"}
RESUME = {name: f"{'' if name == 'train' else 'finetune '}{name} --resume" for name in RESULTS}


class Killed(BaseException):
    """The end of a process, as far as one process can play it: nothing catches it."""


RATE = RATES["muon"] / NARROW  # of the run of train


@pytest.fixture(scope="module")
def whole(inputs: Path, trainings: dict[str, str]) -> Path:
    """Return a folder with the finished run of every command, by the command's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inputs)
        for name, words in trainings.items():
            assert main([*words.split(), "--out", name]) == 0
    return inputs


@pytest.fixture
def folder(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, in which the test runs."""
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    monkeypatch.chdir(copy)
    return copy


def die(*_: Any) -> None:
    raise Killed


def kill_in(name: str, target: str, words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, die)
        with pytest.raises(Killed):
            main(words.split())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# After the last step


@pytest.mark.parametrize("name", RESULTS)
def test_a_finished_run_makes_what_is_missing_and_then_says_that_it_is_finished(
    folder: Path, capsys: Output, name: str
) -> None:
    before = contents(folder / name)
    (folder / name / RESULTS[name]).unlink()
    capsys.readouterr()
    assert main([*RESUME[name].split(), name]) == 0
    shown = capsys.readouterr().out
    assert contents(folder / name) == before
    assert shown.endswith("\nthe run is finished, at step 6; go on with a larger --max-steps\n")
    assert "\ntime " not in shown  # no step is timed where none is made
    assert "\nsaved in " in shown
    assert main([*RESUME[name].split(), name]) == 1
    assert "the run is finished, at step 6 of 6; go on with a larger --max-steps" in capsys.readouterr().err


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_of_an_earlier_end_is_made_again(folder: Path, name: str) -> None:
    """As where a finished run was extended, and died after its new last step."""
    result = folder / name / RESULTS[name]
    expected = result.read_bytes()
    result.write_text("of fewer steps", encoding="utf-8")
    os.utime(result, ns=(0, (folder / name / LAST).stat().st_mtime_ns - 1))
    assert main([*RESUME[name].split(), name]) == 0
    assert result.read_bytes() == expected


def test_a_run_that_patience_ended_makes_what_is_missing_too(
    folder: Path, trainings: dict[str, str], capsys: Output
) -> None:
    words = [
        *trainings["classify"].split(),
        "--patience",
        "1",
        "--lr",
        "1e-12",
        "--max-steps",
        "90",
        "--out",
        "patient",
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "early stop after step" in shown
    before = contents(folder / "patient")
    (folder / "patient" / RESULTS["classify"]).unlink()
    assert main(["finetune", "classify", "--resume", "patient"]) == 0
    assert "the run is finished" in capsys.readouterr().out
    assert contents(folder / "patient") == before
    assert main(["finetune", "classify", "--resume", "patient"]) == 1
    assert "the run stopped early" in capsys.readouterr().err


def test_an_error_after_the_last_step_says_how_to_make_the_rest(
    folder: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    (folder / "train" / RESULTS["train"]).unlink()
    monkeypatch.setattr("gpt.commands.train.write_sample", interrupt)
    assert main(["train", "--resume", "train"]) == 130
    missing = "train is trained and saved, but its last files are missing; make them with: python -m gpt"
    assert capsys.readouterr().err == f"\n{missing} train --resume train\n\ninterrupted\n"


# Before the first checkpoint


@pytest.mark.parametrize("target", ["gpt.runs.run.file_sha256", "gpt.runs.run.Run.save"])
@pytest.mark.parametrize("name", RESULTS)
def test_a_run_that_died_before_its_first_checkpoint_begins_again(
    folder: Path, trainings: dict[str, str], capsys: Output, monkeypatch: pytest.MonkeyPatch, name: str, target: str
) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process does not clean up
    kill_in(name, target, f"{trainings[name]} --out again")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    (folder / "again" / ".lock").unlink()
    (folder / "again" / ".config.json.0.tmp").write_bytes(b"{")
    capsys.readouterr()
    assert not (folder / "again" / LAST).exists()
    assert main([*trainings[name].split(), "--out", "again"]) == 1
    nothing = "again holds a run that ended before its first checkpoint: nothing was trained"
    way_out = "begin it again with --resume again, or delete the folder"
    assert f"out: {nothing}; {way_out}" in capsys.readouterr().err
    other = "finetune classify" if name == "train" else "train"
    assert main([*other.split(), "--resume", "again"]) == 1
    assert f"{nothing}; begin it again with python -m gpt {RESUME[name]} again" in capsys.readouterr().err
    assert main([*RESUME[name].split(), "again", "--save-every", "3"]) == 0
    assert f"note      {nothing}; it begins again\n" in capsys.readouterr().out
    losses = [[(r.loss, r.val_loss, r.grad_norm) for r in read_metrics(folder / run)] for run in ("again", name)]
    assert losses[0] == losses[1]
    assert sorted(contents(folder / "again")) == sorted(contents(folder / name))
    assert contents(folder / "again")[RESULTS[name]] == contents(folder / name)[RESULTS[name]]


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}", b'{"options": 3}', b"[" * 100_000])
def test_where_config_does_not_suffice_it_says_that_nothing_was_trained(
    folder: Path, capsys: Output, content: bytes | None
) -> None:
    (folder / "dead").mkdir()
    (folder / "dead" / METRICS).touch()
    if content is not None:
        (folder / "dead" / CONFIG).write_bytes(content)
    assert main(["train", "--resume", "dead"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    nothing = "dead holds a run that ended before its first checkpoint: nothing was trained"
    assert line == f"gpt train: {nothing}; delete the folder, and begin again"


def test_a_text_of_python_cannot_begin_again(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "save", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            gpt.train("abcd efgh\n" * 90, out="text", tokenizer="char", context_length=8, quiet=True)
    (folder / "text" / ".lock").unlink()
    with pytest.raises(ValueError, match="nothing was trained; delete the folder, and begin again"):
        gpt.train(resume="text", quiet=True)


def test_numbers_of_numpy_are_stored_too(folder: Path) -> None:
    gpt.train(Path("text.txt"), out="numpy", tokenizer="char", max_steps=np.int64(1), lr=np.float32(0.5), quiet=True)
    options = json.loads((folder / "numpy" / CONFIG).read_text(encoding="utf-8"))["options"]
    assert (options["max_steps"], options["lr"]) == (1, 0.5)


# What a failed beginning deletes


def test_a_failed_beginning_deletes_what_it_made_and_nothing_else(
    folder: Path, trainings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = folder / "new" / "deep" / "mine.txt"

    def appear_and_fail(*_: Any) -> None:
        mine.write_text("of the user", encoding="utf-8")
        raise OSError("no")

    monkeypatch.setattr(Run, "save", appear_and_fail)
    assert main([*trainings["train"].split(), "--out", "new/deep"]) == 1
    assert [str(path.relative_to(folder)) for path in folder.glob("new/**/*") if path.is_file()] == [
        "new/deep/mine.txt"
    ]
    monkeypatch.setattr(Run, "save", die)
    kill_in("train", "gpt.runs.run.Run.save", f"{trainings['train']} --out other/deep")
    assert not (folder / "other").exists()
    (folder / "empty").mkdir()  # it was there, and stays
    kill_in("train", "gpt.runs.run.Run.save", f"{trainings['train']} --out empty")
    assert os.listdir(folder / "empty") == []


# What a checkpoint and a resumption say


@pytest.mark.parametrize("name", RESULTS)
def test_a_checkpoint_has_the_options_it_was_trained_with(folder: Path, capsys: Output, name: str) -> None:
    def check() -> None:
        checkpoint = load_checkpoint(find_checkpoint(folder / name))
        stored = checkpoint.train_config.to_dict() if checkpoint.task is None else checkpoint.task.config
        shared = stored.keys() & checkpoint.train_config.to_dict().keys()
        assert shared >= set(LoopConfig().to_dict())
        assert {key: checkpoint.train_config.to_dict()[key] for key in shared} == {key: stored[key] for key in shared}
        assert (checkpoint.train_config.batch_size, checkpoint.train_config.max_steps) == (2, 6)
        assert main(["info", name]) == 0
        shown = capsys.readouterr().out
        assert "to train with batches of 2, about" in shown
        if name == "instruct":
            assert "6 of 6 steps, with batches of 2 and a learning rate up to 3e-05\n" in shown
            assert "0.002" not in shown

    check()
    if name == "train":
        return
    path = folder / name / BEST  # as it was written before: with the defaults of pretraining
    checkpoint = load_checkpoint(path)
    _write(dataclasses.replace(checkpoint, train_config=TrainConfig()))
    assert '"batch_size": 16' in load_file(path)[1]["train_config"]
    check()
    assert main(["doctor", f"{name}/{CONFIG}"]) in (0, 1)
    assert "unknown key" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("train", "--max-steps 9", ["max_steps 6 → 9"]),
        ("train", "--max-steps 9 --lr 0.1 --min-lr 0.05", ["max_steps 6 → 9", f"lr {RATE} → 0.1", "min_lr"]),
        ("train", "--max-steps 9 --save-every 7", ["max_steps 6 → 9", "save_every 2 → 7"]),
        ("classify", "--max-steps 9 --patience 7", ["max_steps 6 → 9", "patience "]),
        ("instruct", "--max-steps 9 --grad-clip none", ["max_steps 6 → 9", "grad_clip 1.0 → None"]),
        ("prefer", "--max-steps 9 --lr 1", ["max_steps 6 → 9", "lr 0.00375 → 1.0"]),
    ],
)
def test_a_changed_option_is_said_from_what_to_what(
    folder: Path, capsys: Output, name: str, words: str, expected: list[str]
) -> None:
    capsys.readouterr()
    old = load_checkpoint(folder / name / LAST).train_config
    assert main([*RESUME[name].split(), name, *words.split()]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed")]
    for line in expected:
        assert any(change.startswith(f"changed   {line}") for change in shown)
    new = load_checkpoint(folder / name / LAST).train_config
    rates = f"{learning_rate(6, old):.2e} → {learning_rate(6, new):.2e}"
    assert shown[-1] == f"changed   learning rate of step 7: {rates}"
    assert read_metrics(folder / name)[6].lr == learning_rate(6, new)
    assert len(shown) == len(expected) + 1


def test_nothing_is_said_where_nothing_changes(folder: Path, capsys: Output) -> None:
    metrics = json.loads((folder / "train" / CONFIG).read_text(encoding="utf-8"))["options"]
    assert metrics["max_steps"] == 6
    (folder / "train" / RESULTS["train"]).unlink()
    capsys.readouterr()
    assert main(["train", "--resume", "train", "--max-steps", "6"]) == 0
    assert "changed" not in capsys.readouterr().out
