"""GPT-2 and the Llama family in Hugging Face's format: the keys of config.json and the names of tensors, there and here.

Reading and writing use the same tables. llama, mistral (which attends to a window), qwen2 (whose queries, keys and values
have biases) and qwen3 (which normalises queries and keys) share the names of their tensors and RoPE's layout, in which
feature j is rotated with feature j + D/2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from gpt.config import ModelConfig, field_types
from gpt.pretrained.hf_config import ACTIVATIONS, HFConfig, model_config
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors, shown

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
CLASSES = {  # of transformers, by model_type
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
FAMILIES = {kind: GPT2 if kind == "gpt2" else LLAMA for kind in CLASSES}


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
    defaults = {
        "num_key_value_heads": {"mistral": 8, "qwen2": 32, "qwen3": 32}.get(kind, heads),
        "head_dim": 128 if kind == "qwen3" else max(width // heads, 1),
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    values = {"dropout": 0.0, "qk_norm": kind == "qwen3", "window": read_window(hf, kind)}
    return defaults, values | _read_biases(hf, kind) | read_rope(hf)


def _read_biases(hf: HFConfig, kind: str) -> dict[str, bool | None]:
    """Return our fields of the biases: mlp_bias and qkv_bias are None where they are as `bias`."""
    if kind == "qwen2":  # its model_type implies them; the names of the tensors are checked in any case
        hf.get("attention_bias")
        hf.only("mlp_bias", False)
        return {"bias": False, "qkv_bias": True}
    if kind == "mistral":
        hf.only("attention_bias", False)
    if kind != "llama":
        hf.only("mlp_bias", False)
    bias, mlp_bias = hf.read("attention_bias", bool, False), hf.read("mlp_bias", bool, False)
    return {"bias": bias, "mlp_bias": None if mlp_bias == bias else mlp_bias}


def read_window(hf: HFConfig, kind: str) -> int | None:
    """Return how many tokens a token attends to, itself included; None if that is the whole context.

    Mistral has a window unless it is null, Qwen only with use_sliding_window, and Llama none.
    """
    context, layers = hf.read("max_position_embeddings", int), hf.read("num_hidden_layers", int)
    window = hf.get("sliding_window", None if "sliding_window" in hf.fields or kind == "llama" else 4096)
    if window is not None and not (type(window) is int and window >= 1):
        raise hf.error("sliding_window", "must be null or a whole number from 1", window)
    if kind == "llama" and window is not None and window < context:
        rule = f"must be null or not less than the {context} positions: llama has no window, mistral has"
        raise hf.error("sliding_window", rule, window)
    types = hf.get("layer_types")
    if kind in ("qwen2", "qwen3"):
        full = hf.get("max_window_layers", 28)  # so many layers, the first ones, have no window
        used = hf.read("use_sliding_window", bool, False)
        if type(full) is not int or full < 0 or (used and types is None and 0 < full < layers):
            rule = f"must be 0 or at least the {layers} layers: a window in some layers only is not supported"
            raise hf.error("max_window_layers", rule, full)
        window = window if used and (full == 0 or types is not None) else None
    same = "full_attention" if window is None or kind == "llama" else "sliding_attention"
    if types is not None and (not isinstance(types, list) or any(kind != same for kind in types)):
        raise hf.error("layer_types", f"must be {same} in every layer: layers of other kinds are not supported", types)
    return window if window is not None and window < context else None


def read_rope(hf: HFConfig) -> dict[str, Any]:
    """Return our fields of RoPE: the base of its angles, and how they are scaled to a longer context.

    Older files have them in rope_theta and rope_scaling, newer ones in rope_parameters. Raises ValueError for a kind of
    scaling that is not supported.
    """
    hf.only("partial_rotary_factor", 1, 1.0)
    parameters: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        fields = hf.get(name, {})
        if not isinstance(fields, Mapping):
            raise hf.error(name, "must be an object", fields)
        for key, value in fields.items():
            key = "rope_type" if key == "type" else key
            if value is not None and parameters.setdefault(key, value) != value:
                raise hf.error(f"{name}.{key}", f"must be {parameters[key]!r}, as it is elsewhere in the file", value)
    where = "rope_parameters" if hf.get("rope_parameters") else "rope_scaling"
    kind = parameters.pop("rope_type", "default")
    numbers = {"default": (), "linear": ("factor",), "llama3": ("factor", "low_freq_factor", "high_freq_factor")}
    if not isinstance(kind, str) or kind not in numbers:
        rule = "changes what the model computes and is not supported: it must be default, linear or llama3"
        raise hf.error(f"{where}.rope_type", rule, kind)
    theta = parameters.pop("rope_theta", None)
    if theta is None:
        theta = hf.read("rope_theta", float, 10000.0)
    else:
        hf.only("rope_theta", theta)
        theta = hf.check("rope_parameters.rope_theta", float, theta)
    options = {key: hf.check(f"{where}.{key}", float, parameters.pop(key, None)) for key in numbers[kind]}
    context = parameters.pop("original_max_position_embeddings", None) if kind != "default" else None
    for key, value in parameters.items():
        if value and not (key in ("partial_rotary_factor", "factor") and value == 1):
            raise hf.error(f"{where}.{key}", "changes what the model computes and is not supported", value)
    if options.get("factor", 1.0) == 1:
        return {"rope_theta": theta}
    fields = {"rope_theta": theta, "rope_scaling": kind} | {f"rope_{key}": value for key, value in options.items()}
    if kind == "llama3":
        context = hf.get("max_position_embeddings") if context is None else context
        fields["rope_original_context"] = hf.check(f"{where}.original_max_position_embeddings", int, context)
    return fields


LLAMA_KINDS = "llama: no window; mistral: no biases; qwen2: qkv_bias alone; qwen3: qk_norm and no mlp_bias"


def llama_kinds(config: ModelConfig) -> list[str]:
    """Return the model_types of Llama's family, the simplest first, whose layers have what those of a model have."""
    qkv, out, mlp = (config.linear_bias(layer) for layer in ("attn.w_qkv", "attn.out_proj", "mlp.up"))
    fits = {
        "llama": qkv == out and not config.qk_norm and config.window is None,
        "mistral": not (qkv or out or mlp or config.qk_norm),
        "qwen2": qkv and not (out or mlp or config.qk_norm),
        "qwen3": qkv == out and not mlp and config.qk_norm,
    }
    return [kind for kind, fit in fits.items() if fit]


def write_config(config: ModelConfig, kind: str) -> dict[str, Any]:
    """Return the config.json of a model_type, as `read_config` reads it."""
    their_activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}  # the first name of each
    values = config.to_dict() | {"activation": their_activations[config.activation]}
    keys = {key: values[name] for key, name in FAMILIES[kind].keys.items()}
    if kind in ("llama", "qwen3"):
        keys["attention_bias"] = config.linear_bias("attn.w_qkv")
    if kind == "llama":
        keys["mlp_bias"] = config.linear_bias("mlp.up")
    if kind in ("mistral", "qwen2", "qwen3"):
        keys["sliding_window"] = config.window
    if kind in ("qwen2", "qwen3"):
        keys |= {"use_sliding_window": config.window is not None, "max_window_layers": 0}
    if config.rope_scaling is not None and kind != "gpt2":
        keys["rope_scaling"] = {"rope_type": config.rope_scaling, "factor": config.rope_factor}
    if config.rope_scaling == "llama3" and kind != "gpt2":
        keys["rope_scaling"] |= {
            "low_freq_factor": config.rope_low_freq_factor,
            "high_freq_factor": config.rope_high_freq_factor,
            "original_max_position_embeddings": config.rope_original_context,
        }
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
                if (is_linear and config.linear_bias(ours)) or (family.conv1d and (is_linear or not n_in)):
                    biases = {f"{name}.bias": (n,) for name, n in zip(names, rows, strict=True)}
                    yield Link(f"{ours}.bias", biases, False)


def strip_prefix(tensors: Mapping[str, LazyTensor], family: Family) -> tuple[dict[str, LazyTensor], str]:
    """Return the tensors by their names without a prefix, and one line about a prefix that is unusual, or "".

    Wrappers write one before all names: _orig_mod. (torch.compile), module. (DataParallel), base_model.model. (PEFT). The
    family's own prefix may be missing. Raises ValueError for two tensors that would have one name.
    """
    table = f"{family.modules[0][2]}.weight"  # the token embedding, which every model has
    before = [name.removesuffix(table) for name in tensors if f".{name}".endswith(f".{table}")]
    wrapper = before[0].removesuffix(family.prefix) if len(before) == 1 else ""
    if not all(name.startswith(wrapper) for name in tensors):
        wrapper = ""
    stored: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        short = name.removeprefix(wrapper).removeprefix(family.prefix)
        if stored.setdefault(short, tensor) is not tensor:
            raise ValueError(f"{tensor.where}: is stored with and without the prefix {family.prefix!r}")
    if wrapper:
        return stored, f"every tensor's name begins with {shown(repr(wrapper))}, which is left out"
    return stored, f"the tensors' names lack the usual {family.prefix!r}" if before == [""] else ""


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
        extra = next((n for n in stored if n not in expected and not re.fullmatch(family.ignored, n)), None)
        found = "" if extra is None else f", and there is {shown(extra)}"
        raise ValueError(f"{source}: {len(missing)} tensors are missing, among them {missing[0]}{found}; {why}")
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
