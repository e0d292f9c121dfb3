"""A checkpoint is one safetensors file: the model, the optimizer, and how to go on.

Tensors are named `model.*`, `adamw.m.*` and `adamw.v.*`. The metadata holds, as JSON, the configs, the tokenizer and the
position in the run, and a SHA-256 over everything, so that a damaged file is recognised. Weights that others trained
(`python -m gpt import`) are a checkpoint too, at step 0 and without an optimizer.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.safetensors import load_file, save_file
from gpt.tokenizer import Tokenizer, tokenizer_from_dict
from nanograd import blas
from nanograd.optim import AdamW

FORMAT = "gpt-checkpoint-1"
LAST, BEST = "last.safetensors", "best.safetensors"
WAY_OUT = f"give another checkpoint: a run has {BEST} and {LAST}"


@dataclass
class Position:
    """Where a run is: what resuming needs beside the arrays, since all randomness derives from seed and step."""

    step: int = 0
    elapsed_s: float = 0.0
    val_loss: float | None = None  # of this checkpoint, if it was evaluated at its step
    best_val_loss: float | None = None
    text_sha256: str = ""
    dataset: str = ""  # where the prepared folder is, if the run has no token files of its own
    tokens_sha256: dict[str, str] = field(default_factory=dict)  # of those files, or of the folder's manifest.json
    machine: dict[str, Any] = field(default_factory=blas.description)
    source: str = ""  # where the weights come from, if others trained them
    init: str = ""  # the checkpoint that the run began from, if not from random weights


@dataclass
class Checkpoint:
    """What a checkpoint file holds."""

    path: Path
    model_config: ModelConfig
    train_config: TrainConfig
    tokenizer: Tokenizer
    position: Position
    tensors: dict[str, np.ndarray]

    def model(self, model: GPT | None = None) -> GPT:
        """Return the model, with the weights of the checkpoint; one of that shape, where given, is used for it."""
        model = GPT.undrawn(self.model_config) if model is None else model
        return model.load_state_dict(self.part("model."))

    def load_optimizer(self, optimizer: AdamW) -> None:
        """Put the optimizer where it was; ValueError where the file has none, as of weights that were imported."""
        self.check_resumable()
        optimizer.load_state_dict(self.part("adamw."), self.position.step)

    def check_resumable(self) -> None:
        """Raise ValueError for imported weights: there is no run to go on with."""
        if self.position.source:
            raise ValueError(
                f"{self.path} was imported from {self.position.source}: it has no optimizer and no text to go on with; "
                "`sample`, `eval --data` and `info` open it, and `python -m gpt train` begins a run of its own"
            )

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors whose names begin with `prefix`, without it: `model.`, say."""
        return {name.removeprefix(prefix): a for name, a in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(
    path: str | os.PathLike[str],
    model: GPT,
    optimizer: AdamW | None,
    train_config: TrainConfig,
    tokenizer: Tokenizer,
    position: Position,
) -> None:
    """Write everything, or leave the file that was there as it was. Imported weights have no optimizer."""
    tensors = {f"model.{name}": a for name, a in model.state_dict().items()}
    if optimizer is not None:
        tensors |= {f"adamw.{name}": a for name, a in optimizer.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "model_config": json.dumps(model.config.to_dict()),
        "train_config": json.dumps(train_config.to_dict()),
        "tokenizer": json.dumps(tokenizer.to_dict()),
        "position": json.dumps(vars(position)),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    save_file(tensors, path, metadata)


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint by copy; ValueError, naming the file, where it is damaged or something else."""
    path = Path(path)
    try:
        tensors, metadata = load_file(path)
    except ValueError as error:
        raise ValueError(f"{error}; it is no checkpoint, or damaged; {WAY_OUT}") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of this program: its metadata does not say {FORMAT}; {WAY_OUT}")
    stored = metadata.pop("sha256", None)
    if stored != _digest(tensors, metadata):
        raise ValueError(f"{path} is damaged: its content does not match its SHA-256; {WAY_OUT}")
    try:
        return Checkpoint(
            path,
            ModelConfig.from_dict(json.loads(metadata["model_config"])),
            TrainConfig.from_dict(json.loads(metadata["train_config"])),
            tokenizer_from_dict(json.loads(metadata["tokenizer"])),
            Position(**json.loads(metadata["position"])),
            tensors,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: its metadata cannot be read by this version: {error}") from None


def find_checkpoint(run: str | os.PathLike[str], prefer: str = BEST) -> Path:
    """Return the checkpoint that a path means: a file itself, and in a run's folder the preferred one or the other."""
    path = Path(run)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no run or checkpoint at {path}")
    for name in (prefer, BEST, LAST):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path} holds no checkpoint ({BEST} or {LAST}); give the folder of a run")


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of all tensors, and over the metadata."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
