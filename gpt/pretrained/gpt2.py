"""GPT-2 in Hugging Face's format: its config.json and tensor names, for reading and writing."""

from collections.abc import Iterator

from gpt.config import ModelConfig
from gpt.pretrained.hf_config import HFConfig, model_config
from gpt.pretrained.lazy_tensors import Link

PREFIX = "transformer."  # of all names but lm_head, or of none
IGNORED = r"h\.\d+\.attn\.(masked_)?bias"  # the causal mask, which older versions wrote into the file
COPIES = {"lm_head.weight": "wte.weight"}


def read_config(hf: HFConfig) -> ModelConfig:
    """Return the configuration of a config.json with model_type gpt2. Raises ValueError if it is not supported."""
    hf.only("scale_attn_weights", True)
    hf.only("scale_attn_by_inverse_layer_idx", False)
    hf.only("reorder_and_upcast_attn", False)
    dropouts = {hf.share(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    dropout = dropouts.pop() if len(dropouts) == 1 else 0.0  # ours has one for all three; only training uses it
    width = hf.whole("n_embd")
    return model_config(
        hf.path,
        vocab_size=hf.whole("vocab_size"),
        context_length=hf.whole("n_positions"),
        d_model=width,
        n_layers=hf.whole("n_layer"),
        n_heads=hf.whole("n_head"),
        d_ff=hf.whole("n_inner", 4 * width),
        dropout=dropout,
        norm_eps=hf.number("layer_norm_epsilon", 1e-5),
        activation=hf.activation("activation_function", "gelu_new"),
        tie_embeddings=hf.flag("tie_word_embeddings", True),
    )


def links(config: ModelConfig) -> Iterator[Link]:
    """Yield the name of each of our tensors there. Their linear layers, Conv1D, are (in, out)."""
    C, V, T, F = config.d_model, config.vocab_size, config.context_length, config.d_ff
    yield Link("tok_emb.weight", ("wte.weight",), ((V, C),))
    yield Link("pos_emb.weight", ("wpe.weight",), ((T, C),))
    for i in range(config.n_layers):
        yield from _vectors(f"blocks.{i}.norm1", f"h.{i}.ln_1", C)
        yield from _conv1d(f"blocks.{i}.attn.w_qkv", f"h.{i}.attn.c_attn", C, 3 * C)
        yield from _conv1d(f"blocks.{i}.attn.out_proj", f"h.{i}.attn.c_proj", C, C)
        yield from _vectors(f"blocks.{i}.norm2", f"h.{i}.ln_2", C)
        yield from _conv1d(f"blocks.{i}.mlp.up", f"h.{i}.mlp.c_fc", C, F)
        yield from _conv1d(f"blocks.{i}.mlp.down", f"h.{i}.mlp.c_proj", F, C)
    yield from _vectors("norm", "ln_f", C)
    if not config.tie_embeddings:
        yield Link("head.weight", ("lm_head.weight",), ((V, C),))


def _conv1d(ours: str, theirs: str, n_in: int, n_out: int) -> Iterator[Link]:
    yield Link(f"{ours}.weight", (f"{theirs}.weight",), ((n_in, n_out),), transposed=True)
    yield Link(f"{ours}.bias", (f"{theirs}.bias",), ((n_out,),))


def _vectors(ours: str, theirs: str, size: int) -> Iterator[Link]:
    for name in ("weight", "bias"):
        yield Link(f"{ours}.{name}", (f"{theirs}.{name}",), ((size,),))
