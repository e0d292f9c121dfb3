"""Tests of gpt/runs/run.py: the folder of a run, and what each step leaves in it."""

import dataclasses
import errno
import json
import math
import os
from pathlib import Path

import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs import run as run_module
from gpt.runs.checkpoint import BEST, LAST, TrainingState, load_checkpoint
from gpt.runs.lock import LOCK
from gpt.runs.run import METRICS, TRAIN_TOKENS, VAL_TOKENS, Run, file_sha256, read_metrics, run_tokens, truncate_metrics
from gpt.tokenizer import CharTokenizer
from gpt.training import NotFiniteError, Record, make_optimizer

KEYS = ["step", "loss", "val_loss", "lr", "grad_norm", "tokens_per_s", "elapsed_s"]


def record(step: int, val_loss: float | None = None, elapsed_s: float = 1.0) -> Record:
    return Record(step, 2.5, val_loss, 1e-3, 0.75, 1234.5, elapsed_s)


def make_run(folder: Path) -> Run:
    config = TrainConfig(max_steps=9, save_every=4)
    model = GPT(ModelConfig(vocab_size=3, context_length=2, d_model=2, n_layers=1, n_heads=1))
    return Run(
        folder, model, make_optimizer(model, config), config, CharTokenizer("abc"), TrainingState(text_sha256="t")
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = make_run(tmp_path / "run")
    run.create({TRAIN_TOKENS: [0, 1, 2, 1], VAL_TOKENS: [2, 1]})
    return run


def step_of(run: Run, name: str) -> int:
    return load_checkpoint(run.folder / name).state.step


def test_a_new_run_is_whole_from_its_first_moment(run: Run) -> None:
    assert sorted(os.listdir(run.folder)) == [LOCK, "config.json", LAST, METRICS, TRAIN_TOKENS, VAL_TOKENS]
    config = json.loads((run.folder / "config.json").read_text(encoding="utf-8"))
    assert config["model"] == run.model.config.to_dict()
    assert config["train"] == run.config.to_dict()
    assert config["text_sha256"] == "t"
    assert config["tokenizer_sha256"] == run.tokenizer.sha256
    assert set(config["machine"]) == {"numpy", "blas", "kernel", "threads", "sums"}
    assert step_of(run, LAST) == 0
    train_tokens, val_tokens = run.tokens()
    assert train_tokens.tolist() == [0, 1, 2, 1]
    assert val_tokens is not None
    assert val_tokens.tolist() == [2, 1]


def test_without_validation_text_there_are_no_tokens_of_it(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.create({TRAIN_TOKENS: [0, 1, 2, 1], VAL_TOKENS: []})
    assert run.tokens()[1] is None


@pytest.mark.parametrize("name", [TRAIN_TOKENS, VAL_TOKENS, "config.json", LAST])
def test_a_run_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    replace = os.replace

    def fail(old: Path, new: Path) -> None:
        if new.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    run = make_run(tmp_path / "runs" / "mine")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        run.create({TRAIN_TOKENS: [0, 1, 2, 1], VAL_TOKENS: [2, 1]})
    assert not run.folder.exists()


def test_ctrl_c_while_a_run_is_made_leaves_no_folder(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    other = make_run(tmp_path / "other")
    monkeypatch.setattr(run_module, "save_checkpoint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        other.create({TRAIN_TOKENS: [0, 1], VAL_TOKENS: []})
    assert not other.folder.exists()
    assert run.folder.exists()


def test_the_second_of_two_runs_in_one_folder_stops(run: Run) -> None:
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(ValueError, match=rf"run is being trained by process {os.getpid()} since 20..-.*; wait for it"):
        make_run(run.folder).create({TRAIN_TOKENS: [2, 2, 2], VAL_TOKENS: []})
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before
    run.unlock()
    before.pop(LOCK)
    with pytest.raises(ValueError, match="run already holds a run; choose another --out"):
        make_run(run.folder).create({TRAIN_TOKENS: [2, 2, 2], VAL_TOKENS: []})
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_every_step_is_one_json_line_with_the_documented_keys(run: Run) -> None:
    run.after_step(record(1))
    run.after_step(record(2, val_loss=2.25))
    lines = (run.folder / METRICS).read_bytes().split(b"\n")
    assert lines[2] == b""
    assert [list(json.loads(line)) for line in lines[:2]] == [KEYS, KEYS]
    assert json.loads(lines[0])["val_loss"] is None
    assert json.loads(lines[1])["val_loss"] == 2.25
    assert read_metrics(run.folder) == [record(1), record(2, val_loss=2.25)]


def test_what_was_measured_of_layers_and_a_sample_are_read_again(run: Run) -> None:
    full = dataclasses.replace(
        record(1, val_loss=2.25), grad_norms={"norm": 0.5}, update_ratios={}, sample="où … 'est'"
    )
    run.after_step(full)
    run.after_step(record(2))
    assert read_metrics(run.folder) == [full, record(2)]
    truncate_metrics(run.folder, 1)
    assert read_metrics(run.folder) == [full]


def test_last_is_saved_when_due_and_at_the_end(run: Run) -> None:
    saved = []
    for step in range(1, 10):
        run.after_step(record(step))
        saved.append(step_of(run, LAST))
    assert saved == [0, 0, 0, 4, 4, 4, 4, 8, 9]
    assert not (run.folder / BEST).exists()


def test_best_is_saved_when_the_validation_loss_falls(run: Run) -> None:
    saved = []
    for step, val_loss in enumerate([3.0, None, 2.0, 2.5, 2.0, 1.0, None], start=1):
        run.after_step(record(step, val_loss))
        saved.append(step_of(run, BEST))
    assert saved == [1, 1, 3, 3, 3, 6, 6]
    best = load_checkpoint(run.folder / BEST).state
    assert (best.val_loss, best.best_val_loss) == (1.0, 1.0)


def test_the_best_of_before_counts_after_resuming(run: Run) -> None:
    run.state.best_val_loss = 2.0
    run.after_step(record(1, 2.5))
    assert not (run.folder / BEST).exists()


def test_the_position_is_that_of_the_step(run: Run) -> None:
    run.after_step(record(1, 2.0, elapsed_s=5.0))
    run.after_step(record(4, None, elapsed_s=7.0))
    position = load_checkpoint(run.folder / LAST).state
    assert (position.step, position.elapsed_s, position.val_loss, position.best_val_loss) == (4, 7.0, None, 2.0)


def test_ctrl_c_saves_before_it_stops(run: Run) -> None:
    assert not run.after_step(record(1))
    run.stop_asked = True
    assert run.after_step(record(2))
    assert step_of(run, LAST) == 2
    assert run.saved_step == 2
    assert [r.step for r in read_metrics(run.folder)] == [1, 2]


def test_a_stop_in_the_last_step_is_the_end(run: Run) -> None:
    run.stop_asked = True
    assert not run.after_step(record(9))
    assert step_of(run, LAST) == 9


def test_ctrl_c_between_the_questions_waits_for_the_next_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True, True])  # Ctrl-C comes just after the first question
    monkeypatch.setattr(Run, "stop_asked", property(lambda self: next(answers)), raising=False)
    assert not run.after_step(record(1))
    assert run.after_step(record(2))
    assert step_of(run, LAST) == 2


@pytest.mark.parametrize("val_loss", [math.nan, math.inf])
def test_a_model_with_a_loss_that_is_not_finite_is_not_saved(run: Run, val_loss: float) -> None:
    run.after_step(record(3, 2.0))
    with pytest.raises(
        NotFiniteError,
        match=r"step 4: the validation loss is (nan|inf) after .* learning rate 0\.001 and gradient norm 0\.75\. Try",
    ):
        run.after_step(record(4, val_loss))
    assert step_of(run, LAST) == 0
    assert step_of(run, BEST) == 3
    assert [r.step for r in read_metrics(run.folder)] == [3]


def test_a_full_disk_in_a_save_leaves_the_one_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.after_step(record(4))
    before = (run.folder / LAST).read_bytes()

    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        run.after_step(record(8))
    assert (run.folder / LAST).read_bytes() == before
    assert run.saved_step == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_metrics_that_do_not_fit_are_named(run: Run) -> None:
    (run.folder / METRICS).unlink()
    (run.folder / METRICS).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        run.log(record(4))
    assert caught.value.filename == str(run.folder / METRICS)


def test_tokens_of_another_run_are_refused(run: Run, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other")
    other.create({TRAIN_TOKENS: [0, 0, 0, 0], VAL_TOKENS: [1, 1]})
    (run.folder / VAL_TOKENS).write_bytes((other.folder / VAL_TOKENS).read_bytes())
    assert run_tokens(run.folder, TRAIN_TOKENS, run.state).tolist() == [0, 1, 2, 1]
    with pytest.raises(ValueError, match=r"val\.tokens is not the file this checkpoint was trained with: its SHA"):
        run_tokens(run.folder, VAL_TOKENS, run.state)
    (run.folder / VAL_TOKENS).unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.tokens is missing: this checkpoint was trained with it"):
        run_tokens(run.folder, VAL_TOKENS, run.state)
    with pytest.raises(ValueError, match="SHA-256"):
        run_tokens(run.folder, TRAIN_TOKENS, TrainingState())


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


LINES = [json.dumps(record(step).to_dict()).encode() + b"\n" for step in (1, 2, 3)]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"".join(LINES), 2),
        (b"".join(LINES[:2]), 2),
        (b"".join(LINES[:1]), 1),
        (LINES[0] + LINES[1][:-1], 2),  # whole but for its line end
        (LINES[0] + LINES[1][:30], 1),
        (LINES[0] + LINES[1] + LINES[2][:1], 2),
        (LINES[0] + b"nonsense\n" + LINES[1], 2),
        (b"[" * 100_000 + b"\n" + LINES[0] + b"[1]\n" + LINES[1], 2),
        (LINES[1] + LINES[0] + LINES[2] + LINES[1], 2),  # two processes wrote it
        (LINES[0] + b'{"step": "2"}\n', 1),
        (LINES[0] + b"\xff\xfe", 1),
        (b"", 0),
    ],
)
def test_metrics_are_cut_to_the_step_of_the_checkpoint(tmp_path: Path, content: bytes, kept: int) -> None:
    (tmp_path / METRICS).write_bytes(content)
    truncate_metrics(tmp_path, 2)
    assert (tmp_path / METRICS).read_bytes() == b"".join(LINES[:kept])


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"".join(LINES), ""),
        (LINES[0] + LINES[1] + LINES[2][:30], ""),  # as a kill leaves it
        (LINES[0] + b"nonsense\n" + LINES[1], "1 damaged or repeated lines dropped, 0 of 2 steps are missing"),
        (LINES[0] + LINES[1] + LINES[0] + LINES[1], "2 damaged or repeated lines dropped, 0 of 2 steps are missing"),
        (b"\xff\n" + LINES[1], "1 damaged or repeated lines dropped, 1 of 2 steps are missing"),
        (LINES[0] + LINES[1][:30], "0 damaged or repeated lines dropped, 1 of 2 steps are missing"),
    ],
)
def test_what_metrics_lose_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, note: str
) -> None:
    (tmp_path / METRICS).write_bytes(content)
    truncate_metrics(tmp_path, 2)
    assert capsys.readouterr().out == (f"note      {tmp_path / METRICS}: {note}\n" if note else "")


def test_metrics_that_are_missing_are_no_error_to_resuming(tmp_path: Path) -> None:
    truncate_metrics(tmp_path, 2)
    assert os.listdir(tmp_path) == []


def test_metrics_are_read_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / METRICS).write_bytes(LINES[0] + LINES[1][:30])
    assert read_metrics(tmp_path) == [record(1)]
    (tmp_path / METRICS).write_bytes(b"")
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"step": 1}\n', b"\xff\n", b"\n"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: bytes) -> None:
    (tmp_path / METRICS).write_bytes(LINES[0] + line + LINES[1])
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is no record of a step"):
        read_metrics(tmp_path)


def test_a_folder_without_metrics_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no metrics\.jsonl; give the folder of a run"):
        read_metrics(tmp_path)


def test_a_run_writes_what_it_shows_to_the_output(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(run.folder).after_step(record(1))  # made here, when the output is the one that is watched
    assert capsys.readouterr().out.startswith("step 1/9  loss 2.5000  val -  lr 1.0e-03")
