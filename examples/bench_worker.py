"""The sides that bench.py compares, in separate processes that take one step at a time.

    python examples/bench_worker.py SIDE

It reads questions, one per line, until its input ends, and answers in lines of JSON: bench.py starts it. In separate
processes the sides have their own peak memory, and can take turns on the same machine.
"""

import atexit
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.runs.safetensors import load_file, save_file
from gpt.runs.team import world
from nanograd.parallel.processes import ONE_THREAD, ProcessTeam
from nanograd.runtime.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]  # of this checkout
CLIP = 1.0
TRAIN = TrainConfig(lr=3e-4, weight_decay=0.1, beta1=0.9, beta2=0.99, grad_clip=CLIP)  # as in torch_gpt.adamw
SIDES = ("ours", "processes", "ranks", "one-core", "torch")
ONE_CORE = {**dict.fromkeys(ONE_THREAD, "1"), "NANOGRAD_THREADS": "1"}  # the environment of a side with one thread
Step = Callable[[np.ndarray, np.ndarray], float]


class Shape(NamedTuple):
    """A model and its batch."""

    d_model: int
    n_layers: int
    n_heads: int
    context: int
    batch: int
    vocab: int

    def config(self) -> ModelConfig:
        return ModelConfig(
            vocab_size=self.vocab, context_length=self.context, d_model=self.d_model, n_layers=self.n_layers,
            n_heads=self.n_heads,
        )  # fmt: skip

    def tokens(self) -> int:
        """Return the number of tokens in a step."""
        return self.batch * self.context

    def flops(self) -> int:
        """Return the operations of a step in matrix products.

        Every entry of a matrix takes one multiplication and one addition per token in the forward, and twice as many in the
        backward; the output projection counts once. The two products of attention use half of the tokens on average.
        """
        matrices = self.n_layers * 12 * self.d_model**2 + self.vocab * self.d_model
        return 6 * self.tokens() * (matrices + self.n_layers * self.context * self.d_model)


SHAPES = {
    "S": Shape(128, 4, 4, 64, 12, 65),
    "M": Shape(384, 6, 6, 256, 8, 65),
    "L": Shape(512, 6, 8, 256, 8, 4096),
    "X": Shape(768, 12, 12, 64, 4, 50257),
    "seed": Shape(512, 6, 8, 256, 32, 8192),
    "long": Shape(512, 6, 8, 1024, 8, 8192),
}


def draw(shape: Shape, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and targets (B, T) of a step, the same for both sides."""
    windows = np.random.default_rng(step).integers(0, shape.vocab, (shape.batch, shape.context + 1))
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The sides: each creates a model and its optimizer, and returns a step function and properties of the machine


def make_ours(shape: Shape, weights: Path | None, side: str = "ours") -> tuple[Step, dict[str, Any]]:
    """Create our model, and save its weights for the other sides.

    ours       on threads, as DataParallel chooses them
    processes  one shard for each process of a team, of which there are as many as cores
    ranks      one shard for each rank that mpiexec has started
    one-core   the whole batch as one shard, on one core
    """
    from gpt.model import GPT
    from gpt.training import make_optimizer, next_token_loss
    from nanograd.parallel import DataParallel, choose_shards
    from nanograd.runtime import blas
    from nanograd.runtime.threads import available_threads

    team = world() if side == "ranks" else ProcessTeam(team_size(shape)) if side == "processes" else None
    if side == "one-core" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model = GPT(shape.config(), np.random.default_rng(0))
    if weights is not None:
        save_file(model.state_dict(), weights)
    optimizer = make_optimizer(model, TRAIN)
    n = 1 if side == "one-core" else choose_shards(shape.batch, shape.context) if team is None else team.size
    parallel = DataParallel(model, optimizer, next_token_loss, shards=n, team=team)
    atexit.register(parallel.close)

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        loss = parallel.gradients(0, [(ids, targets)], targets.size)
        parallel.clip(CLIP)
        parallel.update(optimizer.lr)
        return loss

    about = {"numpy": np.__version__, "kernel": blas.kernel(), "threads": available_threads(), "shards": n}
    return step, {**about, "blas_threads": blas.threads()}


def team_size(shape: Shape) -> int:
    """Return the number of processes or ranks for a shape: one per core, at least 2, each with some rows of the batch."""
    return min(max(2, cores()), shape.batch)


def make_torch(shape: Shape, weights: Path | None) -> tuple[Step, dict[str, Any]]:
    """Create the PyTorch model with our weights."""
    try:
        import torch
    except ImportError:
        sys.exit("bench: needs PyTorch; install it with: pip install 'nanograd-gpt[bench]', or give --no-torch")
    from torch_gpt import TorchGPT, adamw

    torch.set_num_threads(cores())
    model = TorchGPT(shape.config())
    if weights is not None:
        model.load_state_dict({name: torch.from_numpy(a) for name, a in load_file(weights)[0].items()}, strict=True)
    optimizer = adamw(model, TRAIN.lr)

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        loss = model(torch.from_numpy(ids), torch.from_numpy(targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    return step, {"torch": torch.__version__, "threads": torch.get_num_threads()}


def peak_memory() -> int | None:
    """Return the peak memory of this process in bytes, or None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def matmul_peak() -> float:
    """Return the best FLOP/s of square float32 matrix products."""
    best = 0.0
    for n, repeats in ((2048, 12), (4096, 4)):
        a, b = np.random.default_rng(0).standard_normal((2, n, n), dtype=np.float32)
        out = np.empty_like(a)
        for _ in range(repeats):
            began = time.perf_counter()
            np.matmul(a, b, out=out)
            best = max(best, 2 * n**3 / (time.perf_counter() - began))
    return best


def serve(side: str) -> None:
    """Create a side for the shape in the first line, then answer questions until the input ends."""
    if side == "ranks" and (team := world()) is not None and team.rank:  # only rank 0 has an input
        team.follow()
        return
    settings = json.loads(sys.stdin.readline())
    shape = Shape(*settings["shape"])
    weights = Path(settings["weights"]) if settings["weights"] else None
    step, about = make_torch(shape, weights) if side == "torch" else make_ours(shape, weights, side)
    say(about)
    for line in sys.stdin:
        question, *numbers = line.split()
        if question == "step":
            ids, targets = draw(shape, int(numbers[0]))
            began = time.perf_counter()
            loss = step(ids, targets)
            say({"seconds": time.perf_counter() - began, "loss": loss})
        else:
            say({question: {"peak_memory": peak_memory, "matmul_peak": matmul_peak}[question]()})


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def plain_environment() -> dict[str, str]:
    """Return the environment without the variable that overrides the BLAS kernel of the processor."""
    return {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}


def mpiexec() -> str:
    """Return the path of mpiexec, which the package mpich puts beside this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if (found := shutil.which("mpiexec", path=path)) is None:
        sys.exit(
            "there is no mpiexec; install it with: python -m pip install mpi4py mpich (on Windows: mpi4py impi-rt)"
        )
    return found


def memory_of(pid: int) -> int:
    """Return the bytes that a process and its descendants use now, as if nothing else ran: Linux tells them.

    Memory that several of them share is divided among them (PSS: proportional set size); files that they map, such as
    libraries, count once.
    """
    total, files, pids = 0, 0, [pid]
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        try:
            lines = [line for name in ("smaps_rollup", "status") for line in (folder / name).read_text().splitlines()]
            kb = {line.split()[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            pids += [int(child) for task in folder.glob("task/*/children") for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        total += kb.get("Pss_Anon:", 0) + kb.get("Pss_Shmem:", 0)
        files = max(files, kb.get("RssFile:", 0))
    return 1024 * (total + files)


class Worker:
    """A side in a process of its own, as bench.py uses it: threads and other are `ours`, of this and another checkout.

    The process runs bench_worker.py of `checkout`, and imports the packages there.
    """

    def __init__(self, side: str, shape: Shape, weights: Path | None = None, checkout: Path = ROOT) -> None:
        self.side = side
        script = checkout.resolve() / "examples" / "bench_worker.py"
        environment = plain_environment() | (ONE_CORE if side == "one-core" else {})
        paths = [str(checkout.resolve()), *filter(None, [environment.get("PYTHONPATH")])]
        launcher = [mpiexec(), "-n", str(team_size(shape))] if side == "ranks" else []
        self.process = subprocess.Popen(
            [*launcher, sys.executable, script, {"threads": "ours", "other": "ours"}.get(side, side)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        )  # fmt: skip
        self.about = self.ask(json.dumps({"shape": shape, "weights": str(weights) if weights else None}))

    def ask(self, question: str) -> dict[str, Any]:
        """Send one line, and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"bench: the process of {self.side} ended with exit code {self.process.wait()}; see above")
        result: dict[str, Any] = json.loads(answer)
        return result

    def step(self, n: int) -> tuple[float, float]:
        """Return the seconds and the loss of step n."""
        answer = self.ask(f"step {n}")
        return answer["seconds"], answer["loss"]

    def memory(self, n: int) -> int | None:
        """Return the largest memory of the side during step n; elsewhere than on Linux of one process, or None."""
        if not Path("/proc/self/smaps_rollup").exists():
            peak: int | None = self.ask("peak_memory")["peak_memory"]
            return None if self.side in ("processes", "ranks") else peak
        largest = 0
        with ThreadPoolExecutor(1) as pool:
            step = pool.submit(self.step, n)
            while not step.done():
                largest = max(largest, memory_of(self.process.pid))
                time.sleep(0.005)
        step.result()
        return largest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self.process.kill()
        self.process.communicate()  # closing its input ends it


if __name__ == "__main__":
    parser = Parser(description=__doc__)
    parser.add_argument("side", metavar="SIDE", choices=SIDES, help=f"one of {', '.join(SIDES)}")
    serve(parser.parse().side)
