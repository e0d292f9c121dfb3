"""Compare the speed of a training step with the same step in PyTorch, or in another checkout, on the same cores.

    python examples/bench.py S M                 two shapes, ours and PyTorch's
    python examples/bench.py --against FOLDER    ours and another checkout's
    python examples/bench.py --ops               fast pairs and readable ones
    python examples/bench.py --scaling           context, width, vocabulary
    python examples/bench.py tokenizer           tiktoken and Hugging Face
    python examples/bench.py generate            Hugging Face transformers

All shapes take about ten minutes on two cores, and 7 GB of memory; S takes ten seconds. A full step is forward,
backward, clip and AdamW, in float32. Both sides have the same weights and batches, and take turns, one step at a time;
their losses must agree. Needs PyTorch: pip install 'nanograd-gpt[bench]'
"""

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

from nanograd.runtime.arguments import Parser

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
PAUSE = 0.03  # seconds between turns, in which idle threads stop spinning; after 0.1 a step of S is 1.2 times slower
AGREE = 1e-3  # largest difference of two losses of one step


def compare(shape: Shape, steps: int, with_torch: bool, checkout: Path | None = None) -> dict[str, Any]:
    """Let both sides take `steps` steps in turn; return the measurements.

    The second side is another `checkout` of this project ("other"), PyTorch, or nothing.
    """
    second = "other" if checkout is not None else "torch" if with_torch else None
    seconds: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        weights = Path(folder) / "weights.safetensors"
        workers = [stack.enter_context(Worker("ours", shape, weights))]  # the first, since it saves the weights
        if checkout is not None:  # it draws the same weights from the same seed
            workers.append(stack.enter_context(Worker("other", shape, checkout=checkout)))
        elif with_torch:
            workers.append(stack.enter_context(Worker("torch", shape, weights)))
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
    if second is not None:
        above, below = ("ours", "torch") if second == "torch" else ("other", "ours")
        result["ratio_of"] = f"{above} / {below}"
        result["ratio"] = result[above]["median_ms"] / result[below]["median_ms"]
        result["ratio_of_pairs"] = median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
        result["loss_difference"] = max(abs(a - b) for a, b in zip(losses["ours"], losses[second], strict=True))
    return result


def describe(name: str, result: dict[str, Any]) -> str:
    """Format the results of a shape."""
    shape = Shape(**result["shape"])
    lines = [
        f"{name}: d_model {shape.d_model}, {shape.n_layers} layers, {shape.n_heads} heads, context {shape.context}, batch "
        f"{shape.batch}, vocabulary {shape.vocab}; {result['steps']} steps, ours in {result['ours']['shards']} shards"
    ]
    for side in ("ours", "torch", "other"):
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
            f"  {result['ratio_of']} {result['ratio']:.2f} (of adjacent steps {result['ratio_of_pairs']:.2f}); "
            f"losses differ by {result['loss_difference']:.1e} at most"
        )
    return "\n".join(lines)


def header(result: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of the machine that the figures depend on."""
    ours, torch = result["ours"], result.get("torch", {})
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": ours["numpy"],
        "torch": torch.get("torch"),
        "blas_kernel": ours["kernel"],
        "blas_threads": ours["blas_threads"],
        "threads": ours["threads"],
        "torch_threads": torch.get("threads"),
    }


def cpu_model() -> str:
    """Return the processor's name."""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def warn_if_busy() -> None:
    """Warn if other programs are running, since they slow the measured steps down."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        print(f"warning: the load average is {load:.1f}; other programs are running, so the times will be too long")


def compare_shapes(
    names: list[str], steps: int | None, with_torch: bool, checkout: Path | None, out: Path | None
) -> None:
    """Compare the shapes one after the other; print every result immediately."""
    about: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for name in names:
        result = compare(SHAPES[name], steps or STEPS[name], with_torch, checkout)
        if not about:
            about = header(result)
            print("\n".join(f"{key:<14}{value}" for key, value in about.items() if value is not None))
        results[name] = result
        print(f"\n{describe(name, result)}", flush=True)
        if out is not None:
            out.write_text(json.dumps({"machine": about, "shapes": results}, indent=2) + "\n", encoding="utf-8")
        if not result.get("loss_difference", 0.0) <= AGREE:  # also if it is NaN
            sys.exit(f"bench: the losses of {name} must agree to {AGREE:g}; the two sides compute different things")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"any of {' '.join(SHAPES)} (default: all)")
    parser.add_argument("--steps", type=int, metavar="N", help="timed steps of each side (default: by shape)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="compare with the step of another checkout of this project, not with PyTorch; other / ours below 1: "
        "this checkout is slower",
    )
    parser.add_argument("--ops", action="store_true", help="compare the fast pairs with the readable ones instead")
    parser.add_argument(
        "--scaling", action="store_true", help="measure the cost by context, width and vocabulary instead"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --scaling: draw a picture; needs matplotlib")
    if sys.argv[1:2] == ["tokenizer"]:
        from bench_tokenizer import main as tokenizer

        sys.exit(tokenizer(sys.argv[2:]))
    if sys.argv[1:2] == ["generate"]:
        from bench_generate import main as generate

        sys.exit(generate(sys.argv[2:]))
    args = parser.parse()
    for name in args.shapes:
        if name not in SHAPES:
            parser.error(f"unknown shape {name!r}; choose from {' '.join(SHAPES)}")
    if args.steps is not None and args.steps < 1:
        parser.error(f"--steps must be at least 1, got {args.steps}")
    if args.plot is not None and not args.scaling:
        parser.error("--plot needs --scaling")
    if args.against is not None:
        if args.ops or args.scaling:
            parser.error("--against compares training steps; leave out --ops and --scaling")
        if not (args.against / "examples" / "bench_worker.py").is_file():
            parser.error(
                f"--against {args.against}: there is no examples/bench_worker.py, so no checkout of this project"
            )
    warn_if_busy()
    if args.ops:
        script = Path(__file__).with_name("bench_ops.py")
        sys.exit(subprocess.run([sys.executable, script], env=plain_environment(), check=False).returncode)
    elif args.scaling:
        from bench_scaling import scaling

        scaling(args.plot)
    else:
        compare_shapes(args.shapes or list(SHAPES), args.steps, not args.no_torch, args.against, args.json)


if __name__ == "__main__":
    main()
