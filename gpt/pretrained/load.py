"""Load what others trained: whichever of their formats a path holds, as our configuration and our tensors."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.pretrained import gpt2, llama, llama2c, openai
from gpt.pretrained.files import CONFIG, find_weights, read_weights
from gpt.pretrained.hf_config import Settings
from gpt.pretrained.lazy_tensors import Link, Stored, Weights, connect
from gpt.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class Pretrained:
    """A model that others trained. `tensors` reads each of its weights, by our names, when it is asked for.

    tokenizer is None where none could be read, and `no_tokenizer` then says why.
    """

    model_config: ModelConfig
    tensors: Weights
    tokenizer: Tokenizer | None
    source: str  # the file, and what it is
    ignored: tuple[str, ...] = ()  # keys of its config.json that change nothing
    no_tokenizer: str = ""

    def model(self, dtype: Any = np.float32) -> GPT:
        """Return the model, in evaluation mode.

        Weights are read one at a time from the mapped file and converted to dtype, so little more memory is needed than
        the model takes. Raises ValueError, with nothing loaded, where a weight holds NaN or infinity.
        """
        model = GPT(self.model_config, init=False)
        if np.dtype(dtype) != np.float32:
            model.astype(dtype)
        self.tensors.copy_into(model.state_dict())
        return model.eval()


def load_pretrained(path: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None = None) -> Pretrained:
    """Open a folder or a file: Hugging Face's safetensors, OpenAI's TensorFlow checkpoint or a .bin of llama2.c.

    Names, shapes and the configuration are checked here, and no weight is read yet. The tokenizer is looked for beside
    the weights, or at `tokenizer`. Raises OSError where a file is missing, ValueError where one is malformed, is a
    pickle, or says something that is not modelled here.
    """
    weights = find_weights(Path(path))
    ignored: tuple[str, ...] = ()
    if weights.name.endswith((".safetensors", ".safetensors.index.json")):
        config, tensors, kind, ignored = _open_huggingface(weights)
    elif weights.name.endswith(".ckpt.index"):
        config, tensors, kind = *openai.open_checkpoint(weights), "OpenAI's TensorFlow checkpoint"
    elif weights.suffix == ".bin":
        config, tensors, kind = *llama2c.open_bin(weights), "llama2.c"
    else:
        raise ValueError(f"{weights}: must be a .safetensors file, its .index.json, a .ckpt.index or llama2.c's .bin")
    read, why = _tokenizer(weights, tokenizer, config)
    return Pretrained(config, tensors, read, f"{weights.resolve()} ({kind})", ignored, why)


def _open_huggingface(weights: Path) -> tuple[ModelConfig, Weights, str, tuple[str, ...]]:
    """Return the model of config.json and safetensors, and the keys that were ignored."""
    if not weights.with_name(CONFIG).is_file():
        raise FileNotFoundError(f"{weights.with_name(CONFIG)} is missing: it says what the weights mean")
    settings = Settings(weights.with_name(CONFIG))
    kind = settings.get("model_type")
    family = gpt2 if kind == "gpt2" else llama if kind in llama.FAMILY else None
    if family is None:
        raise settings.error("model_type", f"must be one of gpt2, {', '.join(llama.FAMILY)}", kind)
    config = family.read_config(settings)
    ignored = settings.finish()
    found: dict[str, Stored] = {}
    for name, stored in read_weights(weights).items():
        if found.setdefault(name.removeprefix(family.PREFIX), stored) is not stored:
            raise ValueError(f"{stored.where}: is there with and without {family.PREFIX!r} before it")
    twins = family.TWINS if config.tie_embeddings else None
    tensors = connect(
        str(weights), found, _bounded(family.links, config, found, weights), spare=family.SPARE, twins=twins
    )
    return config, tensors, str(kind), ignored


def _bounded(
    links: Callable[[ModelConfig], Iterator[Link]], config: ModelConfig, found: dict[str, Stored], weights: Path
) -> list[Link]:
    """Return the links of a model; ValueError, before they fill the memory, for more layers than there are tensors."""
    if config.n_layers > len(found):
        raise ValueError(f"{weights}: has {len(found)} tensors, and config.json says {config.n_layers} layers")
    return list(links(config))


def _tokenizer(weights: Path, path: str | os.PathLike[str] | None, config: ModelConfig) -> tuple[Tokenizer | None, str]:
    """Return the tokenizer, or the reason why there is none; what the user named himself must work."""
    place = weights.parent if path is None else Path(path)
    if path is None and weights.suffix == ".bin":
        place /= llama2c.TOKENIZER
    try:
        tokenizer = (
            llama2c.read_tokenizer(place, config.vocab_size) if place.suffix == ".bin" else load_tokenizer(place)
        )
        if tokenizer.vocab_size > config.vocab_size:
            raise ValueError(f"{place}: the tokenizer has {tokenizer.vocab_size} tokens, the model {config.vocab_size}")
    except (OSError, ValueError) as error:
        if path is not None:
            raise
        return None, str(error)
    return tokenizer, ""
