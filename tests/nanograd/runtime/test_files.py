"""Atomic writes: whatever goes wrong, the old file stays and no temporary file is left."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import nanograd.runtime.files
from nanograd.runtime.files import (
    _host,
    _temporary_name,
    atomic_write,
    check_new_folder,
    file_sha256,
    new_folder,
    open_input,
    process_runs,
    read_input,
    write_text,
)

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes, links and limits of POSIX")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_bytes_appear_only_when_they_are_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b" and half")
    assert path.read_bytes() == b"half and half"
    assert names(tmp_path) == ["file"]


def test_a_new_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(str(path)) as file:
        assert not path.exists()
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_relative_path_is_resolved_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with atomic_write("file") as file:
        os.chdir(tmp_path / "elsewhere")
        file.write(b"new")
    assert names(tmp_path) == ["elsewhere", "file"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_an_error_in_the_body_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        write_half()
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_system_error_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="Input/output error"), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@posix_only
@pytest.mark.parametrize("size", [1000, 1_000_000])  # written at the flush, and at once
def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path, size: int) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"), atomic_write(path) as file:
            file.write(bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = "import os, sys; from nanograd.runtime.files import atomic_write\n"
    code += "with atomic_write(sys.argv[1]) as file: file.write(bytes(100_000)); os._exit(9)"
    root = Path(nanograd.runtime.files.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=root, check=False).returncode == 9
    assert path.read_bytes() == b"old"


def test_bytes_reach_the_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(handle: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"{os.fstat(handle).st_size} bytes")
        fsync(handle)

    def logged_replace(old: Path, new: Path) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    with atomic_write(tmp_path / "file") as file:
        file.write(b"four")
    assert calls == ["4 bytes", "rename", *(["folder"] if os.name == "posix" else [])]


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_text(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "missing" / "file"):
        pytest.fail("there is nowhere to write")
    assert names(tmp_path) == []


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"), atomic_write(tmp_path / "folder") as file:
        file.write(b"new")
    assert names(tmp_path) == ["folder"]


@posix_only
def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@posix_only
def test_a_link_is_followed(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    link, target = tmp_path / "here" / "link", tmp_path / "there" / "file"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path / "here") == ["link"]
    assert names(tmp_path / "there") == ["file"]


def test_two_writers_use_different_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["file"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "é\r\n\n€")
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa9\r\n\n\xe2\x82\xac"


def test_text_that_is_not_unicode_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_new_folder_may_be_missing_or_empty_only(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "missing")
    check_new_folder(tmp_path)
    (tmp_path / "file").touch()
    for used in (tmp_path, tmp_path / "file"):
        with pytest.raises(ValueError, match=f"out: {used} already exists and is not empty; choose another --out"):
            check_new_folder(used)


@pytest.fixture(scope="module")
def dead() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_process_that_has_ended_does_not_run(dead: int) -> None:
    assert not process_runs(dead)
    assert process_runs(os.getpid())
    assert process_runs(os.getppid())


def test_only_the_leftovers_of_dead_processes_of_this_machine_are_removed(tmp_path: Path, dead: int) -> None:
    ours = f".file.{_host()}-{dead}-01234567.tmp"
    stay = [
        _temporary_name("file"),  # of a process that runs
        f".file.00000000-{dead}-01234567.tmp",  # of another machine
        f".other.{_host()}-{dead}-01234567.tmp",
        ".file.0123456789abcdef.tmp",
        ".file.tmp",
        f"file.{_host()}-{dead}-01234567.tmp",
    ]
    for name in (ours, *stay):
        (tmp_path / name).touch()
    (tmp_path / f".file.{_host()}-{dead}-76543210.tmp" / "deep").mkdir(parents=True)
    write_text(tmp_path / "file", "new")
    assert names(tmp_path) == sorted([*stay, "file"])


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path: Path, exists: bool, dead: int) -> None:
    folder = tmp_path / "runs" / "new"
    if exists:
        folder.mkdir(parents=True)
    leftover = (folder if exists else folder.parent) / f".new.{_host()}-{dead}-01234567.tmp"
    leftover.mkdir(parents=True)

    def write_half() -> None:
        with new_folder(folder) as temporary:
            (temporary / "a").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names(folder.parent) == ["new"] * exists
    assert not exists or names(folder) == []
    with new_folder(folder) as temporary:
        (temporary / "a").touch()
        (temporary / "b").mkdir()
        assert not (folder / "a").exists()
    assert names(folder) == ["a", "b"]
    assert names(folder.parent) == ["new"]
    with pytest.raises(ValueError, match="already exists and is not empty"), new_folder(folder):
        pytest.fail("it is in use")


def test_the_error_of_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as caught, atomic_write(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "file")


@posix_only
@pytest.mark.parametrize("kind", ["device", "pipe", "link"])
def test_an_input_is_a_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    path = Path("/dev/zero") if kind == "device" else path
    for read in (open_input, read_input, file_sha256):
        with pytest.raises(ValueError, match=f"{path} is a device, a pipe or a socket; give a file"):
            read(path)
    with pytest.raises(ValueError, match="is a device, a pipe"), atomic_write(path):
        pytest.fail("a device is not replaced by a file")


def test_an_input_of_bounded_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_input(path, 5) == b"12345"
    with pytest.raises(ValueError, match=r"file: it must have at most 4 bytes, found 5"):
        read_input(path, 4)
