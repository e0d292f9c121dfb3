"""memory: the allocator is asked at import where there is glibc, and left alone elsewhere."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nanograd.runtime import allocator as memory

on_glibc = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")),
    reason="only glibc can be asked",
)


@pytest.fixture
def put_back() -> Iterator[None]:
    yield
    memory.set_at_import()


COUNT_PAGE_FAULTS = """
import resource, numpy as np, nanograd
np.ones(2**18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str) -> int:
    """Count the page faults of twenty arrays of 2 MB, 512 pages each, in a new process: an old one has holes to fill."""
    environment = {**os.environ, "NANOGRAD_KEEP_MEMORY": setting}
    printed = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS], env=environment, capture_output=True, check=True
    )
    return int(printed.stdout)


@on_glibc
def test_kept_memory_is_not_faulted_in_anew() -> None:
    assert page_faults("1") * 4 < page_faults("0")


@on_glibc
def test_what_is_kept_can_be_given_back(put_back: None) -> None:
    assert memory.keep_freed_memory()
    assert memory.give_back_freed_memory()


@pytest.mark.parametrize(("setting", "asked"), [(None, 1), ("1", 1), ("0", 0)])
def test_the_environment_decides_at_import(monkeypatch: pytest.MonkeyPatch, setting: str | None, asked: int) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: calls.append(True))
    monkeypatch.delenv("NANOGRAD_KEEP_MEMORY", raising=False)
    if setting is not None:
        monkeypatch.setenv("NANOGRAD_KEEP_MEMORY", setting)
    memory.set_at_import()
    assert len(calls) == asked


def test_another_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("no library may be opened"))
    assert not memory.keep_freed_memory()
    assert not memory.give_back_freed_memory()


def no_library(name: Any) -> Any:
    raise OSError("planted")


@pytest.mark.parametrize(
    "library",
    [
        no_library,
        lambda name: SimpleNamespace(mallopt=lambda parameter, value: 1),  # musl: a mallopt, and no glibc
        lambda name: SimpleNamespace(gnu_get_libc_version=None, mallopt=lambda parameter, value: 0),  # a refusal
    ],
    ids=["no library", "no glibc", "refused"],
)
def test_a_linux_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert not memory.keep_freed_memory()
    assert not memory.give_back_freed_memory()


def test_the_numbers_of_malloc_h() -> None:
    trim_threshold, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4
    assert memory.STARTING == {trim_threshold: 131072, top_pad: 131072, mmap_threshold: 131072, mmap_max: 65536}
    assert memory.STARTING.keys() == memory.KEEPING.keys(), "every setting can be undone"
    assert memory.KEEPING[trim_threshold] == 2147483647, "the largest int: the heap is never trimmed"
    assert all(memory.STARTING[each] <= value < 2**31 for each, value in memory.KEEPING.items()), "mallopt takes ints"


def test_every_setting_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        passed[parameter] = value
        return 1

    library = SimpleNamespace(gnu_get_libc_version=None, mallopt=mallopt, malloc_trim=lambda pad: 1)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert memory.keep_freed_memory()
    assert passed == memory.KEEPING
    assert memory.give_back_freed_memory()
    assert passed == memory.STARTING
