"""Files: written whole or not at all (see nanograd/files.py), and known by their SHA-256."""

import hashlib
import os

from nanograd.files import atomic_write, write_text

__all__ = ["atomic_write", "file_sha256", "write_text"]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
