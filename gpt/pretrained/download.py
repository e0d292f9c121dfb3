"""List the files of GPT-2, and download them.

A file has a temporary name until it is complete, and an interrupted download resumes where it ended. Only sizes are
checked, against those of the server. Weights that are damaged all the same are noticed at loading if their header, shapes
or numbers are impossible; there is no other check.
"""

import os
import re
import sys
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import TextIO

HUB = "https://huggingface.co"
MODELS = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
BLOCK = 1 << 20  # bytes read at a time
ATTEMPTS = 3  # without progress, before a download fails
TIMEOUT = 30  # seconds without a byte


class _CutOffError(OSError):
    """The connection ended early; the bytes received are kept."""


def url_of(name: str, file: str, hub: str = HUB) -> str:
    """Return the address of a file of a model."""
    return f"{hub}/{MODELS[name]}/resolve/main/{file}"


def instructions(name: str, folder: Path) -> str:
    """Return a message: which files to download from where, and into which folder."""
    first = f"gpt import: the weights of {name} are not here. Download these files into the folder {folder.resolve()}:"
    last = f"and run `python -m gpt import {name}` again; or let it fetch them: python -m gpt import {name} --download"
    return "\n".join([first, *(f"  {url_of(name, file)}" for file in FILES), last])


def fetch(name: str, folder: Path, *, hub: str = HUB, out: TextIO | None = None) -> None:
    """Download the files of a model that are not yet in `folder`. Raises OSError if one cannot be downloaded.

    Another call resumes an interrupted download.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for file in FILES:
            if not (folder / file).exists():
                _fetch_file(url_of(name, file, hub), folder / file, out or sys.stdout)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def _fetch_file(url: str, path: Path, out: TextIO) -> None:
    """Download one file; retry as long as an attempt makes progress."""
    part = path.with_name(f".{path.name}.part")
    attempts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch_part(url, part, path.name, out)
            break
        except (HTTPException, OSError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
                if error.code < 500:
                    answer = f"the server says {error.code} {error.reason}"
                    raise OSError(f"{url}: {answer}; is the address still right?") from None
            progressed = part.exists() and part.stat().st_size > before
            attempts = 0 if progressed else attempts + 1
            if attempts >= ATTEMPTS:
                reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
                raise OSError(f"{url}: {reason}; the bytes received are kept; the same command resumes there") from None
    os.replace(part, path)


def _fetch_part(url: str, part: Path, name: str, out: TextIO) -> None:
    """Append the missing bytes to `part`; return when it is complete.

    The progress is one live line on a terminal, else one line at the end.
    """
    progress = ""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "nanograd-gpt", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after our bytes: the file is complete, or they are another file's
            with error:
                match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if match and int(match[1]) == have:
                return
            part.unlink()
            raise _CutOffError("the bytes kept before do not fit the file") from None
        raise
    with response, open(part, "ab") as file:
        total = _total(response, have)
        if response.status != 206:
            file.truncate(0)  # the server sends the file from its beginning
            have = 0
        if total is None:
            raise OSError("the server does not say how long the file is, so it could not be checked")
        while have <= total and (block := response.read(BLOCK)):
            file.write(block)
            have += len(block)
            progress = f"{name:<18} {have / 1e6:,.1f} of {total / 1e6:,.1f} MB"
            if out.isatty():
                out.write(f"\r{progress}")
                out.flush()
        file.flush()
        os.fsync(file.fileno())
    if progress:
        out.write("\n" if out.isatty() else f"{progress}\n")
    if have > total:
        part.unlink()
        raise _CutOffError(f"received {have:,} bytes, more than the {total:,} announced")
    if have < total:
        raise _CutOffError(f"cut off at {have:,} of {total:,} bytes")


def _total(response: HTTPResponse, have: int) -> int | None:
    """Return the length of the file according to the server."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        return int(match[2]) if match and int(match[1]) == have else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
