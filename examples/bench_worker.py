"""The two sides that bench.py compares, in separate processes that take one step at a time.

    python examples/bench_worker.py SIDE

It reads questions, one per line, until its input ends, and answers in lines of JSON: bench.py starts it. In separate
processes both sides have their own peak memory, and can take turns on the same machine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from gpt.config import ModelConfig, TrainConfig
from gpt.runs.safetensors import load_file, save_file
from nanograd.runtime.arguments import Parser

ROOT = Path(__file__).resolve().parents[1]  # of this checkout
CLIP = 1.0
TRAIN = TrainConfig(lr=3e-4, weight_decay=0.1, beta1=0.9, beta2=0.99, grad_clip=CLIP)  # as in torch_gpt.adamw
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


def draw(shape: Shape, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids and targets (B, T) of a step, the same for both sides."""
    windows = np.random.default_rng(step).integers(0, shape.vocab, (shape.batch, shape.context + 1))
    return np.ascontiguousarray(windows[:, :-1]), np.ascontiguousarray(windows[:, 1:])


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# The two sides: both create a model and its optimizer, and return a step function and properties of the machine


def make_ours(shape: Shape, weights: Path | None) -> tuple[Step, dict[str, Any]]:
    """Create our model, and save its weights for the other side."""
    from gpt.model import GPT
    from gpt.training import make_optimizer, next_token_loss
    from nanograd.parallel import DataParallel, choose_shards
    from nanograd.runtime import blas
    from nanograd.runtime.threads import available_threads

    model = GPT(shape.config(), np.random.default_rng(0))
    if weights is not None:
        save_file(model.state_dict(), weights)
    optimizer = make_optimizer(model, TRAIN)
    n = choose_shards(shape.batch, shape.context)
    parallel = DataParallel(model, optimizer, next_token_loss, shards=n)

    def step(ids: np.ndarray, targets: np.ndarray) -> float:
        loss = parallel.gradients(0, [(ids, targets)], targets.size)
        parallel.clip(CLIP)
        parallel.update(optimizer.lr)
        return loss

    about = {"numpy": np.__version__, "kernel": blas.kernel(), "threads": available_threads(), "shards": n}
    return step, {**about, "blas_threads": blas.threads()}


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
    settings = json.loads(sys.stdin.readline())
    shape = Shape(*settings["shape"])
    weights = Path(settings["weights"]) if settings["weights"] else None
    step, about = {"ours": make_ours, "torch": make_torch}[side](shape, weights)
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


class Worker:
    """A side in a process of its own, as bench.py uses it.

    The process runs bench_worker.py of `checkout`, and imports the packages there.
    """

    def __init__(self, side: str, shape: Shape, weights: Path | None = None, checkout: Path = ROOT) -> None:
        self.side = side
        script = checkout.resolve() / "examples" / "bench_worker.py"
        environment = plain_environment()
        paths = [str(checkout.resolve()), *filter(None, [environment.get("PYTHONPATH")])]
        self.process = subprocess.Popen(
            [sys.executable, script, "torch" if side == "torch" else "ours"],
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self.process.kill()
        self.process.communicate()  # closing its input ends it


if __name__ == "__main__":
    parser = Parser(description=__doc__)
    parser.add_argument("side", metavar="SIDE", help="ours or torch")
    serve(parser.parse().side)
