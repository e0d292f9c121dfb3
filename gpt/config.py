"""All options, of a model, of a run and of sampling: frozen dataclasses, from which the command line is generated.

Each field is typed, has a default and one phrase of help, and is checked when the object is made. None means "off" or
"chosen for you".
"""

import dataclasses
import math
import numbers
import operator
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Self

from nanograd.runtime.arguments import nearest

NORMS = ("layernorm", "rmsnorm")
POSITIONS = ("learned", "rope")
ROPE_SCALINGS = ("linear", "llama3")
MLPS = ("plain", "gated")
ACTIVATIONS = ("gelu_tanh", "gelu", "relu", "silu")
SAMPLINGS = ("random", "epochs")
DOCUMENTS = ("joined", "apart")
OPTIMIZERS = ("adamw", "muon")
SCHEDULES = ("cosine", "linear", "wsd", "constant")
BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {  # of `option`: whether a value is within, and words
    "least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
    "most": (operator.le, "at most"),
}
TOO_LARGE = 2**63
NUMBERS = {int: numbers.Integral, float: numbers.Real}
RENAMED = {"tie_head": "tie_embeddings", "base": "init"}  # what fields were called before: in old files, and as flags


def option(default: Any, text: str, *, among: tuple[str, ...] = (), several: bool = False, **bounds: float) -> Any:
    """Declare a field: its default, its help, the range it must lie in (see BOUNDS), or the words it must be among.

    `several` values may be given: a list of one is that one, a longer list becomes a tuple.

    A field whose default is None may be left out, or be None: it is then off, or computed from the other fields.
    """
    assert bounds.keys() <= BOUNDS.keys(), bounds
    return dataclasses.field(
        default=default, metadata={"help": text, "among": among, "several": several, "bounds": bounds}
    )


class ComputedInt(int):
    """A number that a config computed. `dataclasses.replace` passes it on, and the new config computes it again."""


class ComputedFloat(float):
    """A number that a config computed, as ComputedInt."""


class ComputedStr(str):
    """A word that a config computed, as ComputedInt."""


def field_types(config: type) -> dict[str, tuple[type, bool]]:
    """Return the plain type of each field, and whether None is allowed."""
    types, hints = {}, typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        hint = hints[field.name]
        members = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        optional = type(None) in members or field.default is None
        types[field.name] = next(m for m in members if m is not type(None)), optional
    return types


@dataclass(frozen=True)
class Config:
    """Check every field against its type and range; an invalid value raises a ValueError that says how to fix it."""

    def __post_init__(self) -> None:
        for name, (kind, optional) in field_types(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, (ComputedInt, ComputedFloat, ComputedStr)):
                value = None
                object.__setattr__(self, name, value)
            if value is None and optional:
                continue
            rules: Any = self.__dataclass_fields__[name].metadata
            if rules["several"] and isinstance(value, (list, tuple)) and {type(item) for item in value} == {kind}:
                object.__setattr__(self, name, value[0] if len(value) == 1 else tuple(value))
                continue
            if kind in NUMBERS and isinstance(value, NUMBERS[kind]) and not isinstance(value, bool):
                if isinstance(value, numbers.Integral) and abs(int(value)) >= TOO_LARGE:
                    raise ValueError(f"{name} must be below 2**63, got a larger number")
                value = kind(value)  # a NumPy number too
                object.__setattr__(self, name, value)
            if type(value) is not kind:
                raise ValueError(f"{name} must be {kind.__name__}{' or none' if optional else ''}, got {value!r}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
            for rule, bound in rules["bounds"].items():
                holds, words = BOUNDS[rule]
                if not holds(value, bound):
                    raise ValueError(f"{name} must be {words} {bound:g}, got {value}")
            if rules["among"] and value not in rules["among"]:
                *first, last = rules["among"]
                near = nearest(str(value), list(rules["among"]))
                raise ValueError(f"{name} must be {', '.join(first)} or {last}, got {value!r}{near}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make one from `to_dict`, also of earlier versions; an unknown key is an error that suggests the nearest name."""
        return cls(**cls._known_values(values))

    @classmethod
    def _known_values(cls, values: dict[str, Any]) -> dict[str, Any]:
        known = [f.name for f in dataclasses.fields(cls)]
        values = {RENAMED.get(key, key): value for key, value in values.items()}
        for key in values:
            if key not in known:
                raise ValueError(f"{cls.__name__}: unknown key {key!r}{nearest(key, known)}")
        return values


def known_fields(config: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the values that are fields of a config, such as the flags of a command line."""
    names = {field.name for field in dataclasses.fields(config)}
    return {name: value for name, value in values.items() if name in names}


def check_options(caller: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, in the name of the function that was called, for an option that it does not have."""
    known = list(known)
    for name in options:
        if name not in known:
            raise TypeError(f"{caller}: there is no option {name!r}{nearest(name, known)}")


@dataclass(frozen=True)
class ModelConfig(Config):
    """The shape of a GPT.

    The defaults are those of GPT-2's block; norm=rmsnorm, position=rope, mlp=gated and bias=False make Llama's. The fields
    d_ff, activation, n_kv_heads and head_dim may be left out: they are then computed from the others.
    """

    vocab_size: int = option(1024, "number of tokens in the vocabulary", least=1)
    context_length: int = option(128, "how many tokens the model sees at once", least=1)
    d_model: int = option(128, "size of a token's hidden state", least=1)
    n_layers: int = option(4, "number of blocks", least=1)
    n_heads: int = option(4, "attention heads; d_model must be divisible by it unless head_dim is given", least=1)
    d_ff: int = option(
        None, "hidden size of the MLP; if none 4·d_model; if gated 8/3·d_model, rounded up to a multiple of 8", least=1
    )
    dropout: float = option(0.0, "share of features dropped while training", least=0, below=1)
    bias: bool = option(True, "biases in linear maps and normalisations")
    qkv_bias: bool = option(None, "biases of queries, keys and values; as bias if none")
    mlp_bias: bool = option(None, "biases in the MLP; as bias if none")
    norm: str = option("layernorm", "layernorm, or rmsnorm, which neither centres nor shifts", among=NORMS)
    norm_eps: float = option(1e-5, "added to the variance, or mean square, by a normalisation", above=0)
    position: str = option("learned", "learned: embed each position; rope: rotate queries and keys", among=POSITIONS)
    rope_theta: float = option(10000.0, "base of rope's wavelengths: the longest is about 2π times it", above=0)
    rope_scaling: str = option(
        None, "linear: divide all of rope's frequencies by rope_factor; llama3: only the low ones", among=ROPE_SCALINGS
    )
    rope_factor: float = option(8.0, "rope_scaling: the new context as a multiple of the original one", least=1)
    rope_original_context: int = option(8192, "llama3: the original context, in tokens", least=1)
    rope_low_freq_factor: float = option(1.0, "llama3: with fewer turns in it, a frequency is divided", above=0)
    rope_high_freq_factor: float = option(4.0, "llama3: with more turns in it, a frequency stays", above=0)
    window: int = option(None, "how many tokens a token attends to, with itself; all before it if none", least=1)
    mlp: str = option(
        "plain", "plain: linear, activation, linear; gated: activation(gate(x)) · up(x), linear (SwiGLU)", among=MLPS
    )
    activation: str = option(
        None, "gelu_tanh, gelu, relu or silu; if none, gelu_tanh, and silu in a gated MLP (SwiGLU)", among=ACTIVATIONS
    )
    n_kv_heads: int = option(None, "key and value heads, each shared by some query heads; n_heads if none", least=1)
    head_dim: int = option(None, "size of a head; d_model / n_heads if none", least=1)
    qk_norm: bool = option(False, "normalise the queries and keys of each head by rmsnorm")
    tie_embeddings: bool = option(True, "use the token embedding as output projection too (weight tying)")
    init_std: float = option(
        0.02, "standard deviation of the initial matrices in the blocks; those of embeddings have 0.02", above=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim is None:
            self._check_divisible("d_model", "n_heads")
        gated = self.mlp == "gated"  # 8/3 in three matrices are as many weights as 4 in two
        defaults = {
            "d_ff": ComputedInt(-(-self.d_model * 8 // 24) * 8 if gated else 4 * self.d_model),
            "activation": ComputedStr("silu" if gated else "gelu_tanh"),
            "n_kv_heads": ComputedInt(self.n_heads),
            "head_dim": ComputedInt(self.d_model // self.n_heads),
        }
        for name, default in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self._check_divisible("n_heads", "n_kv_heads")
        if self.rope_low_freq_factor >= self.rope_high_freq_factor:
            factors = f"got {self.rope_low_freq_factor:g} and {self.rope_high_freq_factor:g}"
            raise ValueError(f"rope_low_freq_factor must be below rope_high_freq_factor, {factors}")
        D = self.head_dim
        if self.position == "rope" and D % 2:
            raise ValueError(f"position=rope rotates pairs of features: head_dim must be even, got {D}; try {D + 1}")

    def linear_bias(self, layer: str) -> bool:
        """Return whether a linear map of a block, such as attn.w_qkv or mlp.up, has a bias."""
        exception = self.mlp_bias if "mlp." in layer else self.qkv_bias if layer.endswith("w_qkv") else None
        return self.bias if exception is None else exception

    def _check_divisible(self, name: str, by: str) -> None:
        """Raise ValueError unless one field is divisible by another; suggest the nearest number that divides it."""
        number, divisor = getattr(self, name), getattr(self, by)
        if number % divisor:
            start = min(divisor, number)
            candidates = (n for gap in range(min(start, 10_000)) for n in (start - gap, start + gap))
            near = next((n for n in candidates if number % n == 0), 1)
            got = f"{name}={number} and {by}={divisor}"
            raise ValueError(f"{name} must be divisible by {by}, got {got}; try {by}={near}")


@dataclass(frozen=True)
class LoopConfig(Config):
    """The options that pretraining and all fine-tuning share."""

    data: str | tuple[str, ...] | None = option(None, "the data to train on")
    seed: int = option(0, "number that all randomness derives from", least=0, below=2**32)
    max_steps: int = option(600, "updates of the parameters", least=1)
    batch_size: int = option(16, "examples in a micro-batch", least=1)
    grad_accum_steps: int = option(
        1, "micro-batches whose gradients are added up for an update, in the memory of one", least=1
    )
    shards: int | None = option(None, "shards of a batch computed in parallel; chosen for the machine if none", least=1)
    recompute: bool | None = option(
        None, "compute activations again in backward: less memory, more time; if none, where memory would not suffice"
    )
    lr: float = option(2e-3, "highest learning rate", least=0)
    min_lr: float = option(None, "learning rate at the end of the schedule; lr / 10 if none", least=0)
    warmup_steps: int = option(60, "updates over which the learning rate rises", least=0)
    schedule: str = option(
        "cosine",
        "how the learning rate falls: cosine, linear, constant, or wsd, only in the last decay_steps",
        among=SCHEDULES,
    )
    decay_steps: int = option(None, "updates in which wsd lowers the rate; max_steps / 5 if none", least=1)
    weight_decay: float = option(0.1, "decay of matrices and embeddings, per unit of learning rate", least=0)
    beta1: float = option(0.9, "decay rate of AdamW's first moment", least=0, below=1)
    beta2: float = option(0.99, "decay rate of AdamW's second moment", least=0, below=1)
    ema: float | None = option(
        None, "decay of an exponential average of the weights, which is then evaluated and saved; off if none",
        above=0, below=1,
    )  # fmt: skip
    grad_clip: float | None = option(1.0, "largest norm of the gradient; off if none", least=0)
    eval_every: int = option(100, "updates between evaluations; the last one is always evaluated", least=1)
    save_every: int = option(100, "updates between checkpoints; the last one is always saved", least=1)
    patience: int | None = option(None, "stop after this many evaluations without improvement; never if none", least=1)

    def __post_init__(self) -> None:
        self._check_fields()
        for name, off in (("lr", ""), ("grad_clip", "; none turns clipping off")):
            if getattr(self, name) == 0:
                raise ValueError(f"{name} must be above 0, got 0: the model would learn nothing{off}")
        if self.min_lr > self.lr:
            rates = f"got min_lr={self.min_lr:g} and lr={self.lr:g}"
            raise ValueError(f"min_lr must be at most lr, {rates}: the rate would rise; leave min_lr out")
        if self.weight_decay is not None and self.lr * self.weight_decay >= 1:
            rates = f"got {self.lr:g} · {self.weight_decay:g}"
            raise ValueError(
                f"lr · weight_decay must be below 1, {rates}: it is the share of a weight that an update removes"
            )

    def _check_fields(self) -> None:
        """Check each field, and compute min_lr and decay_steps."""
        super().__post_init__()
        if type(self).min_lr is None and self.min_lr in (None, self.lr / 10):
            object.__setattr__(self, "min_lr", ComputedFloat(self.lr / 10))
        if self.decay_steps in (None, max(1, self.max_steps // 5)):
            object.__setattr__(self, "decay_steps", ComputedInt(max(1, self.max_steps // 5)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make one from `to_dict`, also of earlier versions, which allowed a rate of 0 or one that rises."""
        values = cls._known_values(values)
        config = object.__new__(cls)
        for field in dataclasses.fields(cls):
            object.__setattr__(config, field.name, values.get(field.name, field.default))
        config._check_fields()
        return config


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How a model is pretrained."""

    data: str | tuple[str, ...] | None = option(
        None, "texts, folders of texts, or a folder of data prepare; Python's own documentation if none", several=True
    )
    batch_size: int = option(16, "windows of text in a micro-batch", least=1)
    tokenizer: str = option("bpe", "char, bpe, or the path of a saved tokenizer")
    weight_decay: float | None = option(  # type: ignore[assignment]
        0.1,
        "decay of matrices and embeddings, per unit of learning rate; if none, by the passes over the text: the more, "
        "the stronger",
        least=0,
    )
    optimizer: str = option("adamw", "adamw, or muon for the hidden matrices and adamw for the rest", among=OPTIMIZERS)
    sampling: str = option("random", "random windows, or epochs: each window once an epoch, shuffled", among=SAMPLINGS)
    documents: str = option(
        "joined",
        "joined: windows begin anywhere; apart: at documents, and no token attends to another document",
        among=DOCUMENTS,
    )
    stride: int | None = option(None, "tokens from window to window; if none, 1, or context_length in epochs", least=1)
    val_fraction: float = option(
        0.1, "share of the text for validation: its end; of a folder whole documents and ends", least=0, below=1
    )
    eval_batches: int | None = option(20, "batches in an evaluation; the whole validation text if none", least=1)
    sample_every: int | None = option(
        None, "updates between lines that the model writes; at each evaluation if none, 0 is off", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.documents == "apart" and self.stride is not None:
            raise ValueError("stride: with documents=apart a window begins where a document does; leave stride out")

    @property
    def paths(self) -> tuple[str, ...]:
        """The files and folders of the data."""
        return () if self.data is None else (self.data,) if isinstance(self.data, str) else self.data


@dataclass(frozen=True)
class SampleConfig(Config):
    """How the next token is chosen."""

    max_new_tokens: int = option(200, "number of tokens to generate", least=0)
    temperature: float = option(0.8, "0: the most probable token; 1: the model's distribution; more: flatter", least=0)
    top_k: int | None = option(None, "sample from the k most probable tokens only", least=1)
    top_p: float | None = option(None, "sample from the fewest tokens with this total probability", least=0, most=1)
    min_p: float | None = option(None, "least probability of a token, as a share of the highest", least=0, most=1)
    repetition_penalty: float | None = option(None, "make earlier tokens less probable; 1 is off, 1.2 usual", least=1)
    seed: int = option(0, "number that all randomness derives from", least=0, below=2**32)
