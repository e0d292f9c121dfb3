"""Tests of gpt/runs/safetensors.py: files spelled out byte by byte, round trips, memory and full disks."""

import contextlib
import errno
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpt.runs import safetensors
from gpt.runs.safetensors import Entry, load_file, read_header, save_file
from nanograd.runtime.files import atomic_write

MEGABYTE = 2**20


def pack(header: str | bytes, data: bytes = b"") -> bytes:
    """Return a file of this header and data."""
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(name: str, dtype: str, shape: str, offsets: str) -> str:
    """Return one entry of a header as JSON text."""
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}'


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


def test_a_file_written_by_hand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "hand.safetensors"
    path.write_bytes(BY_HAND)
    tensors, metadata = load_file(path)
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
    assert load_file(path) == ({}, {})
    assert read_header(path) == ({}, {})


def test_half_floats(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    header = "{" + entry("b", '"BF16"', "[5]", "[0,10]") + "," + entry("h", '"F16"', "[2]", "[10,14]") + "}"
    path.write_bytes(pack(header, struct.pack("<7H", 0x3F80, 0xC049, 0x7F80, 0x0001, 0x8000, 0x3C00, 0xC000)))
    tensors, _ = load_file(path)
    # 0xC049 = 1 10000000 1001001: -(1 + 73/128) * 2; 0x0001 is the least subnormal, 2**-126 / 128
    assert tensors["b"].tolist() == [1.0, -3.140625, np.inf, 2.0**-133, 0.0]
    assert np.signbit(tensors["b"]).tolist() == [False, True, False, False, True]
    assert tensors["h"].tolist() == [1.0, -2.0]
    assert [tensors["b"].dtype.name, tensors["h"].dtype.name] == ["float32", "float16"]
    assert tensors["b"].flags.writeable
    assert tensors["h"].flags.writeable


def test_read_header_locates_every_tensor_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hand.safetensors"
    path.write_bytes(BY_HAND)
    entries, metadata = read_header(path)
    assert metadata == {"step": "7"}
    assert list(entries) == ["scale", "a", "b", "é", "mask"]
    assert entries["é"] == Entry("I16", (2,), 8 + 320 + 32, 8 + 320 + 36)
    assert BY_HAND[entries["é"].begin : entries["é"].end] == struct.pack("<2h", 258, -2)


@pytest.mark.parametrize("spaces", range(8))
def test_data_that_is_not_aligned_is_read(tmp_path: Path, spaces: int) -> None:
    path = tmp_path / "odd.safetensors"
    header = "{" + entry("w", '"F64"', "[1]", "[1,9]") + "," + entry("b", '"U8"', "[1]", "[0,1]") + "}"
    path.write_bytes(pack(header + " " * spaces, b"\x09" + struct.pack("<d", 1.5)))
    tensors, _ = load_file(path)
    assert list(tensors) == ["b", "w"]
    assert tensors["w"] + 1 == 2.5
    assert tensors["w"].flags.aligned


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
def test_saved_tensors_are_loaded_unchanged(
    folder: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str]
) -> None:
    path = folder / "round.safetensors"
    save_file(tensors, path, metadata)
    entries, _ = read_header(path)
    loaded, loaded_metadata = load_file(path)
    assert loaded_metadata == metadata
    assert list(loaded) == list(entries)
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].shape == array.shape
        assert loaded[name].dtype == array.dtype.newbyteorder("<")
        assert loaded[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()  # so NaN is compared
        assert loaded[name].flags.aligned
        assert loaded[name].flags.writeable


@pytest.mark.parametrize("can_map", [True, False])
def test_a_mapped_file_is_read_equal_may_be_replaced_and_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_map: bool
) -> None:
    monkeypatch.setattr(safetensors, "CAN_MAP", can_map and safetensors.CAN_MAP)
    path, x = tmp_path / "model.safetensors", np.arange(6, dtype=np.float32).reshape(2, 3)
    save_file({"x": x, "none": x[:0], "flag": np.array([True, False])}, path, {"step": "1"})
    before = path.read_bytes()
    tensors, metadata = load_file(path, mapped=True)
    assert metadata == {"step": "1"}
    assert [(name, a.tolist(), a.dtype.name) for name, a in tensors.items()] == [
        ("none", [], "float32"), ("x", x.tolist(), "float32"), ("flag", [True, False], "bool")
    ]  # fmt: skip
    tensors["x"][0, 0] = 9  # copies the page
    assert path.read_bytes() == before
    assert load_file(path, mapped=True)[0]["x"].tolist() == x.tolist()
    save_file({"x": -x}, path)
    assert tensors["x"].tolist() == [[9, 1, 2], [3, 4, 5]]
    assert load_file(path, mapped=True)[0]["x"].tolist() == (-x).tolist()


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
def test_tensors_that_the_format_cannot_hold_are_refused(
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
    tensors = {f"w{i}": np.zeros((1024, 256), ">f4").T for i in range(8)}  # 8 of 1 MB, each needs another layout
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
