"""GPT-2 as Hugging Face writes it: its config.json and the names of its tensors, for reading and writing alike."""

from collections.abc import Iterator

from gpt.config import ModelConfig
from gpt.pretrained.hf_config import Settings, model_config
from gpt.pretrained.lazy_tensors import Link

PREFIX = "transformer."  # of all but lm_head, or of none
SPARE = r"h\.\d+\.attn\.(masked_)?bias"  # the causal mask, which older versions wrote into the file
TWINS = {"lm_head.weight": "wte.weight"}


def read_config(settings: Settings) -> ModelConfig:
    """Return the shape that a config.json with model_type gpt2 says; ValueError for what is not modelled here."""
    settings.only("scale_attn_weights", True)
    settings.only("scale_attn_by_inverse_layer_idx", False)
    settings.only("reorder_and_upcast_attn", False)
    dropouts = {settings.share(key, 0.1) for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop")}
    dropout = dropouts.pop() if len(dropouts) == 1 else 0.0  # we have one for all three; only training sees it
    width = settings.whole("n_embd")
    return model_config(
        settings.path,
        vocab_size=settings.whole("vocab_size"),
        context_length=settings.whole("n_positions"),
        d_model=width,
        n_layers=settings.whole("n_layer"),
        n_heads=settings.whole("n_head"),
        d_ff=settings.whole("n_inner", 4 * width),
        dropout=dropout,
        norm_eps=settings.number("layer_norm_epsilon", 1e-5),
        activation=settings.activation("activation_function", "gelu_new"),
        tie_embeddings=settings.flag("tie_word_embeddings", True),
    )


def links(config: ModelConfig) -> Iterator[Link]:
    """Yield how each of our tensors is called there. Their linear maps, Conv1D, are (in, out)."""
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
    for part in ("weight", "bias"):
        yield Link(f"{ours}.{part}", (f"{theirs}.{part}",), ((size,),))
