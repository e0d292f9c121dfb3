"""Compare a training step on threads, on processes and in PyTorch, or with another checkout's, on the same cores.

    python examples/bench.py S M                 two shapes, ours and PyTorch's
    python examples/bench.py --ranks             also the ranks of mpiexec
    python examples/bench.py --against FOLDER    ours and another checkout's
    python examples/bench.py --ops               fast pairs and readable ones
    python examples/bench.py --scaling           context, width, vocabulary
    python examples/bench.py tokenizer           tiktoken and Hugging Face
    python examples/bench.py generate            Hugging Face transformers

All shapes take about twenty minutes on two cores, and 12 GB of memory, with ranks 18; S takes half a minute. A full step
is forward, backward, clip and AdamW, in float32. All sides have the same weights and batches, and take turns, one step at
a time; their losses must agree. "One core" is the whole batch as one shard on one core, to which the speed-ups refer.
PyTorch: pip install 'nanograd-gpt[bench]'; --ranks: pip install 'nanograd-gpt[mpi]'
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

from bench_worker import ROOT, SHAPES, Shape, Worker, cores, plain_environment

from nanograd.runtime.arguments import Parser

STEPS = {"S": 60, "M": 10, "L": 8, "X": 6, "seed": 4, "long": 4}
WARM_UP = 5
PAUSE = 0.03  # seconds between turns, in which idle threads stop spinning; after 0.1 a step of S is 1.2 times slower
AGREE = 1e-3  # largest difference of two losses of one step
RATIOS = (  # of times: below 1 the first is faster
    ("threads", "torch"), ("processes", "torch"), ("processes", "threads"), ("ranks", "threads"), ("other", "ours"),
)  # fmt: skip


def compare(
    shape: Shape, steps: int, with_torch: bool, checkout: Path | None = None, with_ranks: bool = False
) -> dict[str, Any]:
    """Let all sides take `steps` steps in turn; return the measurements.

    With another `checkout` of this project there are two sides: "ours" and "other", both on threads.
    """
    sides = ["ours", "other"]
    if checkout is None:
        sides = ["threads", "processes", *["ranks"] * with_ranks, "one-core", *["torch"] * with_torch]
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        weights = Path(folder) / "weights.safetensors"
        workers = [stack.enter_context(Worker(sides[0], shape, weights))]  # the first, since it saves the weights
        for side in sides[1:]:  # ours draw the same weights from the same seed
            source, at = (weights if side == "torch" else None), (checkout if side == "other" else None)
            workers.append(stack.enter_context(Worker(side, shape, source, at or ROOT)))
        for n in range(WARM_UP + steps):
            for worker in workers:
                time.sleep(PAUSE)
                took, loss = worker.step(n)
                losses[worker.side].append(loss)
                if n >= WARM_UP:
                    seconds[worker.side].append(took)
        result: dict[str, Any] = {"shape": shape._asdict(), "steps": steps, "flops": shape.flops(), "sides": sides}
        for worker in workers:
            result[worker.side] = {
                **worker.about,
                "memory": worker.memory(n),
                "ms": [1e3 * s for s in seconds[worker.side]],
                "median_ms": 1e3 * median(seconds[worker.side]),
                "tokens_per_s": shape.tokens() / median(seconds[worker.side]),
                "losses": losses[worker.side],
            }
        time.sleep(PAUSE)
        peak = workers[0].ask("matmul_peak")["matmul_peak"]
    result["matmul_peak"] = peak
    result["bound_ms"] = 1e3 * shape.flops() / peak
    for side in sides:
        result[side]["share_of_peak"] = result["bound_ms"] / result[side]["median_ms"]
    result["loss_difference"] = max(
        abs(a - b) for side in sides for a, b in zip(losses[sides[0]], losses[side], strict=True)
    )
    result["ratios"] = {
        f"{above} / {below}": {
            "of_medians": result[above]["median_ms"] / result[below]["median_ms"],
            "of_pairs": median(a / b for a, b in zip(seconds[above], seconds[below], strict=True)),
        }
        for above, below in RATIOS
        if above in sides and below in sides
    }
    parallel = [side for side in ("threads", "processes", "ranks") if side in sides]
    result["speed_ups"] = {side: result["one-core"]["median_ms"] / result[side]["median_ms"] for side in parallel}
    return result


def describe(name: str, result: dict[str, Any]) -> str:
    """Format the results of a shape."""
    shape = Shape(**result["shape"])
    lines = [
        f"{name}: d_model {shape.d_model}, {shape.n_layers} layers, {shape.n_heads} heads, context {shape.context}, batch "
        f"{shape.batch}, vocabulary {shape.vocab}; {result['steps']} steps"
    ]
    for side in result["sides"]:
        r = result[side]
        shards = f"  {r['shards']} shard{'s' * (r['shards'] > 1)}" if "shards" in r else ""
        lines.append(
            f"  {side:<10} {r['median_ms']:>9.1f} ms (best {min(r['ms']):.1f})  {r['tokens_per_s']:>8,.0f} tokens/s  "
            f"{100 * r['share_of_peak']:>4.0f} % of peak  memory {megabytes(r['memory'])}{shards}"
        )
    lines.append(
        f"  bound      {result['bound_ms']:>9.1f} ms: {result['flops'] / 1e9:,.1f} GFLOP in matrix products at the "
        f"measured peak of {result['matmul_peak'] / 1e9:,.0f} GFLOP/s"
    )
    for ratio, r in result["ratios"].items():
        lines.append(f"  {ratio} {r['of_medians']:.2f} (of adjacent steps {r['of_pairs']:.2f})")
    if result["speed_ups"]:
        speed_ups = ", ".join(f"{side} {value:.2f}" for side, value in result["speed_ups"].items())
        lines.append(f"  speed-up over one core: {speed_ups}")
    lines.append(f"  losses differ by {result['loss_difference']:.1e} at most")
    return "\n".join(lines)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Format the results of shapes, with the same sides, as a Markdown table."""
    some = next(iter(results.values()))
    header = ["shape", "d_model·layers·heads·context·batch·vocabulary", *some["ratios"]]
    for of in ("of peak", "speed-up"):
        header += [f"{of}: {side}" for side in some["speed_ups"]]
    rows = [header + ["memory: " + ", ".join(some["sides"])], ["---"] * 2 + ["---:"] * (len(header) - 1)]
    for name, result in results.items():
        ratios = [f"{r['of_medians']:.2f}" for r in result["ratios"].values()]
        shares = [f"{100 * result[side]['share_of_peak']:.0f} %" for side in result["speed_ups"]]
        speed_ups = [f"{value:.2f}" for value in result["speed_ups"].values()]
        memory = ", ".join(megabytes(result[side]["memory"]) for side in result["sides"])
        rows.append([name, "·".join(map(str, result["shape"].values())), *ratios, *shares, *speed_ups, memory])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def megabytes(n: int | None) -> str:
    return "n/a" if n is None else f"{n / 1e6:,.0f} MB"


def header(result: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of the machine that the figures depend on."""
    ours, torch = result[result["sides"][0]], result.get("torch", {})
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
    names: list[str], steps: int | None, out: Path | None, with_torch: bool, checkout: Path | None, with_ranks: bool
) -> None:
    """Compare the shapes one after the other; print every result immediately."""
    about: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for name in names:
        result = compare(SHAPES[name], steps or STEPS[name], with_torch, checkout, with_ranks)
        if not about:
            about = header(result)
            print("\n".join(f"{key:<14}{value}" for key, value in about.items() if value is not None))
        results[name] = result
        print(f"\n{describe(name, result)}", flush=True)
        if out is not None:
            out.write_text(json.dumps({"machine": about, "shapes": results}, indent=2) + "\n", encoding="utf-8")
        if not result["loss_difference"] <= AGREE:  # also if it is NaN
            sys.exit(f"bench: the losses of {name} must agree to {AGREE:g}; the sides compute different things")
    if checkout is None:
        print(f"\n{table(results)}")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"any of {' '.join(SHAPES)} (default: all)")
    parser.add_argument("--steps", type=int, metavar="N", help="timed steps of each side (default: by shape)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--no-torch", action="store_true", help="do not compare with PyTorch")
    parser.add_argument("--ranks", action="store_true", help="also measure ranks under mpiexec, on this machine")
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
        if args.ops or args.scaling or args.ranks:
            parser.error("--against compares training steps on threads; leave out --ops, --scaling and --ranks")
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
        names = args.shapes or list(SHAPES)
        compare_shapes(names, args.steps, args.json, not args.no_torch, args.against, args.ranks)


if __name__ == "__main__":
    main()
