"""Read a config.json key by key: each is mapped, has the only supported value, or does not affect the logits.

A key that changes the computation in an unsupported way would give a model that runs and is wrong. Such a key is refused
by name. An unknown key is judged by its value: null, false, 0, "" or an empty list switches something off, unless its name
is that of a part which this model has. A version number chooses nothing. Any other value is refused.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from gpt.config import ModelConfig
from gpt.pretrained.lazy_tensors import shown
from nanograd.runtime.arguments import nearest
from nanograd.runtime.files import read_input
from nanograd.runtime.typed_json import parse_json

LARGEST = 1 << 20  # bytes; a config.json has about a thousand

ACTIVATIONS = {  # their names → ours
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}

RULES: dict[type, tuple[str, Callable[[Any], bool]]] = {  # of the values that are read, by their type
    int: ("must be a whole number from 1 to 2**31", lambda value: type(value) is int and 1 <= value <= 2**31),
    float: ("must be a number greater than 0", lambda value: type(value) in (int, float) and 0 < value < 1e30),
    bool: ("must be true or false", lambda value: type(value) is bool),
    str: (f"must be one of {', '.join(ACTIVATIONS)}", lambda value: type(value) is str and value in ACTIVATIONS),
}

# Keys about the origin of a model, its training and sampling: logits do not depend on them.
# fmt: off
CHANGES_NOTHING = {
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "_commit_hash",
    "_flash_attn_2_enabled", "_name_or_path", "_num_labels", "architectures", "attn_implementation", "auto_map",
    "bad_words_ids", "begin_suppress_tokens", "cache_implementation", "diversity_penalty", "do_sample", "dtype",
    "early_stopping", "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "finetuning_task",
    "gradient_checkpointing", "id2label", "is_decoder", "is_llama_config", "keys_to_ignore_at_inference", "label2id",
    "length_penalty", "max_length", "max_seq_length", "max_sequence_length", "max_window_layers", "min_length",
    "model_max_length", "model_type", "n_ctx", "n_special", "neftune_noise_alpha", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_labels", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_past", "output_scores", "predict_special_tokens", "prefix", "pretraining_tp", "problem_type",
    "remove_invalid_values", "repetition_penalty", "return_dict", "return_dict_in_generate", "summary_activation",
    "summary_proj_to_labels", "summary_type", "summary_use_proj", "suppress_tokens", "task_specific_params",
    "temperature", "tf_legacy_loss", "tokenizer_class", "tokenizer_model_max_length", "top_k", "top_p", "torch_dtype",
    "torchscript", "transformers.js_config", "transformers_version", "typical_p", "unsloth_fixed", "use_bfloat16",
    "use_cache", "use_return_dict",
}
# fmt: on
# Names of more such keys: rates of dropout, numbers of the initialisation, and ids of special tokens.
CHANGES_NOTHING_LIKE = re.compile(r"\w*(dropout|pdrop)\w*|initializer_\w+|\w+_token_ids?")
VERSION = re.compile(r"v?\d+(\.\w+)+([+-][\w.]+)?")  # the value of a key that is called …version
# A part of these models that leaves no tensor: under such a name, false or 0 would take it out.
PART = re.compile(
    r"((is|use|do|has|with|apply|enable|add)_)?(causal(_mask|_attention)?|rope|rotary\w*|(rms_?|layer_?|pre_?)norm\w*"
    r"|do_layer_norm_before|normali[sz]e_before|residual\w*|softmax|scale_att\w*|att\w+_scal\w+)"
)
# Keys that transformers writes into every config.json, and the values at which they have no effect.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "cross_attention_hidden_size": (None,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({},),
    "embedding_multiplier": (1, 1.0),
    "logit_scale": (1, 1.0),
    "logits_scaling": (1, 1.0),
    "quantization_config": (None,),
    "residual_multiplier": (1, 1.0),
    "rope_interleaved": (False,),
    "rotary_pct": (1, 1.0),
    "tie_encoder_decoder": (False,),
}


def changes_nothing(key: str, value: Any) -> bool:
    """Return whether a key that is not read can be left out without changing the logits."""
    if key in CHANGES_NOTHING or CHANGES_NOTHING_LIKE.fullmatch(key):
        return True
    if key.endswith("version") and isinstance(value, str):
        return bool(VERSION.fullmatch(value))
    return not value and not PART.fullmatch(key)


class HFConfig:
    """The keys of one config.json. `finish` checks the keys that were not read.

    The keys to `ignore` count as null. Raises ValueError for one that is not there.
    """

    def __init__(self, path: Path, ignore: Collection[str] = ()) -> None:
        self.path = path
        self.fields = dict(read_json_object(path))
        self.keys_read: set[str] = set()
        for key in ignore:
            if key not in self.fields:
                near = nearest(key, list(self.fields))
                raise ValueError(f"{path}: ignore_config names a key that is not there, {shown(repr(key))}{near}")
            self.fields[key] = None

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value; null counts as absent."""
        self.keys_read.add(key)
        value = self.fields.get(key)
        return default if value is None else value

    def read(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a key's value, of the type and range of RULES. A key without a default is required."""
        return self.check(key, kind, self.get(key, default))

    def check(self, key: str, kind: type, value: Any) -> Any:
        """Return a value. Raises ValueError if it breaks the rule of its type."""
        rule, is_valid = RULES[kind]
        if not is_valid(value):
            raise self.error(key, rule, value)
        return kind(value)

    def share(self, key: str, default: float) -> float:
        """Return a number from 0 to less than 1."""
        value = self.get(key, default)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self.error(key, "must be a number from 0 to less than 1", value)
        return float(value)

    def only(self, key: str, *allowed: Any) -> None:
        """Raise ValueError for a key that changes the computation, unless it has one of the allowed values."""
        value = self.get(key)
        if value is not None and not any(type(value) is type(v) and value == v for v in allowed):
            values = " or ".join(map(repr, allowed)) or "null"
            raise self.error(key, f"changes what the model computes and is not supported: it must be {values}", value)

    def finish(self) -> tuple[str, ...]:
        """Return the keys that were ignored since they have no effect. Raises ValueError for an unknown key."""
        for key, allowed in NEUTRAL.items():
            self.only(key, *allowed)
        unread = {key: self.fields[key] for key in self.fields.keys() - self.keys_read if self.fields[key] is not None}
        for key, value in sorted(unread.items()):
            if not changes_nothing(key, value):
                option = shown(key) if key.isprintable() and " " not in key else "KEY"
                way_out = f"(if not: python -m gpt import --ignore-config {option})"
                raise self.error(key, f"is unknown and may change what the model computes {way_out}", value)
        return tuple(sorted(unread))

    def error(self, key: str, rule: str, value: Any) -> ValueError:
        """Return the ValueError with a key's rule and its value."""
        return ValueError(f"{self.path}: {shown(key)} {rule}, found {shown(repr(value))}")


def model_config(path: Path, **values: Any) -> ModelConfig:
    """Return the ModelConfig of these values. A ValueError names the file they come from."""
    try:
        return ModelConfig(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_json_object(path: Path, largest: int = LARGEST) -> Mapping[str, Any]:
    """Return the object in a JSON file of bounded size. A ValueError names the file and the mistake."""
    data = read_input(path, largest)
    try:
        fields = parse_json(data)
        if not isinstance(fields, dict):
            raise ValueError(f"it must be a JSON object, found {type(fields).__name__}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return fields
