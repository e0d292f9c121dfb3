"""Configs: each rule with its message."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from gpt.config import Config, LoopConfig, ModelConfig, SampleConfig, TrainConfig, field_types
from gpt.finetune.classifier import ClassifyConfig
from gpt.finetune.dpo import PreferConfig
from gpt.finetune.sft import InstructConfig

CONFIGS = pytest.mark.parametrize("config", [ModelConfig, TrainConfig, SampleConfig])


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (ModelConfig, {"n_layers": 0}, "n_layers must be at least 1, got 0"),
        (ModelConfig, {"vocab_size": -5}, "vocab_size must be at least 1, got -5"),
        (ModelConfig, {"d_ff": 0}, "d_ff must be at least 1, got 0"),
        (ModelConfig, {"dropout": -0.1}, r"dropout must be at least 0, got -0\.1"),
        (ModelConfig, {"dropout": 1.0}, r"dropout must be below 1, got 1\.0"),
        (ModelConfig, {"d_model": 128.0}, r"d_model must be int, got 128\.0"),
        (ModelConfig, {"d_model": "128"}, "d_model must be int, got '128'"),
        (ModelConfig, {"d_model": None}, "d_model must be int, got None"),
        (ModelConfig, {"n_heads": True}, "n_heads must be int, got True"),
        (ModelConfig, {"d_ff": 0.5}, r"d_ff must be int or none, got 0\.5"),
        (ModelConfig, {"bias": 1}, "bias must be bool, got 1"),
        (ModelConfig, {"dropout": False}, "dropout must be float, got False"),
        (
            ModelConfig,
            {"d_model": 100, "n_heads": 6},
            "d_model must be divisible by n_heads, got d_model=100 and n_heads=6; try n_heads=5",
        ),
        (ModelConfig, {"norm": "rmsnrom"}, r"norm must be layernorm or rmsnorm, got 'rmsnrom'; did you mean rmsnorm\?"),
        (ModelConfig, {"position": "alibi"}, "position must be learned or rope, got 'alibi'"),
        (ModelConfig, {"mlp": "Gated"}, r"mlp must be plain or gated, got 'Gated'; did you mean gated\?"),
        (
            ModelConfig,
            {"activation": "gelu_new"},
            r"activation must be gelu_tanh, gelu, relu or silu, got 'gelu_new'; did you mean gelu_tanh\?",
        ),
        (ModelConfig, {"norm_eps": 0}, r"norm_eps must be above 0, got 0\.0"),
        (ModelConfig, {"rope_theta": -1}, r"rope_theta must be above 0, got -1\.0"),
        (ModelConfig, {"rope_scaling": "yarn"}, "rope_scaling must be linear or llama3, got 'yarn'"),
        (ModelConfig, {"rope_factor": 0.5}, r"rope_factor must be at least 1, got 0\.5"),
        (
            ModelConfig,
            {"rope_low_freq_factor": 4},
            "rope_low_freq_factor must be below rope_high_freq_factor, got 4 and 4",
        ),
        (ModelConfig, {"window": 0}, "window must be at least 1, got 0"),
        (
            ModelConfig,
            {"n_heads": 8, "n_kv_heads": 3},
            "n_heads must be divisible by n_kv_heads, got n_heads=8 and n_kv_heads=3; try n_kv_heads=2",
        ),
        (ModelConfig, {"n_kv_heads": 8}, "n_heads must be divisible by n_kv_heads, .*; try n_kv_heads=4"),
        (
            ModelConfig,
            {"position": "rope", "d_model": 12},
            "position=rope rotates pairs of features: head_dim must be even, got 3; try 4",
        ),
        (TrainConfig, {"lr": math.nan}, "lr must be finite, got nan"),
        (TrainConfig, {"lr": math.inf}, "lr must be finite, got inf"),
        (TrainConfig, {"lr": -1}, r"lr must be at least 0, got -1\.0"),
        (TrainConfig, {"beta2": 1}, r"beta2 must be below 1, got 1\.0"),
        (TrainConfig, {"grad_clip": "1"}, "grad_clip must be float or none, got '1'"),
        (TrainConfig, {"max_steps": 0}, "max_steps must be at least 1, got 0"),
        (TrainConfig, {"seed": -1}, "seed must be at least 0, got -1"),
        (TrainConfig, {"tokenizer": None}, "tokenizer must be str, got None"),
        (TrainConfig, {"val_fraction": 1.0}, r"val_fraction must be below 1, got 1\.0"),
        (SampleConfig, {"temperature": -0.5}, r"temperature must be at least 0, got -0\.5"),
        (SampleConfig, {"top_k": 0}, "top_k must be at least 1, got 0"),
        (SampleConfig, {"top_p": -0.1}, r"top_p must be at least 0, got -0\.1"),
    ],
)
def test_a_broken_rule_says_which(config: type[Config], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        config(**values)


def test_the_bounds_themselves() -> None:
    assert ModelConfig(dropout=0).dropout == 0.0
    assert ModelConfig(dropout=0.999).dropout == 0.999
    assert TrainConfig(warmup_steps=0, weight_decay=0, min_lr=0).warmup_steps == 0
    assert SampleConfig(temperature=0, top_p=0, top_k=1, max_new_tokens=0).temperature == 0


@pytest.mark.parametrize("config", [TrainConfig, ClassifyConfig, InstructConfig, PreferConfig])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0}, "lr must be above 0, got 0: the model would learn nothing"),
        ({"grad_clip": 0}, "grad_clip must be above 0, got 0: the model would learn nothing; none turns clipping off"),
        (
            {"lr": 1e-4, "min_lr": 2e-4},
            "min_lr must be at most lr, got min_lr=0.0002 and lr=0.0001: the rate would rise; ",
        ),
        (
            {"lr": 20, "weight_decay": 0.1},
            r"lr · weight_decay must be below 1, got 20 · 0\.1: it is the share of a weight",
        ),
    ],
)
def test_what_makes_training_useless_is_refused_in_every_config_but_read_from_old_files(
    config: type[LoopConfig], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        config(**values)
    with pytest.raises(ValueError, match=f"^{message}"):
        dataclasses.replace(config(), **values)
    old = config.from_dict({**config(lr=1e-3).to_dict(), **values})
    assert {name: getattr(old, name) for name in values} == values
    assert config.from_dict(old.to_dict()) == old
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        config.from_dict({"max_steps": 0})


def test_the_last_rate_is_a_tenth_of_the_highest_unless_it_was_chosen() -> None:
    assert TrainConfig().min_lr == 2e-4
    assert TrainConfig(lr=1e-4).min_lr == pytest.approx(1e-5)
    stored = TrainConfig.from_dict(TrainConfig(lr=1e-4).to_dict())
    assert dataclasses.replace(stored, lr=1e-5).min_lr == pytest.approx(1e-6)  # a resumed run's too
    assert dataclasses.replace(TrainConfig(min_lr=1e-5), lr=1e-3).min_lr == 1e-5
    assert type(TrainConfig().to_dict()["min_lr"]).__mro__[-2] is float
    assert json.loads(json.dumps(TrainConfig().to_dict()))["min_lr"] == 2e-4
    assert ClassifyConfig(lr=1e-6).min_lr == 0


def test_none_is_off_where_it_is_allowed() -> None:
    assert TrainConfig(grad_clip=None, eval_batches=None, data=None).grad_clip is None
    assert SampleConfig(top_k=None, top_p=None).top_k is None


def test_an_int_becomes_a_float_where_one_is_wanted() -> None:
    config = TrainConfig(lr=1, grad_clip=2)
    assert (config.lr, config.grad_clip) == (1.0, 2.0)
    assert type(config.lr) is type(config.grad_clip) is float
    assert config == TrainConfig(lr=1.0, grad_clip=2.0)


def test_what_is_left_out_follows_from_the_rest() -> None:
    def shape(config: ModelConfig) -> tuple[int, int, int, str]:
        return config.head_dim, config.n_kv_heads, config.d_ff, config.activation

    assert shape(ModelConfig(d_model=12, n_heads=4)) == (3, 4, 48, "gelu_tanh")
    assert shape(ModelConfig(d_model=12, n_heads=4, mlp="gated", n_kv_heads=2)) == (3, 2, 32, "silu")
    chosen = ModelConfig(d_model=10, n_heads=4, head_dim=6, position="rope", mlp="gated", d_ff=7, activation="relu")
    assert shape(chosen) == (6, 4, 7, "relu")  # with head_dim, d_model need not be divisible


def test_replace_computes_again_what_was_computed_and_keeps_what_was_chosen() -> None:
    plain, explicit = ModelConfig(d_model=12, n_heads=4), ModelConfig(d_model=12, n_heads=4, d_ff=48)
    assert dataclasses.replace(plain, mlp="gated") == ModelConfig(d_model=12, n_heads=4, mlp="gated")
    assert dataclasses.replace(plain, d_model=24, n_heads=2) == ModelConfig(d_model=24, n_heads=2)
    assert dataclasses.replace(explicit, d_model=24).d_ff == 48
    loaded = ModelConfig.from_dict(json.loads(json.dumps(plain.to_dict())))
    assert loaded == plain
    assert hash(loaded) == hash(plain)


def test_a_config_of_an_old_file_is_that_of_gpt2() -> None:
    old = {"vocab_size": 65, "context_length": 16, "d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": None}
    config = ModelConfig.from_dict({**old, "dropout": 0.0, "bias": True})
    assert config == ModelConfig(vocab_size=65, context_length=16, d_model=32, n_layers=2)
    assert (config.norm, config.position, config.mlp, config.tie_embeddings) == ("layernorm", "learned", "plain", True)
    assert not ModelConfig.from_dict({**old, "tie_head": False}).tie_embeddings  # its name in old files


def test_the_suggested_number_of_heads_divides() -> None:
    for d_model, n_heads in ((7, 2), (128, 5), (12, 100)):
        with pytest.raises(ValueError, match="try n_heads=") as error:
            ModelConfig(d_model=d_model, n_heads=n_heads)
        ModelConfig(d_model=d_model, n_heads=int(str(error.value).rsplit("=", 1)[1]))


@CONFIGS
def test_a_dict_and_back(config: type[Config]) -> None:
    assert config.from_dict(config().to_dict()) == config()
    assert list(config().to_dict()) == [field.name for field in dataclasses.fields(config)]
    changed = SampleConfig(seed=7, top_p=0.5)
    assert SampleConfig.from_dict(changed.to_dict()) == changed
    assert SampleConfig.from_dict({"seed": 7}) == SampleConfig(seed=7)  # what is left out has its default


def test_an_unknown_key_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"^ModelConfig: unknown key 'n_layer'; did you mean n_layers\?$"):
        ModelConfig.from_dict({"n_layer": 2})
    with pytest.raises(ValueError, match=r"^TrainConfig: unknown key 'zzz'$"):
        TrainConfig.from_dict({"zzz": 2})
    with pytest.raises(ValueError, match="n_heads must be at least 1"):  # values from a file are checked too
        ModelConfig.from_dict({"n_heads": 0})


@CONFIGS
def test_a_config_cannot_be_changed(config: type[Config]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().seed = 3  # type: ignore[attr-defined]
    assert hash(config()) == hash(config())


def test_replace_checks_again() -> None:
    with pytest.raises(ValueError, match="n_heads=3"):
        dataclasses.replace(ModelConfig(), n_heads=3)


@CONFIGS
def test_every_field_has_a_type_a_default_and_one_phrase_of_help(config: type[Config]) -> None:
    types = field_types(config)
    for field in dataclasses.fields(config):
        assert types[field.name][0] in (int, float, bool, str)
        assert field.default is not dataclasses.MISSING
        assert types[field.name][1] or field.default is not None
        text = field.metadata["help"]
        assert len(text) > 5
        assert not text.endswith(".")


def test_field_types_see_through_none() -> None:
    types = field_types(ModelConfig)
    assert types["d_ff"] == (int, True)
    assert types["dropout"] == (float, False)
    assert types["bias"] == (bool, False)


def test_numbers_of_numpy_become_those_of_python() -> None:
    config = TrainConfig(max_steps=np.int64(5), lr=np.float32(0.5), min_lr=np.float64(0.25), grad_clip=np.int32(1))  # type: ignore[arg-type]
    assert config == TrainConfig(max_steps=5, lr=0.5, min_lr=0.25, grad_clip=1.0)
    assert {type(value) for value in (config.lr, config.min_lr, config.grad_clip)} == {float}
    assert type(config.max_steps) is int
    for wrong in (np.float64(5), np.bool_(True), True, np.array(5)):
        with pytest.raises(ValueError, match="max_steps must be int, got"):
            TrainConfig(max_steps=wrong)  # type: ignore[arg-type]


def test_files_from_before_the_recipe_of_train_keep_their_meaning() -> None:
    """A checkpoint without these fields has GPT-2's block and was trained by AdamW: what train chooses today is stored."""
    old = ModelConfig.from_dict({"vocab_size": 9, "context_length": 8, "d_model": 16, "n_layers": 1, "n_heads": 2})
    assert (old.norm, old.position, old.mlp, old.bias) == ("layernorm", "learned", "plain", True)
    assert (old.activation, old.d_ff, old.n_kv_heads, old.tie_embeddings) == ("gelu_tanh", 64, 2, True)
    training = TrainConfig.from_dict({"max_steps": 5})
    assert (training.optimizer, training.lr, training.weight_decay) == ("adamw", 2e-3, 0.1)
    assert (training.schedule, training.beta1, training.beta2) == ("cosine", 0.9, 0.99)
