"""LoRA: beside a frozen matrix a narrow detour is trained, A down to a few features and B up again.

A layer maps x to y = x Wᵀ + b. Fine-tuning changes W by some ΔW of its own size; LoRA looks for a ΔW of low rank r,

    ΔW = (alpha / r) B A,   A (r, in), B (out, r)                      (Hu et al. 2021, arXiv:2106.09685, equation 3)

and trains r (in + out) numbers instead of in·out. B starts at 0, so the model starts as it was. W itself costs no
gradient, and the optimizer keeps no averages of it.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module, Parameter

TARGETS = ("w_qkv", "out_proj", "up", "down", "gate")
A, B = "lora_a", "lora_b"


@dataclass(frozen=True)
class LoRASettings:
    """What the adapters of a model are: it is stored with them."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        return {"rank": self.rank, "alpha": self.alpha, "targets": list(self.targets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make one from `to_dict`."""
        return cls(int(values["rank"]), float(values["alpha"]), tuple(map(str, values["targets"])))


class LoRALinear(Linear):
    """A Linear with a detour: y = x Wᵀ + b + (alpha/r) (x Aᵀ) Bᵀ.

    It takes the place of `inner` and holds its `weight` and `bias` themselves, under the same names; W and b no longer
    train. A starts at variance 1/in, so that x Aᵀ has about the size of x, and B at 0.
    """

    def __init__(self, inner: Linear, rank: int, alpha: float, rng: np.random.Generator) -> None:
        n_out, n_in = inner.weight.shape
        dtype = inner.weight.dtype
        self.weight, self.bias = inner.weight, inner.bias
        for parameter in inner.parameters():
            parameter.requires_grad = False
        self.lora_a = Parameter((rng.standard_normal((rank, n_in), np.float32) * n_in**-0.5).astype(dtype))
        self.lora_b = Parameter(np.zeros((n_out, rank), dtype))
        self.scale = alpha / rank
        self.original: np.ndarray | None = None  # W as it was, while ΔW is added to it

    @property
    def merged(self) -> bool:
        """Tell whether `weight` holds W + ΔW."""
        return self.original is not None

    def forward(self, x: Tensor) -> Tensor:
        y = ops.linear(x, self.weight, self.bias)  # (…, in) → (…, out)
        if self.merged:
            return y
        return y + ops.linear(ops.linear(x, self.lora_a) * self.scale, self.lora_b)  # (…, in) → (…, r) → (…, out)

    def merge(self) -> None:
        """Add ΔW to the weight: the layer is then as fast as it was without adapter."""
        if self.original is None:
            self.original = self.weight.data.copy()
            self.weight.data = self.original + delta(self.lora_a.data, self.lora_b.data, self.scale)

    def unmerge(self) -> None:
        """Put W back, to the last bit: subtracting ΔW would round a second time."""
        if self.original is not None:
            self.weight.data, self.original = self.original, None


def delta(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Return ΔW (out, in) of A (r, in) and B (out, r)."""
    update: np.ndarray = b @ a
    update *= scale
    return update


def merge_arrays(state: Mapping[str, np.ndarray], settings: LoRASettings) -> dict[str, np.ndarray]:
    """Return the arrays of a model without adapters that computes the same: ΔW is added to each weight."""
    whole = {name: array for name, array in state.items() if name.rpartition(".")[2] not in (A, B)}
    for name in state:
        place, _, last = name.rpartition(".")
        if last == A:
            weight = f"{place}.weight"
            whole[weight] = whole[weight] + delta(state[name], state[f"{place}.{B}"], settings.alpha / settings.rank)
    return whole


def add_lora(model: Module, rank: int, alpha: float, targets: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Freeze the whole model and give an adapter to every Linear that a target names; return the names of those.

    A target is the last part of a name, one of TARGETS: `w_qkv` means every `blocks.{i}.attn.w_qkv`. Names of the state
    dict stay, and `lora_a` and `lora_b` come beside `weight`. A target that no layer has (`gate` where no MLP is gated) is
    a ValueError, and nothing has changed.
    """
    check_rank(rank, alpha)
    if has_lora(model):
        raise ValueError("add_lora: the model has adapters already; merge them for good with absorb_lora first")
    places = [
        (parent, name, child) for parent in model.modules() for name, child in _linears(parent) if name in TARGETS
    ]
    known = sorted({name for _, name, _ in places})  # not the head: the model reads its weight without calling it
    for target in targets:
        if target not in known:
            raise ValueError(f"lora_target: no layer is called {target!r}; this model has {', '.join(known)}")
    if not targets:
        raise ValueError(f"lora_target: names no layer; this model has {', '.join(known)}")
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parent, name, child in places:
        if name in targets:
            setattr(parent, name, LoRALinear(child, rank, alpha, rng))
    return [name.removesuffix(f".{A}") for name, _ in model.named_parameters() if name.endswith(f".{A}")]


def check_rank(rank: int, alpha: float) -> None:
    """Raise ValueError for settings that no adapter can have."""
    if rank < 1 or not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"add_lora: rank must be at least 1 and alpha above 0, got {rank} and {alpha}")


def lora_layers(model: Module) -> Iterator[LoRALinear]:
    """Yield the layers with an adapter."""
    return (module for module in model.modules() if isinstance(module, LoRALinear))


def has_lora(model: Module) -> bool:
    """Tell whether a model has adapters, merged or not."""
    return any(True for _ in lora_layers(model))


def merge_lora(model: Module) -> None:
    """Add every ΔW to its weight, for a while: it takes a second copy of those weights."""
    for layer in lora_layers(model):
        layer.merge()


def unmerge_lora(model: Module) -> None:
    """Put every weight back as it was, bit for bit."""
    for layer in lora_layers(model):
        layer.unmerge()


@contextlib.contextmanager
def merged(model: Module) -> Iterator[None]:
    """Merge inside, as to write text with a model that is being trained; a model without adapters stays as it is."""
    before = [layer for layer in lora_layers(model) if not layer.merged]
    try:
        for layer in before:
            layer.merge()
        yield
    finally:
        for layer in before:
            layer.unmerge()


def absorb_lora(model: Module) -> None:
    """Merge for good: ordinary layers take the places back, and nothing is left of the adapters."""
    merge_lora(model)
    for parent in list(model.modules()):
        for name, layer in _linears(parent):
            if isinstance(layer, LoRALinear):
                plain = Linear.__new__(Linear)
                plain.weight, plain.bias, plain.training = layer.weight, layer.bias, layer.training
                setattr(parent, name, plain)


def lora_state(model: Module) -> dict[str, np.ndarray]:
    """Return the arrays of the adapters by name."""
    return {name: array for name, array in model.state_dict().items() if name.rpartition(".")[2] in (A, B)}


def check_merged(model: Module, who: str) -> None:
    """Raise ValueError where `who` reads the weights by itself, and would not see adapters that are not merged."""
    if any(not layer.merged for layer in lora_layers(model)):
        raise ValueError(
            f"{who}: the model has LoRA adapters that are not merged; call merge_lora(model) first, or absorb_lora(model)"
        )


def _linears(parent: Module) -> Iterator[tuple[str, Linear]]:
    """Yield the linear maps that are attributes of a module, as a copy: the caller may replace them."""
    yield from [(name, child) for name, child in vars(parent).items() if isinstance(child, Linear)]
