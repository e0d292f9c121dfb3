"""Measure a training step of ours against the same step in PyTorch, on the same cores.

    python examples/bench.py [SHAPE …] [--steps N] [--json FILE] [--no-torch]
    python examples/bench.py --ops                           every fast pair against its readable one
    python examples/bench.py tokenizer [--data FOLDER]       the tokenizer against tiktoken and Hugging Face's
    python examples/bench.py generate                        writing text, against Hugging Face's transformers
    python examples/bench.py --scaling [--plot FILE.png]     how the cost grows with context, width and vocabulary

A full step is forward, backward, clip and AdamW, in float32. The two sides have the same weights and batches and take
turns, a step each in one run; their losses must agree. Needs PyTorch: pip install 'nanograd-gpt[bench]'
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench_worker import Shape, Worker, cores, plain_environment

SHAPES = {
    "S": Shape(128, 4, 4, 64, 12, 65),
    "M": Shape(384, 6, 6, 256, 8, 65),
    "L": Shape(512, 6, 8, 256, 8, 4096),
    "X": Shape(768, 12, 12, 64, 4, 50257),
    "seed": Shape(512, 6, 8, 256, 32, 8192),
    "long": Shape(512, 6, 8, 1024, 8, 8192),
}
STEPS = {"S": 60, "M": 10, "L": 8, "X": 6, "seed": 4, "long": 4}
WARM_UP = 5
PAUSE = 0.03  # seconds between turns: the other side's threads stop spinning; after 0.1 a step of S is 1.2 times slower
AGREE = 1e-3  # most that two losses of one step may differ: it is the same mathematics


def compare(shape: Shape, steps: int, with_torch: bool) -> dict[str, Any]:
    """Let both sides take `steps` steps in turn; return what was measured."""
    seconds: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        weights = Path(folder) / "weights.safetensors"
        workers = []
        for side in ("ours", "torch") if with_torch else ("ours",):
            workers.append(stack.enter_context(Worker(side, shape, weights)))  # ours first: it saves the weights
        for n in range(WARM_UP + steps):
            for worker in workers:
                time.sleep(PAUSE)
                took, loss = worker.step(n)
                losses.setdefault(worker.side, []).append(loss)
                if n >= WARM_UP:
                    seconds.setdefault(worker.side, []).append(took)
        result: dict[str, Any] = {"shape": shape._asdict(), "steps": steps, "flops": shape.flops()}
        for worker in workers:
            result[worker.side] = {
                **worker.about,
                **worker.ask("peak_memory"),
                "ms": [1e3 * s for s in seconds[worker.side]],
                "median_ms": 1e3 * median(seconds[worker.side]),
                "tokens_per_s": shape.tokens() / median(seconds[worker.side]),
                "losses": losses[worker.side],
            }
        time.sleep(PAUSE)
        peak = workers[0].ask("matmul_peak")["matmul_peak"]
    result["matmul_peak"] = peak
    result["bound_ms"] = 1e3 * shape.flops() / peak
    for side in seconds:
        result[side]["share_of_peak"] = result["bound_ms"] / result[side]["median_ms"]
    if with_torch:
        pairs = zip(seconds["ours"], seconds["torch"], strict=True)
        result["ratio"] = result["ours"]["median_ms"] / result["torch"]["median_ms"]
        result["ratio_of_pairs"] = median(a / b for a, b in pairs)
        result["loss_difference"] = max(abs(a - b) for a, b in zip(losses["ours"], losses["torch"], strict=True))
    return result


def describe(name: str, result: dict[str, Any]) -> str:
    """Return the lines that a shape is printed as."""
    shape = Shape(**result["shape"])
    lines = [
        f"{name}: d_model {shape.d_model}, {shape.n_layers} layers, {shape.n_heads} heads, context {shape.context}, batch "
        f"{shape.batch}, vocabulary {shape.vocab}; {result['steps']} steps, ours in {result['ours']['shards']} shards"
    ]
    for side in ("ours", "torch"):
        if side in result:
            r = result[side]
            memory = "n/a" if r["peak_memory"] is None else f"{r['peak_memory'] / 1e6:,.0f} MB"
            lines.append(
                f"  {side:<6} {r['median_ms']:>9.1f} ms (best {min(r['ms']):.1f})  {r['tokens_per_s']:>8,.0f} tokens/s  "
                f"{100 * r['share_of_peak']:>4.0f} % of peak  peak memory {memory}"
            )
    lines.append(
        f"  bound  {result['bound_ms']:>9.1f} ms: {result['flops'] / 1e9:,.1f} GFLOP in matrix products at the "
        f"measured peak of {result['matmul_peak'] / 1e9:,.0f} GFLOP/s"
    )
    if "ratio" in result:
        lines.append(
            f"  ours / torch {result['ratio']:.2f} (of adjacent steps {result['ratio_of_pairs']:.2f}); losses differ by "
            f"{result['loss_difference']:.1e} at most"
        )
    return "\n".join(lines)


def header(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the figures depend on, besides the program."""
    ours, twin = result["ours"], result.get("torch", {})
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": ours["numpy"],
        "torch": twin.get("torch"),
        "blas_kernel": ours["kernel"],
        "blas_threads": ours["blas_threads"],
        "threads": ours["threads"],
        "torch_threads": twin.get("threads"),
    }


def cpu_model() -> str:
    """Return the processor's name."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def warn_if_busy() -> None:
    """Say so where other programs run: their time is measured too."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"warning: the load average is {load:.1f}; something else is running, and the figures will be too high")


def compare_shapes(names: list[str], steps: int | None, with_torch: bool, out: Path | None) -> None:
    """Compare the shapes one after the other, printing each as soon as it is measured."""
    about: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for name in names:
        result = compare(SHAPES[name], steps or STEPS[name], with_torch)
        if not about:
            about = header(result)
            print("\n".join(f"{key:<14}{value}" for key, value in about.items() if value is not None))
        results[name] = result
        print(f"\n{describe(name, result)}", flush=True)
        if out is not None:
            out.write_text(json.dumps({"machine": about, "shapes": results}, indent=2) + "\n", encoding="utf-8")
        if not result.get("loss_difference", 0.0) <= AGREE:  # also where one is no number
            sys.exit(f"bench: the losses of {name} must agree to {AGREE:g}; the two sides do not compute the same")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {' '.join(SHAPES)} (default: all)")
    parser.add_argument("--steps", type=int, metavar="N", help="timed steps of each side (default: by shape)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--no-torch", action="store_true", help="measure ours alone")
    parser.add_argument("--ops", action="store_true", help="measure the fast pairs against the readable ones instead")
    parser.add_argument("--scaling", action="store_true", help="measure how the cost grows instead")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --scaling: draw a picture; needs matplotlib")
    if sys.argv[1:2] == ["tokenizer"]:
        from bench_tokenizer import main as tokenizer

        sys.exit(tokenizer(sys.argv[2:]))
    if sys.argv[1:2] == ["generate"]:
        from bench_generate import main as generate

        sys.exit(generate(sys.argv[2:]))
    given = parser.parse_args()
    for name in given.shapes:
        if name not in SHAPES:
            parser.error(f"unknown shape {name!r}; there are {' '.join(SHAPES)}")
    if given.steps is not None and given.steps < 1:
        parser.error(f"--steps must be at least 1, got {given.steps}")
    if given.plot is not None and not given.scaling:
        parser.error("--plot draws what --scaling measures; give both")
    warn_if_busy()
    if given.ops:
        script = Path(__file__).with_name("bench_ops.py")
        sys.exit(subprocess.run([sys.executable, script], env=plain_environment(), check=False).returncode)
    elif given.scaling:
        from bench_scaling import scaling

        scaling(given.plot)
    else:
        compare_shapes(given.shapes or list(SHAPES), given.steps, not given.no_torch, given.json)


if __name__ == "__main__":
    main()
