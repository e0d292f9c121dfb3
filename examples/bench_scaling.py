"""Measure how the speed of our training step changes with context, width and vocabulary.

    python examples/bench.py --scaling [--plot FILE.png]

Each batch has the same number of tokens, so a step's cost shows what a token costs: the products of its matrices, and
attention to the tokens before it. Where the operations a second stay level, it grows as the mathematics says.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench_worker import Shape, Worker

TOKENS = 4096  # of every batch
BASE = Shape(d_model=256, n_layers=4, n_heads=4, context=256, batch=TOKENS // 256, vocab=4096)
WARM_UP, STEPS = 1, 3
VALUES = {
    "context": (64, 128, 256, 512, 1024, 2048),
    "d_model": (128, 256, 512, 1024),
    "vocab": (65, 1024, 8192, 50257),
}


class Point(NamedTuple):
    """One measured shape."""

    value: int  # of what is varied
    seconds: float  # a step
    tokens_per_s: float
    flops_per_s: float


def vary(name: str, value: int) -> Shape:
    """Return the base with one number changed; heads keep their 64 features, batches their tokens."""
    shape = BASE._replace(**{name: value})
    return shape._replace(batch=TOKENS // shape.context, n_heads=shape.d_model // 64)


def measure(name: str, value: int) -> Point:
    """Run a few steps of one shape, in a process of its own."""
    shape = vary(name, value)
    with Worker("ours", shape) as worker:
        seconds = median([worker.step(n)[0] for n in range(WARM_UP + STEPS)][WARM_UP:])
    return Point(value, seconds, TOKENS / seconds, shape.flops() / seconds)


def scaling(picture: Path | None) -> None:
    """Print a Markdown table for each number that is varied, and draw them."""
    figure = blank_figure() if picture is not None else None  # now: a missing matplotlib is told before the wait
    print(f"{TOKENS} tokens a step; where not varied: {', '.join(f'{k} {v}' for k, v in BASE._asdict().items())}")
    measured: dict[str, list[Point]] = {}
    for name, values in VALUES.items():
        print(f"\n| {name} | ms a step | tokens/s | GFLOP/s |\n|---:|---:|---:|---:|")
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
        print(f"\ndrawn: {picture}")


def blank_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit("bench: --plot needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'")
    return Figure(figsize=(9, 3), layout="constrained")


def draw(figure: Any, measured: dict[str, list[Point]]) -> None:
    """Draw a panel for each number that was varied: tokens/s, and what the best rate of operations would give."""
    for axes, (name, points) in zip(figure.subplots(1, len(measured), sharey=True), measured.items(), strict=True):
        values = [point.value for point in points]
        best = max(point.flops_per_s for point in points)
        bound = [TOKENS * best / vary(name, value).flops() for value in values]
        axes.loglog(values, [point.tokens_per_s for point in points], "o-", markersize=4, label="measured")
        axes.loglog(values, bound, "--", color="gray", linewidth=1, label="at this panel's best FLOP/s")
        axes.set_xlabel(name)
        axes.set_xticks(values, [str(value) for value in values], fontsize="small")
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("tokens/s")
    first.legend(fontsize="small")
