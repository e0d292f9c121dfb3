"""One block of the decoder."""

import numpy as np

from gpt.attention import MultiHeadAttention
from gpt.config import ModelConfig
from gpt.mlp import MLP
from nanograd.nn import LayerNorm, Module
from nanograd.tensor import Tensor


class Block(Module):
    """Let tokens exchange what they know, then let each think; both add to a stream that passes straight through.

    Normalising *before* each half (pre-norm, as GPT-2) leaves that stream free of any op, so a gradient reaches the
    first block unchanged (Xiong et al. 2020, arXiv:2002.04745).
    """

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None) -> None:
        d, bias, dropout = config.d_model, config.bias, config.dropout
        self.norm1 = LayerNorm(d, bias=bias)
        self.attn = MultiHeadAttention(d, config.n_heads, bias=bias, dropout=dropout, rng=rng)
        self.norm2 = LayerNorm(d, bias=bias)
        self.mlp = MLP(d, config.d_ff or 4 * d, bias=bias, dropout=dropout, rng=rng)

    def forward(self, x: Tensor, mask: np.ndarray | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))
