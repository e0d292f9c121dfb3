"""Export a model in Hugging Face's format: config.json, model.safetensors, the tokenizer's files and a chat template."""

import json
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained.families import FAMILIES, LLAMA_KINDS, Link, links, llama_kinds, write_config
from gpt.pretrained.load import CONFIG, SINGLE
from gpt.runs.safetensors import save_file
from gpt.tokenizer import BPETokenizer, Tokenizer, to_huggingface
from gpt.tokenizer.sentencepiece import SentencePieceTokenizer
from nanograd.runtime.files import StrPath, new_folder, write_text


def export(
    folder: StrPath,
    config: ModelConfig,
    state: Mapping[str, np.ndarray],
    tokenizer: Tokenizer | None,
    chat_template: str = "",
) -> list[Path]:
    """Write the folder, which must be new or empty, and return its files; after an error none of them remain.

    state          the model's state_dict
    tokenizer      written if it is byte-level BPE or SentencePiece's; the format has no other of ours
    chat_template  a program in Jinja that writes a conversation as the model was taught to read it, or ""

    Raises ValueError, before writing, for a model that neither gpt2 nor llama can describe.
    """
    folder = Path(folder)
    kind = layout(config)
    family = FAMILIES[kind]
    ids = {} if tokenizer is None else _bos_eos(tokenizer)
    texts = {CONFIG: write_config(config, kind) | {"bos_token_id": None, "eos_token_id": None} | ids}
    if any(id is not None for id in ids.values()):
        texts["generation_config.json"] = ids
    if isinstance(tokenizer, (BPETokenizer, SentencePieceTokenizer)):
        texts["tokenizer.json"] = to_huggingface(tokenizer)
        texts["tokenizer_config.json"] = _tokenizer_config(tokenizer, config, chat_template)
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


def _bos_eos(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the ids that begin and end a text, under the names of transformers; several ends are a list."""
    begin = tokenizer.eot_id if tokenizer.bos_id is None else tokenizer.bos_id
    ends = list(tokenizer.end_ids)
    return {"bos_token_id": begin, "eos_token_id": ends[0] if len(ends) == 1 else ends or None}


def _tokenizer_config(
    tokenizer: BPETokenizer | SentencePieceTokenizer, config: ModelConfig, chat_template: str
) -> dict[str, Any]:
    """Return the object of tokenizer_config.json. Only a special token has a name there."""
    names = {id: text for text, id in tokenizer.special_tokens.items()}
    ids = _bos_eos(tokenizer) | {"eos_token_id": next(iter(tokenizer.end_ids), None)}
    tokens = {key.removesuffix("_id"): names[id] for key, id in ids.items() if id in names}
    if isinstance(tokenizer, SentencePieceTokenizer) and tokenizer.unknown.id in names:
        tokens["unk_token"] = names[tokenizer.unknown.id]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
        **tokens,
        **({"chat_template": chat_template} if chat_template else {}),
    }


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
