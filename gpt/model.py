"""GPT, a decoder-only transformer: the whole model, from top to bottom a norm, attention, the MLP, a block, the GPT.

Shapes in comments: B batch, T time, C = d_model channels, H heads, K key-value heads, D head size, V vocabulary.
"""

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from gpt.config import ModelConfig, SampleConfig, check_options
from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.nn import Dropout, Embedding, LayerNorm, Linear, Module, Parameter, RMSNorm, no_init
from nanograd.ops.attention import first_keys
from nanograd.ops.rope import llama3_frequencies, rope_frequencies
from nanograd.recompute import checkpoint
from nanograd.runtime.files import StrPath
from nanograd.seeds import next_seed

if TYPE_CHECKING:
    from gpt.tokenizer import Tokenizer

ACTIVATIONS = {"gelu_tanh": ops.gelu_tanh, "gelu": ops.gelu, "relu": ops.relu, "silu": ops.silu}


def make_norm(config: ModelConfig) -> LayerNorm | RMSNorm:
    """Return the normalisation of d_model features: GPT-2's LayerNorm, or Llama's RMSNorm, which has no bias."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.d_model, eps=config.norm_eps)
    return LayerNorm(config.d_model, bias=config.bias, eps=config.norm_eps)


def make_rope_frequencies(config: ModelConfig) -> np.ndarray | None:
    """Return the angle per position of each pair of features in a head (D/2,), or None without RoPE."""
    if config.position != "rope":
        return None
    frequencies = rope_frequencies(config.head_dim, config.rope_theta)
    if config.rope_scaling == "llama3":
        return llama3_frequencies(
            frequencies,
            factor=config.rope_factor,
            original_context=config.rope_original_context,
            low_freq_factor=config.rope_low_freq_factor,
            high_freq_factor=config.rope_high_freq_factor,
        )
    return frequencies / config.rope_factor if config.rope_scaling == "linear" else frequencies


class MultiHeadAttention(Module):
    """Causal self-attention with n_heads heads (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2).

    One matrix `w_qkv` makes queries, keys and values: its rows are those of all q heads, then k, then v. `out_proj` mixes
    the outputs of the heads. causal lets a token attend to itself and earlier tokens only. Later variants:

    n_kv_heads  fewer key and value heads, each shared by n_heads/n_kv_heads neighbouring query heads (grouped-query
                attention, Ainslie et al. 2023, arXiv:2305.13245)
    head_dim    size of a head, where it is not d_model/n_heads
    qk_norm     normalise the queries and keys of each head first, which bounds the attention scores (Dehghani et al.
                2023, arXiv:2302.05442, section 2)
    window      a token attends to itself and the window - 1 tokens before it, not to all (sliding-window attention, Jiang
                et al. 2023, arXiv:2310.06825, section 2)
    rope_frequencies  rotate queries and keys by their position times these angles (D/2,) (RoPE, Su et al. 2021,
                arXiv:2104.09864)

    qkv_bias gives w_qkv biases where it and out_proj differ.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        rope_frequencies: np.ndarray | None = None,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        causal: bool = True,
        window: int | None = None,
        bias: bool = True,
        qkv_bias: bool | None = None,
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
        self.rope_frequencies = rope_frequencies
        self.causal, self.window = causal, window
        n_out, qkv_bias = (n_heads + 2 * self.n_kv_heads) * self.head_dim, bias if qkv_bias is None else qkv_bias
        self.w_qkv = Linear(d_model, n_out, bias=qkv_bias, rng=rng)
        self.q_norm = RMSNorm(self.head_dim, eps=norm_eps) if qk_norm else None
        self.k_norm = RMSNorm(self.head_dim, eps=norm_eps) if qk_norm else None
        self.out_proj = Linear(n_heads * self.head_dim, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)  # of the output; attention probabilities are dropped with the same p

    def forward(self, x: Tensor, mask: np.ndarray | None = None, segments: np.ndarray | None = None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). mask is boolean and broadcasts to (B, H, T, T): True where a token may attend.

        segments (B, T) are integers that never fall: a token attends only to tokens of its own segment.
        """
        p = self.dropout.p if self.training else 0.0
        qkv = self.w_qkv(x)  # (B, T, (H + 2 K) D)
        if self.rope_frequencies is not None or self.q_norm is not None:
            qkv = self.apply_qk_norm_and_rope(qkv)
        y = ops.packed_attention(
            qkv,
            mask,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            causal=self.causal,
            window=self.window,
            segments=segments,
            dropout=p,
            seed=next_seed() if p else None,
        )  # (B, T, H D): softmax(q kᵀ / √D) v of each head, side by side
        return self.dropout(self.out_proj(y))

    def apply_qk_norm_and_rope(self, qkv: Tensor) -> Tensor:
        """Normalise the queries and keys of each head, then rotate them by their position; the shape stays.

        The heads are views of qkv and rope keeps their memory layout, so only the two ops themselves copy.
        """
        H, K = self.n_heads, self.n_kv_heads
        heads = qkv.reshape(*qkv.shape[:-1], H + 2 * K, self.head_dim).swapaxes(-3, -2)  # (B, H + 2 K, T, D)
        if self.q_norm is not None and self.k_norm is not None:
            q, k, v = heads[..., :H, :, :], heads[..., H : H + K, :, :], heads[..., H + K :, :, :]
            heads = ops.concat([self.q_norm(q), self.k_norm(k), v], axis=-3)
        if self.rope_frequencies is not None:
            heads = ops.rope(heads, frequencies=self.rope_frequencies, rotated=H + K)
        return heads.swapaxes(-3, -2).reshape(*qkv.shape)


class MLP(Module):
    """The feed-forward network of a block, applied to each token independently: down(activation(up x)).

    A gated MLP computes down(activation(gate x) · up x): SwiGLU, if the activation is silu (Shazeer 2020,
    arXiv:2002.05202, section 2). At equal d_ff it has 1.5 times the weights.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        *,
        activation: str = "gelu_tanh",
        gated: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.activation = ACTIVATIONS[activation]
        self.gate = Linear(d_model, d_ff, bias=bias, rng=rng) if gated else None
        self.up = Linear(d_model, d_ff, bias=bias, rng=rng)
        self.down = Linear(d_ff, d_model, bias=bias, rng=rng)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, T, C) to (B, T, C)."""
        if self.gate is None:
            h = self.activation(self.up(x))  # (B, T, d_ff)
        elif self.activation is ops.silu:
            h = ops.swiglu(self.gate(x), self.up(x))  # one op, which saves less than two
        else:
            h = self.activation(self.gate(x)) * self.up(x)
        return self.dropout(self.down(h))


class Block(Module):
    """Self-attention, then an MLP; each is pre-normalised and added to the residual stream.

    Normalising the input of each half (pre-norm, as GPT-2) leaves only additions in the residual stream. So the gradient of
    the last block's output is, unchanged, one summand of the gradient of the first block's input; the halves add the
    others (Xiong et al. 2020, arXiv:2002.04745). The blocks of GPT-2 and Llama differ in their parts, which the config
    names: norm, position, mlp, n_kv_heads, bias. `forward` is the same.
    """

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None) -> None:
        self.norm1 = make_norm(config)
        self.attn = MultiHeadAttention(
            config.d_model,
            config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            rope_frequencies=make_rope_frequencies(config),
            qk_norm=config.qk_norm,
            norm_eps=config.norm_eps,
            window=config.window,
            bias=config.bias,
            qkv_bias=config.linear_bias("attn.w_qkv"),
            dropout=config.dropout,
            rng=rng,
        )
        self.norm2 = make_norm(config)
        self.mlp = MLP(
            config.d_model,
            config.d_ff,
            activation=config.activation,
            gated=config.mlp == "gated",
            bias=config.linear_bias("mlp.up"),
            dropout=config.dropout,
            rng=rng,
        )

    def forward(self, x: Tensor, *visible: np.ndarray | None) -> Tensor:
        """Map x (B, T, C) to (B, T, C). visible are the mask and the segments of attention, or none."""
        x = x + self.attn(self.norm1(x), *visible)
        return x + self.mlp(self.norm2(x))


def recomputed(block: Block, x: Tensor, *visible: np.ndarray | None) -> Tensor:
    """Return the block of x, keeping x alone for backward, which computes it again; a frozen block keeps nothing."""
    trained = x.requires_grad or any(p.requires_grad for p in block.parameters())
    return checkpoint(block, x, *visible) if trained else block(x, *visible)


class GPT(Module):
    """GPT-2 (Radford et al. 2019), or a Llama-style variant, as `config` selects.

    Token and position embeddings are added; n_layers blocks follow, a last normalisation and the output projection, which
    is the token embedding itself (weight tying, Press and Wolf 2017, arXiv:1608.05859) unless tie_embeddings is off. RoPE
    replaces the position embeddings: attention then rotates queries and keys.

    The matrices are drawn once, by `init_weights`, and not by the layers. init=False leaves them zero, to be filled by
    `load_state_dict`.

    tokenizer  turns text into the ids of this model; a model that was loaded or trained has its own, a new one None
    history    the Records of the training that made this model, a History: see `gpt.train`
    recompute  keep only the input of each block, and compute its activations again in backward: less memory, more time
    """

    tokenizer: "Tokenizer | None" = None
    history: list[Any] | None = None
    recompute: bool = False

    def __init__(self, config: ModelConfig, rng: np.random.Generator | None = None, *, init: bool = True) -> None:
        self.config = config
        with no_init():
            self.tok_emb = Embedding(config.vocab_size, config.d_model)
            learned = config.position == "learned"
            self.pos_emb = Embedding(config.context_length, config.d_model) if learned else None
            self.dropout = Dropout(config.dropout)
            self.blocks = [Block(config) for _ in range(config.n_layers)]
            self.norm = make_norm(config)
            tied = config.tie_embeddings
            self.head = None if tied else Linear(config.d_model, config.vocab_size, bias=False)
        if init:
            self.init_weights(rng or np.random.default_rng())

    def init_weights(self, rng: np.random.Generator) -> None:
        """Draw every matrix from N(0, σ²), with the σ of `initial_std`. Norm weights stay 1 and biases 0."""
        for name, p in self.named_parameters():
            if p.ndim >= 2:
                values = rng.standard_normal(p.shape, dtype=np.float32)
                values *= self.initial_std(name)
                p.copy_(values)

    def initial_std(self, name: str) -> float:
        """Return the σ of a matrix: 0.02 of embeddings, init_std in the blocks, less where it adds to the residual stream.

        Those matrices are scaled by 1/√(2·n_layers): their 2·n_layers outputs are summed, and the sum keeps about the size
        of one unscaled output, at any depth (Radford et al. 2019, section 2.3).
        """
        if not name.startswith("blocks."):
            return 0.02
        residual = name.endswith(("attn.out_proj.weight", "mlp.down.weight"))
        return self.config.init_std / math.sqrt(2 * self.config.n_layers) if residual else self.config.init_std

    @property
    def lm_head_weight(self) -> Parameter:
        """The output projection (V, C), from hidden states to logits."""
        return self.tok_emb.weight if self.head is None else self.head.weight

    def forward(
        self,
        ids: np.ndarray,
        targets: np.ndarray | None = None,
        *,
        segments: np.ndarray | None = None,
        reduction: str = "mean",
    ) -> Tensor:
        """Return the next-token logits (B, T, V) for ids (B, T), or the cross-entropy loss if targets (B, T) are given.

        segments (B, T) are integers that never fall in a row, the numbers of the documents that are packed into it. Each
        document gets the logits that it gets alone: no token attends to another document, and learned positions begin again
        at 0. RoPE does not change: attention depends on differences of positions alone.
        """
        x = self.hidden_states(ids, segments)
        if targets is None:
            return ops.linear(x, self.lm_head_weight)
        return ops.linear_cross_entropy(x, self.lm_head_weight, targets, reduction=reduction)  # logits in chunks

    def loss(
        self, ids: np.ndarray, targets: np.ndarray, *, segments: np.ndarray | None = None, reduction: str = "mean"
    ) -> Tensor:
        """Return the cross-entropy of targets (B, T), in nats a token; targets of -100 do not count."""
        return self(ids, np.asarray(targets), segments=segments, reduction=reduction)

    def hidden_states(self, ids: np.ndarray, segments: np.ndarray | None = None) -> Tensor:
        """Return the final hidden states (B, T, C) of ids (B, T), which the output projection reads."""
        return self.transform(self.embed(ids, segments), segments)

    def embed(self, ids: np.ndarray, segments: np.ndarray | None = None) -> Tensor:
        """Return the input (B, T, C) of the first block: token embeddings plus those of the positions in their segment."""
        ids = np.asarray(ids)
        if ids.ndim != 2:
            raise ValueError(f"GPT: ids must be (batch, time), got shape {ids.shape}")
        T = ids.shape[1]
        if T > self.config.context_length:
            raise ValueError(f"GPT: {T} tokens are more than context_length={self.config.context_length}")
        x = self.tok_emb(ids)  # (B, T, C)
        if self.pos_emb is not None:
            positions = np.arange(T) - first_keys(T, segments=segments)  # (T,), or (B, T)
            x = x + self.pos_emb(positions)  # + (T, C): without it "cat sat" = "sat cat"
        return self.dropout(x)

    def transform(self, x: Tensor, segments: np.ndarray | None = None) -> Tensor:
        """Run the blocks and the last normalisation on x (B, T, C)."""
        visible = () if segments is None else (None, segments)  # without a mask
        for block in self.blocks:
            x = recomputed(block, x, *visible) if self.recompute else block(x, *visible)
        return self.norm(x)

    @overload
    def generate(
        self, prompt: str = ..., max_new_tokens: int = ..., *, stream: Literal[True], **_: Any
    ) -> Iterator[str]: ...

    @overload
    def generate(self, prompt: str = ..., max_new_tokens: int = ..., **_: Any) -> str: ...

    def generate(
        self,
        prompt: str = "",
        max_new_tokens: int = SampleConfig.max_new_tokens,
        *,
        stream: bool = False,
        stop: str | Sequence[str] = (),
        **sampling: float | None,
    ) -> str | Iterator[str]:
        """Return the text that continues `prompt`, without the prompt itself; with stream=True, its pieces as they come.

        sampling are the fields of SampleConfig: temperature, top_k, top_p, min_p, repetition_penalty and seed. The same
        seed gives the same text. It ends after max_new_tokens, at the end-of-text token, or before a string in `stop`.
        Dropout is off, whatever the mode. Raises TypeError for an unknown option, ValueError for an invalid one.
        """
        from gpt.generation.generate import check_stop, encode_prompt, generate_text  # late: they import this class
        from gpt.tokenizer.base import check_text

        check_text("generate", prompt)
        check_options("generate", sampling, [field.name for field in dataclasses.fields(SampleConfig)])
        config = SampleConfig.from_dict({"max_new_tokens": max_new_tokens, **sampling})
        stop = (stop,) if isinstance(stop, str) else stop
        check_stop(stop)
        if self.tokenizer is None:
            raise ValueError(
                "generate: the model has no tokenizer; set model.tokenizer, for example to gpt.load_tokenizer(PATH)"
            )
        ids, T = encode_prompt(self.tokenizer, prompt), self.config.context_length
        if len(ids) > T:
            message = f"generate: the prompt has {len(ids):,} tokens; the model sees only the last {T:,}"
            warnings.warn(message, stacklevel=2)
        pieces = (text for (text,) in generate_text(self, self.tokenizer, ids, config, stop=stop) if text)
        return pieces if stream else "".join(pieces)

    def save(self, path: StrPath) -> None:
        """Write the model and its tokenizer to a new file, a checkpoint: `gpt.load` and all commands read it.

        The path must end in .safetensors. Raises FileExistsError if there is such a file, ValueError if the model has no
        tokenizer.
        """
        from gpt.api import save_model  # late: the model itself knows no file format

        save_model(self, path)

    @classmethod
    def from_pretrained(cls, path: StrPath, *, dtype: Any = np.float32) -> "GPT":
        """Return a trained model, ours or other people's, in evaluation mode: as `gpt.load`."""
        from gpt.api import open_model  # late: the model itself knows no file format

        return open_model(path, dtype=dtype)[0]


def find_gpt(model: Module) -> GPT:
    """Return the GPT that a model is, or that it contains as its attribute `gpt`, as a classifier does."""
    inner = model if isinstance(model, GPT) else getattr(model, "gpt", None)
    if not isinstance(inner, GPT):
        raise TypeError(f"find_gpt: {type(model).__name__} is no GPT, and has none as its attribute gpt")
    return inner
