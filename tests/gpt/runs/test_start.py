"""Tests of gpt/runs/start.py: a run's folder, and which options may change when it is resumed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.finetune.task import FinetuneConfig
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, Checkpoint, TrainingState, load_checkpoint
from gpt.runs.run import METRICS, TRAIN_TOKENS, VAL_TOKENS, Run
from gpt.runs.start import MUTABLE_ON_RESUME, changed_config, new_folder, resume_run
from gpt.tokenizer import CharTokenizer
from gpt.training import make_optimizer

SHAPE = ModelConfig(vocab_size=3, context_length=2, d_model=4, n_layers=1, n_heads=1)
CONFIG = TrainConfig(max_steps=9, tokenizer="char")
DATA = {TRAIN_TOKENS: np.array([0, 1, 2, 1]), VAL_TOKENS: np.array([2, 1])}


def begin(folder: Path) -> Run[GPT, TrainConfig]:
    model = GPT(SHAPE, np.random.default_rng(0))
    run = Run(folder, model, make_optimizer(model, CONFIG), CONFIG, CharTokenizer("abc"), TrainingState())
    run.create(DATA)
    run.unlock()  # as if its process had ended
    return run


def resume(folder: Path, **flags: Any) -> Run[GPT, TrainConfig]:
    return resume_run(str(folder), "", TrainConfig, flags, lambda checkpoint, config: checkpoint.model())


def test_a_new_folder_is_named_after_the_time_or_by_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.strftime", lambda pattern: "runs/now")
    assert new_folder(None) == Path("runs/now")
    (tmp_path / "empty").mkdir()
    assert new_folder(str(tmp_path / "empty")) == tmp_path / "empty"
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for out in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match="already exists and is not empty; go on with --resume"):
            new_folder(str(out))


def test_a_run_can_be_resumed_from_its_first_moment(tmp_path: Path) -> None:
    begun = begin(tmp_path / "run")
    resumed = resume(tmp_path / "run", max_steps=12, lr=0.5)
    assert (resumed.config.max_steps, resumed.config.lr) == (12, 0.5)
    assert resumed.state == begun.state
    for name, array in begun.model.state_dict().items():
        np.testing.assert_array_equal(resumed.model.state_dict()[name], array)
    train_tokens, _ = resumed.tokens()
    assert train_tokens[:].tolist() == [0, 1, 2, 1]


def test_a_refused_resumption_changes_nothing_in_the_folder(tmp_path: Path) -> None:
    run = begin(tmp_path)
    (tmp_path / f".{LAST}.0.tmp").write_bytes(b"of a save that was killed")
    (tmp_path / METRICS).write_text('{"step": 1}\n', encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(checkpoint: Checkpoint, config: TrainConfig) -> GPT:
        raise MemoryError("training would take more than there is")

    with pytest.raises(MemoryError, match="more than there is"):
        resume_run(str(tmp_path), "", TrainConfig, {}, fail)
    with pytest.raises(ValueError, match="--out and --resume exclude each other"):
        resume(tmp_path, out="elsewhere")
    with pytest.raises(ValueError, match="is of another kind of run; go on with python -m gpt train --resume"):
        resume_run(str(tmp_path), "classify", FinetuneConfig, {}, lambda checkpoint, config: checkpoint.model())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    resume(tmp_path).unlock()
    assert {path.name for path in tmp_path.iterdir()} == before.keys() - {f".{LAST}.0.tmp"}
    assert (tmp_path / METRICS).read_bytes() == b""  # step 1 comes after the checkpoint of step 0
    assert run.state.step == load_checkpoint(tmp_path / LAST).state.step == 0


def test_a_finished_run_needs_more_steps(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.state = TrainingState(**{**vars(run.state), "step": 9})
    run.save(LAST)
    with pytest.raises(ValueError, match="the run is finished, at step 9 of 9; go on with a larger --max-steps"):
        resume(tmp_path)


@pytest.mark.parametrize("config", [CONFIG, TrainConfig(sampling="epochs"), FinetuneConfig()])
def test_an_option_may_change_only_if_weights_and_data_do_not_depend_on_it(
    config: TrainConfig | FinetuneConfig,
) -> None:
    drawn_at_random = getattr(config, "sampling", "") == "random"
    mutable = MUTABLE_ON_RESUME | ({"batch_size", "grad_accum_steps"} if drawn_at_random else set())
    for name, value in config.to_dict().items():
        other = {"sampling": "epochs", "freeze": "all_but_head", "recompute": True, "schedule": "linear"}.get(name)
        if other is None or other == value:
            other = "random" if name == "sampling" else 2 if value is None else value * 2 if value else 1
        if name in ("beta1", "beta2", "val_fraction"):
            other = 0.5
        if name == "min_lr":
            other = config.lr / 2
        if name == "data":
            other = "other.txt"
        if name in mutable:
            assert getattr(changed_config(config, SHAPE, {name: other}), name) == other
        else:
            with pytest.raises(ValueError, match=rf"resume: --{name.replace('_', '-')} was .* cannot change to"):
                changed_config(config, SHAPE, {name: other})
        assert changed_config(config, SHAPE, {name: value}) == config


def test_the_shape_of_the_model_cannot_change() -> None:
    with pytest.raises(ValueError, match="resume: --d-ff was 16 and cannot change to 32; start a new run for that"):
        changed_config(CONFIG, SHAPE, {"d_ff": 32})
    assert changed_config(CONFIG, SHAPE, {"d_ff": 16, "out": None, "resume": "x"}) == CONFIG
