"""Memory that several processes map: arrays in it are named by their place, and others are copied."""

import gc
import os
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from nanograd.nn import Linear, Parameter
from nanograd.parallel.shared_memory import ALIGN, SharedBlock, bytes_for, dumps, loads


def test_arrays_lie_one_after_the_other_at_pages_and_are_zero() -> None:
    block = SharedBlock(4 * ALIGN)
    a, b, c = block.empty((2, 3), np.float32), block.empty((ALIGN,), np.uint8), block.empty((5,), np.float64)
    b[...] = 7
    assert (a == 0).all()
    assert (c == 0).all()
    assert (a.shape, a.dtype, c.shape, c.dtype) == ((2, 3), np.float32, (5,), np.float64)
    assert [block.place_of(x).offset for x in (a, b, c)] == [0, ALIGN, 2 * ALIGN]  # type: ignore[union-attr]
    assert (bytes_for(0), bytes_for(1), bytes_for(ALIGN), bytes_for(ALIGN + 1)) == (0, ALIGN, ALIGN, 2 * ALIGN)


def test_two_views_of_a_block_are_the_same_memory() -> None:
    block = SharedBlock(2 * ALIGN)
    a = block.copy_of(np.arange(6.0).reshape(2, 3))
    place = block.place_of(a[1])
    assert place is not None
    again = block.array(place)
    again[0] = 9
    assert a.tolist() == [[0, 1, 2], [9, 4, 5]]


def test_what_is_not_in_the_block_or_not_contiguous_has_no_place() -> None:
    block = SharedBlock(ALIGN)
    a = block.copy_of(np.arange(6.0).reshape(2, 3))
    for other in (np.arange(3.0), a.T, a[:, 1], np.asarray(a, np.float32), a.copy(), a[:0]):
        assert block.place_of(other) is None


def test_arrays_in_the_block_are_not_copied_and_others_are() -> None:
    block = SharedBlock(ALIGN)
    inside, outside = block.copy_of(np.arange(4.0)), np.arange(1000.0)
    data = dumps({"inside": inside, "view": inside[1:3], "column": inside[::2], "outside": outside, "n": 3}, block)
    assert len(data) < 9000
    loaded = loads(data, block)
    inside[...] = -1
    outside[...] = -1
    assert loaded["inside"].tolist() == [-1] * 4
    assert loaded["view"].tolist() == [-1] * 2
    assert loaded["column"].tolist() == [0, 2]
    assert loaded["outside"].tolist() == list(range(1000))
    assert loaded["n"] == 3


def test_a_parameter_in_the_block_stays_there() -> None:
    block = SharedBlock(ALIGN)
    linear = Linear(3, 2)
    linear.weight.data = block.copy_of(linear.weight.data)
    loaded = loads(dumps(linear, block), block)
    linear.weight.data[...] = 5
    assert linear.bias is not None
    linear.bias.data[...] = 5
    assert (loaded.weight.data == 5).all()
    assert (loaded.bias.data == 0).all()
    assert isinstance(loaded.weight, Parameter)


@pytest.mark.skipif(sys.platform == "win32", reason="blocks have names there")
def test_another_mapping_of_the_file_has_the_same_contents_and_needs_no_file_any_more() -> None:
    block = SharedBlock(ALIGN)
    a = block.copy_of(np.arange(4.0))
    other = SharedBlock(ALIGN, os.dup(int(block.handle)))
    b = loads(dumps(a, block), other)
    b[2] = 7
    assert a.tolist() == [0, 1, 7, 3]
    a[0] = 6
    assert b[0] == 6


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc lists the open files of a process")
def test_a_block_that_is_not_used_any_more_leaves_no_memory_and_no_file() -> None:
    def used() -> list[str]:
        gc.collect()
        files = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if n.isdigit() and exists(n)]
        return [name for name in [*files, *Path("/proc/self/maps").read_text().splitlines()] if "memfd" in name]

    def exists(n: str) -> bool:
        return os.path.lexists(f"/proc/self/fd/{n}")

    before = used()
    block = SharedBlock(ALIGN)
    a = block.copy_of(np.arange(4.0))
    assert len(used()) > len(before)
    del block
    assert a.tolist() == [0, 1, 2, 3]
    del a
    assert used() == before


def function_of_a_module() -> None:
    pass


class Outer:
    class Inner:
        pass


def test_functions_and_classes_that_other_processes_cannot_import_are_named() -> None:
    def local() -> None:
        pass

    class Local:
        pass

    block = SharedBlock(ALIGN)
    for item in (function_of_a_module, partial(function_of_a_module), Outer.Inner(), np.add, len, ValueError("a")):
        dumps(item, block)
    way_out = "the loss and the model must be defined in a module that they can import"
    for item, name in ((local, "local"), (partial(local), "local"), (Local(), "Local"), (lambda: 0, "<lambda>")):
        with pytest.raises(TypeError, match=rf"^.*{name} cannot be sent to other processes: {way_out}$"):
            dumps({"item": item}, block)
    main = type("InMain", (), {"__module__": "__main__"})
    with pytest.raises(TypeError, match=rf"^InMain of the script cannot be sent to other processes: {way_out}$"):
        dumps([main()], block)
    with pytest.raises((TypeError, pickle.PicklingError)):
        dumps(sys.stdout, block)
