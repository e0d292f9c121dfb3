"""One block of the decoder."""

import numpy as np

from gpt.attention import MultiHeadAttention
from gpt.config import ModelConfig
from gpt.mlp import make_mlp
from gpt.norm import make_norm
from nanograd._tensor import Tensor
from nanograd.nn import Module


class Block(Module):
    """Let tokens exchange what they know, then let each think; both add to a stream that passes straight through.

    Normalising *before* each half (pre-norm, as GPT-2) leaves that stream free of any op, so a gradient reaches the
    first block unchanged (Xiong et al. 2020, arXiv:2002.04745). The block of GPT-2 and that of Llama differ in the parts
    that the config names: norm, position, mlp, n_kv_heads, bias; the two lines of `forward` are the same.
    """

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None) -> None:
        self.norm1 = make_norm(config)
        self.attn = MultiHeadAttention(
            config.d_model,
            config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            rope_theta=config.rope_theta if config.position == "rope" else None,
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
            bias=config.bias,
            dropout=config.dropout,
            rng=rng,
        )
        self.norm2 = make_norm(config)
        self.mlp = make_mlp(config, rng)

    def forward(self, x: Tensor, mask: np.ndarray | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        x = x + self.attn(self.norm1(x), mask)
        return x + self.mlp(self.norm2(x))
