"""Load pretrained weights: find the format at a path, and read it as our configuration and our tensors."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpt.config import ModelConfig
from gpt.model import GPT
from gpt.pretrained import llama2c, openai
from gpt.pretrained.chat_files import ChatFiles, read_chat_files
from gpt.pretrained.families import connect, read_config, strip_prefix
from gpt.pretrained.hf_config import HFConfig, read_json_object
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors, lazy_tensors, shown
from gpt.runs.safetensors import MAX_HEADER, read_header
from gpt.tokenizer import Tokenizer, load_tokenizer
from nanograd.runtime.files import StrPath, is_plain, open_input

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# Their first bytes: a zip archive, a protocol of pickle and an opcode (llama2.c's dim 640 is 80 02 00 00), gzip.
_MAGIC = re.compile(rb"PK\x03\x04|\x80[\x02-\x05][^\x00]|\x1f\x8b\x08")


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model. `tensors` has its weights by our names; each is read when it is looked up.

    tokenizer is None if none could be read; `no_tokenizer` then says why. `chat` is how to talk with the model.
    """

    model_config: ModelConfig
    tensors: LazyTensors
    tokenizer: Tokenizer | None
    source: str  # the file and its format
    ignored: tuple[str, ...] = ()  # keys of its config.json that do not affect logits
    names: str = ""  # what is unusual in the names of its tensors
    no_tokenizer: str = ""
    chat: ChatFiles | None = None

    def model(self, dtype: Any = np.float32) -> GPT:
        """Return the model, in evaluation mode, with its tokenizer if there is one.

        Weights of this dtype stay in the mapped file; others are converted one at a time. So this takes the memory of the
        model once. Raises ValueError if a weight holds NaN or infinity.
        """
        model = GPT(self.model_config, init=False)
        if np.dtype(dtype) != np.float32:
            model.astype(dtype)
        model.load_state_dict(self.tensors.arrays(np.dtype(dtype)), assign=True)
        model.tokenizer = self.tokenizer
        return model.eval()


def load_pretrained(
    path: StrPath, tokenizer: StrPath | None = None, *, ignore_config: Collection[str] = ()
) -> Pretrained:
    """Open a folder or a file: Hugging Face's safetensors, OpenAI's TensorFlow checkpoint or a .bin of llama2.c.

    Names, shapes and the configuration are checked now; weights are read later. The tokenizer is read from `tokenizer`,
    or else from beside the weights. The keys of config.json in `ignore_config` count as null.

    Raises OSError if a file is missing, ValueError if one is malformed, is a pickle, or describes a model that is not
    supported.
    """
    weights = find_weights(Path(path))
    notes: dict[str, Any] = {}
    if ignore_config and weights.suffix in (".index", ".bin"):
        raise ValueError(f"ignore_config is for the keys of a config.json, and {weights} has none; leave it out")
    if weights.name.endswith((".safetensors", ".safetensors.index.json")):
        config, tensors, kind, notes = _open_huggingface(weights, ignore_config)
    elif weights.name.endswith(".ckpt.index"):
        config, tensors, kind = *openai.open_checkpoint(weights), "OpenAI's TensorFlow checkpoint"
    elif weights.suffix == ".bin":
        config, tensors, kind = *llama2c.open_bin(weights), "llama2.c"
    else:
        raise ValueError(f"{weights}: must be a .safetensors file, its .index.json, a .ckpt.index or llama2.c's .bin")
    read, why = _read_tokenizer(weights, tokenizer, config.vocab_size)
    chat = None
    if read is not None and weights.suffix != ".bin":
        chat = read_chat_files(weights.parent, read)
        read = chat.tokenizer
    return Pretrained(config, tensors, read, f"{weights.resolve()} ({kind})", no_tokenizer=why, chat=chat, **notes)


def _open_huggingface(
    weights: Path, ignore_config: Collection[str]
) -> tuple[ModelConfig, LazyTensors, str, dict[str, Any]]:
    """Return the model of config.json and safetensors, and what Pretrained notes about both."""
    if not weights.with_name(CONFIG).is_file():
        raise FileNotFoundError(f"{weights.with_name(CONFIG)} is missing: it describes the model")
    hf = HFConfig(weights.with_name(CONFIG), ignore_config)
    family, config = read_config(hf)
    ignored = hf.finish()
    stored, names = strip_prefix(read_weights(weights), family)
    tensors = connect(str(weights), stored, family, config, CONFIG)
    return config, tensors, str(hf.fields["model_type"]), {"ignored": ignored, "names": names}


def _read_tokenizer(weights: Path, path: StrPath | None, vocab_size: int) -> tuple[Tokenizer | None, str]:
    """Return the tokenizer, or the reason why there is none. Raises if one that the user named cannot be read."""
    location = weights.parent if path is None else Path(path)
    if path is None and weights.suffix == ".bin":
        location /= llama2c.TOKENIZER
    is_bin = location.suffix == ".bin"
    try:
        tokenizer = llama2c.read_tokenizer(location, vocab_size) if is_bin else load_tokenizer(location)
        if tokenizer.vocab_size > vocab_size:
            raise ValueError(f"{location}: the tokenizer has {tokenizer.vocab_size} tokens, the model {vocab_size}")
    except (OSError, ValueError) as error:
        if path is not None:
            raise
        return None, str(error)
    return tokenizer, ""


def read_weights(path: Path) -> dict[str, LazyTensor]:
    """Return the tensors of a safetensors file, or of all files of an index. Raises ValueError for inconsistent files."""
    if not path.name.endswith(".index.json"):
        entries, _ = read_header(path)
        return lazy_tensors(path, entries)
    index = read_json_object(path, MAX_HEADER).get("weight_map")
    if not isinstance(index, Mapping) or not index:
        raise ValueError(f"{path}: weight_map must give each tensor its file, found {shown(repr(index))}")
    for name, shard in index.items():
        check_plain(path, name, shard)
    tensors: dict[str, LazyTensor] = {}
    for shard in sorted(set(index.values())):
        file = path.with_name(shard)
        if not file.is_file():
            raise FileNotFoundError(f"{path} names {shard}, which is not beside it; the model is in all its files")
        entries, _ = read_header(file)
        for name in entries:
            what = f"{file}: holds {shown(name)}, which {path.name}"
            if name not in index:
                raise ValueError(f"{what} does not know; do the files belong together?")
            if index[name] != shard:
                raise ValueError(f"{what} says is in {index[name]}; a tensor is in one file")
        tensors |= lazy_tensors(file, entries)
    if missing := [name for name in index if name not in tensors]:
        raise ValueError(f"{path}: says that {shown(missing[0])} is in {index[missing[0]]}, where it is not")
    return tensors


def check_plain(path: Path, name: str, shard: object) -> None:
    """Raise ValueError unless `shard` is the plain name of a safetensors file, which lies beside the index.

    The index may come from anybody: `../x`, `/etc/x` and `C:x` are refused. The file itself may be a link, as all files
    in Hugging Face's cache are.
    """
    if not (isinstance(shard, str) and shard.endswith(".safetensors") and is_plain(shard)):
        rule = "must be the plain name of a .safetensors file beside the index"
        raise ValueError(f"{path}: the file of {shown(name)} {rule}, found {shown(repr(shard))}")


def find_weights(path: Path) -> Path:
    """Return the file that holds the weights, or their index. Raises FileNotFoundError if there is none.

    Raises ValueError for a pickle: reading one runs it as a program.
    """
    if path.is_file():
        if path.name == CONFIG:
            return find_weights(path.parent)
        refuse_pickle(path)
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}")
    for name in (SINGLE, INDEX, "model.ckpt.index"):
        if (path / name).is_file():
            return path / name
    for pattern in _PICKLES:
        for file in sorted(path.glob(pattern)):
            refuse_pickle(file)
    needed = f"{SINGLE} (or {INDEX} with its files) and {CONFIG}, or OpenAI's model.ckpt.* with hparams.json"
    way_out = "for llama2.c, give the .bin itself"
    if any(path.glob("*.gguf")):
        way_out = "GGUF is not read"
    elif (path / "adapter_model.safetensors").is_file():
        way_out = "adapters of PEFT are not read; merge them into their base with its merge_and_unload()"
    raise FileNotFoundError(f"{path} holds no weights: it needs {needed}; {way_out}")


def refuse_pickle(path: Path) -> None:
    """Raise ValueError if a file is a pickle by its first bytes, whatever its name."""
    with open_input(path) as file:
        begin = file.read(4)
    if _MAGIC.match(begin) or path.name.startswith("pytorch_model"):
        raise ValueError(
            f"{path} is a pickle, a program that may do anything when it is read: it is not opened. Use the model's "
            f'{SINGLE}, or convert a file that you trust: python -c "from transformers import '
            f"AutoModelForCausalLM as M; M.from_pretrained({str(path.parent)!r}).save_pretrained('converted')\""
        )
