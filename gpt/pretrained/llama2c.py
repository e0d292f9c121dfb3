"""Read the .bin checkpoints of llama2.c (version 0): a header of seven numbers, then all weights, one tensor after another.

Each kind of tensor is stored for all layers together. Two things differ from Hugging Face's format. RoPE rotates the
neighbouring features (2j, 2j+1) of a head; here it rotates (j, j + D/2), so the rows of wq and wk are reordered. A
negative vocabulary size means that the output projection is not tied to the token embedding.

Source: https://github.com/karpathy/llama2.c, run.c (memory_map_weights, build_tokenizer) and export.py
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained.families import LLAMA, connect, links
from gpt.pretrained.hf_config import model_config
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors, lazy_tensors
from gpt.runs.safetensors import Entry
from gpt.tokenizer import ScoredTokenizer
from nanograd.runtime.files import open_input, read_input

TOKENIZER = "tokenizer.bin"
LARGEST = 1 << 26  # bytes of a tokenizer.bin; that of Llama 2 has 434,000
_HEADER = ("d_model", "d_ff", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "context_length")  # its numbers
_IN_LAYERS = (  # in the order of the file
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.gate_proj",  # w1
    "mlp.down_proj",  # w2
    "mlp.up_proj",  # w3
)
_VERSIONED = 0x616B3432  # "ak42", with which the later versions begin


def open_bin(path: Path) -> tuple[ModelConfig, LazyTensors]:
    """Return the config and the tensors of a file. Raises ValueError if its length contradicts its header."""
    with open_input(path) as file:
        length = os.fstat(file.fileno()).st_size
        header = file.read(28)
    if len(header) < 28:
        raise ValueError(f"{path}: a .bin of llama2.c begins with 28 bytes of header, found {len(header)}")
    if struct.unpack_from("<I", header)[0] == _VERSIONED:
        raise ValueError(f"{path}: is of a later version of llama2.c's format; export it with --version 0")
    sizes = dict(zip(_HEADER, struct.unpack("<7i", header), strict=True))
    untied, sizes["vocab_size"] = sizes["vocab_size"] < 0, abs(sizes["vocab_size"])
    wrong = [name for name, size in sizes.items() if size < 1]
    if wrong or sizes["d_model"] % sizes["n_heads"] or sizes["n_heads"] % sizes["n_kv_heads"]:
        raise ValueError(f"{path}: is no .bin of llama2.c: its header would say {sizes}")
    config = model_config(path, **sizes, **LLAMA.options, bias=False, tie_embeddings=not untied)
    if 4 * config.n_layers > length:
        raise ValueError(f"{path}: has {length} bytes, too few for the {config.n_layers} layers of its header")
    needed = 28
    for _, shape in _layout(config):  # before any tensor is stored: a header may ask for many layers
        needed += 4 * prod(shape)
        if needed > length:
            break
    if needed != length:
        least = "at least " if needed > length else ""
        raise ValueError(f"{path}: has {length} bytes, where its header asks for {least}{needed}; is it cut off?")
    entries: dict[str, Entry] = {}
    offset = 28
    for name, shape in _layout(config):
        entries[name] = Entry("F32", shape, offset, offset + 4 * prod(shape))
        offset = entries[name].end
    tensors = lazy_tensors(path, {name: entry for name, entry in entries.items() if not name.startswith("freq_")})
    for name, tensor in tensors.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensors[name] = _reorder_for_rope(tensor, config.head_dim)
    return config, connect(str(path), tensors, LLAMA, config, "the header")


def _layout(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the tensors in the order of the file, by Hugging Face's names."""
    shapes = {name: s for link in links(LLAMA, replace(config, n_layers=1)) for name, s in link.theirs.items()}
    yield "embed_tokens.weight", shapes["embed_tokens.weight"]
    for name in _IN_LAYERS:
        for i in range(config.n_layers):
            yield f"layers.{i}.{name}.weight", shapes[f"layers.0.{name}.weight"]
    yield "norm.weight", shapes["norm.weight"]
    for kind in ("real", "imag"):  # tables of RoPE, which are computed here
        yield f"freq_{kind}", (config.context_length, config.head_dim // 2)
    if not config.tie_embeddings:
        yield "lm_head.weight", shapes["lm_head.weight"]


def _reorder_for_rope(tensor: LazyTensor, head_dim: int) -> LazyTensor:
    """Return a matrix with the rows of each head reordered for RoPE: the even rows, then the odd ones."""

    def read() -> np.ndarray:
        pairs = tensor.read().reshape(-1, head_dim // 2, 2, tensor.shape[1])  # (heads, D/2, 2, C)
        return pairs.swapaxes(1, 2).reshape(tensor.shape)

    return replace(tensor, read=read, rows=None)


def read_tokenizer(path: Path, vocab_size: int) -> ScoredTokenizer:
    """Read a tokenizer.bin: the maximum token length, then the score, length and bytes of each token."""
    data = read_input(path, LARGEST)
    scores: list[float] = []
    tokens: list[str] = []
    offset = 4
    try:
        for _ in range(vocab_size):
            score, size = struct.unpack_from("<fi", data, offset)
            if size < 0 or offset + 8 + size > len(data):
                raise ValueError(f"token {len(tokens)} would have {size} bytes")
            tokens.append(data[offset + 8 : offset + 8 + size].decode("utf-8"))
            scores.append(score)
            offset += 8 + size
        if offset != len(data):
            raise ValueError(f"{len(data) - offset} bytes are left after {vocab_size} tokens; is it another model's?")
        return ScoredTokenizer(tokens, scores)
    except (struct.error, ValueError) as error:
        raise ValueError(f"{path}: is no tokenizer.bin of llama2.c for {vocab_size} tokens: {error}") from None
