"""The config.json of models that people use: every key is understood, and means what it should."""

import json
from pathlib import Path
from typing import Any

import pytest

from gpt.pretrained.families import read_config
from gpt.pretrained.hf_config import HFConfig

LLAMA_KEYS = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu", "initializer_range": 0.02, "model_type": "llama",
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None, "torch_dtype": "bfloat16",
    "transformers_version": "4.42.3", "use_cache": True,
}  # fmt: skip
LLAMA3_KEYS = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
QWEN_KEYS = {
    "attention_dropout": 0.0, "hidden_act": "silu", "initializer_range": 0.02, "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0, "use_sliding_window": False, "tie_word_embeddings": True, "use_cache": True,
}  # fmt: skip
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # what a model's config.json says, and what we read
    "TinyLlama": (
        LLAMA_KEYS
        | {"hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 2048, "num_attention_heads": 32}
        | {"num_hidden_layers": 22, "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False},
        {"rope_theta": 10000.0, "rope_scaling": None, "bias": False, "tie_embeddings": False, "head_dim": 64},
    ),
    "Llama 3.1 8B": (
        LLAMA_KEYS
        | {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "max_position_embeddings": 131072,
            "num_attention_heads": 32,
        }
        | {"num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False}
        | {"mlp_bias": False, "rope_theta": 500000.0, "rope_scaling": LLAMA3_KEYS},
        {"rope_theta": 500000.0, "rope_scaling": "llama3", "rope_factor": 8.0, "context_length": 131072},
    ),
    "Llama 3.2 1B, of unsloth": (
        LLAMA_KEYS
        | {"hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 131072, "num_attention_heads": 32}
        | {"num_hidden_layers": 16, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True}
        | {"head_dim": 64, "mlp_bias": False, "rope_theta": 500000.0, "rope_scaling": LLAMA3_KEYS | {"factor": 32.0}}
        | {"pad_token_id": 128004, "unsloth_fixed": True, "unsloth_version": "2024.12.4"},
        {"rope_scaling": "llama3", "rope_factor": 32.0, "tie_embeddings": True, "n_kv_heads": 8},
    ),
    "Mistral 7B v0.1": (
        {"bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02}
        | {"intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral", "rms_norm_eps": 1e-05}
        | {"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rope_theta": 10000.0}
        | {"sliding_window": 4096, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 32000},
        {"window": 4096, "context_length": 32768, "bias": False, "head_dim": 128},
    ),
    "Qwen2.5 0.5B": (
        QWEN_KEYS
        | {"hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768, "max_window_layers": 21}
        | {"model_type": "qwen2", "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2}
        | {"sliding_window": 32768, "vocab_size": 151936, "bos_token_id": 151643, "eos_token_id": 151645},
        {"qkv_bias": True, "bias": False, "window": None, "qk_norm": False, "head_dim": 64},
    ),
    "Qwen3 0.6B": (
        QWEN_KEYS
        | {"hidden_size": 1024, "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28}
        | {"model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8}
        | {
            "head_dim": 128,
            "attention_bias": False,
            "rope_scaling": None,
            "sliding_window": None,
            "vocab_size": 151936,
        },
        {"qk_norm": True, "head_dim": 128, "window": None, "qkv_bias": None, "bias": False},
    ),
    "distilgpt2": (
        {"_num_labels": 1, "activation_function": "gelu_new", "attn_pdrop": 0.1, "embd_pdrop": 0.1, "resid_pdrop": 0.1}
        | {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}, "layer_norm_epsilon": 1e-05, "model_type": "gpt2"}
        | {"n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 6, "n_positions": 1024, "vocab_size": 50257}
        | {"summary_type": "cls_index", "summary_use_proj": True, "task_specific_params": {"text-generation": {}}},
        {"n_layers": 6, "bias": True, "tie_embeddings": True, "dropout": 0.1},
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_keys_of_published_models_are_all_understood(tmp_path: Path, name: str) -> None:
    keys, expected = PUBLISHED[name]
    (tmp_path / "config.json").write_text(json.dumps(keys), encoding="utf-8")
    hf = HFConfig(tmp_path / "config.json")
    config = read_config(hf)[1]
    hf.finish()
    assert {field: getattr(config, field) for field in expected} == expected
