"""The Llama family as Hugging Face writes it: llama, mistral without a window, and qwen3, which normalises q and k.

Names and RoPE's layout (the two halves of a head turn together) are theirs in all three.
"""

from collections.abc import Iterator, Mapping

from gpt.config import ModelConfig
from gpt.pretrained.hf_config import Settings, model_config
from gpt.pretrained.lazy_tensors import Link

PREFIX = "model."
SPARE = r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"  # RoPE's frequencies, which older versions wrote down
TWINS = {"lm_head.weight": "embed_tokens.weight"}
FAMILY = ("llama", "mistral", "qwen3")


def read_config(settings: Settings) -> ModelConfig:
    """Return the shape that a config.json says; ValueError for what is not modelled here."""
    kind = settings.get("model_type")
    width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    context = settings.whole("max_position_embeddings")
    bias = settings.flag("attention_bias", False)
    if kind == "llama" and settings.flag("mlp_bias", False) != bias:
        raise settings.error("mlp_bias", f"must be {bias} as attention_bias: all maps have biases or none", not bias)
    if kind == "qwen3":
        settings.only("attention_bias", False)
        settings.only("use_sliding_window", False)
        settings.get("sliding_window")  # without use_sliding_window it says nothing
    elif "sliding_window" in settings.fields or kind == "mistral":
        window = settings.get("sliding_window", None if "sliding_window" in settings.fields else 4096)
        if window is not None and not (type(window) is int and window >= context):
            raise settings.error("sliding_window", f"must be null or not less than the {context} positions", window)
    layer_types = settings.get("layer_types", [])
    if not isinstance(layer_types, list) or any(each != "full_attention" for each in layer_types):
        raise settings.error("layer_types", "must be full_attention in every layer", layer_types)
    head_dim = settings.whole("head_dim", 128 if kind == "qwen3" else max(width // heads, 1))
    return model_config(
        settings.path,
        vocab_size=settings.whole("vocab_size"),
        context_length=context,
        d_model=width,
        n_layers=settings.whole("num_hidden_layers"),
        n_heads=heads,
        d_ff=settings.whole("intermediate_size"),
        dropout=0.0,
        bias=bias,
        norm="rmsnorm",
        norm_eps=settings.number("rms_norm_eps", 1e-6),
        position="rope",
        rope_theta=_rope_theta(settings),
        mlp="gated",
        activation=settings.activation("hidden_act", "silu"),
        n_kv_heads=settings.whole("num_key_value_heads", {"mistral": 8, "qwen3": 32}.get(str(kind), heads)),
        head_dim=head_dim,
        qk_norm=kind == "qwen3",
        tie_embeddings=settings.flag("tie_word_embeddings", False),
    )


def _rope_theta(settings: Settings) -> float:
    """Return the base of RoPE's angles, which newer files keep in rope_parameters; ValueError where they are scaled."""
    settings.only("rope_scaling")
    settings.only("partial_rotary_factor", 1, 1.0)
    said = settings.get("rope_parameters", {})
    if not isinstance(said, Mapping):
        raise settings.error("rope_parameters", "must be an object", said)
    for key, value in said.items():
        neutral = {"rope_type": ("default",), "partial_rotary_factor": (1, 1.0), "rope_theta": (value,)}
        if value is not None and value not in neutral.get(key, ()):
            rule = "changes what the model computes and is not supported"
            raise settings.error(f"rope_parameters.{key}", rule, value)
    theta = said.get("rope_theta")
    if theta is None:
        return settings.number("rope_theta", 10000.0)
    settings.only("rope_theta", theta)
    if type(theta) not in (int, float) or not 0 < theta < 1e30:
        raise settings.error("rope_parameters.rope_theta", "must be a number greater than 0", theta)
    return float(theta)


def links(config: ModelConfig) -> Iterator[Link]:
    """Yield how each of our tensors is called there; our w_qkv is their q_proj, k_proj and v_proj, one upon the other."""
    C, V, F = config.d_model, config.vocab_size, config.d_ff
    D = config.head_dim
    Q, K = config.n_heads * D, config.n_kv_heads * D
    parts = ("weight", "bias") if config.bias else ("weight",)

    def linear(ours: str, theirs: tuple[str, ...], rows: tuple[int, ...], columns: int) -> Iterator[Link]:
        for part in parts:
            shapes = tuple((n, columns) if part == "weight" else (n,) for n in rows)
            yield Link(f"{ours}.{part}", tuple(f"{name}.{part}" for name in theirs), shapes)

    yield Link("tok_emb.weight", ("embed_tokens.weight",), ((V, C),))
    for i in range(config.n_layers):
        block, layer = f"blocks.{i}", f"layers.{i}"
        attention = f"{layer}.self_attn"
        yield Link(f"{block}.norm1.weight", (f"{layer}.input_layernorm.weight",), ((C,),))
        yield from linear(f"{block}.attn.w_qkv", tuple(f"{attention}.{x}_proj" for x in "qkv"), (Q, K, K), C)
        yield from linear(f"{block}.attn.out_proj", (f"{attention}.o_proj",), (C,), Q)
        if config.qk_norm:
            for x in "qk":
                yield Link(f"{block}.attn.{x}_norm.weight", (f"{attention}.{x}_norm.weight",), ((D,),))
        yield Link(f"{block}.norm2.weight", (f"{layer}.post_attention_layernorm.weight",), ((C,),))
        yield from linear(f"{block}.mlp.gate", (f"{layer}.mlp.gate_proj",), (F,), C)
        yield from linear(f"{block}.mlp.up", (f"{layer}.mlp.up_proj",), (F,), C)
        yield from linear(f"{block}.mlp.down", (f"{layer}.mlp.down_proj",), (C,), F)
    yield Link("norm.weight", ("norm.weight",), ((C,),))
    if not config.tie_embeddings:
        yield Link("head.weight", ("lm_head.weight",), ((V, C),))
