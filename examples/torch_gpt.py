"""The same GPT in PyTorch, as an experienced user would write it; bench.py compares ours with it.

The parameters have the names of gpt.model.GPT, so both load the same state_dict. bench.py and the tests import this
file; to run it does nothing.
"""

if __name__ == "__main__":  # --help does not need PyTorch
    from nanograd.runtime.arguments import Parser

    Parser(description=__doc__).parse()

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.config import ModelConfig


class Attention(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.n_heads = c.n_heads
        self.w_qkv = nn.Linear(c.d_model, 3 * c.d_model)
        self.out_proj = nn.Linear(c.d_model, c.d_model)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = (a.view(B, T, self.n_heads, -1).transpose(1, 2) for a in self.w_qkv(x).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(c.d_model, 4 * c.d_model)
        self.down = nn.Linear(4 * c.d_model, c.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.d_model)
        self.attn = Attention(c)
        self.norm2 = nn.LayerNorm(c.d_model)
        self.mlp = MLP(c)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TorchGPT(nn.Module):
    """gpt.model.GPT without dropout."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.tok_emb = nn.Embedding(c.vocab_size, c.d_model)
        self.pos_emb = nn.Embedding(c.context_length, c.d_model)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layers))
        self.norm = nn.LayerNorm(c.d_model)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.tok_emb(ids) + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tok_emb.weight)  # (B, T, V)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def adamw(model: TorchGPT, lr: float) -> torch.optim.AdamW:
    """Return the fused AdamW, with weight decay only for matrices."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)
