"""Write files atomically, so that a reader never sees half of one."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` only when it is complete.

    The bytes go to a temporary file in the same folder, which is flushed to disk and then renamed over `path`: a rename
    within a folder is atomic, so a crash, a kill or a full disk leaves the old file as it was. A link is followed: the
    file it names is replaced and the link stays.

    Raises OSError, with the temporary file removed, when the folder is missing or the disk is full.
    """
    path = Path(path).resolve()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):  # report the original error
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def write_text(path: StrPath, text: str) -> None:
    """Write `text` as UTF-8, all of it or nothing; line ends are written as they are."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def check_new_folder(folder: Path, way_out: str = "choose another --out") -> None:
    """Raise ValueError if something is at `folder` that a new folder there would mix with or overwrite."""
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
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
