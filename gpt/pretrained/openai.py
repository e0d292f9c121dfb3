"""Read the TensorFlow checkpoint in which OpenAI published GPT-2: hparams.json and model.ckpt.index, .data-00000-of-00001.

The data file is the tensors, one after the other. The index is a table of LevelDB, sorted by key: blocks of entries
that share the beginning of their key with the one before, an index block with the offsets of the blocks, and a footer of
48 bytes with the offset of the index block. An entry's value is a protocol buffer: the type, shape, offset and size of
one tensor.

Sources: https://github.com/google/leveldb/blob/main/doc/table_format.md, tensorflow/core/protobuf/tensor_bundle.proto
"""

import re
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path

from gpt.config import ModelConfig
from gpt.pretrained.families import GPT2, connect
from gpt.pretrained.hf_config import HFConfig, model_config
from gpt.pretrained.lazy_tensors import LazyTensor, LazyTensors, lazy_tensors, shown
from gpt.runs.safetensors import Entry
from nanograd.runtime.files import read_input

LARGEST = 1 << 24  # bytes of an index; that of GPT-2 has 5,000
_MAGIC = 0xDB4775248B80FB57
_FLOAT = 1  # DT_FLOAT of types.proto
_HPARAMS = {  # keys of hparams.json → ours
    "n_vocab": "vocab_size",
    "n_ctx": "context_length",
    "n_embd": "d_model",
    "n_layer": "n_layers",
    "n_head": "n_heads",
}
_KINDS = {"g": "weight", "w": "weight", "b": "bias"}
Fields = dict[int, list[int | bytes]]


def open_checkpoint(index: Path) -> tuple[ModelConfig, LazyTensors]:
    """Return the config and the tensors of a checkpoint. Raises ValueError for malformed or inconsistent files."""
    hparams = HFConfig(index.with_name("hparams.json"))
    config = model_config(hparams.path, **{name: hparams.read(key, int) for key, name in _HPARAMS.items()})
    hparams.finish()
    tensors = {_huggingface_name(name): tensor for name, tensor in read_index(index).items()}
    return config, connect(str(index), tensors, GPT2, config, "hparams.json")


def read_index(index: Path) -> dict[str, LazyTensor]:
    """Return the tensors that an index lists; their numbers are read from the data file beside it."""
    table = read_input(index, LARGEST)
    data = index.with_suffix(".data-00000-of-00001")
    length = data.stat().st_size
    entries = {}
    try:
        for key, value in _table(table):
            fields = _fields(value)
            if key == b"":  # the header: into how many data files the tensors are split, and their byte order
                if fields.get(1) != [1] or fields.get(2, [0]) != [0]:
                    raise ValueError("must be one little-endian data file")
                continue
            name = key.decode("utf-8")
            if fields.get(1) != [_FLOAT]:
                raise ValueError(f"{shown(name)} must be of type DT_FLOAT (1), found {fields.get(1)}")
            sizes = [_fields(dim).get(1, [0])[0] for shape in fields.get(2, []) for dim in _fields(shape).get(2, [])]
            shape = tuple(size for size in sizes if isinstance(size, int))
            offset, size = fields.get(4, [0])[0], fields.get(5, [0])[0]
            if not isinstance(offset, int) or size != 4 * prod(shape) or offset + 4 * prod(shape) > length or not size:
                raise ValueError(f"{shown(name)} of shape {shape} must lie in the {length} bytes of {data.name}")
            if len(shape) == 3 and shape[0] == 1:  # GPT-2's matrices are convolutions of width 1
                shape = shape[1:]
            entries[name] = Entry("F32", shape, offset, offset + size)
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{index}: is no index of a TensorFlow checkpoint, or damaged: {error}") from None
    return lazy_tensors(data, entries)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a LevelDB table, in order."""
    if len(data) < 48 or struct.unpack_from("<Q", data, len(data) - 8)[0] != _MAGIC:
        raise ValueError("it does not end in the magic number of a table")
    at = len(data) - 48
    for _ in range(2):  # the handle of the metaindex, which is not needed, then that of the index
        _, at = _varint(data, at)
    handle = data[at:]
    for _, where in _entries(_block(data, handle)):
        yield from _entries(_block(data, where))


def _block(data: bytes, handle: bytes) -> bytes:
    """Return the block that a handle points to."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    block, kind = data[offset : offset + size], data[offset + size]
    if kind != 0:
        raise ValueError("a block is compressed, which is not supported; save the checkpoint again with TensorFlow 2")
    return block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block; the offsets of complete keys (for searching) and their count follow them."""
    (n_restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end, at, key = len(block) - 4 - 4 * n_restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + rest + size > end:
            raise ValueError("an entry does not fit in its block")
        key = key[:shared] + block[at : at + rest]
        yield key, block[at + rest : at + rest + size]
        at += rest + size


def _fields(message: int | bytes) -> Fields:
    """Return the fields of a protocol buffer by number."""
    if isinstance(message, int):
        raise ValueError("expected a message, found a number")
    fields: Fields = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            fixed = {1: 8, 5: 4}.get(tag & 7, len(message) + 1)  # bytes; groups, 3 and 4, do not occur
            size, at = _varint(message, at) if tag & 7 == 2 else (fixed, at)
            if at + size > len(message):
                raise ValueError("a field does not fit in its message")
            value, at = message[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number written in bytes of seven bits, the lowest first, and the offset after it."""
    value = 0
    for shift in range(0, 64, 7):
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise ValueError("a number has no end")


def _huggingface_name(name: str) -> str:
    """Return Hugging Face's name of a tensor: model/h0/attn/c_attn/w is h.0.attn.c_attn.weight."""
    words = re.sub(r"^h(\d+)/", r"h/\1/", name.removeprefix("model/")).split("/")
    if len(words) == 1:  # the tables wte and wpe
        return name if words[0] not in ("wte", "wpe") else f"{words[0]}.weight"
    return ".".join([*words[:-1], _KINDS.get(words[-1], words[-1])])
