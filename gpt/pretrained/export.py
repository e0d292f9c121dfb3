"""Export a model in Hugging Face's format: config.json, model.safetensors and the tokenizer's files."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained import gpt2, llama
from gpt.pretrained.lazy_tensors import Link
from gpt.pretrained.load import CONFIG, SINGLE
from gpt.runs.safetensors import save_file
from gpt.tokenizer import EOT, BPETokenizer, Tokenizer, to_huggingface
from nanograd.runtime.files import check_new_folder, write_text

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}  # ours → theirs


def export(
    folder: str | os.PathLike[str], config: ModelConfig, state: Mapping[str, np.ndarray], tokenizer: Tokenizer | None
) -> list[Path]:
    """Write the folder, which must be new or empty, and return its files; after an error none of them remain.

    state is the model's state_dict. The tokenizer is written if it is byte-level BPE; the format has no other of ours.

    Raises ValueError, before writing, for a model that neither gpt2 nor llama can describe.
    """
    folder = Path(folder)
    kind = layout(config)
    check_new_folder(folder, "choose another")
    family = gpt2 if kind == "gpt2" else llama
    texts = {CONFIG: (_gpt2_config if kind == "gpt2" else _llama_config)(config, kind) | _eot_ids(tokenizer)}
    if isinstance(tokenizer, BPETokenizer):
        texts["tokenizer.json"] = to_huggingface(tokenizer)
        end = {"bos_token": EOT, "eos_token": EOT} if tokenizer.eot_id is not None else {}
        texts["tokenizer_config.json"] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.context_length,
            "clean_up_tokenization_spaces": False,
            **end,
        }
    tensors = {}
    for link in family.links(config):
        for name, array in _split(link, state):
            full_name = name if name.startswith("lm_head.") else family.PREFIX + name
            tensors[full_name] = array
    folder.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, folder / SINGLE, {"format": "pt"})  # transformers requires it
        for name, fields in texts.items():
            write_text(folder / name, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return [folder / name for name in (SINGLE, *texts)]


def layout(config: ModelConfig) -> str:
    """Return the model_type that describes a model: gpt2, llama or qwen3. Raises ValueError if none can, and says why."""
    standard = {"norm": config.norm, "position": config.position, "mlp": config.mlp}
    required = {
        "gpt2": {"norm": "layernorm", "position": "learned", "mlp": "plain"},
        "llama": {"norm": "rmsnorm", "position": "rope", "mlp": "gated"},
    }
    wrong = {
        kind: [f"{name}={standard[name]} (only {value})" for name, value in options.items() if standard[name] != value]
        for kind, options in required.items()
    }
    if config.n_kv_heads != config.n_heads:
        wrong["gpt2"].append(f"n_kv_heads={config.n_kv_heads} (only n_heads)")
    if config.head_dim * config.n_heads != config.d_model:
        wrong["gpt2"].append(f"head_dim={config.head_dim} (only d_model / n_heads)")
    if config.qk_norm:
        wrong["gpt2"].append("qk_norm=True (only False)")
        if config.bias:
            wrong["llama"].append("qk_norm=True with bias=True (only one of them)")
    if not wrong["gpt2"]:
        return "gpt2"
    if not wrong["llama"]:
        return "qwen3" if config.qk_norm else "llama"
    reasons = "; ".join(f"as {kind} it cannot have {', '.join(why)}" for kind, why in wrong.items())
    raise ValueError(f"export: transformers has no layout for this model: {reasons}")


def _split(link: Link, state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of one link, as views of ours; a bias that our model lacks is zero."""
    if link.ours not in state:
        assert link.ours.endswith(".bias"), link.ours
        yield link.theirs[0], np.zeros(link.shapes[0], np.float32)
        return
    array = state[link.ours].T if link.transposed else state[link.ours]
    begin = 0
    for name, shape in zip(link.theirs, link.shapes, strict=True):
        yield name, array[begin : begin + shape[0]]
        begin += shape[0]


def _eot_ids(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return the keys of the end-of-text token."""
    end = None if tokenizer is None else tokenizer.eot_id
    return {"bos_token_id": end, "eos_token_id": end}


def _gpt2_config(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return the config.json that read_config of gpt2.py reads."""
    return {
        "model_type": kind,
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": "float32",
    }


def _llama_config(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return the config.json that read_config of llama.py reads."""
    return {
        "model_type": kind,
        "architectures": ["Qwen3ForCausalLM" if kind == "qwen3" else "LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "intermediate_size": config.d_ff,
        "hidden_act": ACTIVATIONS[config.activation],
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "attention_bias": config.bias,
        **({} if kind == "qwen3" else {"mlp_bias": config.bias}),
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": "float32",
    }
