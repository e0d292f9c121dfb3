"""Multi-head attention: every token asks, every earlier token answers."""

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Dropout, Linear, Module, RMSNorm
from nanograd.seeds import next_seed


class MultiHeadAttention(Module):
    """Attend with n_heads heads of d_model/n_heads features (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).

    One matrix `w_qkv` makes queries, keys and values (its rows: all q heads, then k, then v); `out_proj` mixes what the
    heads found. causal lets a token see itself and earlier tokens only. What came after:

    n_kv_heads  fewer key and value heads, each shared by n_heads/n_kv_heads neighbouring query heads (Ainslie et al.
                2023, arXiv:2305.13245)
    head_dim    features of a head, where they are not d_model/n_heads
    rope_theta  turn queries and keys by their position, with wavelengths up to about 2π rope_theta (Su et al. 2021,
                arXiv:2104.09864)
    qk_norm     normalise queries and keys of each head before that, so that no score outgrows the learned gains
                (Dehghani et al. 2023, arXiv:2302.05442, section 2)
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        rope_theta: float | None = None,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        causal: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        if n_heads < 1 or (head_dim is None and d_model % n_heads):
            raise ValueError(
                f"attention: d_model must be divisible by n_heads, got d_model={d_model} and n_heads={n_heads}"
            )
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        if n_heads % self.n_kv_heads:
            raise ValueError(
                f"attention: n_heads must be divisible by n_kv_heads, got n_heads={n_heads} and n_kv_heads={n_kv_heads}"
            )
        self.head_dim = head_dim or d_model // n_heads
        self.rope_theta = rope_theta
        self.causal = causal
        rows = (n_heads + 2 * self.n_kv_heads) * self.head_dim
        self.w_qkv = Linear(d_model, rows, bias=bias, rng=rng)
        self.q_norm = RMSNorm(self.head_dim, eps=norm_eps) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, eps=norm_eps) if qk_norm else None
        self.out_proj = Linear(n_heads * self.head_dim, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)  # on what leaves out_proj; the same share is dropped from the probabilities

    def forward(self, x: Tensor, mask: np.ndarray | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). mask is boolean and broadcasts to (B, H, T, T): True where a token may look."""
        p = self.dropout.p if self.training else 0.0
        qkv = self.w_qkv(x)  # (B, T, (H + 2 K) D): of each token q of all heads, then k, then v
        if self.rope_theta is not None or self.q_norm is not None:
            qkv = self.place(qkv)
        y = ops.packed_attention(
            qkv,
            mask,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            causal=self.causal,
            dropout=p,
            seed=next_seed() if p else None,
        )  # (B, T, H D): what the heads found, side by side
        return self.dropout(self.out_proj(y))

    def place(self, qkv: Tensor) -> Tensor:
        """Normalise the queries and keys of each head, and turn them by their position.

        Heads are views of qkv, and rope keeps their order in memory: the only copies are what the two ops write.
        """
        H, K = self.n_heads, self.n_kv_heads
        heads = qkv.reshape(*qkv.shape[:-1], H + 2 * K, self.head_dim).swapaxes(-3, -2)  # (B, H + 2 K, T, D)
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = heads[..., :H, :, :], heads[..., H : H + K, :, :], heads[..., H + K :, :, :]
            heads = ops.concat([self.q_norm(q), self.k_norm(k), v], axis=-3)
        if self.rope_theta is not None:
            heads = ops.rope(heads, base=self.rope_theta, turned=H + K)
        return heads.swapaxes(-3, -2).reshape(*qkv.shape)
