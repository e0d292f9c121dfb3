"""A checkpoint is one safetensors file: the model, the optimizer, and how to go on.

Tensors are named `model.*`, `adamw.m.*` and `adamw.v.*`. The metadata holds, as JSON, the configs, the tokenizer and the
position in the run, and a SHA-256 over everything, so that a damaged file is recognised. Weights that others trained
(`python -m gpt import`) are a checkpoint too, at step 0 and without an optimizer.

A model that was fine-tuned says for what, as `task`. With LoRA, only what was trained is in the file, and the task names
the checkpoint that holds the rest, its base, by path and SHA-256.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from gpt.config import LoopConfig, ModelConfig, TrainConfig
from gpt.lora import add_lora, lora_layers, merge_arrays
from gpt.model import GPT, find_gpt
from gpt.runs.safetensors import load_file, save_file
from gpt.runs.task import Task
from gpt.tokenizer import Tokenizer, tokenizer_from_dict
from nanograd.nn import Module
from nanograd.optim import AdamW
from nanograd.runtime import blas
from nanograd.runtime.files import file_sha256

FORMAT = "gpt-checkpoint-1"
LAST, BEST = "last.safetensors", "best.safetensors"
AROUND = "gpt."  # before the names of a GPT that a task has built something around
M = TypeVar("M", bound=Module)
WAY_OUT = f"give another checkpoint: a run has {BEST} and {LAST}"


@dataclass
class Position:
    """Where a run is: what resuming needs beside the arrays, since all randomness derives from seed and step."""

    step: int = 0
    elapsed_s: float = 0.0
    val_loss: float | None = None  # of this checkpoint, if it was evaluated at its step
    best_val_loss: float | None = None
    best_step: int = 0  # where that was
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
    task: Task | None = None
    base: Path | None = None  # where the base of adapters is now, if the user says so

    @overload
    def model(self, model: None = None, *, adapters: bool = False) -> GPT: ...
    @overload
    def model(self, model: M, *, adapters: bool = False) -> M: ...
    def model(self, model: Module | None = None, *, adapters: bool = False) -> Module:
        """Return the model, with the weights of the checkpoint; one of that shape, where given, is used for it.

        LoRA's adapters are merged, so that the model is an ordinary one; or kept apart, to train on, with `adapters`.
        Raises ValueError where a task has built something else around a GPT, and no model is given that is like it, and
        FileNotFoundError or ValueError where adapters miss their base.
        """
        if model is None:
            if self.inside:
                raise ValueError(
                    f"{self.path} is not a model that writes text: it was fine-tuned to {self.kind}; "
                    f"use python -m gpt {self.kind}"
                )
            model = GPT(self.model_config, init=False)
        if adapters and self.task is not None and self.task.lora is not None:
            lora = self.task.lora
            add_lora(find_gpt(model), lora.rank, lora.alpha, lora.targets, np.random.default_rng(0))
            return model.load_state_dict(self.state(merged=False))
        return model.load_state_dict(self.state())

    @property
    def kind(self) -> str:
        """What the model was fine-tuned for; "" if it was not."""
        return "" if self.task is None else self.task.kind

    @property
    def inside(self) -> str:
        """What stands before the names of the GPT: "gpt." where a task has built something around it, else nothing."""
        return AROUND if any(name.startswith(f"model.{AROUND}") for name in self.tensors) else ""

    def state(self, *, merged: bool = True) -> dict[str, np.ndarray]:
        """Return all arrays of the model by name: those of the file, and of its base where it holds adapters alone."""
        state, task = self.part("model."), self.task
        if task is None or task.lora is None:
            return state
        if task.base:
            state = {f"{self.inside}{name}": a for name, a in self.base_checkpoint().state().items()} | state
        return merge_arrays(state, task.lora) if merged else state

    def base_checkpoint(self) -> "Checkpoint":
        """Return the checkpoint that this one's adapters belong to; an error names it, where it is missing or another."""
        assert self.task is not None
        where, way_out = self.base or Path(self.task.base), "say where it is with --base FILE"
        if not where.exists():
            raise FileNotFoundError(
                f"{self.path} holds LoRA adapters alone, and the model they were trained on is missing: {where}; {way_out}"
            )
        path = find_checkpoint(where)
        sha256, wanted = file_sha256(path), self.task.base_sha256
        if sha256 != wanted:
            raise ValueError(
                f"{path} is not the model that the adapters of {self.path} were trained on: its SHA-256 begins with "
                f"{sha256[:12]}, not {wanted[:12]}; {way_out}"
            )
        return load_checkpoint(path)

    def load_optimizer(self, optimizer: AdamW) -> None:
        """Put the optimizer where it was; ValueError where the file has none, as of weights that were imported."""
        self.check_resumable(self.kind)
        optimizer.load_state_dict(self.part("adamw."), self.position.step)

    def check_resumable(self, kind: str = "") -> None:
        """Raise ValueError where there is no run to go on with, or one of another kind: "" is pretraining."""
        if self.position.source:
            raise ValueError(
                f"{self.path} was imported from {self.position.source}: it has no optimizer and no text to go on with; "
                "`sample`, `eval --data` and `info` open it, and `python -m gpt train --init` trains it further"
            )
        if kind != self.kind:
            command = f"finetune {self.kind}" if self.kind else "train"
            raise ValueError(f"{self.path} is of another kind of run; go on with python -m gpt {command} --resume")
        if not self.part("adamw."):
            raise ValueError(f"{self.path} has no optimizer to go on with: its adapters were merged into the weights")

    def part(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors whose names begin with `prefix`, without it: `model.`, say."""
        return {name.removeprefix(prefix): a for name, a in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: AdamW | None,
    train_config: LoopConfig,
    tokenizer: Tokenizer,
    position: Position,
    task: Task | None = None,
) -> None:
    """Write everything, or leave the file that was there as it was. Imported weights have no optimizer.

    Of a model with adapters and a base in a file, what is frozen is left out: the base has it. The settings of a
    fine-tuning are the task's.
    """
    if any(layer.merged for layer in lora_layers(model)):
        raise ValueError(
            "save_checkpoint: the model's adapters are merged; call unmerge_lora or merge_and_unload first"
        )
    state = model.state_dict()
    if task is not None and task.lora is not None and task.base:
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        state = {name: array for name, array in state.items() if name in trained}
    tensors = {f"model.{name}": a for name, a in state.items()}
    if optimizer is not None:
        tensors |= {f"adamw.{name}": a for name, a in optimizer.state_dict().items()}
    train_config = train_config if isinstance(train_config, TrainConfig) else TrainConfig()
    _write(path, tensors, find_gpt(model).config, train_config, tokenizer, position, task)


def merge_checkpoint(checkpoint: Checkpoint, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint with its adapters merged into the weights: an ordinary one, which needs no base."""
    task = checkpoint.task
    if task is None or task.lora is None:
        raise ValueError(f"{checkpoint.path} has no LoRA adapters to merge: it is an ordinary checkpoint already")
    tensors = {f"model.{name}": a for name, a in checkpoint.state().items()}
    _write(
        path, tensors, checkpoint.model_config, checkpoint.train_config, checkpoint.tokenizer, checkpoint.position,
        replace(task, lora=None),
    )  # fmt: skip


def _write(
    path: str | os.PathLike[str],
    tensors: dict[str, np.ndarray],
    model_config: ModelConfig,
    train_config: TrainConfig,
    tokenizer: Tokenizer,
    position: Position,
    task: Task | None,
) -> None:
    metadata = {
        "format": FORMAT,
        "model_config": json.dumps(model_config.to_dict()),
        "train_config": json.dumps(train_config.to_dict()),
        "tokenizer": json.dumps(tokenizer.to_dict()),
        "position": json.dumps(vars(position)),
    }
    if task is not None:
        metadata["task"] = json.dumps(task.to_dict())
    metadata["sha256"] = _digest(tensors, metadata)
    save_file(tensors, path, metadata)


def load_checkpoint(path: str | os.PathLike[str], base: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Read a checkpoint by copy; ValueError, naming the file, where it is damaged or something else.

    base is where the base of LoRA's adapters is, if not where it was when they were trained.
    """
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
            Task.from_dict(json.loads(metadata["task"])) if "task" in metadata else None,
            None if base is None else Path(base),
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
