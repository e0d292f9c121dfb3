"""The lock of a run's folder: one process writes there at a time, and the lock of a process that died does not stay.

The lock is a file that is created exclusively, with the host, the pid and the start of the process: a pid alone may belong
to another process by now. Commands that only read a run do not look at it.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanograd.runtime.typed_json import read_json

LOCK = ".lock"


class FolderLock:
    """The lock of a folder, taken when this is made, until `release`, or until nobody refers to it.

    Raises ValueError, naming the process, if a process that lives has it. A lock whose process is gone is taken over.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "start": process_start(os.getpid())}
        self.content = json.dumps({**owner, "since": time.strftime("%Y-%m-%d %H:%M:%S"), "id": secrets.token_hex(8)})
        while not self._create():
            self._remove_stale()
        self.release = weakref.finalize(self, remove_own, self.path, self.content)

    def _create(self) -> bool:
        try:
            with open(self.path, "x", encoding="utf-8") as file:
                file.write(self.content)
        except FileExistsError:
            return False
        return True

    def _remove_stale(self) -> None:
        """Remove the lock of a process that is gone; ValueError if it lives."""
        content = check_unlocked(self.path.parent)
        if content is None:
            return
        aside = self.path.with_name(f"{LOCK}.{secrets.token_hex(8)}.tmp")
        with suppress(FileNotFoundError):  # another process takes it over too, and was faster
            os.rename(self.path, aside)
            if aside.read_text(encoding="utf-8") != content:  # it is already the lock of that process
                os.rename(aside, self.path)
                return
            aside.unlink()
            print(f"note      the process that wrote in {self.path.parent} is gone: its lock is taken over")


def remove_own(path: Path, content: str) -> None:
    """Remove a lock, unless another process has it by now."""
    with suppress(OSError):
        if path.read_text(encoding="utf-8") == content:
            path.unlink()


def check_unlocked(folder: Path) -> str | None:
    """Return the content of a stale lock, None without a lock; ValueError, naming the process, if it lives."""
    path = folder / LOCK
    for attempt in range(6):
        try:
            content = path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            owner = read_json(content, dict)
            host, pid, start, since = (owner[key] for key in ("host", "pid", "start", "since"))
        except (ValueError, KeyError):
            if attempt < 5:  # its process is about to write it
                time.sleep(0.1)
                continue
            return content  # its process was killed before it wrote it
        if host != socket.gethostname():
            way_out = f"if it is gone, delete {path}"
            raise ValueError(f"{folder} is being trained by process {pid} on {host} since {since}; {way_out}")
        now = process_start(pid) if isinstance(pid, int) else None
        if now is None or (start and now and now != start):
            return content
        raise ValueError(f"{folder} is being trained by process {pid} since {since}; wait for it, or stop it")
    return None


def process_start(pid: int) -> str | None:
    """Return when a process of this machine started, in the system's own words; "" if unknown, None if it is gone."""
    if sys.platform == "win32":
        return _windows_start(pid)
    with suppress(OSError):
        os.stat("/proc/self/stat")
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]  # a zombie is gone; fields 3 and 22 of proc(5)
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    with suppress(OSError):
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        words = subprocess.run(command, capture_output=True, text=True, env=environment, check=False).stdout.split()
        return " ".join(words[1:]) if words and not words[0].startswith("Z") else None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:  # it is another user's
        pass
    return ""


def _windows_start(pid: int) -> str | None:
    import ctypes

    library: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009 - Windows alone has it
    library.OpenProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(library.OpenProcess(0x1000, False, pid))  # PROCESS_QUERY_LIMITED_INFORMATION
    if not process:
        return "" if getattr(ctypes, "get_last_error")() == 5 else None  # noqa: B009 - access denied: it lives
    code, times = ctypes.c_ulong(), (ctypes.c_ulonglong * 4)()
    at = [ctypes.byref(times, 8 * i) for i in range(4)]
    try:
        lives = library.GetExitCodeProcess(process, ctypes.byref(code)) and code.value == 259  # STILL_ACTIVE
        known = library.GetProcessTimes(process, *at)
    finally:
        library.CloseHandle(process)
    if not lives:
        return None
    return str(times[0]) if known else ""
