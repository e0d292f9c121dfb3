"""GPT: a decoder-only transformer, from token ids to the logits of the next token."""

import math

import numpy as np

from gpt.block import Block
from gpt.config import ModelConfig
from nanograd import ops
from nanograd.nn import Dropout, Embedding, LayerNorm, Module
from nanograd.tensor import Tensor


class GPT(Module):
    """The language model of Radford et al. 2019 (GPT-2), which see for the sizes.

    Token and position embeddings are added; n_layers blocks follow, a last normalisation, and a head that is the token
    table itself (tied, Press and Wolf 2017, arXiv:1608.05859).
    """

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None) -> None:
        rng = rng or np.random.default_rng()
        self.config = config
        self.tok_emb = Embedding(config.vocab_size, config.d_model, rng=rng)
        self.pos_emb = Embedding(config.context_length, config.d_model, rng=rng)
        self.dropout = Dropout(config.dropout)
        self.blocks = [Block(config, rng) for _ in range(config.n_layers)]
        self.norm = LayerNorm(config.d_model, bias=config.bias)
        self._initialise(rng)

    def _initialise(self, rng: np.random.Generator) -> None:
        """Draw every matrix from N(0, 0.02²), and those that write to the residual stream 1/√(2·n_layers) smaller.

        2·n_layers of them add up: so the stream leaves the last block about as large as one of them would be unscaled,
        however deep the model (Radford et al. 2019, section 2.3).
        """
        for name, p in self.named_parameters():
            if p.ndim < 2:
                continue  # gains stay 1, biases 0
            writes = name.endswith(("attn.out_proj.weight", "mlp.down.weight"))
            std = 0.02 / math.sqrt(2 * self.config.n_layers) if writes else 0.02
            drawn = rng.standard_normal(p.shape, dtype=np.float32)
            drawn *= std
            p.copy_(drawn)

    def forward(self, ids: np.ndarray, targets: np.ndarray | None = None, *, reduction: str = "mean") -> Tensor:
        """Return the logits (B, T, V) of the token after each of ids (B, T), or, given targets (B, T), their loss."""
        x, head = self.hidden(ids), self.tok_emb.weight
        if targets is None:
            return ops.linear(x, head)
        return ops.linear_cross_entropy(x, head, targets, reduction=reduction)  # the logits are never there at once

    def hidden(self, ids: np.ndarray) -> Tensor:
        """Return the features (B, T, C) that the head reads."""
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must be (batch, time), got shape {ids.shape}")
        T = ids.shape[1]
        if T > self.config.context_length:
            raise ValueError(f"GPT: {T} tokens are more than context_length={self.config.context_length}")
        x = self.tok_emb(ids) + self.pos_emb(np.arange(T))  # (B, T, C) + (T, C): without it "cat sat" = "sat cat"
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def loss(self, ids: np.ndarray, targets: np.ndarray, *, reduction: str = "mean") -> Tensor:
        """Return the cross-entropy, in nats a token, of targets (B, T); targets of -100 do not count."""
        return self(ids, np.asarray(targets), reduction=reduction)
