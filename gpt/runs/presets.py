"""Options from elsewhere than the flags of a call: a preset of size, the config.json of another run, a base's defaults."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from gpt.config import Config, ModelConfig, TrainConfig, known_fields
from gpt.data.dataset import is_prepared
from gpt.runs.estimate import muon_share
from gpt.runs.run import CONFIG
from nanograd.runtime.files import read_input
from nanograd.runtime.typed_json import read_json

GPT2_BLOCK = {"norm": "layernorm", "position": "learned", "mlp": "plain", "bias": True}
SIZES: dict[str, dict[str, Any]] = {
    "small": {"d_model": 128, "n_heads": 4, "n_layers": 4, "context_length": 128},
    "medium": {"d_model": 512, "n_heads": 8, "n_layers": 8, "context_length": 256},
    "gpt2": {"d_model": 768, "n_heads": 12, "n_layers": 12, "context_length": 1024, **GPT2_BLOCK},
}
# The defaults of a new run that measurements chose: the lowest bits per byte of held-out text after a minute on two cores
# (examples/defaults.py, with the table of what was tried).
RECIPE: dict[str, Any] = {
    "norm": "rmsnorm",
    "position": "rope",
    "mlp": "gated",
    "bias": False,
    "weight_decay": None,
    "ema": 0.98,
    "max_steps": 510,
}
RATES = {"muon": 1.0, "adamw": 0.5}  # of the optimizers: the best learning rate at d_model 128, times 128
NARROW = 64  # a narrower model has the rate of this width
MUON_PAYS = 1.0  # up to this cost of Muon, as a share of the operations of a step without it


TUNING_TOKENS = 4096  # of a micro-batch, if a trained model is trained further
# The best learning rate of LoRA is about 10 times that of full fine-tuning (Schulman and Thinking Machines Lab, "LoRA
# Without Regret", Thinking Machines Lab: Connectionism, 2025).
ADAPTERS_FACTOR = 10


class RunConfig(TypedDict):
    """What is read of a run's config.json."""

    model: dict[str, Any]
    train: NotRequired[dict[str, Any]]
    task: NotRequired[dict[str, Any]]


def with_presets(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags with the options that `size` and `config` stand for; other flags win, then the size.

    A list of one path in `data` becomes that path.
    """
    flags = {name: value for name, value in flags.items() if value is not None or name not in ("config", "size")}
    data = flags.get("data")
    if isinstance(data, list):
        flags["data"] = data[0] if len(data) == 1 else tuple(data)
    for name, words in (("config", "keeps its own options"), ("size", "has its shape")):
        if name in flags and flags.get("resume") is not None:
            raise ValueError(f"--{name} and --resume exclude each other: a resumed run {words}")
    values: dict[str, Any] = {}
    if (path := flags.pop("config", None)) is not None:
        values |= options_of(Path(path), shape=flags.get("init") is None)
    if (size := flags.pop("size", None)) is not None:
        if flags.get("init") is not None:
            raise ValueError("--size and --init exclude each other: the shape is the checkpoint's")
        if size not in SIZES:
            raise ValueError(f"size must be {', '.join(SIZES)}, got {size!r}")
        values |= SIZES[size]
    if all(flags.get(name) is None for name in ("init", "config", "resume")):
        values = RECIPE | values | flags
        return training_defaults(values) | values
    return values | flags


def training_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a new run that depend on others, unless they are given.

    optimizer     Muon for the hidden matrices, unless it adds more than MUON_PAYS to the operations of a step
    lr            RATES/d_model: a wide model, whose sums have more terms, needs a lower rate
    init_std      1/√d_model, with which a linear map keeps the size of its input
    warmup_steps  a tenth of the steps
    """
    model = ModelConfig(**known_fields(ModelConfig, options))
    sizes = ("batch_size", "grad_accum_steps", "max_steps")
    config = TrainConfig(**{name: options[name] for name in sizes if name in options})
    pays = muon_share(model, config) <= MUON_PAYS
    optimizer = options.get("optimizer", "muon" if pays else "adamw")
    rate = options.get("lr", RATES.get(optimizer, 1.0) / max(NARROW, model.d_model))
    std, warmup = model.d_model**-0.5, max(1, config.max_steps // 10)
    return {"optimizer": optimizer, "lr": rate, "init_std": std, "warmup_steps": warmup}


def tuning_rate(base: ModelConfig, *, adapters: bool = False) -> float:
    """Return the learning rate with which a trained model is trained further: 0.03/d_model, and of adapters ten times that.

    A wide model needs a low rate, as from scratch; but it has much to lose: from scratch GPT-2's width takes 6e-4. Of
    SmolLM2, 25 steps of 8 instructions at these rates lower the held-out loss from 1.375 to 0.961, its adapters to 1.051.

    >>> f"{tuning_rate(ModelConfig(d_model=768, n_heads=12)):.1e}"  # GPT-2
    '3.9e-05'
    """
    return 0.03 / base.d_model * (ADAPTERS_FACTOR if adapters else 1)


def tuning_defaults(base: ModelConfig) -> dict[str, Any]:
    """Return the options of train that depend on the base, unless they are given: learning rate and batch size."""
    most = TrainConfig.batch_size
    return {"lr": tuning_rate(base), "batch_size": max(1, min(most, TUNING_TOKENS // base.context_length))}


def options_of(path: Path, *, shape: bool) -> dict[str, Any]:
    """Return the options in the config.json of a run, or in its folder; without `shape`, those of the training alone."""
    model, train = read_config(path / CONFIG if path.is_dir() else path)
    options, prepared = given_fields(train), isinstance(train.data, str) and is_prepared(train.data)
    if prepared or not shape:  # a prepared folder and a checkpoint have their tokenizer
        options.pop("tokenizer", None)
    if shape:
        options |= given_fields(model)
        if prepared or train.tokenizer == "char":
            options.pop("vocab_size", None)
    return options


def read_config(path: Path, *, finetuned: bool = False) -> tuple[ModelConfig, TrainConfig]:
    """Read a run's config.json; "train" may be absent. That of a fine-tuning is refused, or read in part."""
    try:
        fields = read_json(read_input(path), RunConfig)
        training = fields.get("train", {})
        if "task" in fields:
            if not finetuned:
                raise ValueError("it is of a fine-tuned model; give that of a run of train")
            training = known_fields(TrainConfig, training)
        return ModelConfig.from_dict(fields["model"]), TrainConfig.from_dict(training)
    except ValueError as error:
        raise ValueError(f'{path} is no config of a run, {{"model": {{…}}, "train": {{…}}}}: {error}') from None


def given_fields(config: Config) -> dict[str, Any]:
    """Return the fields without which the config would be another one: neither defaults nor computed from others."""
    values = config.to_dict()
    for name, value in config.to_dict().items():
        others = {other: values[other] for other in values if other != name}
        with contextlib.suppress(ValueError):  # the others need this one
            if getattr(type(config)(**others), name) == value:
                values = others
    return values
