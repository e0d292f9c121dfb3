"""config.json: what is read, what is refused by name, what is ignored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.config import ModelConfig
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("reorder_and_upcast_attn", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("pruned_heads", {"0": [1]}),
        ("chunk_size_feed_forward", 8),
        ("quantization_config", {"bits": 4}),
        ("scale_attn_by_inverse_layer_idx", 0),  # no false: another type is another meaning
    ],
)
def test_a_key_that_changes_the_mathematics_is_refused_by_name(gpt2: Any, key: str, value: Any) -> None:
    gpt2.config(**{key: value})
    with pytest.raises(
        ValueError, match=rf"config.json: {key} changes what the model computes and is not supported: it must"
    ):
        load_pretrained(gpt2.path)


@pytest.mark.parametrize(
    ("case", "key", "value", "message"),
    [
        ("llama", "rope_scaling", {"type": "linear", "factor": 2.0}, "rope_scaling changes what the model computes"),
        ("llama", "rope_parameters", {"rope_type": "llama3"}, r"rope_parameters.rope_type changes .* found 'llama3'"),
        ("llama", "rope_parameters", {"rope_type": "default", "factor": 2}, r"rope_parameters.factor changes"),
        ("llama", "rope_parameters", [1], r"rope_parameters must be an object"),
        (
            "llama",
            "rope_parameters",
            {"rope_theta": -1.0},
            r"rope_parameters.rope_theta must be a number greater than 0",
        ),
        ("llama", "partial_rotary_factor", 0.5, "partial_rotary_factor changes"),
        ("llama", "attention_bias", True, "mlp_bias must be True as attention_bias"),
        ("llama-bias", "mlp_bias", False, "mlp_bias must be True as attention_bias"),
        ("llama", "hidden_act", "quick_gelu", "hidden_act must be one of gelu_new"),
        ("llama", "sliding_window", 8, "sliding_window must be null or not less than the 72 positions, found 8"),
        ("llama", "layer_types", ["full_attention", "sliding_attention"], "layer_types must be full_attention"),
        ("llama", "num_key_value_heads", 4, "n_heads must be divisible by n_kv_heads"),
        ("llama", "head_dim", 5, "position=rope rotates pairs of features"),
        ("qwen3", "use_sliding_window", True, "use_sliding_window changes"),
        ("qwen3", "attention_bias", True, "attention_bias changes"),
        ("gpt2", "n_head", 0, r"n_head must be a whole number from 1 to 2\*\*31, found 0"),
        ("gpt2", "n_head", True, "n_head must be a whole number"),
        ("gpt2", "n_embd", None, "n_embd must be a whole number .* found None"),
        ("gpt2", "n_head", 5, "d_model must be divisible by n_heads"),
        ("gpt2", "layer_norm_epsilon", 0, "layer_norm_epsilon must be a number greater than 0, found 0"),
        ("gpt2", "tie_word_embeddings", "yes", "tie_word_embeddings must be true or false, found 'yes'"),
        ("gpt2", "activation_function", ["gelu"], r"activation_function must be one of .* found \['gelu'\]"),
        ("gpt2", "attn_pdrop", [0.1], "attn_pdrop must be a number from 0 to less than 1"),
        ("gpt2", "model_type", "opt", "model_type must be one of gpt2, llama, mistral, qwen3, found 'opt'"),
        (
            "gpt2",
            "clip_qkv",
            8.0,
            "clip_qkv is unknown and may change what the model computes; take it out of the file",
        ),
        ("gpt2", "x" * 999, 1, "xxx... is unknown"),
    ],
)
def test_a_value_that_is_not_modelled_is_refused_by_name(
    written: Callable[[str], Any], case: str, key: str, value: Any, message: str
) -> None:
    model = written(case)
    model.config(**{key: value})
    with pytest.raises(ValueError, match=message):
        load_pretrained(model.path)


def test_keys_that_change_nothing_are_ignored_and_listed(gpt2: Any) -> None:
    gpt2.config(task_specific_params={"a": 1}, torch_dtype="float16", rope_scaling=None, clip_qkv=None)
    ignored = load_pretrained(gpt2.path).ignored
    assert {"task_specific_params", "torch_dtype", "architectures", "transformers_version"} <= set(ignored)
    assert not {"rope_scaling", "clip_qkv", "n_embd", "scale_attn_weights"} & set(ignored)


def test_absent_keys_have_the_values_that_transformers_gives_them(written: Callable[[str], Any]) -> None:
    model = written("llama")
    model.config(
        rms_norm_eps=..., rope_parameters=..., hidden_act=..., attention_bias=..., mlp_bias=..., rope_theta=7.0
    )
    config = load_pretrained(model.path).model_config
    assert (config.norm_eps, config.rope_theta, config.activation, config.bias) == (1e-6, 7.0, "silu", False)
    model.config(model_type="mistral", max_position_embeddings=5000)  # 4096 is Mistral's window where nothing is said
    with pytest.raises(ValueError, match="sliding_window must be null or not less than the 5000 positions, found 4096"):
        load_pretrained(model.path)


def test_dropout_is_one_number_or_none_of_them(gpt2: Any) -> None:
    assert load_pretrained(gpt2.path).model_config.dropout == 0.1
    gpt2.config(attn_pdrop=0.3)
    assert load_pretrained(gpt2.path).model_config.dropout == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "it must be a JSON object, found list"),
        (b"{", "it is not JSON: "),
        (b"\xff", "it is not UTF-8"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b" " * (1 << 20) + b"{}", "it must have at most 1,048,576 bytes"),
    ],
)
def test_a_file_that_is_no_config(gpt2: Any, text: bytes, message: str) -> None:
    (gpt2.path / "config.json").write_bytes(text)
    with pytest.raises(ValueError, match=f"config.json: {message}"):
        load_pretrained(gpt2.path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"position": "rope"}, r"as gpt2 it cannot have position=rope \(only learned\); as llama .* norm=layernorm"),
        ({"norm": "rmsnorm", "position": "rope"}, r"as llama it cannot have mlp=plain \(only gated\)"),
        ({"n_kv_heads": 2}, r"as gpt2 it cannot have n_kv_heads=2 \(only n_heads\)"),
        ({"head_dim": 5}, r"head_dim=5 \(only d_model / n_heads\)"),
        ({"qk_norm": True}, r"as gpt2 it cannot have qk_norm=True"),
        ({"norm": "rmsnorm", "position": "rope", "mlp": "gated", "qk_norm": True}, r"qk_norm=True with bias=True"),
    ],
)
def test_a_block_that_no_layout_can_say_is_refused_by_name(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "out", ModelConfig(**options), {}, None)
    assert not (tmp_path / "out").exists()


def test_an_exported_config_is_read_without_anything_unknown(tmp_path: Path) -> None:
    from gpt.model import GPT

    model = GPT(ModelConfig(vocab_size=9, context_length=5, d_model=8, n_layers=1, dropout=0.25, tie_embeddings=False))
    export(tmp_path / "out", model.config, model.state_dict(), None)
    assert json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["n_head"] == 4
    read = load_pretrained(tmp_path / "out").model_config
    assert read == ModelConfig(**model.config.to_dict() | {"d_ff": 32, "activation": "gelu_tanh"})
    with pytest.raises(ValueError, match="already exists and is not empty"):
        export(tmp_path / "out", model.config, model.state_dict(), None)
