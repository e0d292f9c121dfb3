"""Tests of gpt/runs/safetensors.py: files spelled out byte by byte, and files wrong in every way we know."""

import contextlib
import errno
import json
import math
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpt.runs.safetensors import DTYPES, MAX_HEADER, Entry, _show, load_file, read_header, save_file
from nanograd.runtime.files import atomic_write

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


# One file by hand, in the order our writer uses: wide items first, then names. 7 spaces take 313 bytes to 320 = 8 * 40.
BY_HAND = pack(
    '{"__metadata__":{"step":"7"},'
    '"scale":{"dtype":"F64","shape":[],"data_offsets":[0,8]},'
    '"a":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},'
    '"b":{"dtype":"I32","shape":[0,5],"data_offsets":[32,32]},'
    '"é":{"dtype":"I16","shape":[2],"data_offsets":[32,36]},'
    '"mask":{"dtype":"BOOL","shape":[3],"data_offsets":[36,39]}}       ',
    struct.pack("<d", 0.5) + struct.pack("<6f", 0, 1, 2, 3, 4, -5) + struct.pack("<2h", 258, -2) + b"\x01\x00\x01",
)
BY_HAND_TENSORS = {
    "mask": np.array([True, False, True]),
    "é": np.array([258, -2], np.int16),
    "b": np.zeros((0, 5), np.int32),
    "a": np.array([[0, 1, 2], [3, 4, -5]], np.float32),
    "scale": np.array(0.5),
}


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_written_by_hand_is_read(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "hand.safetensors"
    path.write_bytes(BY_HAND)
    tensors, metadata = load_file(path, mmap=mmap)
    assert metadata == {"step": "7"}
    assert list(tensors) == ["scale", "a", "b", "é", "mask"]
    for name, expected in BY_HAND_TENSORS.items():
        assert (tensors[name].dtype, tensors[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(tensors[name], expected)


def test_the_same_tensors_are_written_to_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    save_file(BY_HAND_TENSORS, path, {"step": "7"})
    assert path.read_bytes() == BY_HAND


def test_a_file_of_nothing_is_two_braces(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    assert path.read_bytes() == b"\x08\0\0\0\0\0\0\0{}      "
    assert load_file(path) == load_file(path, mmap=True) == ({}, {})
    assert read_header(path) == ({}, {})


@pytest.mark.parametrize("mmap", [False, True])
def test_half_floats(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "half.safetensors"
    header = "{" + entry("b", '"BF16"', "[5]", "[0,10]") + "," + entry("h", '"F16"', "[2]", "[10,14]") + "}"
    path.write_bytes(pack(header, struct.pack("<7H", 0x3F80, 0xC049, 0x7F80, 0x0001, 0x8000, 0x3C00, 0xC000)))
    tensors, _ = load_file(path, mmap=mmap)
    # 0xC049 = 1 10000000 1001001: -(1 + 73/128) * 2; 0x0001 is the least subnormal, 2**-126 / 128
    assert tensors["b"].tolist() == [1.0, -3.140625, np.inf, 2.0**-133, 0.0]
    assert np.signbit(tensors["b"]).tolist() == [False, True, False, False, True]
    assert tensors["h"].tolist() == [1.0, -2.0]
    assert [tensors["b"].dtype.name, tensors["h"].dtype.name] == ["float32", "float16"]
    assert tensors["b"].flags.writeable is tensors["h"].flags.writeable is not mmap


def test_read_header_places_every_tensor_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hand.safetensors"
    path.write_bytes(BY_HAND)
    entries, metadata = read_header(path)
    assert metadata == {"step": "7"}
    assert list(entries) == ["scale", "a", "b", "é", "mask"]
    assert entries["é"] == Entry("I16", (2,), 8 + 320 + 32, 8 + 320 + 36)
    assert BY_HAND[entries["é"].begin : entries["é"].end] == struct.pack("<2h", 258, -2)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("spaces", range(8))
def test_data_that_is_not_aligned_is_read(tmp_path: Path, mmap: bool, spaces: int) -> None:
    path = tmp_path / "odd.safetensors"
    header = "{" + entry("w", '"F64"', "[1]", "[1,9]") + "," + entry("b", '"U8"', "[1]", "[0,1]") + "}"
    path.write_bytes(pack(header + " " * spaces, b"\x09" + struct.pack("<d", 1.5)))
    tensors, _ = load_file(path, mmap=mmap)
    assert list(tensors) == ["b", "w"]
    assert tensors["w"] + 1 == 2.5
    assert mmap or tensors["w"].flags.aligned


CODES = [
    "?",
    "u1",
    "i1",
    *(order + code for order in "<>" for code in ("u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8")),
]


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray:
    """Draw an array of any supported dtype, byte order, shape and strides."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = draw(hnp.arrays(draw(st.sampled_from(CODES)), shape))
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    for axis in range(array.ndim):
        array = np.moveaxis(np.moveaxis(array, axis, 0)[:: draw(st.sampled_from([1, 2, -1]))], 0, axis)
    return np.broadcast_to(array, (2, *array.shape)) if draw(st.booleans()) else array


NAMES = st.text().filter(lambda name: name != "__metadata__")


@settings(max_examples=60, deadline=None)
@given(tensors=st.dictionaries(NAMES, any_array(), max_size=4), metadata=st.dictionaries(st.text(), st.text()))
def test_what_is_saved_is_loaded(folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    path = folder / "round.safetensors"
    save_file(tensors, path, metadata)
    entries, _ = read_header(path)
    for mmap in (False, True):
        loaded, loaded_metadata = load_file(path, mmap=mmap)
        assert loaded_metadata == metadata
        assert list(loaded) == list(entries)
        assert loaded.keys() == tensors.keys()
        for name, array in tensors.items():
            assert loaded[name].shape == array.shape
            assert loaded[name].dtype == array.dtype.newbyteorder("<")
            assert loaded[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()  # so NaN is compared
            assert loaded[name].flags.aligned
            assert loaded[name].flags.writeable is not mmap


MALFORMED = {
    "no bytes": (b"", "header length of 8 bytes, found 0 bytes"),
    "7 bytes": (b"\0" * 7, "found 7 bytes"),
    "header past the end": (struct.pack("<Q", 3) + b"{}", "must fit in the file, found length 3 and 2 bytes left"),
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
    for read in (load_file, read_header, lambda path: load_file(path, mmap=True)):
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_bool_is_0_or_1(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "bool.safetensors"
    path.write_bytes(pack("{" + entry("mask", '"BOOL"', "[2]", "[0,2]") + "}", b"\x01\x02"))
    with pytest.raises(ValueError, match="tensor 'mask': BOOL bytes must be 0 or 1, found 2"):
        load_file(path, mmap=mmap)
    none = tmp_path / "none.safetensors"
    save_file({"mask": np.zeros((2, 0), bool)}, none)
    assert load_file(none, mmap=mmap)[0]["mask"].shape == (2, 0)


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
    for read in (load_file, read_header, lambda path: load_file(path, mmap=True)):
        with peak_memory_below(MEGABYTE), contextlib.suppress(ValueError):
            read(path)
            entries, _ = read_header(path)
            assert (
                sum(e.end - e.begin for e in entries.values()) == len(content) - 8 - struct.unpack("<Q", content[:8])[0]
            )


PLACES = st.integers(0, len(BY_HAND) - 1)
BYTES = st.binary(min_size=1, max_size=1)
JSON_BYTES = st.sampled_from([bytes([byte]) for byte in b'0123456789-.[]{},:"e '])
EDITS = st.one_of(  # (where, how many bytes go, which bytes come)
    st.tuples(PLACES, st.just(1), BYTES),
    st.tuples(PLACES, st.just(1), JSON_BYTES),
    st.tuples(PLACES, st.just(0), st.one_of(BYTES, JSON_BYTES)),
    st.tuples(PLACES, st.just(len(BY_HAND)), st.just(b"")),  # cut off the end
)


@settings(max_examples=150, deadline=None)
@given(edits=st.lists(EDITS, min_size=1, max_size=2), mend=st.booleans())
def test_a_damaged_file_loads_or_is_a_value_error(
    folder: Path, edits: list[tuple[int, int, bytes]], mend: bool
) -> None:
    content = BY_HAND
    for place, removed, inserted in edits:
        content = content[:place] + inserted + content[place + removed :]
    if mend:  # a header length that is right again lets the damage be met further on
        content = pack(content[8:-39], content[-39:])
    check_hostile(folder / "damaged.safetensors", content)


NUMBERS = st.one_of(st.integers(0, 9), st.sampled_from([-1, 2**31, 2**62, 2**63, 2**64, 10**400, True, 1.5, None, "1"]))
LIES = st.one_of(
    st.lists(st.integers(0, 9), max_size=3), st.lists(NUMBERS, max_size=3), NUMBERS, st.sampled_from(list(DTYPES))
)


@st.composite
def lying_file(draw: st.DrawFn) -> bytes:
    """Draw a file of zeros whose header is true but for a lie or two."""
    header: dict[str, dict[str, Any]] = {}
    end = 0
    for name in draw(st.lists(st.text(max_size=2), max_size=3, unique=True)):
        dtype, shape = draw(st.sampled_from(list(DTYPES))), draw(st.lists(st.integers(0, 3), max_size=3))
        begin, end = end, end + DTYPES[dtype].itemsize * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        if draw(st.integers(0, 2)) == 0:
            header[name][draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = draw(LIES)
    return pack(json.dumps(header), bytes(end))


@settings(max_examples=150, deadline=None)
@given(content=lying_file())
def test_a_lying_header_loads_or_is_a_value_error(folder: Path, content: bytes) -> None:
    check_hostile(folder / "lying.safetensors", content)


@pytest.mark.parametrize("written", range(7))  # the length, the header, 5 tensors
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"w": np.arange(3.0)}, path, {"step": "1"})

    @contextlib.contextmanager
    def full_after_some_writes(path: Path) -> Iterator[Any]:
        class Full:
            left = written

            def __init__(self, file: BinaryIO) -> None:
                self.file = file

            def write(self, data: bytes) -> None:
                if self.left == 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.left -= 1
                self.file.write(data)

        with atomic_write(path) as file:
            yield Full(file)

    monkeypatch.setattr("gpt.runs.safetensors.atomic_write", full_after_some_writes)
    with pytest.raises(OSError, match="No space left"):
        save_file({f"w{i}": np.ones(10_000) for i in range(5)}, path, {"step": "2"})
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    tensors, metadata = load_file(path)
    assert (tensors["w"].tolist(), metadata) == ([0.0, 1.0, 2.0], {"step": "1"})


BAD_SAVES = {
    "list": ({"w": [1.0]}, None, TypeError, "tensor 'w': must be a NumPy array, got list"),
    "NumPy scalar": ({"w": np.float32(1)}, None, TypeError, "tensor 'w': must be a NumPy array, got float32"),
    "objects": ({"w": np.array([None])}, None, TypeError, "dtype must be one of BOOL .* F64, got object"),
    "complex": ({"w": np.zeros(1, complex)}, None, TypeError, "tensor 'w': dtype must be one of .*, got complex128"),
    "fields": ({"w": np.zeros(1, "f4,f4")}, None, TypeError, "tensor 'w': dtype must be one of"),
    "name": ({1: np.zeros(1)}, None, ValueError, "name must be a string other than '__metadata__', got 1"),
    "reserved": ({"__metadata__": np.zeros(1)}, None, ValueError, "name must be a string other than '__metadata__'"),
    "surrogate": ({"w\ud800": np.zeros(1)}, None, ValueError, r"must be valid Unicode, got a surrogate in .*w\\ud800"),
    "metadata value": ({}, {"step": 1}, TypeError, "metadata must map strings to strings, got {'step': 1}; use json"),
    "metadata key": ({}, {1: "step"}, TypeError, "metadata must map strings to strings"),
}


@pytest.mark.parametrize(("tensors", "metadata", "error", "message"), BAD_SAVES.values(), ids=BAD_SAVES.keys())
def test_what_the_format_cannot_hold_is_not_saved(
    tmp_path: Path, tensors: Any, metadata: Any, error: type[Exception], message: str
) -> None:
    path = tmp_path / "bad.safetensors"
    with pytest.raises(error, match=message) as caught:
        save_file(tensors, path, metadata)
    assert str(caught.value).startswith(f"{path}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_header_over_the_limit_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.runs.safetensors.MAX_HEADER", 64)
    save_file({}, tmp_path / "fits.safetensors", {"k": "x" * 38})  # 64 bytes with {"__metadata__":{"k":""}}
    with pytest.raises(ValueError, match="header takes 72 bytes, more than 64; shorten the metadata"):
        save_file({}, tmp_path / "long.safetensors", {"k": "x" * 43})
    assert [file.name for file in tmp_path.iterdir()] == ["fits.safetensors"]


def test_a_map_is_read_only_and_read_when_touched(tmp_path: Path) -> None:
    path = tmp_path / "map.safetensors"
    save_file({"w": np.zeros(MEGABYTE, np.float32)}, path)  # 4 MB
    with peak_memory_below(MEGABYTE):
        w = load_file(path, mmap=True)[0]["w"]
        begin = read_header(path)[0]["w"].begin
    with pytest.raises(ValueError, match="read-only"):
        w[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        w.flags.writeable = True
    with open(path, "r+b") as file:
        file.seek(begin)
        file.write(struct.pack("<f", 5.0))
    assert w[0] == 5.0  # nothing was read before


def test_a_copy_is_private(tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    save_file({"w": np.zeros(3, np.float32), "v": np.zeros(3, np.float32)}, path)
    tensors, _ = load_file(path)
    tensors["w"] += 1
    assert tensors["v"].tolist() == load_file(path)[0]["w"].tolist() == [0, 0, 0]
    save_file(tensors, path)
    assert load_file(path)[0]["w"].tolist() == [1, 1, 1]


def test_a_file_is_never_held_twice(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    tensors = {f"w{i}": np.zeros((1024, 256), ">f4").T for i in range(8)}  # 8 of 1 MB, each to be laid out anew
    with peak_memory_below(3 * MEGABYTE):
        save_file(tensors, path)
    with peak_memory_below(9 * MEGABYTE):
        load_file(path)


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "short.safetensors"
    save_file({"w": np.zeros(100_000)}, path)
    header = read_header(path)
    monkeypatch.setattr(
        "gpt.runs.safetensors._read_header", lambda file, path: header
    )  # leaves `file` at 0, not at the data
    path.write_bytes(bytes(1000))
    with pytest.raises(ValueError, match="tensor 'w': the file was cut short while it was read"):
        load_file(path)
