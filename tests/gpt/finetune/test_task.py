"""A task of our own: shards and micro-batches, runs that are started, stopped and resumed, early stopping."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt.config import ModelConfig, TrainConfig
from gpt.finetune.batching import shuffled_batches
from gpt.finetune.task import FinetuneConfig, FinetuneTask, Start, begin, evaluation_batches, make_objective, resume
from gpt.model import GPT
from gpt.runs.checkpoint import BEST, LAST, Checkpoint, TrainingState, find_checkpoint, load_checkpoint, save_checkpoint
from gpt.runs.run import Run, read_metrics
from gpt.runs.start import MUTABLE_ON_RESUME, open_base
from gpt.runs.supervise import run_training
from gpt.tokenizer import CharTokenizer
from gpt.training import Batch, NotFiniteError, Objective, Record, accumulate_gradients, in_shards, mean_loss
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module

MODEL = ModelConfig(vocab_size=12, context_length=8, d_model=16, n_layers=2, n_heads=4, dropout=0.1)
CONFIG = FinetuneConfig(
    max_steps=8, batch_size=4, lr=1e-2, warmup_steps=2, eval_every=2, save_every=3, seed=5, shards=2
)
IDS = np.random.default_rng(1).integers(0, 12, (10, 8))
LABELS = np.random.default_rng(2).integers(0, 3, 10)


class Classifier(Module):
    def __init__(self, config: ModelConfig = MODEL) -> None:
        self.gpt = GPT(config, np.random.default_rng(0))
        self.head = Linear(config.d_model, 3, rng=np.random.default_rng(5))

    def forward(self, ids: np.ndarray) -> Tensor:
        return self.head(self.gpt.hidden_states(ids)[:, -1])


Toy = Run[Classifier, FinetuneConfig]


def loss_of(model: Classifier, ids: np.ndarray, labels: np.ndarray) -> Tensor:
    return ops.cross_entropy(model(ids), labels, reduction="sum")


@dataclasses.dataclass
class Row:
    ids: np.ndarray
    label: int

    def __len__(self) -> int:
        return len(self.ids)


ROWS = [Row(ids, label) for ids, label in zip(IDS, LABELS.tolist(), strict=True)]


def collate(rows: Sequence[Row]) -> Batch:
    return Batch((np.array([row.ids for row in rows]), np.array([row.label for row in rows])), len(rows))


class ToyTask(FinetuneTask):
    """Classify ten rows of tokens into three classes."""

    kind, config_type, data_name, unit = "classify", FinetuneConfig, "rows", "texts"

    def start(self, config: FinetuneConfig, base: Checkpoint | None, flags: Mapping[str, Any]) -> Start:
        assert base is not None
        model = Classifier()
        model.gpt.load_state_dict(base.model().state_dict())
        files = {"data.tsv": base.path.parent / "data.tsv", "labels": lambda path: path.write_bytes(LABELS.tobytes())}
        return Start(model, config, base.tokenizer, None, files, labels=("a", "b", "c"))

    def empty_model(self, checkpoint: Checkpoint) -> Classifier:
        return Classifier(checkpoint.model_config)

    def read(self, run: Toy) -> None:
        return None

    def longest(self, data: None) -> int:
        return len(ROWS[0])

    def objective(self, run: Toy, data: None) -> Objective:
        return make_objective(ROWS, ROWS, collate, loss_of, run.config, shuffled_batches)

    def evaluate(self, run: Toy, data: None, flags: Mapping[str, Any]) -> None:
        raise NotImplementedError


# A step


@pytest.mark.parametrize(("shards", "micros"), [(1, 1), (3, 1), (1, 3), (2, 3)])
def test_shards_and_micro_batches_add_up_with_any_number_of_targets_in_each(shards: int, micros: int) -> None:
    """Three rows have 1, 8 and 0 targets: the loss is a mean over 9, wherever the rows are cut."""
    model = GPT(dataclasses.replace(MODEL, dropout=0.0), np.random.default_rng(0)).astype(np.float64)
    ids, targets = IDS[:3], IDS[3:6].copy()
    targets[0, 1:] = targets[2] = -100
    whole = model.loss(ids, targets)
    whole.backward()
    expected = {name: p.grad.copy() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    def batch_of(step: int, micro: int) -> Batch:
        rows = slice(None) if micros == 1 else slice(micro, micro + 1)
        return Batch((ids[rows], targets[rows]), int((targets[rows] != -100).sum()))

    task = Objective(batch_of, lambda m, *rows: m.loss(*rows, reduction="sum"))
    config = dataclasses.replace(CONFIG, shards=shards, grad_accum_steps=micros)
    loss, n_targets = accumulate_gradients(in_shards(model, task, config), task, config, 0)
    assert n_targets == 9
    assert loss == pytest.approx(whole.item(), rel=1e-12)
    for name, p in model.named_parameters():
        assert p.grad is not None
        assert np.abs(p.grad - expected[name]).max() <= 1e-12 * np.abs(expected[name]).max(), name


def test_a_step_without_targets_is_an_error() -> None:
    task = Objective(lambda step, micro: Batch((IDS[:2], LABELS[:2]), 0), loss_of)
    with pytest.raises(ValueError, match="step 4: its 1 batches have no target"):
        accumulate_gradients(in_shards(Classifier(), task, CONFIG), task, CONFIG, 3)


def test_mean_loss_is_a_mean_over_targets_not_batches() -> None:
    """Batches of 4, 4 and 2 examples: the mean over ten, not over three."""
    model = Classifier().eval()
    logits = model(IDS).data
    losses = [np.log(np.exp(z).sum()) - z[label] for z, label in zip(logits, LABELS, strict=True)]
    model.train()
    batches = evaluation_batches(ROWS, collate, 4)
    assert [batch.n_targets for batch in batches] == [4, 4, 2]
    assert mean_loss(model, batches, loss_of, shards=2) == pytest.approx(np.mean(losses), rel=1e-5)
    assert model.training


def test_micro_batches_are_numbered_through_the_steps() -> None:
    config = dataclasses.replace(CONFIG, grad_accum_steps=3, batch_size=1)
    objective = make_objective(ROWS, [], collate, loss_of, config, shuffled_batches)
    batches = [objective.batch_of(step, micro).rows[0] for step in range(2) for micro in range(3)]
    indices = shuffled_batches(ROWS, 1, config.seed)
    np.testing.assert_array_equal(np.concatenate(batches), IDS[[int(indices(number)[0]) for number in range(6)]])
    assert objective.val_batches is None


def test_epochs_become_steps_and_shards_are_chosen_once() -> None:
    config = dataclasses.replace(CONFIG, epochs=2.5, batch_size=4, grad_accum_steps=2, shards=None)
    resolved = config.resolve(10, 1)
    assert (resolved.max_steps, resolved.shards) == (4, 1)  # 25 examples in batches of 8; few tokens: one shard
    assert dataclasses.replace(config, epochs=None).resolve(10, 1).max_steps == 8
    assert dataclasses.replace(config, epochs=0.01).resolve(10, 1).max_steps == 1


# Runs


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    save_checkpoint(
        path, GPT(MODEL, np.random.default_rng(0)), None, TrainConfig(), CharTokenizer("abcdefghijkl"), TrainingState()
    )
    (tmp_path / "data.tsv").write_text("ham\thello\n", encoding="utf-8")
    return path


def start(base: Path, out: Path, config: FinetuneConfig) -> Toy:
    return begin(ToyTask(), {**config.to_dict(), "data": "rows", "init": str(base), "out": str(out)})[0]


def train(run: Toy) -> bool:
    return run_training(run, ToyTask().objective(run, None), "finetune classify")


def resumed(path: Path, **flags: object) -> Toy:
    return resume(ToyTask(), str(path), flags)[0]


def stop_after(run: Toy, step: int) -> None:
    """Ask for a stop after a step, as Ctrl-C does."""
    after_step = run.after_step

    def ask(record: Record) -> bool:
        run.stop_asked = record.step == step
        return after_step(record)

    run.after_step = ask  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"freeze": "all_but_last_block"},
        {"freeze": "all_but_head", "grad_accum_steps": 2},
        {"lora_rank": 2, "lora_target": "w_qkv,down"},
    ],
)
def test_a_run_that_is_stopped_and_resumed_equals_an_uninterrupted_one(
    base: Path, tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(CONFIG, **change)  # type: ignore[arg-type]
    assert train(start(base, tmp_path / "whole", config))
    run = start(base, tmp_path / "broken", config)
    stop_after(run, 5)
    assert not train(run)
    assert f"go on with: python -m gpt finetune classify --resume {tmp_path / 'broken'}" in capsys.readouterr().out
    assert train(resumed(tmp_path / "broken"))
    expected, got = (read_metrics(tmp_path / name) for name in ("whole", "broken"))
    assert [(r.step, r.loss, r.val_loss, r.grad_norm) for r in got] == [
        (r.step, r.loss, r.val_loss, r.grad_norm) for r in expected
    ]
    for name in (LAST, BEST):
        one, other = (load_checkpoint(tmp_path / folder / name) for folder in ("whole", "broken"))
        assert one.tensors.keys() == other.tensors.keys()
        assert one.task == other.task
        for key, array in one.tensors.items():
            np.testing.assert_array_equal(other.tensors[key], array)
    assert "texts/s" in capsys.readouterr().out


def test_a_run_stores_its_task_and_its_data(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = start(base, tmp_path / "run", dataclasses.replace(CONFIG, lora_rank=2, lora_target="up"))
    # two blocks · rank 2 · (16 in + 64 out), and the head's 3 · 16 + 3
    assert "trained   371 of" in capsys.readouterr().out
    task = load_checkpoint(tmp_path / "run" / LAST).task
    assert task is not None
    assert task.base == str(base.resolve())
    assert (task.kind, task.labels) == ("classify", ("a", "b", "c"))
    assert FinetuneConfig.from_dict(task.config) == run.config
    settings = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert settings["task"] == task.to_dict()
    assert (tmp_path / "run" / "data.tsv").read_text(encoding="utf-8") == "ham\thello\n"
    assert (tmp_path / "run" / "labels").read_bytes() == LABELS.tobytes()


def test_patience_ends_a_run_and_keeps_the_best_checkpoint(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(base, tmp_path / "run", dataclasses.replace(CONFIG, max_steps=40, patience=2))
    losses = iter([3.0, 2.0, 2.5, 2.0, 1.0])  # at steps 2, 4, 6, 8: equal is not better
    monkeypatch.setattr("gpt.training.mean_over_targets", lambda loss_sum, batches: next(losses))
    task = ToyTask().objective(run, None)
    assert run_training(run, task, "finetune classify")
    assert "early stop after step 8: nothing was better than step 4" in capsys.readouterr().out
    assert load_checkpoint(tmp_path / "run" / BEST).state.step == 4
    assert load_checkpoint(tmp_path / "run" / LAST).state.step == 8
    with pytest.raises(ValueError, match="stopped early, at step 8; go on with a larger --patience, or none"):
        resumed(tmp_path / "run")
    assert resumed(tmp_path / "run", patience=3).patience == 3


class OtherTask(ToyTask):
    kind = "instruct"


def test_options_that_cannot_change_in_a_resumed_run(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(start(base, out, CONFIG))
    with pytest.raises(ValueError, match="at step 8 of 8; go on with a larger --max-steps"):
        resumed(out)
    for name, value in {"batch_size": 5, "lora_rank": 3, "init": "other", "freeze": "all_but_head"}.items():
        with pytest.raises(ValueError, match=rf"resume: --{name.replace('_', '-')} was .* cannot change to {value}"):
            resumed(out, max_steps=9, **{name: value})
    run = resumed(out, max_steps=9, lr=0.5, batch_size=4)
    run.unlock()
    assert (run.config.max_steps, run.config.lr) == (9, 0.5)
    assert MUTABLE_ON_RESUME - {"eval_batches", "sample_every"} <= {
        field.name for field in dataclasses.fields(FinetuneConfig)
    }
    with pytest.raises(
        ValueError, match="is of another kind of run; go on with python -m gpt finetune classify --resume"
    ):
        resume(OtherTask(), str(out), {})
    (out / "data.tsv").write_text("changed", encoding="utf-8")
    with pytest.raises(ValueError, match=r"data.tsv is not the file .* its SHA-256 differs"):
        resumed(out, max_steps=9)


def test_a_run_with_adapters_is_resumed_with_a_moved_base(base: Path, tmp_path: Path) -> None:
    run = start(base, tmp_path / "run", dataclasses.replace(CONFIG, lora_rank=2))
    stop_after(run, 3)
    train(run)
    moved = tmp_path / "moved.safetensors"
    shutil.move(base, moved)
    with pytest.raises(FileNotFoundError, match=r"missing: .*base.safetensors; say where it is with --base FILE"):
        resumed(tmp_path / "run")
    assert train(resumed(tmp_path / "run", base=str(moved)))
    load_checkpoint(find_checkpoint(tmp_path / "run")).load_into(Classifier())  # the new location is stored


def test_a_classifier_is_no_base(base: Path, tmp_path: Path) -> None:
    start(base, tmp_path / "run", CONFIG)
    with pytest.raises(ValueError, match=r"init: .* was fine-tuned to classify; begin from a language model"):
        open_base(str(tmp_path / "run"))


def test_a_folder_that_is_not_empty_is_left_alone(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"already exists and is not empty; go on with --resume"):
        start(base, tmp_path, CONFIG)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("spoil", [lambda run: run.model.head.weight.data.fill(np.nan)])
def test_a_loss_that_is_not_finite_names_the_last_checkpoint(
    base: Path, tmp_path: Path, spoil: Callable[[Toy], None]
) -> None:
    run = start(base, tmp_path / "run", CONFIG)
    spoil(run)
    with pytest.raises(NotFiniteError, match=r"step 1: the loss is nan .* has the checkpoint of step 0"):
        train(run)
