"""Tests of gpt/runs/safetensors.py on malformed files: every one is a ValueError that names the fault, in little memory."""

import contextlib
import json
import math
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.runs.safetensors import DTYPES, MAX_HEADER, _show, load_file, read_header, save_file

MEGABYTE = 2**20


def pack(header: str | bytes, data: bytes = b"") -> bytes:
    """Return a file of this header and data."""
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(name: str = "w", dtype: str = '"F32"', shape: str = "[2]", offsets: str = "[0,8]") -> str:
    """Return one entry of a header as JSON text; the defaults fit 8 bytes of data."""
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}'


def of(*entries: str, size: int = 8) -> bytes:
    """Return a file of these entries and `size` zero bytes of data."""
    return pack("{" + ",".join(entries) + "}", bytes(size))


@contextlib.contextmanager
def peak_memory_below(limit: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes were allocated at once"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safetensors")


VALID = pack(
    '{"__metadata__":{"step":"7"},'
    '"scale":{"dtype":"F64","shape":[],"data_offsets":[0,8]},'
    '"a":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},'
    '"b":{"dtype":"I32","shape":[0,5],"data_offsets":[32,32]},'
    '"é":{"dtype":"I16","shape":[2],"data_offsets":[32,36]},'
    '"mask":{"dtype":"BOOL","shape":[3],"data_offsets":[36,39]}}       ',
    struct.pack("<d", 0.5) + struct.pack("<6f", 0, 1, 2, 3, 4, -5) + struct.pack("<2h", 258, -2) + b"\x01\x00\x01",
)

MALFORMED = {
    "no bytes": (b"", "header length of 8 bytes, found 0 bytes"),
    "7 bytes": (b"\0" * 7, "found 7 bytes"),
    "header past the end": (struct.pack("<Q", 3) + b"{}", "must fit in the file, found length 3, 2 bytes left"),
    "header of exabytes": (b"\xff" * 8 + b"{}", f"may take {MAX_HEADER} bytes, found length {2**64 - 1}"),
    "no header": (pack(""), "must be a JSON object and begin with '{', found b''"),
    "a list": (pack("[1]"), r"must be a JSON object and begin with '{', found b'\[1\]'"),
    "a space first": (pack(" {}"), "begin with '{', found b' {}'"),
    "not UTF-8": (pack(b'{"\xff":1}'), "must be JSON in UTF-8, found: .* byte 0xff"),
    "not JSON": (pack('{"w":}'), "must be JSON in UTF-8, found: Expecting value"),
    "two values": (pack("{}{}"), "must be JSON in UTF-8, found: Extra data"),
    "half a surrogate pair": (of(entry("\\ud800")), "must be JSON in UTF-8, found: .*surrogates"),
    "number of 5000 digits": (of(entry(shape=f"[{'9' * 5000}]")), "must be JSON in UTF-8, found: Exceeds"),
    "name twice": (of(entry(), entry()), "names must be unique, found 'w' twice"),
    "metadata twice": (pack('{"__metadata__":{},"__metadata__":{}}'), "must be unique, found '__metadata__' twice"),
    "metadata a list": (pack('{"__metadata__":["a"]}'), r"__metadata__ must map strings to strings, found \['a'\]"),
    "metadata null": (pack('{"__metadata__":null}'), "__metadata__ must map strings to strings, found None"),
    "metadata of a number": (pack('{"__metadata__":{"a":1}}'), "must map strings to strings, found {'a': 1}"),
    "metadata key twice": (pack('{"__metadata__":{"a":"1","a":"1"}}'), "keys must be unique, found 'a' twice"),
    "hole at the start": (of(entry(offsets="[1,9]"), size=9), "'w': leaves a hole after the start of the data"),
    "hole": (
        of(entry("v"), entry(offsets="[9,17]"), size=17),
        "'w': leaves a hole after tensor 'v', expected to begin",
    ),
    "overlap": (of(entry("v"), entry(offsets="[4,12]"), size=12), "'w': overlaps tensor 'v', .* at 8, found 4"),
    "one place for two": (of(entry("v"), entry()), "tensor 'w': overlaps tensor 'v'"),
    "nothing within v": (of(entry("v"), entry(shape="[0]", offsets="[4,4]")), "tensor 'w': overlaps tensor 'v'"),
    "trailing byte": (of(entry(), size=9), "must end with tensor 'w' at 8, found 1 bytes more"),
    "data of nobody": (of(), "must end with the start of the data at 0, found 8 bytes more"),
}
BAD_ENTRIES = {
    "not an object": ('"w":[1]', r"expected an object of dtype, shape and data_offsets alone, found \[1\]"),
    "missing key": ('"w":{"dtype":"F32","shape":[2]}', "expected an object of dtype, shape and data_offsets alone"),
    "extra key": (entry(shape='[2],"x":1'), "expected an object of dtype, shape and data_offsets alone"),
    "key twice": (entry(shape='[2],"shape":[2]'), "keys must be unique, found 'shape' twice"),
    "dtype unknown": (entry(dtype='"F31"'), "dtype must be one of BOOL .* F64, found 'F31'"),
    "dtype in lower case": (entry(dtype='"f32"'), "dtype must be one of .*, found 'f32'"),
    "dtype a list": (entry(dtype='["F32"]'), r"dtype must be one of .*, found \['F32'\]"),
    "8-bit float": (entry(dtype='"F8_E4M3"'), "dtype 'F8_E4M3' is refused: NumPy has no 8-bit floats"),
    "shape a number": (entry(shape="2"), "shape must be a list of non-negative integers, found 2"),
    "shape of a bool": (entry(shape="[2,true]"), r"shape must be a list of non-negative integers, found \[2, True\]"),
    "shape of a float": (entry(shape="[2.0]"), r"shape must be a list of non-negative integers, found \[2.0\]"),
    "shape negative": (entry(shape="[-1,-2]"), r"shape must be a list of non-negative integers, found \[-1, -2\]"),
    "shape of 65 axes": (entry(shape=str([1] * 64 + [2])), "shape must have at most 64 axes, found 65"),
    "shape overflows": (
        entry(shape=f"[{2**62},4,2]"),
        r"shape must take at most \d+ bytes, found \[4611686018427387904",
    ),
    "shape overflows to 2": (entry(shape=f"[{2**64 + 2}]"), r"shape must take at most \d+ bytes"),
    "overflow beside 0": (entry(shape=f"[{2**62},4,0]", offsets="[0,0]"), r"shape must take at most \d+ bytes"),
    "overflow widened": (entry(dtype='"BF16"', shape=f"[{2**61},0]", offsets="[0,0]"), "shape must take at most"),
    "shape too large": (entry(shape="[3]"), r"F32 of shape \[3\] takes 12 bytes, found data_offsets \[0, 8\]"),
    "shape too small": (entry(shape="[]"), r"F32 of shape \[\] takes 4 bytes, found data_offsets \[0, 8\]"),
    "shape of terabytes": (entry(shape=f"[{2**40}]"), r"F32 .* takes 4398046511104 bytes, found data_offsets \[0, 8\]"),
    "offsets null": (entry(offsets="null"), "data_offsets must be two non-negative integers, found None"),
    "one offset": (entry(offsets="[8]"), r"data_offsets must be two non-negative integers, found \[8\]"),
    "three offsets": (entry(offsets="[0,8,8]"), "data_offsets must be two non-negative integers"),
    "offset a bool": (entry(offsets="[false,8]"), "data_offsets must be two non-negative integers"),
    "offset a float": (entry(offsets="[0,8.0]"), "data_offsets must be two non-negative integers"),
    "offset negative": (entry(offsets="[-8,0]"), "data_offsets must be two non-negative integers"),
    "offsets backwards": (entry(offsets="[8,0]"), r"data_offsets must satisfy begin <= end <= 8, found \[8, 0\]"),
    "offsets past the data": (entry(offsets="[8,16]"), r"data_offsets must satisfy begin <= end <= 8, found \[8, 16\]"),
}
MALFORMED |= {name: (of(text), f"tensor 'w': {message}") for name, (text, message) in BAD_ENTRIES.items()}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    for read in (load_file, read_header):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_a_bool_is_0_or_1(tmp_path: Path) -> None:
    path = tmp_path / "bool.safetensors"
    path.write_bytes(pack("{" + entry("mask", '"BOOL"', "[2]", "[0,2]") + "}", b"\x01\x02"))
    with pytest.raises(ValueError, match="tensor 'mask': BOOL bytes must be 0 or 1, found 2"):
        load_file(path)
    none = tmp_path / "none.safetensors"
    save_file({"mask": np.zeros((2, 0), bool)}, none)
    assert load_file(none)[0]["mask"].shape == (2, 0)


def test_the_limits_themselves_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "limits.safetensors"
    none = sys.maxsize // 4  # float32 numbers are the most that NumPy counts, even beside a size of 0
    path.write_bytes(of(entry("axes", shape=str([1] * 63 + [2])), entry("none", shape=f"[{none},0]", offsets="[8,8]")))
    tensors, _ = load_file(path)
    assert (tensors["axes"].ndim, tensors["none"].shape) == (64, (none, 0))


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER + 1) + b"{")
        file.truncate(8 + MAX_HEADER + 1)
    with (
        peak_memory_below(MEGABYTE),
        pytest.raises(ValueError, match="may take 100000000 bytes, found length 100000001"),
    ):
        read_header(path)


@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_brackets_nested_to_any_depth_are_refused(tmp_path: Path, left: str, right: str) -> None:
    path = tmp_path / "deep.safetensors"
    limit = sys.getrecursionlimit()
    for depth in (10, *range(limit - 150, limit + 10, 7), 100_000):  # around where json gives up, and far beyond
        path.write_bytes(pack('{"w":' + left * depth + "1" + right * depth + "}"))
        with pytest.raises(
            ValueError, match=r"'w': expected an object|must be JSON in UTF-8, found: maximum recursion"
        ):
            read_header(path)
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert _show(nested) == "a list nested too deeply to show"


def test_a_message_stays_one_short_line(tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(of(entry("n\\n" * 1000, shape=str([-1] * 1000))))
    with pytest.raises(ValueError, match=r"'n\\nn\\n.*\.\.\.: shape must be .*, found \[-1, .*\.\.\.$") as caught:
        read_header(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 300


@given(moved=st.integers(0, 2), by=st.integers(-30, 30).filter(bool))
def test_no_tensor_can_be_moved(folder: Path, moved: int, by: int) -> None:
    path = folder / "moved.safetensors"
    begins = [0, 8, 16]
    begins[moved] += by
    path.write_bytes(of(*(entry(f"w{i}", offsets=f"[{at},{at + 8}]") for i, at in enumerate(begins)), size=24))
    with pytest.raises(ValueError, match="tensor 'w"):
        read_header(path)


def check_hostile(path: Path, content: bytes) -> None:
    """Read `content` in every way: it loads or is a ValueError, in little memory, and what loads fills the file."""
    path.write_bytes(content)
    for read in (load_file, read_header):
        with peak_memory_below(MEGABYTE), contextlib.suppress(ValueError):
            read(path)
            entries, _ = read_header(path)
            assert (
                sum(e.end - e.begin for e in entries.values()) == len(content) - 8 - struct.unpack("<Q", content[:8])[0]
            )


OFFSETS = st.integers(0, len(VALID) - 1)
BYTES = st.binary(min_size=1, max_size=1)
JSON_BYTES = st.sampled_from([bytes([byte]) for byte in b'0123456789-.[]{},:"e '])
EDITS = st.one_of(  # (offset, number of removed bytes, inserted bytes)
    st.tuples(OFFSETS, st.just(1), BYTES),
    st.tuples(OFFSETS, st.just(1), JSON_BYTES),
    st.tuples(OFFSETS, st.just(0), st.one_of(BYTES, JSON_BYTES)),
    st.tuples(OFFSETS, st.just(len(VALID)), st.just(b"")),  # cut off the end
)


@settings(max_examples=150, deadline=None)
@given(edits=st.lists(EDITS, min_size=1, max_size=2), fix_length=st.booleans())
def test_a_damaged_file_loads_or_is_a_value_error(
    folder: Path, edits: list[tuple[int, int, bytes]], fix_length: bool
) -> None:
    content = VALID
    for offset, removed, inserted in edits:
        content = content[:offset] + inserted + content[offset + removed :]
    if fix_length:  # a correct header length, so that later checks meet the damage
        content = pack(content[8:-39], content[-39:])
    check_hostile(folder / "damaged.safetensors", content)


NUMBERS = st.one_of(st.integers(0, 9), st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**400, True, 1.5, None, "1"]))
WRONG_VALUES = st.one_of(
    st.lists(st.integers(0, 9), max_size=3), st.lists(NUMBERS, max_size=3), NUMBERS, st.sampled_from(list(DTYPES))
)


@st.composite
def file_with_wrong_values(draw: st.DrawFn) -> bytes:
    """Draw a file of zeros whose header is true but for a lie or two."""
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in draw(st.lists(st.text(max_size=2), max_size=3, unique=True)):
        dtype, shape = draw(st.sampled_from(list(DTYPES))), draw(st.lists(st.integers(0, 3), max_size=3))
        begin, end = end, end + DTYPES[dtype].itemsize * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        if draw(st.integers(0, 2)) == 0:
            header[name][draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = draw(WRONG_VALUES)
    return pack(json.dumps(header), bytes(end))


@settings(max_examples=150, deadline=None)
@given(content=file_with_wrong_values())
def test_a_header_of_wrong_values_loads_or_is_a_value_error(folder: Path, content: bytes) -> None:
    check_hostile(folder / "lying.safetensors", content)
