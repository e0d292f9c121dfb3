"""Download the files of GPT-2, and check them afterwards.

The first download records the size and SHA-256 of each file in downloads.json, beside the files; every later use compares
the files with it. A file has a temporary name until it is complete. An interrupted download resumes where it ended, if the
server's ETag says that the file is still the same. Only https is followed, also in redirects.
"""

import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TextIO, TypedDict
from urllib.parse import urlsplit

from nanograd.runtime.files import file_sha256, read_input, write_text
from nanograd.runtime.typed_json import read_json

HUB = "https://huggingface.co"
MODELS = {name: f"openai-community/{name}" for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
FILES = ("config.json", "vocab.json", "merges.txt", "model.safetensors")
LOCK = "downloads.json"
LARGEST = {".safetensors": 8_000_000_000}  # bytes; gpt2-xl has 6.4 GB
LARGEST_TEXT = 10_000_000  # of the other files
BLOCK = 1 << 20  # bytes read at a time
ATTEMPTS = 3  # without progress, before a download fails
TIMEOUT = 30  # seconds without a byte
PATIENCE, SLOWEST = 60, 60_000  # a download fails if it brings fewer bytes than SLOWEST in PATIENCE seconds
WEB_PAGE = re.compile(rb"\s*<(!doctype|html|head|\?xml)", re.IGNORECASE)


class Recorded(TypedDict):
    """What downloads.json says of a file."""

    bytes: int
    sha256: str


class _CutOffError(OSError):
    """The connection ended early; the bytes received are kept."""


class _RefusedError(OSError):
    """What the server sends is not what was asked for; another attempt would bring the same."""


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    """Follow redirects to https only; from a server on this machine, as tests have, also to that server."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        check_address(newurl, local=urlsplit(req.full_url).netloc)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str, local: str = "") -> None:
    """Raise OSError unless an address is one of https, or of the server `local` of this machine."""
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.netloc == local and parts.hostname == "127.0.0.1"
    if parts.scheme != "https" and not is_local:
        raise _RefusedError(f"redirected to {url}, which is not https")


def url_of(name: str, file: str, hub: str = HUB) -> str:
    """Return the address of a file of a model."""
    return f"{hub}/{MODELS[name]}/resolve/main/{file}"


def instructions(name: str, folder: Path) -> str:
    """Return a message: which files to download from where, and into which folder."""
    first = f"gpt import: the weights of {name} are not here. Download these files into the folder {folder.resolve()}:"
    last = f"and run `python -m gpt import {name}` again; or let it fetch them: python -m gpt import {name} --download"
    return "\n".join([first, *(f"  {url_of(name, file)}" for file in FILES), last])


def fetch(name: str, folder: Path, *, hub: str = HUB, out: TextIO | None = None) -> None:
    """Download the files of a model that are not yet in `folder`, and check all of them.

    Another call resumes an interrupted download. Raises OSError if a file cannot be downloaded, ValueError if one is
    another than downloads.json says.
    """
    out = out or sys.stdout
    folder.mkdir(parents=True, exist_ok=True)
    try:
        recorded = read_recorded(folder)
        for file in FILES:
            if not (folder / file).exists():
                _fetch_file(url_of(name, file, hub), folder / file, out)
            if file not in recorded:
                path = folder / file
                recorded[file] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
                write_text(folder / LOCK, json.dumps(recorded, indent=1) + "\n")
                out.write(f"{file:<18} SHA-256 {recorded[file]['sha256']}, recorded in {folder / LOCK}\n")
        check_files(folder)
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()


def read_recorded(folder: Path) -> dict[str, Recorded]:
    """Return what downloads.json says of each file; nothing if there is none."""
    path = folder / LOCK
    if not path.exists():
        return {}
    try:
        return read_json(read_input(path, LARGEST_TEXT), dict[str, Recorded])
    except ValueError as error:
        raise ValueError(f"{path} is damaged; delete it to record the files as they are: {error}") from None


def check_files(folder: Path) -> None:
    """Raise ValueError, naming the file, if one is another than was downloaded first."""
    for file, entry in read_recorded(folder).items():
        path = folder / file
        if file not in FILES or not path.exists():
            continue
        size = path.stat().st_size
        if size != entry["bytes"] or file_sha256(path) != entry["sha256"]:
            expected = f"{entry['bytes']:,} bytes with SHA-256 {entry['sha256'][:16]}…"
            way_out = f"delete it and download it again, or delete {LOCK} if the change is right"
            raise ValueError(f"{path} is not the file of the first download, {expected}; {way_out}")


def _fetch_file(url: str, path: Path, out: TextIO) -> None:
    """Download one file; retry as long as an attempt makes progress."""
    part = path.with_name(f".{path.name}.part")
    attempts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch_part(url, part, path.name, out)
            break
        except _RefusedError as error:
            raise OSError(f"{url}: {error}") from None
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
    _etag_file(part).unlink(missing_ok=True)


def _etag_file(part: Path) -> Path:
    """Return the file that keeps the ETag of a partial file."""
    return part.with_name(f"{part.name}.etag")


def _fetch_part(url: str, part: Path, name: str, out: TextIO) -> None:
    """Append the missing bytes to `part`; return when it is complete.

    The progress is one live line on a terminal, else one line at the end.
    """
    progress = ""
    etag_file = _etag_file(part)
    etag = etag_file.read_text(encoding="latin-1") if etag_file.exists() else ""
    have = part.stat().st_size if part.exists() and etag else 0
    check_address(url, local=urlsplit(url).netloc)
    request = urllib.request.Request(url, headers={"User-Agent": "nanograd-gpt", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", etag)  # the whole file, if it is another by now
    try:
        response: HTTPResponse = urllib.request.build_opener(_OnlyHttps).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after our bytes: the file is complete, or they are another file's
            with error:
                match = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
            if match and int(match[1]) == have:
                return
            part.unlink()
            raise _CutOffError("the bytes kept before do not fit the file") from None
        raise
    with response:
        total = _total(response, have)
        if total is None:
            raise _RefusedError("the server does not say how long the file is, so it could not be checked")
        largest = LARGEST.get(Path(name).suffix, LARGEST_TEXT)
        if total > largest:
            raise _RefusedError(f"the server announces {total:,} bytes, more than the {largest:,} that it may have")
        if response.headers.get_content_type() == "text/html":
            raise _RefusedError("the server sends a web page instead of the file; is there a login or a proxy between?")
        if response.status != 206:
            have = 0  # the server sends the file from its beginning
            new = response.headers.get("ETag", "")
            write_text(etag_file, new if new.startswith('"') else "")  # a weak ETag, W/"…", does not allow to resume
        with open(part, "ab") as file:
            file.truncate(have)
            began, before = time.monotonic(), have
            while have <= total and (block := response.read1(BLOCK)):
                if have == 0 and WEB_PAGE.match(block):
                    raise _RefusedError("the server sends a web page instead of the file")
                file.write(block)
                have += len(block)
                progress = f"{name:<18} {have / 1e6:,.1f} of {total / 1e6:,.1f} MB"
                if out.isatty():
                    out.write(f"\r{progress}")
                    out.flush()
                if time.monotonic() - began > PATIENCE:
                    if have - before < SLOWEST:
                        slow = f"{have - before:,} bytes in {PATIENCE} seconds"
                        raise _RefusedError(f"too slow: {slow}; the bytes received are kept")
                    began, before = time.monotonic(), have
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
