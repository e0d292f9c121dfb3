"""Tests of `train --init`: a run that goes on from the weights of another, of imported ones, or of merged adapters."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpt.__main__ import main
from gpt.config import ModelConfig, TrainConfig
from gpt.lora import LoRASettings, add_lora
from gpt.model import GPT
from gpt.runs.checkpoint import LAST, Task, TrainingState, load_checkpoint, save_checkpoint
from gpt.runs.pretrain import initial_config, initial_model
from gpt.runs.run import read_metrics
from gpt.tokenizer import CharTokenizer
from gpt.training import learning_rate
from nanograd.runtime.files import file_sha256

TEXT = "the cat sat on the mat. a dog sat on the log. " * 40
SHAPE = ModelConfig(vocab_size=20, context_length=16, d_model=16, n_layers=2, n_heads=2, dropout=0.1)
TRAIN = ["--batch-size", "4", "--max-steps", "6", "--warmup-steps", "4", "--eval-batches", "2", "--lr", "1e-3"]
TOKENIZER = CharTokenizer.train(TEXT)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a text in it, and leave out the sample at a run's end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpt.commands.train.write_sample", lambda run: None)
    Path("text.txt").write_text(TEXT, encoding="utf-8")


def make_base(path: str = "base.safetensors", source: str = "", **changes: object) -> GPT:
    """Write a checkpoint of a model whose every number is drawn, at step 600."""
    config = ModelConfig(**{**SHAPE.to_dict(), "vocab_size": TOKENIZER.vocab_size, **changes})
    rng = np.random.default_rng(7)
    model = GPT(config, rng)
    for _, parameter in model.named_parameters():
        parameter.copy_(rng.standard_normal(parameter.shape) * 0.1)
    position = TrainingState(step=0 if source else 600, source=source)
    save_checkpoint(path, model, None, TrainConfig(tokenizer="char"), TOKENIZER, position)
    return model


def train(*flags: str, init: str = "base.safetensors") -> int:
    return main(["train", "--init", init, "--data", "text.txt", "--out", "out", *TRAIN, *flags])


def begun(out: str = "out") -> GPT:
    """Return the model with which a run of no steps would have ended: that of its first checkpoint."""
    return load_checkpoint(Path(out, LAST)).model()


@pytest.fixture
def first_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop a run before its first step, when its folder is made."""
    monkeypatch.setattr("gpt.commands.train.run_training", lambda *_: False)


@pytest.mark.usefixtures("first_only")
def test_a_run_begins_with_the_weights_shape_and_tokenizer_of_the_checkpoint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = make_base()
    train()
    checkpoint = load_checkpoint(Path("out", LAST))
    assert checkpoint.model_config == base.config
    assert checkpoint.tokenizer.sha256 == TOKENIZER.sha256
    assert checkpoint.train_config.tokenizer == "char"
    for name, array in base.state_dict().items():
        np.testing.assert_array_equal(checkpoint.with_prefix("model.")[name], array)
    assert checkpoint.state.step == 0
    assert "init      base.safetensors, step 600: its weights and its tokenizer\n" in capsys.readouterr().out


def test_the_optimizer_starts_with_warmup_and_the_run_stores_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    make_base()
    assert train() == 0
    checkpoint = load_checkpoint(Path("out", LAST))
    rates = [record.lr for record in read_metrics(Path("out"))]
    assert rates == [learning_rate(step, checkpoint.train_config) for step in range(6)]
    assert rates[0] == 1e-3 / 4
    assert "step 600 (sha256 " in checkpoint.state.init
    capsys.readouterr()
    assert main(["info", "out"]) == 0
    assert "\ninitialised from base.safetensors, step 600 (sha256 " in capsys.readouterr().out


def test_a_run_that_goes_on_is_better_at_its_first_step_than_one_from_nothing() -> None:
    shape = "--d-model 16 --n-heads 2 --n-layers 1 --context-length 16 --max-steps 60 --lr 1e-2"
    assert main(["train", "--data", "text.txt", "--tokenizer", "char", "--out", "first", *shape.split()]) == 0
    assert train(init="first") == 0
    from_nothing, on = (read_metrics(Path(run))[0].loss for run in ("first", "out"))
    assert from_nothing == pytest.approx(math.log(TOKENIZER.vocab_size), rel=0.1)
    assert on < 0.8 * from_nothing


def test_a_run_that_went_on_is_resumed_like_any_other() -> None:
    make_base()
    assert train("--max-steps", "3") == 0
    assert main(["train", "--resume", "out", "--max-steps", "6"]) == 0
    position = load_checkpoint(Path("out", LAST)).state
    assert position.step == 6
    assert "base.safetensors, step 600" in position.init


@pytest.mark.usefixtures("first_only")
def test_a_context_may_be_shorter_and_dropout_another() -> None:
    base = make_base()
    train("--context-length", "9", "--dropout", "0.3")
    model = begun()
    assert (model.config.context_length, model.config.dropout) == (9, 0.3)
    assert model.pos_emb is not None
    assert base.pos_emb is not None
    np.testing.assert_array_equal(model.pos_emb.weight.data, base.pos_emb.weight.data[:9])
    ids = np.arange(9)[None] % TOKENIZER.vocab_size
    np.testing.assert_array_equal(model.eval()(ids).data, base.eval()(ids).data)


@pytest.mark.usefixtures("first_only")
def test_a_context_may_be_longer_with_rotary_positions() -> None:
    make_base(position="rope")
    train("--context-length", "32")
    assert begun().config.context_length == 32


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_a_new_tokenizer_draws_the_rows_of_tokens_and_keeps_the_blocks(tie_embeddings: bool) -> None:
    base = make_base(tie_embeddings=tie_embeddings)
    checkpoint = load_checkpoint("base.safetensors")
    config = initial_config(checkpoint, {"vocab_size": 270}, new_tokenizer=True)
    assert config.vocab_size == base.config.vocab_size  # the tokenizer's to say, not the flag's
    config = ModelConfig(**{**config.to_dict(), "vocab_size": 270})
    model = initial_model(checkpoint, config, np.random.default_rng(1), new_tokenizer=True)
    drawn = GPT(config, np.random.default_rng(1)).state_dict()
    for name, array in model.state_dict().items():
        expected = drawn[name] if name in ("tok_emb.weight", "head.weight") else base.state_dict()[name]
        np.testing.assert_array_equal(array, expected, err_msg=name)


@pytest.mark.usefixtures("first_only")
def test_a_new_tokenizer_of_the_same_size_is_new_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    base = make_base()
    train("--new-tokenizer", "--tokenizer", "char")
    assert "step 600: its blocks; new token rows are initialised" in capsys.readouterr().out
    assert np.abs(begun().tok_emb.weight.data - base.tok_emb.weight.data).max() > 0.01
    np.testing.assert_array_equal(begun().blocks[1].mlp.up.weight.data, base.blocks[1].mlp.up.weight.data)


@pytest.mark.usefixtures("first_only")
def test_a_new_tokenizer_may_have_another_size() -> None:
    make_base()
    train("--new-tokenizer", "--vocab-size", "270")
    checkpoint = load_checkpoint(Path("out", LAST))
    assert checkpoint.tokenizer.kind == "bpe"
    assert checkpoint.model_config.vocab_size == checkpoint.tokenizer.vocab_size == 270


@pytest.mark.usefixtures("first_only")
def test_the_checkpoints_own_tokenizer_may_be_named() -> None:
    make_base()
    TOKENIZER.save("same.json")
    train("--tokenizer", "same.json")
    assert begun().config.vocab_size == TOKENIZER.vocab_size


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--d-model", "32"],
            "--d-model is 16 in base.safetensors and cannot be 32: the weights have that shape; leave",
        ),
        (["--n-heads", "4"], "--n-heads is 2 in base.safetensors and cannot be 4"),
        (["--d-ff", "32"], "--d-ff is 64 in base.safetensors and cannot be 32"),
        (["--position", "rope"], "--position is learned in base.safetensors and cannot be rope"),
        (["--no-bias"], "--bias is True in base.safetensors and cannot be False"),
        (["--vocab-size", "99"], "--vocab-size is 14 in base.safetensors and cannot be 99"),
        (["--context-length", "17"], "--context-length can be 16 at most, as many positions as base.safetensors has"),
        (["--tokenizer", "bpe"], "--tokenizer is another than that of base.safetensors, whose ids mean other tokens"),
        (["--tokenizer", "char"], "leave it out, or initialise new token rows with --new-tokenizer"),
        (["--resume", "out"], "--init and --resume exclude each other"),
    ],
)
def test_options_that_do_not_fit_the_weights_are_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_base()
    assert train(*flags) == 1
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.usefixtures("first_only")
def test_a_flag_that_says_what_is_so_is_none_too_many() -> None:
    make_base()
    train("--d-model", "16", "--d-ff", "64", "--n-kv-heads", "2", "--activation", "gelu_tanh", "--head-dim", "none")
    assert begun().config.d_ff == 64


def test_a_new_tokenizer_needs_something_to_be_new_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "text.txt", "--new-tokenizer"]) == 1
    assert "--new-tokenizer goes with --init" in capsys.readouterr().err
    assert main(["train", "--data", "text.txt", "--base", "base.safetensors"]) == 1
    assert "to begin from it, --init FILE" in capsys.readouterr().err


def test_prepared_data_must_be_of_the_same_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    make_base()
    TOKENIZER.save("same.json")
    CharTokenizer.train(TEXT + "!").save("other.json")
    for name in ("same", "other"):
        assert main(["data", "prepare", "text.txt", "--tokenizer", f"{name}.json", "--out", name]) == 0
    into = ["train", "--init", "base.safetensors", *TRAIN]
    assert main([*into, "--data", "same", "--out", "a"]) == 0
    assert main([*into, "--data", "other", "--out", "b"]) == 1
    said = capsys.readouterr().err
    assert "prepare the data with that of base.safetensors, or initialise new token rows with --new-tokenizer" in said
    assert main([*into, "--data", "other", "--out", "c", "--new-tokenizer"]) == 0
    assert begun("c").config.vocab_size == TOKENIZER.vocab_size + 1


@pytest.mark.usefixtures("first_only")
def test_imported_weights_go_on_and_say_who_trained_them() -> None:
    base = make_base(source="somebody's GPT-2")
    train()
    position = load_checkpoint(Path("out", LAST)).state
    assert "base.safetensors, step 0, imported from somebody's GPT-2 (sha256 " in position.init
    assert position.source == ""  # the run can be resumed
    np.testing.assert_array_equal(begun().tok_emb.weight.data, base.tok_emb.weight.data)


@pytest.mark.usefixtures("first_only")
def test_adapters_are_merged_before_all_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    base = make_base()
    lora = LoRASettings(2, 4.0, ("w_qkv",))
    add_lora(base, lora.rank, lora.alpha, lora.targets, np.random.default_rng(3))
    for name, parameter in base.named_parameters():
        if name.endswith("lora_b"):
            parameter.copy_(np.full(parameter.shape, 0.5))
    task = Task("instruct", lora=lora)
    make_base("kept.safetensors")
    task = replace(task, base="gone.safetensors", base_sha256=file_sha256(Path("kept.safetensors")))
    save_checkpoint("adapted.safetensors", base, None, TrainConfig(tokenizer="char"), TOKENIZER, TrainingState(), task)
    assert train(init="adapted.safetensors") == 1
    assert "missing: gone.safetensors; say where it is with --base FILE" in capsys.readouterr().err
    train("--base", "kept.safetensors", init="adapted.safetensors")
    ids = np.arange(9)[None] % TOKENIZER.vocab_size
    assert load_checkpoint(Path("out", LAST)).task is None
    np.testing.assert_allclose(begun().eval()(ids).data, base.eval()(ids).data, atol=1e-5)


def test_a_model_of_another_kind_is_none_to_begin_from(capsys: pytest.CaptureFixture[str]) -> None:
    base = make_base()
    from nanograd.nn import Linear, Module

    class Classifier(Module):
        def __init__(self) -> None:
            self.gpt, self.head = base, Linear(16, 2)

    save_checkpoint("c.safetensors", Classifier(), None, TrainConfig(), TOKENIZER, TrainingState(), Task("classify"))
    assert train(init="c.safetensors") == 1
    assert "c.safetensors was fine-tuned to classify; begin from a language model" in capsys.readouterr().err
