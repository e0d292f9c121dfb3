"""Open files that are files, and write them atomically, so that a reader never sees half of one.

What is being written has the temporary name `.NAME.HOST-PID-RANDOM.tmp`. A process that is killed leaves it behind; the
next one that writes NAME removes it.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import sys
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

StrPath = str | os.PathLike[str]
FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quotas
MOST = 1 << 28  # bytes of a file that is read whole


def open_input(path: StrPath) -> BufferedReader:
    """Open a file for reading. Raises ValueError for what has no end or waits for others: a device, a pipe, a socket."""
    check_input(path)
    return open(path, "rb")


def check_input(path: StrPath) -> None:
    """Raise ValueError for a device, a pipe or a socket, also behind a link; OSError if there is nothing."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a folder is an error by itself
        raise ValueError(f"{path} is a device, a pipe or a socket; give a file")


def read_input(path: StrPath, most: int = MOST) -> bytes:
    """Return the bytes of a file. Raises ValueError, before reading them, if there are more than `most`."""
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(max(size, 1 << 16) + 1)  # some files of /proc say that they have none
    if max(size, len(data)) > most:
        raise ValueError(f"{path}: it must have at most {most:,} bytes, found {max(size, len(data)):,}")
    return data


def is_plain(name: str) -> bool:
    """Return whether a name that a file gives is that of a file beside it: `../x`, `/etc/x`, `C:x` and `.x` are not."""
    return bool(name) and not re.search(r"^\.|[/\\:\x00-\x1f]", name)


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` only when it is complete.

    The bytes go to a temporary file in the same folder, which is flushed to disk and then renamed over `path`: a rename
    within a folder is atomic, so a crash, a kill or a full disk leaves the old file as it was. A link is followed: the
    file it names is replaced and the link stays.

    Raises ValueError for a device or a pipe; OSError, with the temporary file removed, when the folder is missing or the
    disk is full.
    """
    given, path = path, Path(path).resolve()
    if path.exists():
        check_input(path)
    sweep(path.parent, path.name)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # report the original error
            os.unlink(temporary)
        name_full(error, given)
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def new_folder(folder: StrPath, way_out: str = "choose another --out") -> Iterator[Path]:
    """Yield a temporary folder; at the end its files become those of `folder`, which must be new or empty.

    A new folder is renamed, and so appears at once. After an error nothing remains.
    """
    target = Path(folder).resolve()
    check_new_folder(Path(folder), way_out)
    exists = target.exists()  # an empty folder is filled: it may be the current one, or the root of a disk
    temporary = (target if exists else target.parent) / _temporary_name(target.name)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if exists:
            for path in sorted(temporary.iterdir()):
                os.rename(path, target / path.name)
            temporary.rmdir()
        else:
            os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(target.parent)


def sweep(folder: Path, name: str) -> None:
    """Remove the temporary files and folders in `folder` that killed processes of this machine left of `name`."""
    pattern = re.compile(re.escape(f".{name}.{_host()}-") + r"(\d+)-[0-9a-f]{8}\.tmp")
    with contextlib.suppress(OSError):  # another process may remove them too
        for entry in list(os.scandir(folder)):
            match = pattern.fullmatch(entry.name)
            if match and not process_runs(int(match[1])):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)


def process_runs(pid: int) -> bool:
    """Return whether a process of this machine runs."""
    if sys.platform == "win32":  # os.kill would end it
        code = ctypes.c_ulong()
        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        runs = (
            ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code)) and code.value == 259
        )  # STILL_ACTIVE
        ctypes.windll.kernel32.CloseHandle(handle)
        return bool(runs)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


def name_full(error: BaseException, path: StrPath) -> None:
    """Give the error of a full disk the name of the file: the system does not say which one did not fit."""
    if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
        error.filename = str(path)


def _temporary_name(name: str) -> str:
    return f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _host() -> str:
    """Return a short name of this machine: on a shared disk the process numbers of others mean nothing here."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def write_text(path: StrPath, text: str) -> None:
    """Write `text` as UTF-8, all of it or nothing; line ends are written as they are."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def check_new_folder(folder: Path, way_out: str = "choose another --out") -> None:
    """Raise ValueError if something is at `folder` that a new folder there would mix with or overwrite."""
    for leftovers in (folder.resolve().parent, folder):
        sweep(leftovers, folder.resolve().name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out: {folder} already exists and is not empty; {way_out}")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable. Windows and some network file systems cannot; the new file is complete anyway."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def file_sha256(path: StrPath) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open_input(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
