"""A checkpoint is one safetensors file: the model, the optimizer, and all that resuming needs.

Tensors are named `model.*`, and `adamw.m.*` and `adamw.v.*` (or `muon.…`) for the optimizer. Where it keeps an exponential
average of the weights, `model.*` is that average, and `adamw.p.*` are the weights of the last step. The metadata holds, as
JSON, the configs, the tokenizer and the state of the training, and a SHA-256 over everything, which detects a damaged file.
Imported weights (`python -m gpt import`) are a checkpoint too, at step 0 and without an optimizer.

The checkpoint of a fine-tuned model also has a `task`. If it was trained with LoRA, the file holds only the trained
parameters, and the task names the checkpoint with the frozen ones, its base, by path and SHA-256.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gpt.config import OPTIMIZERS, LoopConfig, ModelConfig, TrainConfig, known_fields
from gpt.lora import A, B, LoRASettings, add_lora, lora_layers, merge_arrays
from gpt.model import GPT, find_gpt
from gpt.runs.estimate import BLOCK, shapes
from gpt.runs.safetensors import load_file, save_file
from gpt.tokenizer import Tokenizer, tokenizer_from_dict
from nanograd.nn import Module
from nanograd.optim import AdamW
from nanograd.runtime import blas
from nanograd.runtime.files import StrPath, file_sha256
from nanograd.runtime.typed_json import Scalar, read_json

FORMAT = "gpt-checkpoint-1"
LAST, BEST = "last.safetensors", "best.safetensors"
STABLE = "stable.safetensors"  # before the rate of a wsd schedule falls: from here a run can be prolonged
GPT_PREFIX = "gpt."  # parameter prefix of the GPT inside a wrapper module, such as a classifier
M = TypeVar("M", bound=Module)
T = TypeVar("T")
WAY_OUT = f"give another checkpoint: a run has {BEST} and {LAST}"


@dataclass
class TrainingState:
    """How far a run has come: all that resuming needs besides the arrays, because randomness derives from seed and step."""

    step: int = 0
    elapsed_s: float = 0.0
    val_loss: float | None = None  # at this step; None if it was not evaluated there
    best_val_loss: float | None = None
    best_step: int = 0  # the step of best_val_loss
    text_sha256: str = ""
    dataset: str = ""  # the prepared folder, if the run has no token files of its own
    tokens_sha256: dict[str, str] = field(default_factory=dict)  # of the run's data files, or of manifest.json
    machine: dict[str, Scalar] = field(default_factory=blas.description)
    source: str = ""  # where imported weights come from
    init: str = ""  # the checkpoint that pretraining began from; "" for random weights


@dataclass(frozen=True)
class Task:
    """What a model was fine-tuned for, and from what; a new task needs no code here.

    kind         "classify", "instruct" or "prefer": the subcommand of finetune; "" for an imported chat model
    config       the options of the fine-tuning, from its config's `to_dict`
    labels       the labels of a classifier, in the order of its outputs
    template     the prompt template, if the task has one
    lora         the settings of the adapters; None without adapters
    base         the checkpoint that the fine-tuning began from; "" for random weights. With `lora`, the file that holds
                 the frozen weights
    base_sha256  the SHA-256 of that file
    """

    kind: str
    config: dict[str, Scalar] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    template: dict[str, Scalar] | None = None
    lora: LoRASettings | None = None
    base: str = ""
    base_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples as lists
        return values


@dataclass
class Checkpoint:
    """The content of a checkpoint file."""

    path: Path
    model_config: ModelConfig
    train_config: TrainConfig
    tokenizer: Tokenizer
    state: TrainingState
    tensors: dict[str, np.ndarray]
    task: Task | None = None
    base: Path | None = None  # where the base of LoRA adapters is now, if the user says so
    _base_state: dict[str, np.ndarray] | None = field(default=None, repr=False, compare=False)  # until it is loaded

    def model(self, *, adapters: bool = False) -> GPT:
        """Return a GPT with the weights and the tokenizer of the checkpoint; ValueError if the model is a classifier.

        Raises FileNotFoundError or ValueError if adapters miss their base.
        """
        if not self.is_language_model:
            raise ValueError(f"{self.path} was fine-tuned to {self.kind}; use python -m gpt {self.kind}")
        model = self.load_into(self.gpt(), adapters=adapters)
        model.tokenizer = self.tokenizer
        return model

    def gpt(self) -> GPT:
        """Return a GPT of the checkpoint's shape, to load the weights into.

        A file may ask for any size, so the shapes of adapters and their base are compared before memory is taken, as
        `load_checkpoint` does with other files. Raises FileNotFoundError or ValueError if adapters miss their base.
        """
        if self.needs_base:
            self._base_state = self.base_checkpoint().state_dict()
            prefix = "" if self.is_language_model else GPT_PREFIX
            _check_shapes(self, {prefix + name: a for name, a in self._base_state.items()} | self.with_prefix("model."))
        return GPT(self.model_config, init=False)

    def load_into(self, model: M, *, adapters: bool = False) -> M:
        """Load the weights into a model of the checkpoint's shape, and return it.

        The model gets the arrays of the checkpoint, not copies. An optimizer moves those it trains into its own; a model
        that is changed in another way changes the other models of the same checkpoint.
        LoRA adapters are merged into the weights; with `adapters` they stay separate and can be trained.
        """
        if adapters and self.task is not None and self.task.lora is not None:
            lora = self.task.lora
            add_lora(find_gpt(model), lora.rank, lora.alpha, lora.targets, np.random.default_rng(0))
            return model.load_state_dict(self.state_dict(merged=False), assign=True)
        return model.load_state_dict(self.state_dict(), assign=True)

    @property
    def kind(self) -> str:
        """The kind of the task; "" if the model was not fine-tuned."""
        return "" if self.task is None else self.task.kind

    @property
    def needs_base(self) -> bool:
        """Whether the file has only adapters, and the frozen weights are in another."""
        return self.task is not None and self.task.lora is not None and self.task.base != ""

    @property
    def is_language_model(self) -> bool:
        """Whether the model is a GPT itself, and not a module around one, as a classifier is."""
        return not any(name.startswith(f"model.{GPT_PREFIX}") for name in self.tensors)

    def state_dict(self, *, merged: bool = True) -> dict[str, np.ndarray]:
        """Return all arrays of the model by name: those of the file, and of its base if the file has only adapters."""
        arrays, task = self.with_prefix("model."), self.task
        if task is None or task.lora is None:
            return arrays
        if self.needs_base:
            prefix, state = "" if self.is_language_model else GPT_PREFIX, self._base_state
            state, self._base_state = self.base_checkpoint().state_dict() if state is None else state, None
            arrays = {prefix + name: array for name, array in state.items()} | arrays
        return merge_arrays(arrays, task.lora) if merged else arrays

    def base_checkpoint(self) -> "Checkpoint":
        """Return the checkpoint that the adapters were trained on; an error names it if it is missing or another one."""
        assert self.task is not None
        base, way_out = self.base or Path(self.task.base), "say where it is with --base FILE"
        if not base.exists():
            raise FileNotFoundError(f"{self.path} holds LoRA adapters alone; their base is missing: {base}; {way_out}")
        path = find_checkpoint(base)
        sha256, expected = file_sha256(path), self.task.base_sha256
        if sha256 != expected:
            hashes = f"its SHA-256 begins with {sha256[:12]}, not {expected[:12]}"
            raise ValueError(f"{path} is not the model that the adapters of {self.path} need: {hashes}; {way_out}")
        return load_checkpoint(path)

    def load_optimizer(self, optimizer: AdamW) -> None:
        """Restore the optimizer's state; ValueError if the file has none, as for imported weights."""
        self.check_resumable(self.kind)
        state = self.with_prefix(f"{optimizer.kind}.")
        for name, parameter in optimizer.parameters.items():
            if f"p.{name}" in state:
                state[f"e.{name}"] = parameter.data.copy()
                parameter.copy_(state.pop(f"p.{name}"))
        optimizer.load_state_dict(state, self.state.step)

    def check_resumable(self, kind: str = "") -> None:
        """Raise ValueError unless this is a run that can be resumed, and of this kind; "" is pretraining."""
        if self.state.source:
            problem = f"{self.path} was imported from {self.state.source}: no optimizer and no text to go on with"
            way_out = "`sample`, `eval --data` and `info` open it, and `python -m gpt train --init` trains it further"
            raise ValueError(f"{problem}; {way_out}")
        if kind != self.kind:
            command = f"finetune {self.kind}" if self.kind else "train"
            raise ValueError(f"{self.path} is of another kind of run; go on with python -m gpt {command} --resume")
        if not any(self.with_prefix(f"{kind}.") for kind in OPTIMIZERS):
            raise ValueError(f"{self.path} has no optimizer to go on with: its adapters were merged into the weights")

    def with_prefix(self, prefix: str) -> dict[str, np.ndarray]:
        """Return the tensors whose names begin with `prefix`, such as `model.`, under their names without it."""
        return {name.removeprefix(prefix): a for name, a in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(
    path: StrPath,
    model: Module,
    optimizer: AdamW | None,
    config: LoopConfig,
    tokenizer: Tokenizer,
    state: TrainingState,
    task: Task | None = None,
) -> None:
    """Write a checkpoint, the whole file or nothing. Imported weights have no optimizer.

    For a model with adapters and a base in a file, only the trained parameters are written: the base has the others. The
    options of a fine-tuning are stored in its task.
    """
    if any(layer.merged for layer in lora_layers(model)):
        raise ValueError("save_checkpoint: the adapters are merged; call unmerge_lora or merge_and_unload first")
    arrays = model.state_dict()
    if task is not None and task.lora is not None and task.base:
        trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        arrays = {name: array for name, array in arrays.items() if name in trained}
    optimizer_arrays: dict[str, np.ndarray] = {}
    if optimizer is not None:
        arrays, optimizer_arrays = with_average(arrays, optimizer)
    tensors = {f"model.{name}": array for name, array in arrays.items()} | optimizer_arrays
    # of a fine-tuning, what both have
    train_config = TrainConfig.from_dict(known_fields(TrainConfig, config.to_dict()))
    _write(Checkpoint(Path(path), find_gpt(model).config, train_config, tokenizer, state, tensors, task))


def with_average(
    arrays: Mapping[str, np.ndarray], optimizer: AdamW
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a model's arrays, and the optimizer's under the names of a checkpoint.

    If the optimizer keeps an exponential average of the weights, that is the model, and the weights are among the others.
    """
    model, state = dict(arrays), optimizer.state_dict()
    for name in [name for name in model if f"e.{name}" in state]:
        state[f"p.{name}"], model[name] = model[name], state.pop(f"e.{name}")
    return model, {f"{optimizer.kind}.{name}": array for name, array in state.items()}


def merge_checkpoint(checkpoint: Checkpoint, path: StrPath) -> None:
    """Write the checkpoint with its adapters merged into the weights; the new file needs no base."""
    task = checkpoint.task
    if task is None or task.lora is None:
        raise ValueError(f"{checkpoint.path} has no LoRA adapters to merge: it is an ordinary checkpoint already")
    tensors = {f"model.{name}": array for name, array in checkpoint.state_dict().items()}
    _write(replace(checkpoint, path=Path(path), tensors=tensors, task=replace(task, lora=None)))


def _write(checkpoint: Checkpoint) -> None:
    metadata = {
        "format": FORMAT,
        "model_config": json.dumps(checkpoint.model_config.to_dict()),
        "train_config": json.dumps(checkpoint.train_config.to_dict()),
        "tokenizer": json.dumps(checkpoint.tokenizer.to_dict()),
        "position": json.dumps(vars(checkpoint.state)),
    }
    if checkpoint.task is not None:
        metadata["task"] = json.dumps(checkpoint.task.to_dict())
    metadata["sha256"] = _digest(checkpoint.tensors, metadata)
    save_file(checkpoint.tensors, checkpoint.path, metadata)


def load_checkpoint(path: StrPath, base: StrPath | None = None) -> Checkpoint:
    """Open a checkpoint; ValueError, naming the file, if it is damaged or no checkpoint.

    Its arrays stay in the file, if the system can replace a mapped file: opening takes the memory of the file once.
    base is the path of the base of LoRA adapters, if it has moved since they were trained.
    """
    path = Path(path)
    try:
        tensors, metadata = load_file(path, mapped=True)
    except ValueError as error:
        raise ValueError(f"{error}; it is no checkpoint, or damaged; {WAY_OUT}") from None
    if metadata.get("format") != FORMAT:
        others = "make one of other people's weights with `python -m gpt import`"
        raise ValueError(
            f"{path} is no checkpoint of this program: its metadata does not say {FORMAT}; {others}, or {WAY_OUT}"
        )
    stored = metadata.pop("sha256", None)
    if stored != _digest(tensors, metadata):
        raise ValueError(f"{path} is damaged: its content does not match its SHA-256; {WAY_OUT}")

    def read(name: str, form: type[T]) -> T:
        if name not in metadata:
            raise ValueError(f"the key {name!r} is missing")
        return read_json(metadata[name], form, name)

    try:
        task = read("task", Task) if "task" in metadata else None
        train_config = TrainConfig.from_dict(read("train_config", dict))
        if task is not None:  # files of before say the defaults of pretraining there
            train_config = TrainConfig.from_dict(train_config.to_dict() | known_fields(TrainConfig, task.config))
        checkpoint = Checkpoint(
            path,
            ModelConfig.from_dict(read("model_config", dict)),
            train_config,
            tokenizer_from_dict(read("tokenizer", dict)),
            read("position", TrainingState),
            tensors,
            task,
            None if base is None else Path(base),
        )
    except ValueError as error:
        raise ValueError(f"{path}: its metadata cannot be read by this version: {error}") from None
    _check_shapes(checkpoint, checkpoint.with_prefix("model."), whole=not checkpoint.needs_base)
    if base is not None and (checkpoint.task is None or checkpoint.task.lora is None):
        raise ValueError(f"{path} has no LoRA adapters; leave --base out")
    return checkpoint


def _check_shapes(checkpoint: Checkpoint, arrays: Mapping[str, np.ndarray], *, whole: bool = True) -> None:
    """Raise ValueError unless the arrays have the shapes that the config asks for, and, if whole, are all that it asks for.

    So a model is never larger than its files.
    """
    config, path, lora = checkpoint.model_config, checkpoint.path, checkpoint.task and checkpoint.task.lora
    prefix = "" if checkpoint.is_language_model else GPT_PREFIX
    needed, blocks, n_known = shapes(config), set(), 0
    for full_name, array in arrays.items():
        if not full_name.startswith(prefix):  # of the module around the GPT
            continue
        name = full_name.removeprefix(prefix)
        if block := BLOCK.match(name):
            blocks.add(block[1])
            name = f"blocks.0.{name[block.end() :]}"
        shape, (layer, _, last) = needed.get(name), name.rpartition(".")
        n_known += shape is not None
        weight = needed.get(f"{layer}.weight")
        if lora and weight and last in (A, B):
            shape = (lora.rank, weight[1]) if last == A else (weight[0], lora.rank)
        if shape is not None and array.shape != shape:
            raise ValueError(f"{path}: {full_name} has shape {array.shape}, but its config asks for {shape}; {WAY_OUT}")
    n_needed = sum(config.n_layers if BLOCK.match(name) else 1 for name in needed)
    if len(blocks) != config.n_layers or (whole and n_known != n_needed):
        holds = f"it holds {n_known} parameters in {len(blocks)} layers"
        asks = f"{n_needed} in {config.n_layers}" if whole else f"{config.n_layers} layers"
        raise ValueError(f"{path}: {holds}, but its config asks for {asks}; {WAY_OUT}")


def find_checkpoint(run: StrPath, prefer: str = BEST) -> Path:
    """Return the checkpoint file: `run` itself if it is a file, else the preferred (or any) checkpoint in that folder."""
    path = Path(run)
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no run or checkpoint at {path}")
    for name in (prefer, BEST, LAST):
        if (path / name).is_file():
            return path / name
    way_out = "give the folder of a run"
    if any(
        (path / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json", "model.ckpt.index")
    ):
        way_out = f"make one of the weights there with: python -m gpt import {path}"
    raise FileNotFoundError(f"{path} holds no checkpoint ({BEST} or {LAST}); {way_out}")


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of all tensors, and over the metadata."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
