"""Measure the speed of a training step by context length, width and vocabulary size.

    python examples/bench.py --scaling [--plot FILE.png]

It takes about three minutes on two cores. All batches have the same number of tokens, so the time of a step is
proportional to the time per token. If the FLOP/s stay constant, the time grows as the number of operations.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench_worker import Shape, Worker

from nanograd.runtime.arguments import Parser

TOKENS = 4096  # in every batch
BASE = Shape(d_model=256, n_layers=4, n_heads=4, context=256, batch=TOKENS // 256, vocab=4096)
WARM_UP, STEPS = 1, 3
VALUES = {
    "context": (64, 128, 256, 512, 1024, 2048),
    "d_model": (128, 256, 512, 1024),
    "vocab": (65, 1024, 8192, 50257),
}


class Point(NamedTuple):
    """One measured shape."""

    value: int  # of the varied size
    seconds: float  # per step
    tokens_per_s: float
    flops_per_s: float


def vary(name: str, value: int) -> Shape:
    """Return the base shape with one size changed; heads keep 64 features, and batches keep their number of tokens."""
    shape = BASE._replace(**{name: value})
    return shape._replace(batch=TOKENS // shape.context, n_heads=shape.d_model // 64)


def measure(name: str, value: int) -> Point:
    """Time a few steps of one shape in a process of its own."""
    shape = vary(name, value)
    with Worker("ours", shape) as worker:
        seconds = median([worker.step(n)[0] for n in range(WARM_UP + STEPS)][WARM_UP:])
    return Point(value, seconds, TOKENS / seconds, shape.flops() / seconds)


def scaling(picture: Path | None) -> None:
    """Print a Markdown table for every varied size, and draw a picture of them if a path is given."""
    figure = blank_figure() if picture is not None else None  # fails early if matplotlib is missing
    print(f"{TOKENS} tokens per step; otherwise {', '.join(f'{k} {v}' for k, v in BASE._asdict().items())}")
    measured: dict[str, list[Point]] = {}
    for name, values in VALUES.items():
        print(f"\n| {name} | ms per step | tokens/s | GFLOP/s |\n|---:|---:|---:|---:|")
        measured[name] = []
        for value in values:
            point = measure(name, value)
            measured[name].append(point)
            print(
                f"| {value} | {1e3 * point.seconds:,.0f} | {point.tokens_per_s:,.0f} | {point.flops_per_s / 1e9:,.0f} |",
                flush=True,
            )
    if figure is not None:
        draw(figure, measured)
        figure.savefig(picture, dpi=150)
        print(f"\npicture: {picture}")


def blank_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit("bench: --plot needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'")
    return Figure(figsize=(9, 3), layout="constrained")


def draw(figure: Any, measured: dict[str, list[Point]]) -> None:
    """Draw a panel for every varied size: tokens/s, and the bound at the best FLOP/s of the panel."""
    for axes, (name, points) in zip(figure.subplots(1, len(measured), sharey=True), measured.items(), strict=True):
        values = [point.value for point in points]
        best = max(point.flops_per_s for point in points)
        bound = [TOKENS * best / vary(name, value).flops() for value in values]
        axes.loglog(values, [point.tokens_per_s for point in points], "o-", markersize=4, label="measured")
        axes.loglog(values, bound, "--", color="gray", linewidth=1, label="bound at the best FLOP/s")
        axes.set_xlabel(name)
        axes.set_xticks(values, [str(value) for value in values], fontsize="small")
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("tokens/s")
    first.legend(fontsize="small")


if __name__ == "__main__":
    parser = Parser(description=__doc__)
    parser.option("--plot", "draw a picture; needs matplotlib", kind=Path, metavar="FILE")
    scaling(parser.parse().plot)
