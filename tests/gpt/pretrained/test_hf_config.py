"""config.json: what is read, what is refused by name, what is ignored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.config import ModelConfig
from gpt.pretrained import load_pretrained
from gpt.pretrained.export import export

LLAMA = {"norm": "rmsnorm", "position": "rope", "mlp": "gated"}


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
        ("rope_interleaved", True),
        ("embedding_multiplier", 12.0),
        ("rotary_pct", 0.5),
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
        (
            "llama",
            "rope_scaling",
            {"type": "linear", "factor": 2.0},
            "rope_parameters.rope_type must be 'linear', as it is elsewhere in the file, found 'default'",
        ),
        ("llama", "rope_scaling", [2], "rope_scaling must be an object"),
        ("llama", "rope_parameters", {"rope_type": "yarn"}, r"rope_parameters.rope_type changes .* found 'yarn'"),
        (
            "llama",
            "rope_parameters",
            {"type": 7},
            r"rope_type changes .*: it must be default, linear or llama3, found 7",
        ),
        (
            "llama",
            "rope_parameters",
            {"type": "default", "rope_type": "linear"},
            "rope_parameters.rope_type must be 'default', as",
        ),
        (
            "llama",
            "rope_parameters",
            {"type": "linear"},
            "rope_parameters.factor must be a number greater than 0, found None",
        ),
        ("llama", "rope_parameters", {"type": "linear", "factor": 0.5}, r"rope_factor must be at least 1, got 0\.5"),
        (
            "llama",
            "rope_parameters",
            {"rope_type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 4},
            "rope_low_freq_factor must be below rope_high_freq_factor, got 4 and 4",
        ),
        (
            "llama",
            "rope_parameters",
            {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4, "attention_factor": 2},
            "rope_parameters.attention_factor changes what the model computes and is not supported, found 2",
        ),
        ("llama", "rope_parameters", {"full_attention": {"rope_theta": 9}}, "rope_parameters.full_attention changes"),
        ("llama", "rope_parameters", {"rope_type": "default", "factor": 2}, r"rope_parameters.factor changes"),
        ("llama", "rope_parameters", [1], r"rope_parameters must be an object"),
        (
            "llama",
            "rope_parameters",
            {"rope_theta": -1.0},
            r"rope_parameters.rope_theta must be a number greater than 0",
        ),
        ("llama", "partial_rotary_factor", 0.5, "partial_rotary_factor changes"),
        ("llama", "attention_bias", True, r"8 tensors are missing, among them layers.0.self_attn.q_proj.bias"),
        ("llama-bias", "mlp_bias", False, r"layers.\d.mlp.\w+_proj.bias: is no tensor of this model as config.json"),
        ("llama", "hidden_act", "quick_gelu", "hidden_act must be one of gelu_new"),
        ("llama", "sliding_window", 8, "sliding_window must be null or not less than the 72 positions: llama has no"),
        (
            "llama",
            "layer_types",
            ["full_attention", "sliding_attention"],
            "layer_types must be full_attention in every",
        ),
        ("llama", "num_key_value_heads", 4, "n_heads must be divisible by n_kv_heads"),
        ("llama", "head_dim", 5, "position=rope rotates pairs of features"),
        ("qwen3", "layer_types", ["sliding_attention"] * 2, "layer_types must be full_attention in every layer"),
        ("qwen3", "max_window_layers", 1.5, "max_window_layers must be 0 or at least the 2 layers"),
        ("qwen3", "max_window_layers", -1, "max_window_layers must be 0 or at least the 2 layers"),
        ("qwen3", "mlp_bias", True, "mlp_bias changes"),
        ("qwen3", "attention_bias", True, r"8 tensors are missing, among them layers.0.self_attn.q_proj.bias"),
        ("gpt2", "n_head", 0, r"n_head must be a whole number from 1 to 2\*\*31, found 0"),
        ("gpt2", "n_head", True, "n_head must be a whole number"),
        ("gpt2", "n_embd", None, "n_embd must be a whole number .* found None"),
        ("gpt2", "n_head", 5, "d_model must be divisible by n_heads"),
        ("gpt2", "layer_norm_epsilon", 0, "layer_norm_epsilon must be a number greater than 0, found 0"),
        ("gpt2", "tie_word_embeddings", "yes", "tie_word_embeddings must be true or false, found 'yes'"),
        ("gpt2", "activation_function", ["gelu"], r"activation_function must be one of .* found \['gelu'\]"),
        ("gpt2", "attn_pdrop", [0.1], "attn_pdrop must be a number from 0 to less than 1"),
        ("gpt2", "model_type", "opt", "model_type must be one of gpt2, llama, mistral, qwen2, qwen3, found 'opt'"),
        (
            "gpt2",
            "clip_qkv",
            8.0,
            r"clip_qkv is unknown and may change what the model computes \(if not: python -m gpt import --ignore-config",
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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_num_labels", 1),  # distilgpt2
        ("gradient_checkpointing", True),  # GPT-2 of older transformers
        ("unsloth_version", "2024.8"),
        ("unsloth_fixed", True),
        ("transformers.js_config", {"kv_cache_dtype": {"q4f16": "float16"}}),
        ("auto_map", {"AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM"}),
        ("use_return_dict", True),
        ("attn_implementation", "eager"),
        ("num_labels", 2),
        ("predict_special_tokens", True),
        ("n_special", 0),
        ("model_max_length", 2048),
        ("is_llama_config", True),
        ("rope_interleaved", False),
        ("image_token_id", 5),
        ("mlp_dropout", 0.1),
        ("my_trainer_version", "v1.2.3.dev0+git"),
        ("logits_scaling", 1.0),
        # by their values, whatever their names
        ("use_mixture", False),
        ("n_experts", 0),
        ("attn_softcap", 0.0),
        ("note", ""),
        ("no_rope_layers", []),
        ("extra", {}),
    ],
)
def test_bookkeeping_and_what_is_switched_off_are_accepted(gpt2: Any, key: str, value: Any) -> None:
    expected = load_pretrained(gpt2.path).model_config
    gpt2.config(**{key: value})
    read = load_pretrained(gpt2.path)
    assert read.model_config == expected
    assert key in read.ignored or key in ("rope_interleaved", "logits_scaling")  # these have their only value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_mixture", True),
        ("n_experts", 1),
        ("attn_softcap", 50.0),
        ("block_type", "parallel"),
        ("block_version", "two"),
        ("block_version", 2.1),
        ("pattern", [1]),
        ("moe", {"n": 8}),
        # false and 0 take away what the model has
        ("is_causal", False),
        ("use_rope", False),
        ("rotary_dim", 0),
        ("use_layernorm", False),
        ("normalize_before", False),
        ("scale_attention_scores", False),
        ("residual_in_fp32", False),
    ],
)
def test_what_may_change_the_model_is_refused_unless_it_is_ignored_by_name(gpt2: Any, key: str, value: Any) -> None:
    expected = load_pretrained(gpt2.path).model_config
    gpt2.config(**{key: value})
    with pytest.raises(ValueError, match=f"config.json: {key} is unknown and may change .* --ignore-config {key}"):
        load_pretrained(gpt2.path)
    assert load_pretrained(gpt2.path, ignore_config=[key]).model_config == expected


def test_keys_that_are_ignored_by_name_must_be_there(gpt2: Any) -> None:
    gpt2.config(clip_qkv=8.0, logit_cap=30.0)
    with pytest.raises(
        ValueError, match=r"config.json: ignore_config names a key .* 'clip_qvk'; did you mean clip_qkv\?"
    ):
        load_pretrained(gpt2.path, ignore_config=["clip_qvk"])
    with pytest.raises(ValueError, match="logit_cap is unknown"):
        load_pretrained(gpt2.path, ignore_config=["clip_qkv"])
    assert load_pretrained(gpt2.path, ignore_config=["clip_qkv", "logit_cap"]).model_config.n_heads == 4
    with pytest.raises(ValueError, match="n_head must be a whole number"):  # a key that is needed counts as null
        load_pretrained(gpt2.path, ignore_config=["clip_qkv", "logit_cap", "n_head"])


def test_absent_keys_have_the_values_that_transformers_gives_them(written: Callable[[str], Any]) -> None:
    model = written("llama")
    model.config(
        rms_norm_eps=..., rope_parameters=..., hidden_act=..., attention_bias=..., mlp_bias=..., rope_theta=7.0
    )
    config = load_pretrained(model.path).model_config
    assert (config.norm_eps, config.rope_theta, config.activation, config.bias) == (1e-6, 7.0, "silu", False)
    model.config(model_type="mistral", max_position_embeddings=5000)  # 4096 is Mistral's window where nothing is said
    assert load_pretrained(model.path).model_config.window == 4096


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"rope_scaling": {"type": "linear", "factor": 2}}, ("linear", 2.0)),
        ({"rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2.5}}, ("linear", 2.5)),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 7.0}}, ("linear", 4.0)),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}, "rope_scaling": {"factor": 4}}, ("linear", 4.0)),
        ({"rope_scaling": {"type": "linear", "factor": 1.0}}, (None, 8.0)),  # 8 is our default, and has no effect
        ({"rope_scaling": {"rope_type": "default"}}, (None, 8.0)),
        ({"rope_parameters": {"type": "default", "factor": 1, "partial_rotary_factor": 1.0, "x": None}}, (None, 8.0)),
        ({"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 40}}, ("llama3", 8.0)),
    ],
)
def test_both_spellings_of_a_scaled_rope_are_read(
    written: Callable[[str], Any], keys: dict[str, Any], expected: tuple[Any, float]
) -> None:
    model = written("llama")
    model.config(**{"rope_parameters": ..., "rope_theta": 7.0} | keys)
    config = load_pretrained(model.path).model_config
    assert (config.rope_scaling, config.rope_factor, config.rope_theta) == (*expected, 7.0)
    assert config.rope_original_context == (40 if config.rope_scaling == "llama3" else 8192)


def test_the_original_context_of_llama3_is_all_positions_if_nothing_is_said(written: Callable[[str], Any]) -> None:
    model = written("llama")
    model.config(rope_parameters=LLAMA3 | {"high_freq_factor": 5, "rope_theta": 3.0})
    config = load_pretrained(model.path).model_config
    assert (config.rope_original_context, config.rope_high_freq_factor, config.rope_theta) == (72, 5.0, 3.0)


@pytest.mark.parametrize(
    ("case", "keys", "window"),
    [
        ("llama", {"model_type": "mistral", "sliding_window": 8}, 8),
        ("llama", {"model_type": "mistral", "sliding_window": 8, "layer_types": ["sliding_attention"] * 2}, 8),
        ("llama", {"model_type": "mistral", "sliding_window": 72}, None),  # sees the whole context
        ("llama", {"model_type": "mistral", "sliding_window": None}, None),
        ("llama", {"sliding_window": 72}, None),
        ("qwen3", {"sliding_window": 8, "layer_types": None}, None),  # without use_sliding_window
        ("qwen3", {"sliding_window": 8, "layer_types": None, "max_window_layers": 0, "use_sliding_window": True}, 8),
        ("qwen3", {"sliding_window": 8, "layer_types": None, "max_window_layers": 2, "use_sliding_window": True}, None),
        ("qwen3", {"sliding_window": 8, "layer_types": ["sliding_attention"] * 2, "use_sliding_window": True}, 8),
    ],
)
def test_a_window_is_that_of_every_layer(
    written: Callable[[str], Any], case: str, keys: dict[str, Any], window: int | None
) -> None:
    model = written(case)
    model.config(**keys)
    assert load_pretrained(model.path).model_config.window == window


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"max_window_layers": 1, "layer_types": None},
            "max_window_layers must be 0 or at least the 2 layers: a window",
        ),
        (
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types must be sliding_attention in every layer",
        ),
        ({"layer_types": "sliding_attention"}, "layer_types must be sliding_attention in every layer"),
        ({"sliding_window": 0}, "sliding_window must be null or a whole number from 1, found 0"),
    ],
)
def test_a_window_in_some_layers_is_refused_by_name(
    written: Callable[[str], Any], keys: dict[str, Any], message: str
) -> None:
    model = written("qwen3")
    model.config(**{"use_sliding_window": True, "sliding_window": 8} | keys)
    with pytest.raises(ValueError, match=message):
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
        ({"window": 4}, r"as gpt2 it cannot have window=4 \(only none\)"),
        (
            {**LLAMA, "qk_norm": True},
            r"as llama it cannot have bias=True, qk_norm=True together \(llama: no window; mi",
        ),
        ({**LLAMA, "window": 4}, "bias=True, qk_norm=False, window=4 together"),
        (
            {**LLAMA, "bias": False, "qkv_bias": True, "mlp_bias": True},
            "qkv_bias=True, mlp_bias=True, qk_norm=False tog",
        ),
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
