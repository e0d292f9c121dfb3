"""GPT: a decoder-only transformer, from token ids to the logits of the next token."""

import math
import os
from typing import Any, Self

import numpy as np

from gpt.block import Block
from gpt.config import ModelConfig
from gpt.norm import make_norm
from gpt.pretrained import Pretrained, load_pretrained
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Dropout, Embedding, Linear, Module, Parameter


class GPT(Module):
    """The language model of Radford et al. 2019 (GPT-2), which see for the sizes, or a later one: the config says.

    Token and position embeddings are added; n_layers blocks follow, a last normalisation, and a head that is the token
    table itself (tied, Press and Wolf 2017, arXiv:1608.05859). With position=rope there is no table of positions, since
    attention turns queries and keys; with tie_head off the head has a table of its own.
    """

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None) -> None:
        rng = rng or np.random.default_rng()
        self.config = config
        self.tok_emb = Embedding(config.vocab_size, config.d_model, rng=rng)
        learned = config.position == "learned"
        self.pos_emb = Embedding(config.context_length, config.d_model, rng=rng) if learned else None
        self.dropout = Dropout(config.dropout)
        self.blocks = [Block(config, rng) for _ in range(config.n_layers)]
        self.norm = make_norm(config)
        self.head = None if config.tie_head else Linear(config.d_model, config.vocab_size, bias=False, rng=rng)
        if not isinstance(rng, _Zeros):
            self._initialise(rng)

    @property
    def head_weight(self) -> Parameter:
        """The table (V, C) that the head reads: a row for each token, with which features are compared."""
        return self.tok_emb.weight if self.head is None else self.head.weight

    @classmethod
    def undrawn(cls, config: ModelConfig) -> Self:
        """Return a model whose matrices are zero: one that is loaded at once need not be drawn, which takes longer."""
        return cls(config, _Zeros())

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str] | Pretrained, *, dtype: Any = np.float32) -> Self:
        """Return a model that others trained, in evaluation mode: a folder or file that `load_pretrained` opens.

        Weights are read one at a time from the mapped file and widened, or narrowed, to dtype: so little more memory is
        needed than the model takes. Raises OSError or ValueError, with nothing loaded, where a file is missing,
        malformed, holds NaN or infinity, or means something that is not modelled here.
        """
        pretrained = path if isinstance(path, Pretrained) else load_pretrained(path)
        model = cls.undrawn(pretrained.model_config)
        if np.dtype(dtype) != np.float32:
            model.astype(dtype)
        pretrained.tensors.copy_into(model.state_dict())
        return model.eval()

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
        x, head = self.hidden(ids), self.head_weight
        if targets is None:
            return ops.linear(x, head)
        return ops.linear_cross_entropy(x, head, targets, reduction=reduction)  # the logits are never there at once

    def hidden(self, ids: np.ndarray) -> Tensor:
        """Return the features (B, T, C) that the head reads."""
        return self.transform(self.embed(ids))

    def embed(self, ids: np.ndarray) -> Tensor:
        """Return what the first block reads of ids (B, T): features (B, T, C)."""
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must be (batch, time), got shape {ids.shape}")
        T = ids.shape[1]
        if T > self.config.context_length:
            raise ValueError(f"GPT: {T} tokens are more than context_length={self.config.context_length}")
        x = self.tok_emb(ids)  # (B, T, C)
        if self.pos_emb is not None:
            x = x + self.pos_emb(np.arange(T))  # + (T, C): without it "cat sat" = "sat cat"
        return self.dropout(x)

    def transform(self, x: Tensor) -> Tensor:
        """Run the blocks and the last normalisation on features x (B, T, C)."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def loss(self, ids: np.ndarray, targets: np.ndarray, *, reduction: str = "mean") -> Tensor:
        """Return the cross-entropy, in nats a token, of targets (B, T); targets of -100 do not count."""
        return self(ids, np.asarray(targets), reduction=reduction)


def backbone(model: Module) -> GPT:
    """Return the GPT that a model is, or that it is built around: then its attribute `gpt`."""
    inner = model if isinstance(model, GPT) else getattr(model, "gpt", None)
    if not isinstance(inner, GPT):
        raise TypeError(f"backbone: {type(model).__name__} is no GPT, and has none as its attribute gpt")
    return inner


class _Zeros(np.random.Generator):
    """Give zeros for what would be drawn."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return np.zeros(size if size is not None else (), dtype)
