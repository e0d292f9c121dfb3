"""A block of memory that several processes of this machine map, and arrays in it.

The block has no name in a file system that could be left behind: on Linux it is an anonymous file (memfd_create), on macOS
a temporary file that is deleted at once; both are passed to a child as an open file. Windows knows it by a random name,
which vanishes with the last process that maps it.
"""

import io
import mmap
import os
import pickle
import secrets
import sys
import tempfile
import weakref
from collections.abc import Sequence
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

ALIGN = 4096  # bytes: arrays begin at a page


class Place(NamedTuple):
    """Where an array lies in the block."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class SharedBlock:
    """Memory of `size` bytes. `handle` is what another process needs to map it: a file descriptor, or a name on Windows."""

    def __init__(self, size: int, handle: int | str | None = None) -> None:
        self.size, self.used = max(size, ALIGN), 0
        if sys.platform == "win32":
            self.handle: int | str = f"nanograd-{secrets.token_hex(16)}" if handle is None else handle
            self.memory = mmap.mmap(-1, self.size, tagname=str(self.handle))
        else:
            self.handle = create_file(self.size) if handle is None else handle
            weakref.finalize(self, os.close, int(self.handle))  # the memory lives on with its arrays
            self.memory = mmap.mmap(int(self.handle), self.size)
        self.address = np.frombuffer(self.memory, np.uint8).ctypes.data

    def array(self, place: Place) -> np.ndarray:
        """Return the array at a place."""
        return np.ndarray(place.shape, place.dtype, self.memory, place.offset)

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return a new array of zeros."""
        place = Place(self.used, tuple(shape), np.dtype(dtype).str)
        array = self.array(place)
        self.used += bytes_for(array.nbytes)
        return array

    def copy_of(self, array: np.ndarray) -> np.ndarray:
        """Return a copy of an array in the block."""
        copy = self.empty(array.shape, array.dtype)
        np.copyto(copy, array)
        return copy

    def place_of(self, array: np.ndarray) -> Place | None:
        """Return where an array lies, or None if it is elsewhere or not contiguous."""
        offset = array.ctypes.data - self.address
        if not (0 <= offset < self.size and array.size and array.flags.c_contiguous):
            return None
        return Place(offset, array.shape, array.dtype.str)


def bytes_for(nbytes: int) -> int:
    """Return the bytes that an array takes in a block."""
    return -(-nbytes // ALIGN) * ALIGN


def create_file(size: int) -> int:
    """Return the descriptor of a new file of this size that has no name."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("nanograd")
    else:
        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    try:
        os.ftruncate(descriptor, size)
        if hasattr(os, "posix_fallocate"):  # without memory this is an error; later it would end the process (SIGBUS)
            os.posix_fallocate(descriptor, 0, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, block: SharedBlock) -> None:
        super().__init__(file, protocol=5)
        self.block = block

    def persistent_id(self, item: Any) -> Place | None:
        return self.block.place_of(item) if type(item) is np.ndarray else None

    def reducer_override(self, item: Any) -> Any:
        if isinstance(item, (type, FunctionType)) and (item.__module__ == "__main__" or "<" in item.__qualname__):
            of = " of the script" if item.__module__ == "__main__" else ""
            raise TypeError(
                f"{item.__qualname__}{of} cannot be sent to other processes: the loss and the model must be defined in a "
                "module that they can import"
            )
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, block: SharedBlock) -> None:
        super().__init__(file)
        self.block = block

    def persistent_load(self, place: Any) -> np.ndarray:
        return self.block.array(place)


def dumps(item: Any, block: SharedBlock) -> bytes:
    """Pickle an object; arrays in the block are not copied, but named by their place."""
    file = io.BytesIO()
    _Pickler(file, block).dump(item)
    return file.getvalue()


def loads(data: bytes, block: SharedBlock) -> Any:
    """Return an object that `dumps` wrote, in a process that maps the same block."""
    return _Unpickler(io.BytesIO(data), block).load()
