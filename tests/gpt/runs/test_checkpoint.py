"""Tests of gpt/runs/checkpoint.py: what goes in comes out, and a file that was touched is recognised."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpt
from gpt.config import ModelConfig, TrainConfig
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT
from gpt.runs.checkpoint import (
    BEST,
    FORMAT,
    LAST,
    Task,
    TrainingState,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from gpt.runs.safetensors import load_file, save_file
from gpt.tokenizer import BPETokenizer, CharTokenizer
from gpt.training import Record, accumulate_gradients, evaluate, in_shards, make_optimizer, next_token_objective, train
from nanograd.optim import AdamW
from nanograd.runtime.files import file_sha256

ROOT = Path(gpt.__file__).parents[1]
MODEL = ModelConfig(vocab_size=3, context_length=2, d_model=2, n_layers=1, n_heads=1, d_ff=1, bias=False)
TRAIN = TrainConfig(batch_size=2, max_steps=5, data="some.txt", lr=0.1)
TOKENIZER = CharTokenizer("abc")


def trained() -> tuple[GPT, AdamW]:
    """Return a model and an optimizer that have taken two steps, so that nothing is zero."""
    model = GPT(MODEL, np.random.default_rng(0))
    optimizer = make_optimizer(model, TRAIN)
    objective = next_token_objective(model, np.array([0, 1, 2, 1, 0, 2, 2, 1]), None, TRAIN)
    for step in range(2):
        accumulate_gradients(in_shards(model, objective, TRAIN), objective, TRAIN, step)
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def save(path: Path, position: TrainingState | None = None) -> None:
    save_checkpoint(path, *trained(), TRAIN, TOKENIZER, position or TrainingState(step=2))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / LAST
    save(path)
    return path.read_bytes()


def test_everything_comes_back(tmp_path: Path) -> None:
    position = TrainingState(
        2, 1.5, 0.25, 0.125, 1, "text", tokens_sha256={"train.tokens": "ab"}, machine={"kernel": "k"}
    )
    save(tmp_path / LAST, position)
    model, optimizer = trained()
    checkpoint = load_checkpoint(tmp_path / LAST)
    assert checkpoint.model_config == MODEL
    assert checkpoint.train_config == TRAIN
    assert checkpoint.tokenizer.sha256 == TOKENIZER.sha256
    assert checkpoint.state == position
    again = checkpoint.model()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array, err_msg=name)
    fresh = make_optimizer(again, TRAIN)
    checkpoint.load_optimizer(fresh)
    assert fresh.t == optimizer.t == 2
    for name, array in optimizer.state_dict().items():
        assert np.any(array), name
        np.testing.assert_array_equal(fresh.state_dict()[name], array, err_msg=name)


def test_with_an_average_the_model_is_the_average_and_training_goes_on_from_the_weights(tmp_path: Path) -> None:
    config, tokens = replace(TRAIN, ema=0.5, warmup_steps=0, eval_every=1), np.array([0, 1, 2, 1, 0, 2, 2, 1])
    model, records = GPT(MODEL, np.random.default_rng(0)), list[Record]()
    optimizer = make_optimizer(model, config)
    train(model, optimizer, tokens, tokens, config, after_step=records.append)
    save_checkpoint(tmp_path / LAST, model, optimizer, config, TOKENIZER, TrainingState(step=5))
    checkpoint = load_checkpoint(tmp_path / LAST)
    averaged = checkpoint.model()
    assert records[-1].val_loss == pytest.approx(evaluate(averaged, tokens, 2), rel=1e-6)
    assert records[-1].val_loss != pytest.approx(evaluate(model, tokens, 2), rel=1e-6)
    again = make_optimizer(averaged, config)
    checkpoint.load_optimizer(again)
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(again.parameters[name].data, p.data)
    assert {name: a.tobytes() for name, a in again.state_dict().items()} == {
        name: a.tobytes() for name, a in optimizer.state_dict().items()
    }


def test_a_model_takes_the_arrays_of_the_file_and_an_optimizer_moves_them(tmp_path: Path) -> None:
    save(tmp_path / LAST)
    before = (tmp_path / LAST).read_bytes()
    checkpoint = load_checkpoint(tmp_path / LAST)
    model = checkpoint.model()
    for name, array in model.state_dict().items():
        assert np.shares_memory(array, checkpoint.tensors[f"model.{name}"])
    optimizer = make_optimizer(model, TRAIN)
    for name, parameter in model.named_parameters():
        assert not np.shares_memory(parameter.data, checkpoint.tensors[f"model.{name}"])
        parameter.copy_(parameter.data + 1)
    save_checkpoint(tmp_path / LAST, model, optimizer, TRAIN, TOKENIZER, TrainingState(step=2))  # over the mapped file
    assert (tmp_path / LAST).read_bytes() != before
    save(tmp_path / BEST)
    for name, array in load_checkpoint(tmp_path / BEST).tensors.items():
        assert np.array_equal(array, checkpoint.tensors[name])


def test_a_bpe_tokenizer_comes_back(tmp_path: Path) -> None:
    tokenizer = BPETokenizer.train("the cat sat on the mat, é", 262)
    save_checkpoint(tmp_path / LAST, *trained(), TRAIN, tokenizer, TrainingState())
    again = load_checkpoint(tmp_path / LAST).tokenizer
    assert again.sha256 == tokenizer.sha256
    assert again.encode("that café") == tokenizer.encode("that café")


def test_it_is_one_safetensors_file_with_names_and_json(tmp_path: Path) -> None:
    save(tmp_path / LAST)
    tensors, metadata = load_file(tmp_path / LAST)
    model = {name.removeprefix("model.") for name in tensors if name.startswith("model.")}
    assert {"tok_emb.weight", "pos_emb.weight", "blocks.0.attn.w_qkv.weight", "norm.weight"} <= model
    assert set(tensors) == {f"{part}.{name}" for part in ("model", "adamw.m", "adamw.v") for name in model}
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    assert metadata["format"] == FORMAT
    assert json.loads(metadata["model_config"])["d_model"] == 2
    assert json.loads(metadata["position"])["step"] == 2


def test_a_checkpoint_from_before_a_field_was_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff", "dropout", "bias")
    monkeypatch.setattr(ModelConfig, "to_dict", lambda self: {name: getattr(self, name) for name in fields})
    save(tmp_path / LAST)
    monkeypatch.undo()
    assert len(json.loads(load_file(tmp_path / LAST)[1]["model_config"])) == len(fields)
    checkpoint = load_checkpoint(tmp_path / LAST)
    assert checkpoint.model_config == MODEL
    ids = np.array([[0, 2], [1, 1]])
    np.testing.assert_array_equal(checkpoint.model()(ids).data, trained()[0](ids).data)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path, saved: bytes) -> None:
    save(tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == saved


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_one_flipped_byte_anywhere_is_recognised(tmp_path: Path, saved: bytes, stride: int) -> None:
    path = tmp_path / LAST
    for position in range(0, len(saved), stride):
        damaged = bytearray(saved)
        damaged[position] ^= 0xFF if position % 2 else 0x01
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"last\.safetensors") as caught:
            load_checkpoint(path)
        assert "give another checkpoint: a run has best.safetensors and last.safetensors" in str(caught.value)


def test_a_file_cut_off_anywhere_is_recognised(tmp_path: Path, saved: bytes) -> None:
    path = tmp_path / LAST
    for length in [*range(20), *range(20, len(saved), 97), len(saved) - 1]:
        path.write_bytes(saved[:length])
        with pytest.raises(ValueError, match="it is no checkpoint, or damaged; give another checkpoint"):
            load_checkpoint(path)
    path.write_bytes(saved + b"\0")
    with pytest.raises(ValueError, match="it is no checkpoint, or damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_other_safetensors_are_no_checkpoint(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "other.safetensors", metadata)
    with pytest.raises(ValueError, match=r"other\.safetensors is no checkpoint of this program: .* gpt-checkpoint-1"):
        load_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        {"n_layers": 10**7},
        {"n_layers": 2},
        {"d_model": 20_000},
        {"head_dim": 10**6},
        {"d_ff": 10**9},
        {"vocab_size": 10**9},
        {"context_length": 10**9},
        {"n_heads": 2**20, "n_kv_heads": 1, "head_dim": 2**20},
        {"mlp": "gated"},
        {"tie_embeddings": False},
        {"bias": True},
        {"qk_norm": True},
    ],
)
def test_a_config_that_asks_for_another_model_is_refused_before_the_model_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    config = {**MODEL.to_dict(), **change}
    monkeypatch.setattr(ModelConfig, "to_dict", lambda self: config)
    save(tmp_path / LAST)  # with the right SHA-256, which the author of a file computes
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"last\.safetensors: .*, but its config asks for .*; give another checkpoint"):
        load_checkpoint(tmp_path / LAST)


@pytest.mark.parametrize("change", [{"vocab_size": 10**9}, {"context_length": 10**9}, {"d_ff": 10**9}, {"rank": 10**9}])
def test_adapters_that_ask_for_another_model_are_refused_before_the_model_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, int]
) -> None:
    base, adapters, state = tmp_path / "base.safetensors", tmp_path / LAST, TrainingState()
    model = GPT(MODEL, np.random.default_rng(0))
    save_checkpoint(base, model, None, TRAIN, TOKENIZER, state)
    add_lora(model, 1, 2.0, ("w_qkv",), np.random.default_rng(0))
    settings = LoRASettings(change.get("rank", 1), 2.0, ("w_qkv",))
    task = Task("instruct", lora=settings, base=str(base), base_sha256=file_sha256(base))
    config = {**MODEL.to_dict(), **change}
    config.pop("rank", None)
    monkeypatch.setattr(ModelConfig, "to_dict", lambda self: config)
    save_checkpoint(adapters, model, None, TRAIN, TOKENIZER, state, task)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"last\.safetensors: .*, but its config asks for"):
        load_checkpoint(adapters).model(adapters=True)
    if "rank" not in change:
        base.unlink()
        with pytest.raises(FileNotFoundError, match="their base is missing"):
            load_checkpoint(adapters).model()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_config", None, "'model_config'"),
        ("model_config", '{"d_modell": 2}', "unknown key 'd_modell'; did you mean d_model?"),
        ("train_config", '{"lr": "fast"}', "lr must be float, got 'fast'"),
        ("position", '{"stepp": 1}', "stepp"),
        ("tokenizer", "{}", "this is not a tokenizer"),
        ("tokenizer", "[", "Expecting value"),
    ],
)
def test_metadata_of_another_version_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str | None, message: str
) -> None:
    save(tmp_path / LAST)
    tensors, metadata = load_file(tmp_path / LAST)
    if value is None:
        del metadata[key]
    else:
        metadata[key] = value
    save_file(tensors, tmp_path / LAST, metadata)
    with pytest.raises(ValueError, match="is damaged: its content does not match its SHA-256"):
        load_checkpoint(tmp_path / LAST)
    monkeypatch.setattr("gpt.runs.checkpoint._digest", lambda tensors, metadata: "same")
    save_file(tensors, tmp_path / LAST, {**metadata, "sha256": "same"})
    with pytest.raises(ValueError, match=f"its metadata cannot be read by this version: .*{re.escape(message)}"):
        load_checkpoint(tmp_path / LAST)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: bytes, call: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    save(tmp_path / LAST)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / LAST, TrainingState(step=3))
    assert (tmp_path / LAST).read_bytes() == saved
    assert os.listdir(tmp_path) == [LAST]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import test_checkpoint
setattr(os, sys.argv[2], lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
test_checkpoint.save(test_checkpoint.Path(sys.argv[1]), test_checkpoint.TrainingState(step=3))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_kill_during_a_save_leaves_the_checkpoint_before(tmp_path: Path, saved: bytes, call: str) -> None:
    save(tmp_path / LAST)
    command = [sys.executable, "-c", KILLED, str(tmp_path / LAST), call, str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    assert subprocess.run(command, env=env, check=False).returncode == -9
    assert (tmp_path / LAST).read_bytes() == saved
    assert load_checkpoint(tmp_path / LAST).state.step == 2
    assert len(os.listdir(tmp_path)) == 2  # the half of the new one, under another name


def test_a_path_means_a_file_or_the_checkpoint_preferred(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="there is no run or checkpoint at"):
        find_checkpoint(run)
    run.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoint .*; give the folder of a run"):
        find_checkpoint(run)
    (run / LAST).touch()
    assert find_checkpoint(run) == find_checkpoint(run / LAST) == run / LAST
    (run / BEST).touch()
    assert find_checkpoint(run) == run / BEST
    assert find_checkpoint(run, LAST) == run / LAST
