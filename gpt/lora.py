"""LoRA adds a trainable low-rank update B A to a frozen weight.

A layer maps x to y = x Wᵀ + b. Full fine-tuning learns a change ΔW of the size of W; LoRA learns a ΔW of low rank r,

    ΔW = (alpha / r) B A,   A (r, in), B (out, r)                      (Hu et al. 2021, arXiv:2106.09685, equation 3)

with r (in + out) trainable numbers instead of in·out. B starts at 0, so training starts from the model as it was. The
frozen W needs no gradient, and the optimizer keeps no moments of it.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Linear, Module, Parameter

TARGETS = ("w_qkv", "out_proj", "up", "down", "gate")
A, B = "lora_a", "lora_b"


@dataclass(frozen=True)
class LoRASettings:
    """Rank, scale and target layers of a model's adapters, stored with them."""

    rank: int
    alpha: float
    targets: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rank < 1 or not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"lora: rank must be at least 1 and alpha above 0, got {self.rank} and {self.alpha}")


class LoRALinear(Linear):
    """A Linear with a low-rank update: y = x Wᵀ + b + (alpha/r) (x Aᵀ) Bᵀ.

    It replaces `linear` and shares its `weight` and `bias`, under the same names; both are frozen. A is initialised with
    variance 1/in, so that x Aᵀ has about the size of x, and B with 0.
    """

    def __init__(self, linear: Linear, rank: int, alpha: float, rng: np.random.Generator) -> None:
        n_out, n_in = linear.weight.shape
        dtype = linear.weight.dtype
        self.weight, self.bias = linear.weight, linear.bias
        for parameter in linear.parameters():
            parameter.requires_grad = False
        self.lora_a = Parameter((rng.standard_normal((rank, n_in), np.float32) * n_in**-0.5).astype(dtype))
        self.lora_b = Parameter(np.zeros((n_out, rank), dtype))
        self.scale = alpha / rank
        self.base_weight: np.ndarray | None = None  # W, while `weight` holds W + ΔW

    @property
    def merged(self) -> bool:
        """Tell whether `weight` holds W + ΔW."""
        return self.base_weight is not None

    def forward(self, x: Tensor) -> Tensor:
        y = ops.linear(x, self.weight, self.bias)  # (…, in) → (…, out)
        if self.merged:
            return y
        return y + ops.linear(ops.linear(x, self.lora_a) * self.scale, self.lora_b)  # (…, in) → (…, r) → (…, out)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.lora_a.shape[0]}{', merged' if self.merged else ''}"

    def merge(self) -> None:
        """Add ΔW to the weight: the layer is then as fast as one without adapter."""
        if self.base_weight is None:
            self.base_weight = self.weight.data.copy()
            self.weight.data = self.base_weight + low_rank_update(self.lora_a.data, self.lora_b.data, self.scale)

    def unmerge(self) -> None:
        """Restore W bit for bit: subtracting ΔW would round a second time."""
        if self.base_weight is not None:
            self.weight.data, self.base_weight = self.base_weight, None


def low_rank_update(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Return ΔW (out, in) of A (r, in) and B (out, r)."""
    update: np.ndarray = b @ a
    update *= scale
    return update


def merge_arrays(state: Mapping[str, np.ndarray], settings: LoRASettings) -> dict[str, np.ndarray]:
    """Return the state dict of the equivalent model without adapters: each weight is W + ΔW."""
    merged_state = {name: array for name, array in state.items() if name.rpartition(".")[2] not in (A, B)}
    for name in state:
        layer, _, last = name.rpartition(".")
        if last == A:
            if missing := {f"{layer}.{B}", f"{layer}.weight"} - state.keys():
                raise ValueError(f"the tensor {min(missing)!r} is missing, which belongs to {name!r}")
            update = low_rank_update(state[name], state[f"{layer}.{B}"], settings.alpha / settings.rank)
            merged_state[f"{layer}.weight"] = merged_state[f"{layer}.weight"] + update
    return merged_state


def add_lora(model: Module, rank: int, alpha: float, targets: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Freeze the whole model and add an adapter to every Linear that a target names; return the names of these layers.

    A target is the last component of a layer's name, one of TARGETS: `w_qkv` means every `blocks.{i}.attn.w_qkv`. The
    names in the state dict stay; `lora_a` and `lora_b` are added beside `weight`. Raises ValueError, and changes nothing,
    for a target that no layer has (`gate` where no MLP is gated).
    """
    if rank < 1 or not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"add_lora: rank must be at least 1 and alpha above 0, got {rank} and {alpha}")
    if has_lora(model):
        raise ValueError("add_lora: the model has adapters already; merge them permanently with merge_and_unload first")
    layers = [(owner, name, child) for owner in model.modules() for name, child in _linears(owner) if name in TARGETS]
    known = sorted({name for _, name, _ in layers})  # no head: the model reads its weight without calling it
    for target in targets:
        if target not in known:
            raise ValueError(f"lora_target: no layer is called {target!r}; this model has {', '.join(known)}")
    if not targets:
        raise ValueError(f"lora_target: it names no layer; this model has {', '.join(known)}")
    for parameter in model.parameters():
        parameter.requires_grad = False
    for owner, name, child in layers:
        if name in targets:
            setattr(owner, name, LoRALinear(child, rank, alpha, rng))
    return [name.removesuffix(f".{A}") for name, _ in model.named_parameters() if name.endswith(f".{A}")]


def lora_layers(model: Module) -> Iterator[LoRALinear]:
    """Yield the layers with an adapter."""
    return (module for module in model.modules() if isinstance(module, LoRALinear))


def has_lora(model: Module) -> bool:
    """Tell whether a model has adapters, merged or not."""
    return any(True for _ in lora_layers(model))


def merge_lora(model: Module) -> None:
    """Add every ΔW to its weight, until `unmerge_lora`: this takes a second copy of these weights."""
    for layer in lora_layers(model):
        layer.merge()


def unmerge_lora(model: Module) -> None:
    """Restore every weight, bit for bit."""
    for layer in lora_layers(model):
        layer.unmerge()


@contextlib.contextmanager
def merged(model: Module) -> Iterator[None]:
    """Merge the adapters inside this context, for example to sample from a model in training; unmerge them at the end."""
    unmerged = [layer for layer in lora_layers(model) if not layer.merged]
    try:
        for layer in unmerged:
            layer.merge()
        yield
    finally:
        for layer in unmerged:
            layer.unmerge()


def merge_and_unload(model: Module) -> None:
    """Merge permanently: ordinary Linear layers replace those with adapters."""
    merge_lora(model)
    for parent in list(model.modules()):
        for name, layer in _linears(parent):
            if isinstance(layer, LoRALinear):
                linear = Linear.__new__(Linear)
                linear.weight, linear.bias, linear.training = layer.weight, layer.bias, layer.training
                setattr(parent, name, linear)


def lora_state(model: Module) -> dict[str, np.ndarray]:
    """Return the adapters' arrays by name."""
    return {name: array for name, array in model.state_dict().items() if name.rpartition(".")[2] in (A, B)}


def check_merged(model: Module, caller: str) -> None:
    """Raise ValueError, in the name of `caller`, for adapters that are not merged: it reads the weights directly."""
    if any(not layer.merged for layer in lora_layers(model)):
        raise ValueError(f"{caller}: the model's adapters are not merged; call merge_lora or merge_and_unload first")


def _linears(parent: Module) -> Iterator[tuple[str, Linear]]:
    """Yield the attributes of a module that are Linear, from a copy: the caller may replace them."""
    yield from [(name, child) for name, child in vars(parent).items() if isinstance(child, Linear)]
