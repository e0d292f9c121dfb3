"""Write a model as Hugging Face's transformers opens it: config.json, model.safetensors and the tokenizer's files."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained import gpt2, llama
from gpt.pretrained.files import CONFIG, SINGLE
from gpt.pretrained.lazy_tensors import Link
from gpt.runs.safetensors import save_file
from gpt.tokenizer import EOT, BPETokenizer, Tokenizer, to_huggingface
from nanograd.runtime.files import check_new_folder, write_text

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "silu": "silu"}  # ours → theirs


def export(
    folder: str | os.PathLike[str], config: ModelConfig, state: Mapping[str, np.ndarray], tokenizer: Tokenizer | None
) -> list[Path]:
    """Write the folder, which must be new or empty, and return its files; on an error none of them stays.

    state is the model's state_dict. A tokenizer goes along if it is byte-level BPE; no other can be written.

    Raises ValueError, before anything is written, for a model that neither gpt2 nor llama can describe.
    """
    folder = Path(folder)
    kind = layout(config)
    check_new_folder(folder, "choose another")
    family = gpt2 if kind == "gpt2" else llama
    texts = {CONFIG: (_gpt2_config if kind == "gpt2" else _llama_config)(config, kind) | _ends(tokenizer)}
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
        for name, array in _parts(link, state):
            whole = name if name.startswith("lm_head.") else family.PREFIX + name
            tensors[whole] = array
    folder.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, folder / SINGLE, {"format": "pt"})  # transformers wants to know who laid the tensors out
        for name, fields in texts.items():
            write_text(folder / name, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return [folder / name for name in (SINGLE, *texts)]


def layout(config: ModelConfig) -> str:
    """Return the model_type that describes a model: gpt2, llama or qwen3; ValueError says what none of them can."""
    standard = {"norm": config.norm, "position": config.position, "mlp": config.mlp}
    wants = {
        "gpt2": {"norm": "layernorm", "position": "learned", "mlp": "plain"},
        "llama": {"norm": "rmsnorm", "position": "rope", "mlp": "gated"},
    }
    wrong = {
        kind: [f"{name}={standard[name]} (only {value})" for name, value in wanted.items() if standard[name] != value]
        for kind, wanted in wants.items()
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
    said = "; ".join(f"as {kind} it cannot have {', '.join(why)}" for kind, why in wrong.items())
    raise ValueError(f"export: transformers has no layout for this model: {said}")


def _parts(link: Link, state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield their tensors of one of ours, as views; a bias that the model does without is zero."""
    if link.ours not in state:
        assert link.ours.endswith(".bias"), link.ours
        yield link.theirs[0], np.zeros(link.shapes[0], np.float32)
        return
    array = state[link.ours].T if link.transposed else state[link.ours]
    begin = 0
    for name, shape in zip(link.theirs, link.shapes, strict=True):
        yield name, array[begin : begin + shape[0]]
        begin += shape[0]


def _ends(tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return the keys that say which token ends a text."""
    end = None if tokenizer is None else tokenizer.eot_id
    return {"bos_token_id": end, "eos_token_id": end}


def _gpt2_config(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return what read_config of gpt2.py reads back."""
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
    """Return what read_config of llama.py reads back."""
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
