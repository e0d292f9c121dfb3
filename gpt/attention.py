"""Multi-head attention: every token asks, every earlier token answers."""

import numpy as np

from nanograd import ops
from nanograd.nn import Dropout, Linear, Module
from nanograd.seeds import next_seed
from nanograd.tensor import Tensor


class MultiHeadAttention(Module):
    """Attend with n_heads heads of d_model/n_heads features (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).

    One matrix `w_qkv` makes queries, keys and values (its rows: all q heads, then k, then v); `out_proj` mixes what the
    heads found. causal lets a token see itself and earlier tokens only.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        causal: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        if n_heads < 1 or d_model % n_heads:
            raise ValueError(
                f"attention: d_model must be divisible by n_heads, got d_model={d_model} and n_heads={n_heads}"
            )
        self.n_heads = n_heads
        self.causal = causal
        self.w_qkv = Linear(d_model, 3 * d_model, bias=bias, rng=rng)
        self.out_proj = Linear(d_model, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)  # on what leaves out_proj; the same share is dropped from the probabilities

    def forward(self, x: Tensor, mask: np.ndarray | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). mask is boolean and broadcasts to (B, H, T, T): True where a token may look."""
        p = self.dropout.p if self.training else 0.0
        qkv = self.w_qkv(x)  # (B, T, 3 C): of each token q of all heads, then k, then v
        y = ops.packed_attention(
            qkv, mask, n_heads=self.n_heads, causal=self.causal, dropout=p, seed=next_seed() if p else None
        )  # (B, T, C): what the heads found, side by side
        return self.dropout(self.out_proj(y))
