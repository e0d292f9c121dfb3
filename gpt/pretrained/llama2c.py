"""Read the .bin checkpoints of llama2.c (version 0): a header of seven numbers, then all weights, one tensor after another.

Each kind of tensor is stored for all layers together. Two things differ from Hugging Face's format. RoPE rotates the
neighbouring features (2j, 2j+1) of a head; here it rotates (j, j + D/2), so the rows of wq and wk are reordered. A
negative vocabulary size means that the output projection is not tied to the token embedding.

Source: https://github.com/karpathy/llama2.c, run.c (memory_map_weights, build_tokenizer) and export.py
"""

import struct
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from gpt.config import ModelConfig
from gpt.pretrained import llama
from gpt.pretrained.hf_config import model_config, read_bounded
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors, connect, from_raw
from gpt.tokenizer import ScoredTokenizer

TOKENIZER = "tokenizer.bin"
LARGEST = 1 << 26  # bytes of a tokenizer.bin; that of Llama 2 has 434,000
_NAMES = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")
_VERSIONED = 0x616B3432  # "ak42", with which the later versions begin


def open_bin(path: Path) -> tuple[ModelConfig, LazyTensors]:
    """Return the config and the tensors of a file. Raises ValueError if its length contradicts its header."""
    length = path.stat().st_size
    with open(path, "rb") as file:
        header = file.read(28)
    if len(header) < 28:
        raise ValueError(f"{path}: a .bin of llama2.c begins with 28 bytes of header, found {len(header)}")
    if struct.unpack_from("<I", header)[0] == _VERSIONED:
        raise ValueError(f"{path}: is of a later version of llama2.c's format; export it with --version 0")
    sizes = dict(zip(_NAMES, struct.unpack("<7i", header), strict=True))
    untied, sizes["vocab_size"] = sizes["vocab_size"] < 0, abs(sizes["vocab_size"])
    wrong = [name for name, size in sizes.items() if size < 1]
    if wrong or sizes["dim"] % sizes["n_heads"] or sizes["n_heads"] % sizes["n_kv_heads"]:
        raise ValueError(f"{path}: is no .bin of llama2.c: its header would say {sizes}")
    config = model_config(
        path,
        vocab_size=sizes["vocab_size"],
        context_length=sizes["seq_len"],
        d_model=sizes["dim"],
        n_layers=sizes["n_layers"],
        n_heads=sizes["n_heads"],
        d_ff=sizes["hidden_dim"],
        bias=False,
        norm="rmsnorm",
        position="rope",
        mlp="gated",
        n_kv_heads=sizes["n_kv_heads"],
        tie_embeddings=not untied,
    )
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
    tensors: dict[str, LazyTensor] = {}
    offset = 28
    for name, shape in _layout(config):
        tensors[name] = from_raw(path, name, shape, offset)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            tensors[name] = _reorder_for_rope(tensors[name], config.head_dim)
        offset += 4 * prod(shape)
    return config, connect(str(path), tensors, list(llama.links(config)), ignored="freq_.*")


def _layout(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the tensors in the order of the file, by Hugging Face's names."""
    C, V, F, D = config.d_model, config.vocab_size, config.d_ff, config.head_dim
    K = config.n_kv_heads * D
    yield "embed_tokens.weight", (V, C)
    layer_tensors: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("input_layernorm", (C,)),
        ("self_attn.q_proj", (C, C)),
        ("self_attn.k_proj", (K, C)),
        ("self_attn.v_proj", (K, C)),
        ("self_attn.o_proj", (C, C)),
        ("post_attention_layernorm", (C,)),
        ("mlp.gate_proj", (F, C)),  # w1
        ("mlp.down_proj", (C, F)),  # w2
        ("mlp.up_proj", (F, C)),  # w3
    )
    for name, shape in layer_tensors:
        for i in range(config.n_layers):
            yield f"layers.{i}.{name}.weight", shape
    yield "norm.weight", (C,)
    for kind in ("real", "imag"):  # tables of RoPE, which are computed here
        yield f"freq_{kind}", (config.context_length, D // 2)
    if not config.tie_embeddings:
        yield "lm_head.weight", (V, C)


def _reorder_for_rope(tensor: LazyTensor, head_dim: int) -> LazyTensor:
    """Return a matrix with the rows of each head reordered for RoPE: the even rows, then the odd ones."""

    def read() -> np.ndarray:
        pairs = tensor.read().reshape(-1, head_dim // 2, 2, tensor.shape[1])  # (heads, D/2, 2, C)
        return pairs.swapaxes(1, 2).reshape(tensor.shape)

    return replace(tensor, read=read, rows=None)


def read_tokenizer(path: Path, vocab_size: int) -> ScoredTokenizer:
    """Read a tokenizer.bin: the maximum token length, then the score, length and bytes of each token."""
    data = read_bounded(path, LARGEST)
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
