"""The Llama family in Hugging Face's format: llama, mistral without a window, and qwen3, which normalises q and k.

All three share tensor names and RoPE's layout, in which feature j is rotated with feature j + D/2.
"""

from collections.abc import Iterator, Mapping

from gpt.config import ModelConfig
from gpt.pretrained.hf_config import HFConfig, model_config
from gpt.pretrained.lazy_tensors import Link

PREFIX = "model."
IGNORED = (
    r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"  # RoPE's frequencies, which older versions wrote into the file
)
COPIES = {"lm_head.weight": "embed_tokens.weight"}
FAMILY = ("llama", "mistral", "qwen3")


def read_config(hf: HFConfig) -> ModelConfig:
    """Return the configuration of a config.json. Raises ValueError if it is not supported."""
    kind = hf.get("model_type")
    width, heads = hf.whole("hidden_size"), hf.whole("num_attention_heads")
    context = hf.whole("max_position_embeddings")
    bias = hf.flag("attention_bias", False)
    if kind == "llama" and hf.flag("mlp_bias", False) != bias:
        raise hf.error("mlp_bias", f"must be {bias} as attention_bias: all linear layers have biases or none", not bias)
    if kind == "qwen3":
        hf.only("attention_bias", False)
        hf.only("use_sliding_window", False)
        hf.get("sliding_window")  # has no effect without use_sliding_window
    elif "sliding_window" in hf.fields or kind == "mistral":
        window = hf.get("sliding_window", None if "sliding_window" in hf.fields else 4096)
        if window is not None and not (type(window) is int and window >= context):
            raise hf.error("sliding_window", f"must be null or not less than the {context} positions", window)
    layer_types = hf.get("layer_types", [])
    if not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types):
        raise hf.error("layer_types", "must be full_attention in every layer", layer_types)
    head_dim = hf.whole("head_dim", 128 if kind == "qwen3" else max(width // heads, 1))
    return model_config(
        hf.path,
        vocab_size=hf.whole("vocab_size"),
        context_length=context,
        d_model=width,
        n_layers=hf.whole("num_hidden_layers"),
        n_heads=heads,
        d_ff=hf.whole("intermediate_size"),
        dropout=0.0,
        bias=bias,
        norm="rmsnorm",
        norm_eps=hf.number("rms_norm_eps", 1e-6),
        position="rope",
        rope_theta=_rope_theta(hf),
        mlp="gated",
        activation=hf.activation("hidden_act", "silu"),
        n_kv_heads=hf.whole("num_key_value_heads", {"mistral": 8, "qwen3": 32}.get(str(kind), heads)),
        head_dim=head_dim,
        qk_norm=kind == "qwen3",
        tie_embeddings=hf.flag("tie_word_embeddings", False),
    )


def _rope_theta(hf: HFConfig) -> float:
    """Return the base of RoPE's angles; newer files have it in rope_parameters. Raises ValueError if angles are scaled."""
    hf.only("rope_scaling")
    hf.only("partial_rotary_factor", 1, 1.0)
    parameters = hf.get("rope_parameters", {})
    if not isinstance(parameters, Mapping):
        raise hf.error("rope_parameters", "must be an object", parameters)
    for key, value in parameters.items():
        neutral = {"rope_type": ("default",), "partial_rotary_factor": (1, 1.0), "rope_theta": (value,)}
        if value is not None and value not in neutral.get(key, ()):
            rule = "changes what the model computes and is not supported"
            raise hf.error(f"rope_parameters.{key}", rule, value)
    theta = parameters.get("rope_theta")
    if theta is None:
        return hf.number("rope_theta", 10000.0)
    hf.only("rope_theta", theta)
    if type(theta) not in (int, float) or not 0 < theta < 1e30:
        raise hf.error("rope_parameters.rope_theta", "must be a number greater than 0", theta)
    return float(theta)


def links(config: ModelConfig) -> Iterator[Link]:
    """Yield the name of each of our tensors there; our w_qkv is the rows of q_proj, then k_proj, then v_proj."""
    C, V, F = config.d_model, config.vocab_size, config.d_ff
    D = config.head_dim
    Q, K = config.n_heads * D, config.n_kv_heads * D
    kinds = ("weight", "bias") if config.bias else ("weight",)

    def linear(ours: str, theirs: tuple[str, ...], rows: tuple[int, ...], columns: int) -> Iterator[Link]:
        for kind in kinds:
            shapes = tuple((n, columns) if kind == "weight" else (n,) for n in rows)
            yield Link(f"{ours}.{kind}", tuple(f"{name}.{kind}" for name in theirs), shapes)

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
