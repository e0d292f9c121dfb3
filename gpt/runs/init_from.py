"""Begin a run from a checkpoint: the shape, the tokenizer and the weights that it has, and what may differ."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from gpt.tokenizer import Tokenizer
from nanograd.runtime.files import file_sha256

TOKEN_TABLES = ("tok_emb.weight", "head.weight")  # a row for each token


def open_initial(path: str, base: str | None = None) -> Checkpoint:
    """Read the checkpoint that a run begins from; ValueError where it is a model of another kind, as a classifier is.

    base is where the base of LoRA's adapters is, if not where it was when they were trained.
    """
    checkpoint = load_checkpoint(find_checkpoint(path), base)
    if checkpoint.inside:
        raise ValueError(
            f"init: {checkpoint.path} was fine-tuned to {checkpoint.kind}; begin from a model that writes text"
        )
    return checkpoint


def initial_config(checkpoint: Checkpoint, flags: Mapping[str, Any], *, new_tokenizer: bool = False) -> ModelConfig:
    """Return the checkpoint's shape, with the flags that may differ: dropout, and a shorter context.

    A context may also be longer where positions are turned (rope), and the vocabulary is another's with a new tokenizer.
    Raises ValueError, naming the flag, where the weights would not fit.
    """
    old = checkpoint.model_config
    changes = {name: flags[name] for name in ("dropout", "context_length") if name in flags}
    for name in (field.name for field in dataclasses.fields(ModelConfig)):
        if name not in flags or name in changes or (name == "vocab_size" and new_tokenizer):
            continue
        if getattr(dataclasses.replace(old, **{name: flags[name]}), name) != getattr(old, name):
            raise ValueError(
                f"init: {_flag(name)} is {getattr(old, name)} in {checkpoint.path} and cannot be "
                f"{flags[name]}: the weights have that shape; leave {_flag(name)} out"
            )
    config = dataclasses.replace(old, **changes)
    if config.position == "learned" and config.context_length > old.context_length:
        raise ValueError(
            f"init: --context-length can be {old.context_length} at most, as many positions as {checkpoint.path} has "
            f"learned, got {config.context_length}"
        )
    return config


def check_same_tokenizer(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> None:
    """Raise ValueError unless it is the tokenizer of the checkpoint; one that is yet to be learned is not."""
    if tokenizer is None or tokenizer.sha256 != checkpoint.tokenizer.sha256:
        raise ValueError(
            f"init: --tokenizer is another than that of {checkpoint.path}, whose ids mean other tokens; leave it out, or "
            "draw new token rows with --new-tokenizer"
        )


def initial_model(
    checkpoint: Checkpoint, config: ModelConfig, rng: np.random.Generator, *, new_tokenizer: bool = False
) -> GPT:
    """Return a model of `config` with the checkpoint's weights, of its positions the first.

    With a new tokenizer the rows of the tokens are drawn, in the token table and in a head of its own; blocks, positions
    and normalisations are kept.
    """
    old = checkpoint.model()
    if config == old.config and not new_tokenizer:
        return old
    state = old.state_dict()
    model = GPT(config, rng) if new_tokenizer else GPT(config, init=False)
    if new_tokenizer:
        drawn = model.state_dict()
        state |= {name: drawn[name] for name in TOKEN_TABLES if name in drawn}
    if "pos_emb.weight" in state:
        state["pos_emb.weight"] = state["pos_emb.weight"][: config.context_length]
    return model.load_state_dict(state)


def origin(checkpoint: Checkpoint) -> str:
    """Say in one line which weights these are: for the run that begins from them to note."""
    position = checkpoint.position
    imported = f", imported from {position.source}" if position.source else ""
    return f"{checkpoint.path}, step {position.step}{imported} (sha256 {file_sha256(checkpoint.path)[:16]}…)"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
