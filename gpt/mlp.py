"""The feed-forward half of a block: each token thinks for itself."""

import numpy as np

from nanograd import ops
from nanograd.nn import Dropout, Linear, Module
from nanograd.tensor import Tensor


class MLP(Module):
    """Widen to d_ff features, bend with GELU, narrow again."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        return self.dropout(self.down(ops.gelu_tanh(self.up(x))))  # (B, T, d_ff) in between
