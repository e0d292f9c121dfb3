"""Grade a learner's file in a process of its own, which may hang, crash or be ended by the system.

`check` starts the process and reads its report. The process is

    python -m nanograd.study.drills.check_file NAME FILE REPORT LIMIT

It writes the Verdict to REPORT as JSON, signed with a key from stdin, which it reads before it runs the learner's code: a
report that this code writes does not count. If the code never ends, a watchdog outside Python's own loop writes the line to
REPORT.trace and ends the process; a crash leaves its line there too. Of what the code prints the first line is kept, and of
stderr the end. A request for all memory is refused where the system allows such a limit. Processes that the code started
are ended with it.
"""

import contextlib
import dataclasses
import faulthandler
import hmac
import inspect
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from nanograd.runtime.files import check_input
from nanograd.runtime.typed_json import read_json
from nanograd.study.drills import EXERCISES, Exercise, attention
from nanograd.study.drills.bugs import Bug, grade_bug
from nanograd.study.drills.drill import Drill
from nanograd.study.drills.functions import FunctionDrill, grade_function
from nanograd.study.drills.grade import Verdict, error_message, grade

LIMIT = 20.0  # seconds for the learner's code
START = 30.0  # seconds to start Python; after both the process is killed
MEMORY = 2 << 30  # bytes of address space
KEPT = 10_000  # bytes at the end of stderr
OLD_MODULES = {"nanograd.drills.attend": attention}  # that files started by an earlier version import
YOUR_FILE = "your file"  # the stage before the others: the file can be executed and defines the function


def check(drill: Exercise, path: Path, limit: float = LIMIT) -> Verdict:
    """Grade the file at `path` in a process of its own.

    Raises OSError if the file cannot be read.
    """
    check_input(path)
    path.read_bytes()
    root = str(Path(__file__).parents[3])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OPENBLAS_NUM_THREADS": "1",  # threads need memory, and drills are small
    }
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        arguments = [drill.name, str(path.resolve()), str(report), str(limit)]
        command = [sys.executable, "-P", "-m", "nanograd.study.drills.check_file", *arguments]
        key = secrets.token_bytes(32)
        try:
            code, stderr = _run(command, environment, key, limit + START)
        except subprocess.TimeoutExpired:
            return Verdict(failed=YOUR_FILE, message=f"it did not finish within {limit:g} seconds")
        if report.exists():
            signature, _, content = report.read_bytes().partition(b"\n")
            if hmac.compare_digest(signature, sign(key, content)):
                return read_json(content, Verdict)
            return Verdict(failed=YOUR_FILE, message="it wrote a report of its own, which does not count")
        trace = Path(f"{report}.trace")
        trace_text = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    return Verdict(failed=YOUR_FILE, message=_describe_exit(drill, trace_text, code, stderr, limit))


def _run(command: list[str], environment: dict[str, str], key: bytes, seconds: float) -> tuple[int, bytes]:
    """Run a command with `key` as its input; return its exit code and the end of its stderr.

    When it ends, or after `seconds`, so do the processes that it started (on Windows, they are no longer waited for).
    """
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen(
        command, env=environment, stdin=pipe, stdout=nothing, stderr=pipe, bufsize=0, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stderr is not None
    stderr, kept = process.stderr, bytearray()

    def drain() -> None:
        with stderr:
            while chunk := stderr.read(1 << 16):
                kept.extend(chunk)
                del kept[:-KEPT]

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        with contextlib.suppress(OSError), process.stdin:  # it may have ended already
            process.stdin.write(key)
        code = process.wait(seconds)
    finally:
        if sys.platform != "win32":
            with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
        reader.join(1.0)
    return code, bytes(kept)


def sign(key: bytes, content: bytes) -> bytes:
    """Return the signature of a report."""
    return hmac.digest(key, content, "sha256").hex().encode()


def _describe_exit(drill: Exercise, trace: str, code: int, stderr: bytes, limit: float) -> str:
    """Describe in one sentence why a process ended without a report."""
    line = re.search(rf'File "{drill.name}\.py", line (\d+)', trace)
    prefix = f"line {line[1]}: " if line else ""
    if trace.startswith("Timeout"):
        return f"{prefix}it did not finish within {limit:g} seconds: is there an endless loop?"
    if code < 0 or trace:
        cause = "too much memory, or too deep a recursion?"
        return f"{prefix}the system ended the process (code {code}): {cause}"
    last = stderr.decode("utf-8", errors="replace").strip().splitlines()[-1:]
    return ": ".join([f"the process exited (code {code}) before the check was complete", *last])


class Output(io.TextIOBase):
    """Collect the output of a learner's code: the first line, and the line of code that printed it."""

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


def grade_file(drill: Exercise, source: bytes) -> Verdict:
    """Execute a learner's file, and grade the function that it defines, or the line that it names."""
    output = Output(f"{drill.name}.py")
    with contextlib.redirect_stdout(output):
        scope = _execute(drill, source)
        if isinstance(scope, str):
            verdict = Verdict(failed=YOUR_FILE, message=scope)
        elif isinstance(drill, Bug):
            verdict = grade_bug(drill, scope.get("line"), scope.get("correction"))
        elif message := _not_callable(drill, scope.get(drill.writes)):
            verdict = Verdict(failed=YOUR_FILE, message=message)
        elif isinstance(drill, FunctionDrill):
            verdict = grade_function(drill, scope[drill.writes])
        else:
            verdict = grade(drill, scope[drill.writes])
    if output.line:
        verdict.notes.append(f"line {output.line} prints {output.first!r}; output is not shown")
    return verdict


def _execute(drill: Exercise, source: bytes) -> dict[str, Any] | str:
    """Return the names that a file defines, or a message that says why it cannot be executed."""
    sys.modules.update(OLD_MODULES)
    scope: dict[str, Any] = {"__name__": f"drill_{drill.name}"}
    try:
        exec(compile(source, f"{drill.name}.py", "exec"), scope)
    except SyntaxError as error:
        return f"line {error.lineno or 1}: {type(error).__name__}: {error.msg}"
    except BaseException as error:
        return error_message(drill, error)
    return scope


def _not_callable(drill: Drill | FunctionDrill, function: Any) -> str:
    """Say why something is not a function that can be called as the drill's, or return nothing."""
    name = drill.writes
    if not callable(function):
        return f"it defines no function {name}"
    arrays, options = ["dy", "saved"], []
    if isinstance(drill, FunctionDrill):
        parameters = inspect.signature(drill.function).parameters.values()
        arrays = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        options = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    try:
        inspect.signature(function).bind(*arrays, **dict.fromkeys(options))
    except TypeError:
        call = ", ".join([*arrays, *(f"{option}=…" for option in options)])
        return f"{name} must be callable as {name}({call}), but is {name}{inspect.signature(function)}"
    return ""


def limit_memory() -> None:
    """Limit the address space, where the system allows it: a larger request then raises MemoryError."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # POSIX only

        if sys.platform != "win32":
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main(arguments: list[str]) -> None:
    name, file, report, limit = arguments
    key = sys.stdin.buffer.read()
    sys.argv[1:] = []
    limit_memory()
    with open(f"{report}.trace", "w", encoding="utf-8") as trace:
        faulthandler.enable(trace)
        faulthandler.dump_traceback_later(float(limit), exit=True, file=trace)
        verdict = grade_file(EXERCISES[name], Path(file).read_bytes())
        faulthandler.cancel_dump_traceback_later()
        content = json.dumps(dataclasses.asdict(verdict)).encode()
        Path(report).write_bytes(sign(key, content) + b"\n" + content)
    os._exit(0)  # a normal exit would wait for threads of the learner's code


if __name__ == "__main__":
    main(sys.argv[1:])
