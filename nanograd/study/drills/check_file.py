"""Grade a learner's file in a process of its own, which may hang, crash or be ended by the system.

`check` starts the process and reads its report. The process is

    python -m nanograd.study.drills.check_file NAME FILE REPORT LIMIT

It writes the Verdict to REPORT as JSON. If the learner's code never ends, a watchdog outside Python's own loop writes the
line to REPORT.trace and ends the process; a crash leaves its line there too. Only the first line that the code prints is
kept. A request for all memory is refused where the system allows such a limit.
"""

import contextlib
import dataclasses
import faulthandler
import inspect
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanograd.study.drills import DRILLS, attention
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.grade import Verdict, error_message, grade

LIMIT = 20.0  # seconds for the learner's code
START = 30.0  # and for Python to start, before the process is ended from outside
MEMORY = 2 << 30  # bytes of address space
OLD_MODULES = {"nanograd.drills.attend": attention}  # that files started by an earlier version import
YOUR_FILE = "your file"  # the stage before all others: the file can be read, and defines the function


def check(drill: Drill, path: Path, limit: float = LIMIT) -> Verdict:
    """Grade the file at `path`, whatever it does.

    Raises OSError where there is no such file.
    """
    path.read_bytes()
    root = str(Path(__file__).parents[3])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OPENBLAS_NUM_THREADS": "1",  # each thread of it wants memory, and drills are small
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            "-P",
            "-m",
            "nanograd.study.drills.check_file",
            drill.name,
            str(path.resolve()),
            str(report),
            str(limit),
        ]
        try:
            ended = subprocess.run(
                [sys.executable, *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=limit + START,
            )
        except subprocess.TimeoutExpired:
            return Verdict(failed=YOUR_FILE, message=f"it was not done after {limit:g} seconds")
        if report.exists():
            return Verdict(**json.loads(report.read_text(encoding="utf-8")))
        trace = Path(f"{report}.trace")
        traced = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    return Verdict(failed=YOUR_FILE, message=_lost(drill, traced, ended, limit))


def _lost(drill: Drill, traced: str, ended: "subprocess.CompletedProcess[bytes]", limit: float) -> str:
    """Say in one sentence what became of a process that left no report."""
    line = re.search(rf'File "{drill.name}\.py", line (\d+)', traced)
    at = f"line {line[1]}: " if line else ""
    if traced.startswith("Timeout"):
        return f"{at}it was not done after {limit:g} seconds: is there a loop that never ends?"
    if ended.returncode < 0 or traced:
        cause = "too much memory, or recursion too deep?"
        return f"{at}the process was ended by the system (code {ended.returncode}): {cause}"
    last = ended.stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
    return ": ".join([f"the process ended by itself (code {ended.returncode}) before the check was done", *last])


class Printed(io.TextIOBase):
    """Take what a learner's code prints; keep the first line, and where it was printed."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.first = ""
        self.line = 0

    def write(self, text: str) -> int:
        if not self.line and text.strip():
            frame = inspect.currentframe()
            while frame is not None and frame.f_code.co_filename != self.file:
                frame = frame.f_back
            self.first, self.line = text.strip().splitlines()[0][:60], frame.f_lineno if frame is not None else 0
        return len(text)


def grade_file(drill: Drill, source: bytes) -> Verdict:
    """Run a learner's file, and grade the backward that it defines."""
    printed = Printed(f"{drill.name}.py")
    with contextlib.redirect_stdout(printed):
        backward = _load(drill, source)
        verdict = Verdict(failed=YOUR_FILE, message=backward) if isinstance(backward, str) else grade(drill, backward)
    if printed.line:
        verdict.notes.append(f"line {printed.line} prints {printed.first!r}: printing is free, and is not shown here")
    return verdict


def _load(drill: Drill, source: bytes) -> Callable[..., Any] | str:
    """Return the backward that a file defines, or what is wrong."""
    name = drill.backward.__name__
    sys.modules.update(OLD_MODULES)
    scope: dict[str, Any] = {"__name__": f"drill_{drill.name}"}
    try:
        exec(compile(source, f"{drill.name}.py", "exec"), scope)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {type(error).__name__}: {error.msg}"
    except BaseException as error:
        return error_message(drill, error)
    backward = scope.get(name)
    if not callable(backward):
        return f"it defines no function {name}; that is the one to write"
    try:
        inspect.signature(backward).bind(None, None)
    except TypeError:
        given = inspect.signature(backward)
        return f"{name} must be callable as {name}(dy, saved), but is {name}{given}"
    return backward


def limit_memory() -> None:
    """Let a larger demand raise MemoryError here, rather than take the whole machine down; where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # POSIX only

        if sys.platform != "win32":
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(arguments: list[str]) -> None:
    name, file, report, limit = arguments
    limit_memory()
    with open(f"{report}.trace", "w", encoding="utf-8") as trace:
        faulthandler.enable(trace)
        faulthandler.dump_traceback_later(float(limit), exit=True, file=trace)
        verdict = grade_file(DRILLS[name], Path(file).read_bytes())
        faulthandler.cancel_dump_traceback_later()
        Path(report).write_text(json.dumps(dataclasses.asdict(verdict)), encoding="utf-8")
    os._exit(0)  # now: a thread that the learner's code left behind would be waited for


if __name__ == "__main__":
    main(sys.argv[1:])
