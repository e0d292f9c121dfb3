"""Find the weights that a path means: one safetensors file, or several with an index that says what is where.

The index comes from outside, as the files do. A file it names must lie beside it, under a plain name: `../x`, `/etc/x`
and `C:x` are refused. (That file may be a link, as all files in Hugging Face's cache are: links were made here.)
"""

import re
from collections.abc import Mapping
from pathlib import Path

from gpt.pretrained.hf_config import read_json
from gpt.pretrained.lazy_tensors import Stored, from_safetensors, shown
from gpt.runs.safetensors import MAX_HEADER, read_header

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# How they begin: as a zip archive, a protocol of pickle and an opcode (llama2.c's dim 640 is 80 02 00 00), gzip.
_MAGIC = re.compile(rb"PK\x03\x04|\x80[\x02-\x05][^\x00]|\x1f\x8b\x08")


def read_weights(path: Path) -> dict[str, Stored]:
    """Return what a safetensors file holds, or all the files of an index; ValueError where they do not fit together."""
    if not path.name.endswith(".index.json"):
        entries, _ = read_header(path)
        return from_safetensors(path, entries)
    index = read_json(path, MAX_HEADER).get("weight_map")
    if not isinstance(index, Mapping) or not index:
        raise ValueError(f"{path}: weight_map must give each tensor its file, found {shown(repr(index))}")
    for name, shard in index.items():
        check_plain(path, name, shard)
    found: dict[str, Stored] = {}
    for shard in sorted(set(index.values())):
        file = path.with_name(shard)
        if not file.is_file():
            raise FileNotFoundError(
                f"{path} names {shard}, which is not beside it; the model is in all its files together"
            )
        entries, _ = read_header(file)
        for name in entries:
            what = f"{file}: holds {shown(name)}, which {path.name}"
            if name not in index:
                raise ValueError(f"{what} does not know; do the files belong together?")
            if index[name] != shard:
                raise ValueError(f"{what} says is in {index[name]}; a tensor is in one file")
        found |= from_safetensors(file, entries)
    if missing := [name for name in index if name not in found]:
        raise ValueError(f"{path}: says that {shown(missing[0])} is in {index[missing[0]]}, where it is not")
    return found


def check_plain(path: Path, name: str, shard: object) -> None:
    """Raise ValueError unless `shard` is the plain name of a safetensors file, so that it lies beside the index."""
    plain = isinstance(shard, str) and shard.endswith(".safetensors") and not re.search(r"^\.|[/\\:\x00-\x1f]", shard)
    if not plain:
        raise ValueError(
            f"{path}: the file of {shown(name)} must be the plain name of a .safetensors file beside the index, "
            f"found {shown(repr(shard))}"
        )


def find_weights(path: Path) -> Path:
    """Return the file that holds the weights, or their index; an error says which files a model consists of.

    Raises ValueError for a pickle: to read one is to run it.
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
    raise FileNotFoundError(
        f"{path} holds no weights: it needs {SINGLE} (or {INDEX} with its files) and {CONFIG}, or OpenAI's model.ckpt.* "
        "with hparams.json; a .bin of llama2.c is named itself"
    )


def refuse_pickle(path: Path) -> None:
    """Raise ValueError for a file that is a pickle, by what it begins with, whatever it is called."""
    with open(path, "rb") as file:
        begin = file.read(4)
    if _MAGIC.match(begin) or path.name.startswith("pytorch_model"):
        raise ValueError(
            f"{path} is a pickle, a program that runs when it is read and may do anything; it is not opened. Take the "
            f"model's {SINGLE}, or make one where you trust the file: python -c \"from transformers import "
            f"AutoModelForCausalLM as M; M.from_pretrained({str(path.parent)!r}).save_pretrained('converted')\""
        )
