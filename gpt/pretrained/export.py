"""Export a model in Hugging Face's format: config.json, model.safetensors and the tokenizer's files."""

import json
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained.families import FAMILIES, LLAMA_KINDS, Link, links, llama_kinds, write_config
from gpt.pretrained.load import CONFIG, SINGLE
from gpt.runs.safetensors import save_file
from gpt.tokenizer import EOT, BPETokenizer, Tokenizer, to_huggingface
from nanograd.runtime.files import StrPath, new_folder, write_text


def export(
    folder: StrPath, config: ModelConfig, state: Mapping[str, np.ndarray], tokenizer: Tokenizer | None
) -> list[Path]:
    """Write the folder, which must be new or empty, and return its files; after an error none of them remain.

    state is the model's state_dict. The tokenizer is written if it is byte-level BPE; the format has no other of ours.

    Raises ValueError, before writing, for a model that neither gpt2 nor llama can describe.
    """
    folder = Path(folder)
    kind = layout(config)
    family = FAMILIES[kind]
    eot_id = None if tokenizer is None else tokenizer.eot_id
    texts = {CONFIG: write_config(config, kind) | {"bos_token_id": eot_id, "eos_token_id": eot_id}}
    if isinstance(tokenizer, BPETokenizer):
        texts["tokenizer.json"] = to_huggingface(tokenizer)
        end = {"bos_token": EOT, "eos_token": EOT} if eot_id is not None else {}
        texts["tokenizer_config.json"] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": config.context_length,
            "clean_up_tokenization_spaces": False,
            **end,
        }
    tensors = {}
    for link in links(family, config):
        for name, array in _split(link, state):
            full_name = name if name.startswith("lm_head.") else family.prefix + name
            tensors[full_name] = array
    with new_folder(folder, "choose another") as temporary:
        save_file(tensors, temporary / SINGLE, {"format": "pt"})  # transformers requires it
        for name, fields in texts.items():
            write_text(temporary / name, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
    return [folder / name for name in (SINGLE, *texts)]


def layout(config: ModelConfig) -> str:
    """Return the model_type that describes a model. Raises ValueError if none can, and says why."""
    wrong = {}
    for kind in ("gpt2", "llama"):
        options = ((name, getattr(config, name), value) for name, value in FAMILIES[kind].options.items())
        wrong[kind] = [f"{name}={actual} (only {value})" for name, actual, value in options if actual != value]
    if config.n_kv_heads != config.n_heads:
        wrong["gpt2"].append(f"n_kv_heads={config.n_kv_heads} (only n_heads)")
    if config.head_dim * config.n_heads != config.d_model:
        wrong["gpt2"].append(f"head_dim={config.head_dim} (only d_model / n_heads)")
    if config.qk_norm:
        wrong["gpt2"].append("qk_norm=True (only False)")
    if config.window is not None:
        wrong["gpt2"].append(f"window={config.window} (only none)")
    if not wrong["gpt2"]:
        return "gpt2"
    kinds = llama_kinds(config)
    if kinds and not wrong["llama"]:
        return kinds[0]
    if not kinds:
        names = ("bias", "qkv_bias", "mlp_bias", "qk_norm", "window")
        given = ", ".join(f"{name}={getattr(config, name)}" for name in names if getattr(config, name) is not None)
        wrong["llama"].append(f"{given} together ({LLAMA_KINDS})")
    reasons = "; ".join(f"as {kind} it cannot have {', '.join(why)}" for kind, why in wrong.items())
    raise ValueError(f"export: transformers has no layout for this model: {reasons}")


def _split(link: Link, state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the tensors of one link, as views of ours; a bias that our model lacks is zero."""
    if link.ours not in state:
        assert link.ours.endswith(".bias"), link.ours
        for name, shape in link.theirs.items():
            yield name, np.zeros(shape, np.float32)
        return
    array = state[link.ours].T if link.transposed else state[link.ours]
    ends = accumulate(shape[0] for shape in link.theirs.values())
    yield from zip(link.theirs, np.split(array, list(ends)[:-1]), strict=True)
