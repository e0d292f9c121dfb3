"""Begin pretraining or fine-tuning from a checkpoint: which options it settles, and which may differ."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer
from nanograd.runtime.files import file_sha256

TOKEN_TABLES = ("tok_emb.weight", "head.weight")  # one row per token


def open_base(path: str, adapters_base: str | None = None, *, option: str = "base") -> Checkpoint:
    """Read the checkpoint that a run begins from; ValueError, naming the option, if it is no language model.

    adapters_base is the path of the base of LoRA adapters, if it has moved since they were trained.
    """
    checkpoint = load_checkpoint(find_checkpoint(path), adapters_base)
    if not checkpoint.is_language_model:
        raise ValueError(
            f"{option}: {checkpoint.path} was fine-tuned to {checkpoint.kind}; begin from a language model"
        )
    return checkpoint


def initial_config(checkpoint: Checkpoint, flags: Mapping[str, Any], *, new_tokenizer: bool = False) -> ModelConfig:
    """Return the checkpoint's model config, changed by the flags that may differ: dropout and a shorter context.

    The context may also be longer if positions are rotary, and the vocabulary size differs for a new tokenizer.
    Raises ValueError, naming the flag, if the weights would not fit.
    """
    old = checkpoint.model_config
    changes = {name: flags[name] for name in ("dropout", "context_length") if name in flags}
    for field in dataclasses.fields(ModelConfig):
        name = field.name
        if name not in flags or name in changes or (name == "vocab_size" and new_tokenizer):
            continue
        if getattr(dataclasses.replace(old, **{name: flags[name]}), name) != getattr(old, name):
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"init: {flag} is {getattr(old, name)} in {checkpoint.path} and cannot be {flags[name]}: the weights "
                f"have that shape; leave {flag} out"
            )
    config = dataclasses.replace(old, **changes)
    if config.position == "learned" and config.context_length > old.context_length:
        raise ValueError(
            f"init: --context-length can be {old.context_length} at most, as many positions as {checkpoint.path} has "
            f"learned, got {config.context_length}"
        )
    return config


def check_same_tokenizer(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> None:
    """Raise ValueError unless this is the checkpoint's tokenizer; None is one that would be trained now."""
    if tokenizer is None or tokenizer.sha256 != checkpoint.tokenizer.sha256:
        raise ValueError(
            f"init: --tokenizer is another than that of {checkpoint.path}, whose ids mean other tokens; leave it out, or "
            "initialise new token rows with --new-tokenizer"
        )


def initial_model(
    checkpoint: Checkpoint, config: ModelConfig, rng: np.random.Generator, *, new_tokenizer: bool = False
) -> GPT:
    """Return a model of `config` with the checkpoint's weights; of its position embeddings, the first.

    A new tokenizer needs a new token embedding, and a new output projection if it is not tied: both are initialised. The
    blocks, position embeddings and norms are the checkpoint's.
    """
    old = checkpoint.model()
    if config == old.config and not new_tokenizer:
        return old
    state = old.state_dict()
    model = GPT(config, rng) if new_tokenizer else GPT(config, init=False)
    if new_tokenizer:
        initialised = model.state_dict()
        state |= {name: initialised[name] for name in TOKEN_TABLES if name in initialised}
    if "pos_emb.weight" in state:
        state["pos_emb.weight"] = state["pos_emb.weight"][: config.context_length]
    return model.load_state_dict(state)


def describe(checkpoint: Checkpoint) -> str:
    """Return one line that identifies the weights, for a run that begins from them to store."""
    state = checkpoint.state
    imported = f", imported from {state.source}" if state.source else ""
    return f"{checkpoint.path}, step {state.step}{imported} (sha256 {file_sha256(checkpoint.path)[:16]}…)"
