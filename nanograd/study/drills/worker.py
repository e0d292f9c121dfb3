"""python -m nanograd.study.drills.worker NAME FILE REPORT LIMIT: grade a learner's file, in a process that may be lost.

The Verdict is written to REPORT as JSON. What the learner's code may do to this process: never end (a watchdog outside of
Python's own loop writes where it hangs, to FILE.trace, and ends it), crash (the same), print (only the first line is kept),
or ask for all memory (refused, where the system can).
"""

import contextlib
import dataclasses
import faulthandler
import inspect
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanograd.study.drills import DRILLS
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.grade import Verdict, grade, raised_sentence

MEMORY = 2 << 30  # bytes of address space
YOUR_FILE = "your file"  # the stage before all others: the file can be read, and defines the function


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
        verdict = Verdict(failed=YOUR_FILE, said=backward) if isinstance(backward, str) else grade(drill, backward)
    if printed.line:
        verdict.notes.append(f"line {printed.line} prints {printed.first!r}: printing is free, and is not shown here")
    return verdict


def _load(drill: Drill, source: bytes) -> Callable[..., Any] | str:
    """Return the backward that a file defines, or what is wrong."""
    name = drill.backward.__name__
    scope: dict[str, Any] = {"__name__": f"drill_{drill.name}"}
    try:
        exec(compile(source, f"{drill.name}.py", "exec"), scope)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {type(error).__name__}: {error.msg}"
    except BaseException as error:
        return raised_sentence(drill, error)
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
