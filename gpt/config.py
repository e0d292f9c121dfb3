"""What a model and a run are made of: frozen dataclasses, from which the command line is generated.

Each field is typed, has a default and one phrase of help, and is checked when the object is made; None means "off" or
"chosen for you".
"""

import dataclasses
import difflib
import math
import typing
from dataclasses import dataclass
from types import UnionType
from typing import Any, Self

SAMPLINGS = ("random", "epochs")


def option(
    default: Any, text: str, *, least: float | None = None, most: float | None = None, below: float | None = None
) -> Any:
    """Declare a field: its default, its help, and the range it must lie in: from least, to most or below."""
    return dataclasses.field(default=default, metadata={"help": text, "least": least, "most": most, "below": below})


def field_types(config: type) -> dict[str, tuple[type, bool]]:
    """Return each field's plain type, and whether None is allowed."""
    types = {}
    for name, hint in typing.get_type_hints(config).items():
        members = typing.get_args(hint) if isinstance(hint, UnionType) else (hint,)
        types[name] = next(m for m in members if m is not type(None)), type(None) in members
    return types


@dataclass(frozen=True)
class Config:
    """Check every field against its type and range; a mistake is a ValueError that says the way out."""

    def __post_init__(self) -> None:
        for name, (kind, optional) in field_types(type(self)).items():
            value = getattr(self, name)
            if value is None and optional:
                continue
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
                object.__setattr__(self, name, value)
            if type(value) is not kind:
                raise ValueError(f"{name} must be {kind.__name__}{' or none' if optional else ''}, got {value!r}")
            rules: Any = self.__dataclass_fields__[name].metadata
            least, most, below = rules["least"], rules["most"], rules["below"]
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got {value}")
            if least is not None and value < least:
                raise ValueError(f"{name} must be at least {least:g}, got {value}")
            if below is not None and value >= below:
                raise ValueError(f"{name} must be below {below:g}, got {value}")
            if most is not None and value > most:
                raise ValueError(f"{name} must be at most {most:g}, got {value}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make one from `to_dict`; an unknown key is an error that suggests the nearest name."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(f"{cls.__name__}: unknown key {key!r}{nearest(key, known)}")
        return cls(**values)


def nearest(word: str, known: list[str]) -> str:
    """Return "; did you mean …?" for a misspelt word, or nothing where none is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True)
class ModelConfig(Config):
    """The shape of a GPT."""

    vocab_size: int = option(1024, "number of tokens in the vocabulary", least=1)
    context_length: int = option(128, "how many tokens the model sees at once", least=1)
    d_model: int = option(128, "features of a token", least=1)
    n_layers: int = option(4, "blocks", least=1)
    n_heads: int = option(4, "attention heads; d_model must be divisible by it", least=1)
    d_ff: int | None = option(None, "features inside the MLP; 4·d_model if none", least=1)
    dropout: float = option(0.0, "share of features dropped while training", least=0, below=1)
    bias: bool = option(True, "biases in linear maps and normalisations")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be divisible by n_heads, got d_model={self.d_model} and n_heads={self.n_heads}; "
                f"try n_heads={_divisor_near(self.d_model, self.n_heads)}"
            )


def _divisor_near(d_model: int, n_heads: int) -> int:
    near = min(n_heads, d_model)
    return next(n for gap in range(near) for n in (near - gap, near + gap) if d_model % n == 0)


@dataclass(frozen=True)
class TrainConfig(Config):
    """How a model is trained."""

    data: str | None = option(
        None, "a text, a folder of texts, or a folder of data prepare; Python's own documentation if not given"
    )
    tokenizer: str = option("bpe", "char, bpe, or the path of a saved tokenizer")
    seed: int = option(0, "number that all randomness derives from", least=0, below=2**32)
    sampling: str = option("random", "random windows, or epochs: each window once, in a new order every time round")
    stride: int | None = option(
        None, "tokens from one window to the next; if none, 1 at random and context_length in epochs", least=1
    )
    max_steps: int = option(600, "updates of the parameters", least=1)
    batch_size: int = option(16, "windows of text in a micro-batch", least=1)
    grad_accum_steps: int = option(
        1, "micro-batches in an update: the same result as a larger batch, in less memory", least=1
    )
    shards: int | None = option(None, "parts of a batch that run side by side; chosen for the machine if none", least=1)
    lr: float = option(2e-3, "highest learning rate", least=0)
    min_lr: float = option(2e-4, "learning rate at the end of the cosine", least=0)
    warmup_steps: int = option(60, "updates over which the learning rate rises", least=0)
    weight_decay: float = option(0.1, "decay of matrices and embeddings, per unit of learning rate", least=0)
    beta1: float = option(0.9, "AdamW's memory of the gradient", least=0, below=1)
    beta2: float = option(0.99, "AdamW's memory of the squared gradient", least=0, below=1)
    grad_clip: float | None = option(1.0, "largest norm of the gradient; off if none", least=0)
    val_fraction: float = option(0.1, "share of the text, at its end, kept for validation", least=0, below=1)
    eval_every: int = option(100, "updates between evaluations; the last one is always evaluated", least=1)
    eval_batches: int | None = option(20, "batches in an evaluation; the whole validation text if none", least=1)
    save_every: int = option(100, "updates between checkpoints; the last one is always saved", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be {' or '.join(SAMPLINGS)}, got {self.sampling!r}")


@dataclass(frozen=True)
class SampleConfig(Config):
    """How text is drawn from a model."""

    max_new_tokens: int = option(200, "tokens to write", least=0)
    temperature: float = option(0.8, "0 always takes the likeliest token, 1 follows the model, more is wilder", least=0)
    top_k: int | None = option(None, "draw from the k likeliest tokens only", least=1)
    top_p: float | None = option(
        None, "draw from the likeliest tokens that together reach this probability", least=0, most=1
    )
    seed: int = option(0, "number that all randomness derives from", least=0, below=2**32)
