"""Read and write safetensors: named arrays in one file that holds numbers and no code.

    8 bytes      N, the length of the header, an unsigned little-endian integer
    N bytes      the header, a JSON object in UTF-8 that begins with "{" and may end in spaces
    the rest     the data: the bytes of the tensors, little-endian, last axis fastest, without holes

The header maps each name to {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, where offset 0 is the
first byte of the data; the key "__metadata__" may map strings to strings.

A weights file may come from anywhere, so the reader trusts no number in it: it checks every offset against the length of
the file and every shape against its offsets before it allocates memory.

Source: https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from nanograd.runtime.files import StrPath, atomic_write, open_input

MAX_HEADER = 100_000_000  # bytes, the limit of the reference library
MAX_AXES = 64  # of a NumPy array
CAN_MAP = os.name != "nt"  # Windows refuses to replace a mapped file, as the checkpoint of a run that goes on

DTYPES = {  # safetensors name → how the bytes are read
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16: the bits are read as integers, then converted
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


class Entry(NamedTuple):
    """The type and shape of one tensor, and its bytes in the file: from `begin` up to, not including, `end`."""

    dtype: str  # the safetensors name, as "F32"
    shape: tuple[int, ...]
    begin: int
    end: int


def save_file(tensors: Mapping[str, np.ndarray], path: StrPath, metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` and `metadata` to `path`, the whole file or nothing.

    Tensors are sorted by item size, largest first, then by name, and the header is padded to a multiple of 8 bytes. So
    every tensor starts at a multiple of its item size, and a memory map of the file is aligned. Arrays may have any strides
    and byte order; those that need another layout are copied, one tensor at a time.

    Raises TypeError or ValueError for input that the format cannot hold, before anything is written; OSError if the disk
    is full, and the old file remains.
    """
    for name, array in tensors.items():
        if not isinstance(name, str) or name == "__metadata__":
            raise ValueError(f"{path}: a tensor's name must be a string other than '__metadata__', got {_show(name)}")
        where = f"{path}: tensor {_show(name)}"
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{where}: must be a NumPy array, got {type(array).__name__}")
        if array.dtype.newbyteorder("<") not in _NAMES:
            raise TypeError(f"{where}: dtype must be one of {' '.join(_NAMES.values())}, got {array.dtype}; convert it")
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"{path}: metadata must map strings to strings, got {_show({key: value})}; use json.dumps")

    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0  # the tensors follow in the order of their bytes
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        array = tensors[name]
        begin, end = end, end + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise ValueError(f"{path}: names and metadata must be valid Unicode, got a surrogate in {around!r}") from None
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"{path}: the header takes {len(text)} bytes, more than {MAX_HEADER}; shorten the metadata")

    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        header.pop("__metadata__", None)
        for name in header:
            array = tensors[name]
            flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
            file.write(flat.view(np.uint8).data)


def load_file(path: StrPath, *, mapped: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read all tensors of `path`, in the order of their bytes, and its metadata.

    The arrays are private and writable. BF16 is converted to float32, which is exact, and BOOL is checked.

    With `mapped` they are views of the file, if the system lets a mapped file be replaced (CAN_MAP): the system reads a
    page when it is used, and may drop it again. A write copies the page, and never reaches the file. `path` may be replaced
    as `save_file` does it, but a program that overwrites the file itself changes the arrays.

    Raises ValueError if the file is malformed. NaN and infinity are allowed.
    """
    tensors = {}
    with open_input(path) as file:
        entries, metadata = _read_header(file, path)
        for name, entry in entries.items():
            if mapped and CAN_MAP:
                raw = _map_bytes(file, entry)
            else:
                raw = np.empty(entry.end - entry.begin, np.uint8)
                if file.readinto(raw.data) != raw.size:  # no seek: each tensor begins where the one before it ends
                    raise ValueError(f"{path}: tensor {_show(name)}: the file was cut short while it was read")
            if entry.dtype == "BOOL" and raw.max(initial=0) > 1:  # any other byte makes a NumPy bool misbehave
                raise ValueError(f"{path}: tensor {_show(name)}: BOOL bytes must be 0 or 1, found {raw.max()}")
            tensors[name] = _decode(raw, entry)
    return tensors, metadata


def read_header(path: StrPath) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return one Entry per tensor, in the order of their bytes, and the metadata; both are checked, and no data is read.

    Raises ValueError if the header is malformed or does not match the length of the file.
    """
    with open_input(path) as file:
        return _read_header(file, path)


def map_tensor(path: StrPath, entry: Entry) -> np.ndarray:
    """Return the tensor of an Entry from `read_header`, as a view of the file that is unmapped with the array.

    A file larger than memory can thus be read tensor by tensor. A write copies the page, and never reaches the file. BF16
    is converted into newly allocated memory.
    """
    return _decode(_map_bytes(path, entry), entry)


def _map_bytes(file: StrPath | BinaryIO, entry: Entry) -> np.ndarray:
    """Return the bytes of one tensor as a copy-on-write view of the file."""
    if entry.begin == entry.end:  # an empty range cannot be mapped
        return np.empty(0, np.uint8)
    return np.memmap(file, np.uint8, "c", entry.begin, (entry.end - entry.begin,)).view(np.ndarray)


def _decode(raw: np.ndarray, entry: Entry) -> np.ndarray:
    """Return the bytes of one tensor as an array."""
    array = raw.view(DTYPES[entry.dtype]).reshape(entry.shape)
    if entry.dtype != "BF16":
        return array
    bits = array.astype(np.uint32)
    bits <<= 16  # a bfloat16 is the upper half of a float32
    return bits.view(np.float32)


class _Object(dict[str, Any]):
    """A JSON object that records its repeated keys, which a `dict` drops."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        for text in (*self.keys(), *self.values()):
            if isinstance(text, str):
                text.encode("utf-8")  # rejects half of a surrogate pair, "\ud800", which json accepts


def _read_header(file: BinaryIO, path: StrPath) -> tuple[dict[str, Entry], dict[str, str]]:
    """Read and check the header; leave `file` at the first byte of the data."""
    file_size = os.fstat(file.fileno()).st_size
    if file_size < 8:
        raise ValueError(f"{path}: a safetensors file begins with a header length of 8 bytes, found {file_size} bytes")
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise ValueError(f"{path}: the header may take {MAX_HEADER} bytes, found length {length}; is it safetensors?")
    data_size = file_size - 8 - length
    if data_size < 0:
        raise ValueError(f"{path}: the header must fit in the file, found length {length}, {file_size - 8} bytes left")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise ValueError(f"{path}: the header must be a JSON object and begin with '{{', found {_show(text[:20])}")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, an endless number, brackets without end
        raise ValueError(f"{path}: the header must be JSON in UTF-8, found: {error}") from None
    if header.repeated:
        raise ValueError(f"{path}: names must be unique, found {_show(header.repeated[0])} twice")

    metadata = header.pop("__metadata__", _Object([]))
    if not isinstance(metadata, _Object) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{path}: __metadata__ must map strings to strings, found {_show(metadata)}")
    if metadata.repeated:
        raise ValueError(f"{path}: __metadata__ keys must be unique, found {_show(metadata.repeated[0])} twice")

    parsed = {name: _parse_entry(raw, data_size, f"{path}: tensor {_show(name)}") for name, raw in header.items()}
    entries = dict(sorted(parsed.items(), key=lambda item: (item[1].begin, item[1].end)))
    _check_contiguous(entries, data_size, path)
    base = 8 + length
    entries = {name: entry._replace(begin=base + entry.begin, end=base + entry.end) for name, entry in entries.items()}
    return entries, dict(metadata)


def _parse_entry(raw: object, data_size: int, where: str) -> Entry:
    """Check the header of one tensor; its offsets are still relative to the data."""
    if not isinstance(raw, _Object) or raw.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{where}: expected an object of dtype, shape and data_offsets alone, found {_show(raw)}")
    if raw.repeated:
        raise ValueError(f"{where}: keys must be unique, found {_show(raw.repeated[0])} twice")
    dtype, shape, offsets = raw["dtype"], raw["shape"], raw["data_offsets"]

    if isinstance(dtype, str) and dtype.startswith("F8_"):
        raise ValueError(f"{where}: dtype {_show(dtype)} is refused: NumPy has no 8-bit floats; convert it to F16")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{where}: dtype must be one of {' '.join(DTYPES)}, found {_show(dtype)}")
    if not isinstance(shape, list) or not all(_is_count(size) for size in shape):
        raise ValueError(f"{where}: shape must be a list of non-negative integers, found {_show(shape)}")
    if len(shape) > MAX_AXES:
        raise ValueError(f"{where}: shape must have at most {MAX_AXES} axes, found {len(shape)}")
    itemsize = DTYPES[dtype].itemsize
    loaded_itemsize = 4 if dtype == "BF16" else itemsize
    if loaded_itemsize * math.prod(max(size, 1) for size in shape) > sys.maxsize:  # NumPy too ignores sizes of 0 here
        raise ValueError(f"{where}: shape must take at most {sys.maxsize} bytes, found {_show(shape)} of {dtype}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_count(offset) for offset in offsets):
        raise ValueError(f"{where}: data_offsets must be two non-negative integers, found {_show(offsets)}")
    begin, end = offsets
    if not begin <= end <= data_size:
        raise ValueError(f"{where}: data_offsets must satisfy begin <= end <= {data_size}, found {_show(offsets)}")
    size = itemsize * math.prod(shape)
    if end - begin != size:
        raise ValueError(f"{where}: {dtype} of shape {_show(shape)} takes {size} bytes, found data_offsets {offsets}")
    return Entry(dtype, tuple(shape), begin, end)


def _check_contiguous(entries: dict[str, Entry], data_size: int, path: StrPath) -> None:
    """Raise ValueError for overlaps, holes and trailing bytes; `entries` are in the order of their bytes."""
    before, position = "the start of the data", 0
    for name, entry in entries.items():
        if entry.begin != position:
            what = "overlaps" if entry.begin < position else "leaves a hole after"
            offsets = f"expected to begin at {position}, found {entry.begin}"
            raise ValueError(f"{path}: tensor {_show(name)}: {what} {before}, {offsets}")
        before, position = f"tensor {_show(name)}", entry.end
    if position != data_size:
        raise ValueError(f"{path}: data must end with {before} at {position}, found {data_size - position} bytes more")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0  # not isinstance: a JSON `true` is an int in Python


def _show(value: object) -> str:
    """Return `value` as one short line: a malicious header may have names and lists of megabytes."""
    try:
        text = repr(value)
    except RecursionError:  # json may read deeper than repr does
        text = f"a {type(value).__name__} nested too deeply to show"
    return text if len(text) <= 100 else f"{text[:97]}..."
