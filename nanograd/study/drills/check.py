"""Check a learner's file in a process of its own, with a time limit."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from nanograd.study.drills.drill import Drill
from nanograd.study.drills.grade import Verdict
from nanograd.study.drills.worker import YOUR_FILE

LIMIT = 20.0  # seconds for the learner's code
START = 30.0  # and for Python to start, before the process is ended from outside


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
        command = ["-P", "-m", "nanograd.study.drills.worker", drill.name, str(path.resolve()), str(report), str(limit)]
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
            return Verdict(failed=YOUR_FILE, said=f"it was not done after {limit:g} seconds")
        if report.exists():
            return Verdict(**json.loads(report.read_text(encoding="utf-8")))
        trace = Path(f"{report}.trace")
        traced = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    return Verdict(failed=YOUR_FILE, said=_lost(drill, traced, ended, limit))


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
