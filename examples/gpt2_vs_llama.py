"""Compare GPT-2's block with Llama's, and AdamW with Muon: train models of the same size on the same text.

    python examples/gpt2_vs_llama.py
    python examples/gpt2_vs_llama.py FILE --seeds 1 --plot curves.png

Llama's block has RMSNorm instead of LayerNorm, rotary positions (RoPE) instead of a learned table, a gated MLP (SwiGLU)
instead of a plain one, and no biases. Its d_ff is chosen so that both models have about the same number of parameters.
It is trained with AdamW, as GPT-2's is, and with Muon, an average of the weights, more decay and larger initial weights:
fewer, larger steps in the same time. FILE is a text; the default is Python's own documentation. Each of the nine runs takes
about half a minute on two cores, and goes to runs/modern.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpt.__main__ import main as gpt
from gpt.config import ModelConfig
from gpt.runs.estimate import count
from gpt.runs.presets import RECIPE
from gpt.runs.run import read_metrics
from nanograd.runtime.arguments import Parser

GPT2 = ModelConfig(vocab_size=1024, context_length=64, d_model=128, n_layers=4, n_heads=4)
MODERN = dataclasses.replace(GPT2, norm="rmsnorm", position="rope", mlp="gated", bias=False)
TRAINING = "--eval-every 50 --eval-batches 40"
ADAMW = "--optimizer adamw --batch-size 16 --lr 2e-3 --warmup-steps 100 --weight-decay 0.1 --init-std 0.02 --ema none"
MUON = "--optimizer muon --batch-size 24 --lr 2e-2 --warmup-steps 37 --weight-decay 1 --init-std 0.088 --ema 0.97"
MUON_STEPS = 0.59  # of those of AdamW, larger ones, in the same time

Curve = list[tuple[float, float]]  # seconds since the beginning, validation loss


class Side(NamedTuple):
    """A model and how it is trained."""

    config: ModelConfig
    training: str
    steps: float  # as a share of the steps of AdamW


def as_large(config: ModelConfig, parameters: int) -> ModelConfig:
    """Return the config with the d_ff, a multiple of 8, whose number of parameters is nearest."""
    sizes = [dataclasses.replace(config, d_ff=d_ff) for d_ff in range(8, 8 * config.d_model, 8)]
    return min(sizes, key=lambda size: abs(count(size) - parameters))


def flags(config: ModelConfig) -> list[str]:
    """Return a config as flags of `gpt train`: what differs from ModelConfig, and what a new run chooses otherwise."""
    default, words = ModelConfig().to_dict(), []
    for name, value in config.to_dict().items():
        flag = name.replace("_", "-")
        if value != default[name] or name in RECIPE:
            words += (
                [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
            )
    return words


def train(side: Side, folder: Path, text: str | None, steps: int, seed: int) -> Curve:
    """Train one model; return its validation losses."""
    words = ["train", *flags(side.config), *TRAINING.split(), *side.training.split()]
    words += ["--max-steps", str(round(side.steps * steps)), "--seed", str(seed)]
    if code := gpt([*words, "--out", str(folder), *(["--data", text] if text else [])]):
        sys.exit(code)
    return [(r.elapsed_s, r.val_loss) for r in read_metrics(folder) if r.val_loss is not None]


def plot(curves: dict[str, list[Curve]], path: Path) -> None:
    """Draw for every model the mean over the seeds, and the range between the lowest and the highest loss."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        sys.exit("--plot needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'")
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for (name, runs), color in zip(curves.items(), ("#4477aa", "#ee6677", "#228833"), strict=True):
        points = np.array(runs)  # (seeds, evaluations, 2)
        seconds, losses = points[..., 0].mean(axis=0), points[..., 1]
        axes.plot(seconds, losses.mean(axis=0), color=color, label=f"{name}: {losses[:, -1].mean():.3f}")
        axes.fill_between(seconds, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.25, linewidth=0)
    axes.set(xlabel="seconds", ylabel="validation loss (nats per token)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=90)
    print(f"picture: {path}")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("text", metavar="FILE", nargs="?", help="a text (default: Python's documentation)")
    parser.add_argument(
        "--seeds",
        nargs="+",
        type=int,
        default=[1, 2, 3],
        metavar="N",
        help="a run of each for every seed (default 1 2 3)",
    )
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="updates of a run with AdamW (default 600)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture to draw; needs matplotlib")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/modern"), help="folder of the runs (default runs/modern)"
    )
    args = parser.parse()
    modern = as_large(MODERN, count(GPT2))
    sides = {
        "GPT-2 block": Side(GPT2, ADAMW, 1),
        "modern block": Side(modern, ADAMW, 1),
        "modern block, Muon": Side(modern, MUON, MUON_STEPS),
    }
    curves: dict[str, list[Curve]] = {name: [] for name in sides}
    seconds = dict.fromkeys(sides, 0.0)
    for seed in args.seeds:
        for name, side in sides.items():
            began = time.perf_counter()
            folder = args.out / f"{name.lower().replace(',', '').replace(' ', '-')}-{seed}"
            curves[name].append(train(side, folder, args.text, args.steps, seed))
            seconds[name] += time.perf_counter() - began
    for name, side in sides.items():
        last = [run[-1][1] for run in curves[name]]
        print(
            f"{name:<18} {count(side.config):,} parameters: validation loss {np.mean(last):.4f} "
            f"({', '.join(f'{loss:.4f}' for loss in last)}), {seconds[name] / len(last):.0f} s per run"
        )
    if args.plot:
        plot(curves, args.plot)


if __name__ == "__main__":
    main()
