"""Compare the speed of every fast pair with its readable one, at the shapes of one shard of the step `seed`.

    python examples/bench.py --ops

It takes about two minutes, and 3 GB of memory. As in a training step, every core runs one shard with single-threaded
matrix products, so that the pairs also compete for Python's global interpreter lock. Both pairs take turns; the table
shows medians.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import mean, median
from typing import Any

import numpy as np

from nanograd import OPS, Op
from nanograd.op import Pair
from nanograd.runtime import blas
from nanograd.runtime.arguments import Parser
from nanograd.runtime.threads import available_threads, run

RNG = np.random.default_rng(0)
B, T, C, H, V = 16, 256, 512, 8, 8192  # half of a batch of 32: 4096 tokens
TURNS = 5
Call = tuple[list[Any], dict[str, Any]]  # the arrays and options of one call


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape, dtype=np.float32)


def ids(below: int) -> np.ndarray:
    return RNG.integers(0, below, (B, T))


# The arrays and options of every op, created when the op is measured
CALLS: dict[str, Callable[[], Call]] = {
    "add": lambda: ([normal(B, T, C), normal(B, T, C)], {}),
    "attention": lambda: ([normal(B, H, T, C // H) for _ in range(3)], {"causal": True}),
    "cross_entropy": lambda: ([normal(B, T, V), ids(V)], {}),
    "dropout": lambda: ([normal(B, T, C)], {"p": 0.1, "seed": 1}),
    "embedding": lambda: ([normal(V, C), ids(V)], {}),
    "gelu": lambda: ([normal(B, T, 4 * C)], {}),
    "gelu_tanh": lambda: ([normal(B, T, 4 * C)], {}),
    "layernorm": lambda: ([normal(B, T, C), normal(C), normal(C)], {}),
    "linear": lambda: ([normal(B, T, C), normal(4 * C, C), normal(4 * C)], {}),
    "linear_cross_entropy": lambda: ([normal(B, T, C), 0.02 * normal(V, C), ids(V)], {}),
    "packed_attention": lambda: ([normal(B, T, 3 * C)], {"n_heads": H, "causal": True}),
    "rmsnorm": lambda: ([normal(B, T, C), normal(C)], {}),
    "rope": lambda: ([normal(B, H, T, C // H)], {}),
    "silu": lambda: ([normal(B, T, 4 * C)], {}),
    "softmax": lambda: ([normal(B, H, T, T)], {}),
    "swiglu": lambda: ([normal(B, T, 4 * C), normal(B, T, 4 * C)], {}),
}


def measure(op: Op, pair: Pair, call: Call) -> tuple[float, float]:
    """Return the seconds of one forward and one backward."""
    inputs, options = call
    arrays = op.promote([*inputs, *[None] * (len(op.arrays) - len(inputs))])
    needs = op.differentiable(arrays)
    began = time.perf_counter()
    y, saved = op.run_forward(pair, arrays, needs, options)
    forward = time.perf_counter() - began
    dy = np.random.default_rng(1).standard_normal(y.shape, dtype=y.dtype)
    began = time.perf_counter()
    op.run_backward(pair.backward, dy, saved, needs)
    return forward, time.perf_counter() - began


def row(op: Op, call: Call) -> str:
    """Measure both pairs in turn; return a row of the table."""
    assert op.fast is not None
    times: dict[Pair, list[tuple[float, float]]] = {op.pair: [], op.fast: []}
    for _ in range(1 + TURNS):  # the first turn also pays for fresh memory
        for pair in times:
            shards = run([partial(measure, op, pair, call)] * available_threads())
            times[pair].append((mean(forward for forward, _ in shards), mean(backward for _, backward in shards)))
    readable, fast = ([1e3 * median(times) for times in zip(*turns[1:], strict=True)] for turns in times.values())
    gains = [a / b for a, b in zip([*readable, sum(readable)], [*fast, sum(fast)], strict=True)]
    numbers = "".join(f"{a:>10.2f}{b:>9.2f}{gain:>6.2f}×" for a, b, gain in zip(readable, fast, gains, strict=False))
    return f"{op.name:<22}{numbers}{gains[2]:>8.2f}×"


def main() -> None:
    """Print the table of all ops with a fast pair."""
    about = f"NumPy {np.__version__}, BLAS kernel {blas.kernel()}, {available_threads()} shards in parallel"
    print(f"{about}; B {B}, T {T}, C {C}, H {H}, V {V}; ms\n")
    print(f"{'':<22}{'forward':>10}{'fast':>9}{'gain':>7}{'backward':>10}{'fast':>9}{'gain':>7}{'both':>9}")
    for name, op in sorted(OPS.items()):
        if op.fast is None:
            continue
        if name in CALLS:
            print(row(op, CALLS[name]()), flush=True)
        else:
            print(f"{name:<22}  skipped: bench_ops.py defines no call")


if __name__ == "__main__":
    Parser(description=__doc__).parse()  # --help
    main()
