"""The feed-forward half of a block: each token thinks for itself."""

import numpy as np

from gpt.config import ModelConfig
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Dropout, Linear, Module

BENDS = {"gelu_tanh": ops.gelu_tanh, "gelu": ops.gelu, "relu": ops.relu, "silu": ops.silu}


class MLP(Module):
    """Widen to d_ff features, bend, narrow again: down(bend(up x))."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str = "gelu_tanh",
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.bend = BENDS[activation]
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        return self.dropout(self.down(self.bend(self.up(x))))  # (B, T, d_ff) in between


class GatedMLP(Module):
    """Widen twice, let what is bent weigh the other, narrow again: down(bend(gate x) · up x).

    SwiGLU where silu bends (Shazeer 2020, arXiv:2002.05202, section 2). At equal d_ff it has half as many weights again.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str = "silu",
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.bend = BENDS[activation]
        self.gate = Linear(d_model, d_ff, bias=bias, rng=rng)
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        gate, value = self.gate(x), self.up(x)  # (B, T, d_ff) each
        passed = ops.swiglu(gate, value) if self.bend is ops.silu else self.bend(gate) * value
        return self.dropout(self.down(passed))


def make_mlp(config: ModelConfig, rng: np.random.Generator | None = None) -> MLP | GatedMLP:
    """Return the MLP that a model is made with."""
    kind = GatedMLP if config.mlp == "gated" else MLP
    return kind(
        config.d_model, config.mlp_size, activation=config.bend, bias=config.bias, dropout=config.dropout, rng=rng
    )
