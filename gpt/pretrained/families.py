"""GPT-2 and the Llama family in Hugging Face's format: the keys of config.json and the names of tensors, there and here.

Reading and writing use the same tables. llama, mistral (without a window) and qwen3 (which normalises q and k) share the
names of their tensors and RoPE's layout, in which feature j is rotated with feature j + D/2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from gpt.config import ModelConfig, field_types
from gpt.pretrained.hf_config import ACTIVATIONS, HFConfig, model_config
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors

FLOATS = ("F16", "BF16", "F32", "F64")

KEYS = (  # our field, and the keys of GPT-2 and of Llama for it
    ("vocab_size", "vocab_size", "vocab_size"),
    ("context_length", "n_positions", "max_position_embeddings"),
    ("d_model", "n_embd", "hidden_size"),
    ("n_layers", "n_layer", "num_hidden_layers"),
    ("n_heads", "n_head", "num_attention_heads"),
    ("n_kv_heads", None, "num_key_value_heads"),
    ("head_dim", None, "head_dim"),
    ("d_ff", "n_inner", "intermediate_size"),
    ("activation", "activation_function", "hidden_act"),
    ("norm_eps", "layer_norm_epsilon", "rms_norm_eps"),
    ("rope_theta", None, "rope_theta"),
    ("dropout", "resid_pdrop", None),
    ("dropout", "embd_pdrop", None),
    ("dropout", "attn_pdrop", None),
    ("bias", None, "attention_bias"),
    ("bias", None, "mlp_bias"),
    ("tie_embeddings", "tie_word_embeddings", "tie_word_embeddings"),
)
# Our module, the shape of its weight, and the modules of GPT-2 and of Llama. {i} is the number of a layer. Our w_qkv holds
# Llama's q_proj, k_proj and v_proj, stacked: they have Q, K and K rows.
MODULES = (
    ("tok_emb", "V C", "wte", "embed_tokens"),
    ("pos_emb", "T C", "wpe", None),
    ("blocks.{i}.norm1", "C", "h.{i}.ln_1", "layers.{i}.input_layernorm"),
    ("blocks.{i}.attn.w_qkv", "Q+K+K C", "h.{i}.attn.c_attn", "layers.{i}.self_attn.*_proj"),
    ("blocks.{i}.attn.out_proj", "C Q", "h.{i}.attn.c_proj", "layers.{i}.self_attn.o_proj"),
    ("blocks.{i}.attn.q_norm", "D", None, "layers.{i}.self_attn.q_norm"),
    ("blocks.{i}.attn.k_norm", "D", None, "layers.{i}.self_attn.k_norm"),
    ("blocks.{i}.norm2", "C", "h.{i}.ln_2", "layers.{i}.post_attention_layernorm"),
    ("blocks.{i}.mlp.gate", "F C", None, "layers.{i}.mlp.gate_proj"),
    ("blocks.{i}.mlp.up", "F C", "h.{i}.mlp.c_fc", "layers.{i}.mlp.up_proj"),
    ("blocks.{i}.mlp.down", "C F", "h.{i}.mlp.c_proj", "layers.{i}.mlp.down_proj"),
    ("norm", "C", "ln_f", "norm"),
    ("head", "V C", "lm_head", "lm_head"),
)


@dataclass(frozen=True)
class Family:
    """Models with the same keys and names. `conv1d`: their linear layers are (in, out), and have biases, as norms have."""

    options: Mapping[str, str]  # fields of ModelConfig that all have in common
    keys: Mapping[str, str]  # of config.json → our fields
    modules: Sequence[tuple[str, str, str]]  # ours, the shape, theirs
    prefix: str  # of all names but lm_head, or of none
    ignored: str  # pattern of stored tensors that hold no weights
    conv1d: bool = False


GPT2 = Family(
    {"norm": "layernorm", "position": "learned", "mlp": "plain"},
    {key: name for name, key, _ in KEYS if key},
    [(ours, shape, theirs) for ours, shape, theirs, _ in MODULES if theirs],
    prefix="transformer.",
    ignored=r"h\.\d+\.attn\.(masked_)?bias",  # the causal mask, which older versions wrote into the file
    conv1d=True,
)
LLAMA = Family(
    {"norm": "rmsnorm", "position": "rope", "mlp": "gated"},
    {key: name for name, _, key in KEYS if key},
    [(ours, shape, theirs) for ours, shape, _, theirs in MODULES if theirs],
    prefix="model.",
    ignored=r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",  # RoPE's frequencies, also of older versions
)
FAMILIES = {"gpt2": GPT2, "llama": LLAMA, "mistral": LLAMA, "qwen3": LLAMA}  # by model_type
CLASSES = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}  # of transformers


def read_config(hf: HFConfig) -> tuple[Family, ModelConfig]:
    """Return the family and the configuration of a config.json. Raises ValueError if it is not supported."""
    kind = hf.get("model_type")
    family = FAMILIES.get(str(kind))
    if family is None:
        raise hf.error("model_type", f"must be one of {', '.join(FAMILIES)}", kind)
    defaults, values = _gpt2_options(hf) if family is GPT2 else _llama_options(hf, kind)
    types = field_types(ModelConfig)
    for key, name in family.keys.items():
        if name not in values:
            values[name] = hf.read(key, types[name][0], defaults.get(key))
    values["activation"] = ACTIVATIONS[values["activation"]]
    return family, model_config(hf.path, **family.options, **values)


def _gpt2_options(hf: HFConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults of GPT-2's keys, and those of our fields that several keys decide."""
    hf.only("scale_attn_weights", True)
    hf.only("scale_attn_by_inverse_layer_idx", False)
    hf.only("reorder_and_upcast_attn", False)
    dropouts = {hf.share(key, 0.1) for key, name in GPT2.keys.items() if name == "dropout"}
    defaults = {
        "n_inner": 4 * hf.read("n_embd", int),
        "layer_norm_epsilon": 1e-5,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    }
    # our config has one dropout for all three keys; only training uses it
    return defaults, {"dropout": dropouts.pop() if len(dropouts) == 1 else 0.0}


def _llama_options(hf: HFConfig, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the defaults of Llama's keys, and those of our fields that several keys decide."""
    width, heads = hf.read("hidden_size", int), hf.read("num_attention_heads", int)
    context = hf.read("max_position_embeddings", int)
    bias = hf.read("attention_bias", bool, False)
    if kind == "llama" and hf.read("mlp_bias", bool, False) != bias:
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
    defaults = {
        "num_key_value_heads": {"mistral": 8, "qwen3": 32}.get(kind, heads),
        "head_dim": 128 if kind == "qwen3" else max(width // heads, 1),
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    return defaults, {"dropout": 0.0, "bias": bias, "rope_theta": _rope_theta(hf), "qk_norm": kind == "qwen3"}


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
        return hf.read("rope_theta", float, 10000.0)
    hf.only("rope_theta", theta)
    return hf.check("rope_parameters.rope_theta", float, theta)


def write_config(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return the config.json of a model_type, as `read_config` reads it."""
    their_activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}  # the first name of each
    values = config.to_dict() | {"activation": their_activations[config.activation]}
    keys = {key: values[name] for key, name in FAMILIES[kind].keys.items()}
    if kind == "qwen3":
        del keys["mlp_bias"]
    return {"model_type": kind, "architectures": [CLASSES[kind]], **keys, "torch_dtype": "float32"}


class Link(NamedTuple):
    """One of our tensors, and the names and shapes of theirs whose rows, stacked, are ours.

    GPT-2's matrices are (in, out) there and (out, in) here: then `transposed` is True.
    """

    ours: str
    theirs: Mapping[str, tuple[int, ...]]
    transposed: bool


def links(family: Family, config: ModelConfig) -> Iterator[Link]:
    """Yield a Link for each of our tensors, in the order of the layers."""
    D = config.head_dim
    sizes = {"V": config.vocab_size, "T": config.context_length, "C": config.d_model, "F": config.d_ff, "D": D}
    sizes |= {"Q": config.n_heads * D, "K": config.n_kv_heads * D}
    absent = {"head"} if config.tie_embeddings else set()
    if not config.qk_norm:
        absent |= {"blocks.{i}.attn.q_norm", "blocks.{i}.attn.k_norm"}
    for in_layers, group in groupby(family.modules, key=lambda module: "{i}" in module[0]):
        modules = [module for module in group if module[0] not in absent]
        for i in range(config.n_layers if in_layers else 1):
            for ours, shape, theirs in modules:
                heights, *columns = shape.split()
                rows, n_in = [sizes[x] for x in heights.split("+")], tuple(sizes[x] for x in columns)
                ours, names = ours.format(i=i), [theirs.format(i=i)]
                if "*" in theirs:
                    names = [names[0].replace("*", x) for x in "qkv"]
                else:
                    rows = [sum(rows)]
                is_linear = in_layers and bool(n_in)
                transposed = is_linear and family.conv1d
                shapes = [(*n_in, n) if transposed else (n, *n_in) for n in rows]
                weights = {f"{name}.weight": shape for name, shape in zip(names, shapes, strict=True)}
                yield Link(f"{ours}.weight", weights, transposed)
                if (is_linear and config.bias) or (family.conv1d and (is_linear or not n_in)):
                    biases = {f"{name}.bias": (n,) for name, n in zip(names, rows, strict=True)}
                    yield Link(f"{ours}.bias", biases, False)


def connect(
    source: str, stored: Mapping[str, LazyTensor], family: Family, config: ModelConfig, described_by: str
) -> LazyTensors:
    """Return our tensors, made from the `stored` ones; every name and shape is checked, and no number is read yet.

    A copy of the token embedding as output projection is left out if it has the same numbers, and refused otherwise.
    """
    if config.n_layers > len(stored):  # before the names of so many layers fill the memory
        raise ValueError(f"{source}: has {len(stored)} tensors, and {described_by} says {config.n_layers} layers")
    linked = list(links(family, config))
    expected = {name: shape for link in linked for name, shape in link.theirs.items()}
    if missing := [name for name in expected if name not in stored]:
        why = "are these all its files, and is config.json its own?"
        raise ValueError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]}; {why}")
    table = next(iter(expected))  # the token embedding
    for name in stored.keys() - expected.keys():
        where = stored[name].where
        if name == "lm_head.weight":  # the config ties it
            if not np.array_equal(stored[name].read(), stored[table].read(), equal_nan=True):
                raise ValueError(f"{where}: {name} must equal {table}, to which config.json ties it, and differs")
        elif not re.fullmatch(family.ignored, name):
            raise ValueError(f"{where}: is no tensor of this model as config.json describes it")
    for name, shape in expected.items():
        where, dtype = stored[name].where, stored[name].dtype
        if stored[name].shape != shape:
            raise ValueError(f"{where}: must have shape {shape} by config.json, found {stored[name].shape}")
        if dtype not in FLOATS:
            rule = f"must be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}; quantised weights cannot be read"
            raise ValueError(f"{where}: {rule}, found {dtype}")
    return LazyTensors({link.ours: _joined([stored[name] for name in link.theirs], link.transposed) for link in linked})


def _joined(tensors: list[LazyTensor], transposed: bool) -> LazyTensor:
    """Return one of our tensors, made from those of a link."""
    if len(tensors) == 1 and not transposed:
        return tensors[0]
    shape = (sum(tensor.shape[0] for tensor in tensors), *tensors[0].shape[1:])

    def read() -> np.ndarray:
        arrays = [tensor.read() for tensor in tensors]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return joined.T if transposed else joined

    return LazyTensor(tensors[0].where, shape[::-1] if transposed else shape, read)
