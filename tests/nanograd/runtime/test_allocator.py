"""The allocator is configured at import if there is glibc, and not changed elsewhere."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nanograd.runtime import allocator

on_glibc = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")),
    reason="only glibc has these settings",
)


@pytest.fixture
def restore() -> Iterator[None]:
    yield
    allocator.configure_from_environment()


COUNT_PAGE_FAULTS = """
import resource, numpy as np, nanograd
np.ones(2**18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str) -> int:
    """Count the page faults of twenty arrays of 2 MB, 512 pages each, in a new process, whose heap has no free blocks."""
    environment = {**os.environ, "NANOGRAD_KEEP_MEMORY": setting}
    printed = subprocess.run(
        [sys.executable, "-c", COUNT_PAGE_FAULTS], env=environment, capture_output=True, check=True
    )
    return int(printed.stdout)


@on_glibc
def test_kept_memory_costs_no_page_faults() -> None:
    assert page_faults("1") * 4 < page_faults("0")


@on_glibc
def test_kept_memory_can_be_released(restore: None) -> None:
    assert allocator.keep_freed_memory()
    assert allocator.release_freed_memory()


@pytest.mark.parametrize(("setting", "n_calls"), [(None, 1), ("1", 1), ("0", 0)])
def test_the_environment_decides_at_import(monkeypatch: pytest.MonkeyPatch, setting: str | None, n_calls: int) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: calls.append(True))
    monkeypatch.delenv("NANOGRAD_KEEP_MEMORY", raising=False)
    if setting is not None:
        monkeypatch.setenv("NANOGRAD_KEEP_MEMORY", setting)
    allocator.configure_from_environment()
    assert len(calls) == n_calls


def test_another_system_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("no library may be opened"))
    assert not allocator.keep_freed_memory()
    assert not allocator.release_freed_memory()


def no_library(name: Any) -> Any:
    raise OSError("planted")


@pytest.mark.parametrize(
    "library",
    [
        no_library,
        lambda name: SimpleNamespace(mallopt=lambda parameter, value: 1),  # musl has mallopt without glibc
        lambda name: SimpleNamespace(gnu_get_libc_version=None, mallopt=lambda parameter, value: 0),  # a refusal
    ],
    ids=["no library", "no glibc", "refused"],
)
def test_a_linux_without_these_settings(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", library)
    assert not allocator.keep_freed_memory()
    assert not allocator.release_freed_memory()


def test_the_numbers_of_malloc_h() -> None:
    trim_threshold, top_pad, mmap_threshold, mmap_max = -1, -2, -3, -4
    assert allocator.DEFAULTS == {trim_threshold: 131072, top_pad: 131072, mmap_threshold: 131072, mmap_max: 65536}
    assert allocator.DEFAULTS.keys() == allocator.KEEP_FREED.keys(), "every setting can be undone"
    assert allocator.KEEP_FREED[trim_threshold] == 2147483647, "the largest int: the heap is never trimmed"
    assert all(allocator.DEFAULTS[name] <= value < 2**31 for name, value in allocator.KEEP_FREED.items()), (
        "mallopt takes ints"
    )


def test_every_setting_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[int, int] = {}

    def mallopt(parameter: int, value: int) -> int:
        passed[parameter] = value
        return 1

    library = SimpleNamespace(gnu_get_libc_version=None, mallopt=mallopt, malloc_trim=lambda pad: 1)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert allocator.keep_freed_memory()
    assert passed == allocator.KEEP_FREED
    assert allocator.release_freed_memory()
    assert passed == allocator.DEFAULTS
