"""Run a command with a team, disturb it, look at what it leaves, and run it again."""

import hashlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import gpt
from gpt.runs.checkpoint import LAST, load_checkpoint
from gpt.runs.run import METRICS, read_metrics

SHAPE = "--tokenizer char --d-model 8 --n-layers 1 --n-heads 1 --context-length 32"
LOOP = "--warmup-steps 1 --batch-size 4 --shards 4 --dropout 0.1 --optimizer muon"
TRAIN = f"train --data text.txt {SHAPE} {LOOP} --eval-batches 1 --max-steps 24 --save-every 3 --eval-every 5 --out run"
LONG = "--max-steps 9999 --save-every 9999 --eval-every 9999"
SHAPED = "--max-steps 12 --save-every 3 --eval-every 5 --batch-size 4 --shards 4 --out run"
FINETUNE = {
    "classify": f"finetune classify --data labels.tsv --base base {SHAPED}",
    "instruct": f"finetune instruct --data answers.json --base base --template chat {SHAPED}",
    "prefer": f"finetune prefer --data pairs.json --base base --template chat {SHAPED}",
    "lora": f"finetune instruct --data answers.json --base base --template chat --lora-rank 2 {SHAPED}",
}
PROCESSES, MPI = "--workers 2 --workers-as processes", "mpiexec -n 2"
TEAMS = {  # what stands before and after `python -m gpt …`
    "threads": ("", "--workers-as threads"),
    "processes": ("", PROCESSES),
    "4 processes": ("", "--workers 4 --workers-as processes"),
    "mpi": (MPI, ""),
    "4 ranks of mpi": ("mpiexec -n 4", ""),
}
BOTH = ["processes", pytest.param("mpi", marks=pytest.mark.mpi)]

# What each rank runs before anything else: it writes down its process, and FAULT makes it fail
HOOK = """
import json, os, resource, signal, sys, time
words = sys.orig_argv
rank = int(os.environ.get("PMI_RANK", 0))
if "-c" in words and "nanograd.parallel.processes" in words[words.index("-c") + 1]:
    rank = json.loads(words[-1])[0]
if "gpt" in words or rank:
    with open(os.path.join(os.environ["PIDS"], f".{rank}"), "w") as file:
        file.write(str(os.getpid()))
    os.replace(file.name, os.path.join(os.environ["PIDS"], str(rank)))

def at_step(at, step, act):
    "Let a rank act before it computes the gradient of a step."
    from nanograd.parallel.replica import Replica
    gradients = Replica.gradients
    def act_first(self, now, *arguments):
        if (self.team.rank, now) == (at, step):
            act()
        return gradients(self, now, *arguments)
    Replica.gradients = act_first

def fail(error):
    def act(*arguments, **options):
        raise error
    return act

def wait(seconds):
    "Let the limit of each wait be short, once all ranks are there."
    at_step(0, 1, lambda: os.environ.update(NANOGRAD_WAIT=str(seconds)))

def slow():
    from gpt.runs.run import Run
    after_step = Run.after_step
    def slow_step(self, record):
        time.sleep(0.01)
        return after_step(self, record)
    Run.after_step = slow_step

exec(os.environ.get("FAULT", ""))
"""


def load(name: str) -> Any:
    """Return a module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Harness:
    """A folder with the inputs of all commands, and the digests of runs that nothing disturbs."""

    def __init__(self, folder: Path) -> None:
        inputs = load("conftest")
        self.folder, self.inputs, self.hooks = folder, folder / "inputs", folder / "hooks"
        for path in (self.inputs, self.hooks):
            path.mkdir()
        inputs.write_inputs(self.inputs)
        (self.hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        self.whole: dict[str, str] = {}

    def expected(self, words: str) -> str:
        """Return the digest of the run of a command, on threads."""
        if words not in self.whole:
            attempt = Attempt(self, words)
            attempt.finish("threads")
            self.whole[words] = attempt.digest()
        return self.whole[words]

    def base(self) -> None:
        """Make the base of fine-tuning."""
        if not (self.inputs / "base").exists():
            words = f"train --data text.txt --vocab-size 270 {SHAPE} --max-steps 2 --batch-size 2 --shards 1 --out base"
            words = words.replace("--tokenizer char ", "")
            environment = {**os.environ, "PYTHONPATH": str(Path(gpt.__file__).parents[1])}
            command = [sys.executable, "-m", "gpt", *words.split()]
            subprocess.run(command, cwd=self.inputs, env=environment, check=True, capture_output=True)


class Attempt:
    """A folder in which a command is run, disturbed, and run again."""

    def __init__(self, harness: Harness, words: str = TRAIN) -> None:
        self.harness, self.words = harness, words
        self.work = Path(tempfile.mkdtemp(dir=harness.folder))
        shutil.copytree(harness.inputs, self.work, dirs_exist_ok=True)
        self.run, self.pids, self.temporary = self.work / "run", self.work / "pids", self.work / "tmp"
        self.temporary.mkdir()
        self.output = self.errors = ""

    def start(self, team: str = "threads", fault: str = "", more: str = "", wait: float | None = None) -> None:
        """Start the command, or its resumption where there is something of a run."""
        launcher, flags = TEAMS[team]
        if launcher and not shutil.which("mpiexec"):
            pytest.skip("needs mpiexec")
        words = f"{self.words} {more}"
        if any(self.run.glob("[!.]*")):
            words = f"{words.partition(' --')[0]} --resume run"
        elif self.run.exists():
            shutil.rmtree(self.run)  # nothing is in there, as an error says
        shutil.rmtree(self.pids, ignore_errors=True)
        self.pids.mkdir()
        self.shared = shared_files()
        environment = {
            **os.environ, "OPENBLAS_NUM_THREADS": "1", "PIDS": str(self.pids), "FAULT": fault,
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join([str(self.harness.hooks), str(Path(gpt.__file__).parents[1])]),
        }  # fmt: skip
        if wait is not None:
            environment["NANOGRAD_WAIT"] = str(wait)
        command = [*launcher.split(), sys.executable, "-m", "gpt", *f"{words} {flags}".split()]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.team, self.began = team, time.monotonic()
        self.process = subprocess.Popen(command, cwd=self.work, env=environment, start_new_session=True, **streams)

    def pid(self, rank: int) -> int | None:
        """Return the process of a rank once it has started, None if the run has ended before."""
        path = self.pids / str(rank)
        self.until(lambda: path.exists() or self.process.poll() is not None)
        return int(path.read_text()) if path.exists() else None

    def steps(self, n: int) -> None:
        """Wait until so many steps are done."""
        path = self.run / METRICS
        self.until(lambda: (path.exists() and path.read_bytes().count(b"\n") >= n) or self.process.poll() is not None)

    def until(self, happened: Callable[[], bool]) -> None:
        while not happened():
            assert time.monotonic() < self.began + 60, f"{self.work}: waited for a minute"
            time.sleep(0.001)

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        if (pid := self.pid(rank)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> int:
        """Return the exit code; nothing may be left of the command, not even a process that nobody waits for."""
        try:
            output, errors = self.process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self.sweep()
            raise AssertionError(f"{self.work}: it hangs: {self.process.communicate()}") from None
        self.output, self.errors = output.decode(), errors.decode()
        try:
            self.until(lambda: not self.alive())
        finally:
            self.sweep()
        assert not list(self.temporary.iterdir())
        assert "Traceback" not in self.errors
        return self.process.returncode

    def alive(self) -> list[int]:
        return [pid for path in self.pids.glob("[0-9]*") if lives(pid := int(path.read_text()))]

    def sweep(self) -> None:
        for pid in (*self.alive(), self.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def line(self) -> str:
        """Return the only line of stderr."""
        lines = self.errors.splitlines()
        assert len(lines) == 1, f"{self.work}: {self.errors}"
        return lines[0]

    def way_on(self) -> str:
        command = self.words.partition(" --")[0]
        return f"; go on with: python -m gpt {command} --resume run"

    def finish(self, team: str) -> None:
        """Run or resume to the end with a team."""
        self.start(team)
        assert self.end() == 0 or "is finished" in self.errors, f"{self.work}: {self.errors}"

    def check(self, team: str = "threads") -> None:
        """Finish with a team; the result must be that of a run that nothing disturbed."""
        self.finish(team)
        assert self.digest() == self.harness.expected(self.words), f"{self.work}: other bits"
        assert not list(self.run.glob(".*"))
        shutil.rmtree(self.work)

    def digest(self) -> str:
        """Return a digest of the parameters, of the optimizer's state and of all losses."""
        checkpoint = load_checkpoint(self.run / LAST)
        digest = hashlib.sha256()
        for name in sorted(checkpoint.tensors):
            digest.update(name.encode() + checkpoint.tensors[name].tobytes())
        digest.update(repr([(r.step, r.loss, r.val_loss, r.grad_norm) for r in read_metrics(self.run)]).encode())
        return digest.hexdigest()

    def step(self) -> int:
        """Return the step of the checkpoint."""
        return load_checkpoint(self.run / LAST).state.step


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    if Path("/proc/self/stat").exists():
        return False
    with suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def shared_files() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("*")} if Path("/dev/shm").is_dir() else set()


def left_in_shared_memory(before: set[str]) -> set[str]:
    """Return the new files in /dev/shm that no process uses."""
    new = shared_files() - before
    for maps in Path("/proc").glob("[0-9]*/maps") if new else ():
        with suppress(OSError):
            new -= set(re.findall(r"/dev/shm/(\S+)$", maps.read_text(), re.MULTILINE))
    return new


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def attempt(harness: Harness) -> Iterator[Attempt]:
    attempt = Attempt(harness)
    yield attempt
    if hasattr(attempt, "process"):
        attempt.sweep()
