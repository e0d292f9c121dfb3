"""python -m gpt plot: draw a run's loss curves."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, run_path
from gpt.runs.run import read_metrics

DESCRIPTION = """Draw the loss, the learning rate and the gradient norm of a run, or the losses of several.

    python -m gpt plot runs/mine -o curves.png

Needs matplotlib: pip install 'nanograd-gpt[plot]'
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt plot", description=DESCRIPTION)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=run_path, help="folder of a run; last: the newest in runs/"
    )
    parser.option("-o --out", "picture to write (default: curves.png in the first run)", metavar="FILE")
    options = parser.parse(arguments)
    runs = {folder: read_metrics(Path(folder)) for folder in options.runs}
    if not all(runs.values()):
        raise ValueError("plot: a run has no steps yet")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("plot: needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'") from None
    figure = Figure(figsize=(8, 8), layout="constrained")
    loss, lr, norm = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1, 1))
    for folder, records in runs.items():
        name = Path(folder).resolve().name
        steps = [r.step for r in records]
        (line,) = loss.plot(steps, [r.loss for r in records], alpha=0.4, linewidth=0.8, label=f"{name}, training")
        evaluated = [(r.step, r.val_loss) for r in records if r.val_loss is not None]
        loss.plot(
            [step for step, _ in evaluated], [val_loss for _, val_loss in evaluated], "o-", color=line.get_color(),
            markersize=3, label=f"{name}, validation",
        )  # fmt: skip
        lr.plot(steps, [r.lr for r in records])
        norm.plot(steps, [r.grad_norm for r in records], linewidth=0.8)
    loss.set_ylabel("loss (nats per token)")
    lr.set_ylabel("learning rate")
    norm.set_ylabel("gradient norm")
    norm.set_yscale("log")
    norm.set_xlabel("step")
    loss.legend()
    for axes in (loss, lr, norm):
        axes.grid(alpha=0.3)
    out = Path(options.out or Path(options.runs[0]) / "curves.png")
    figure.savefig(out, dpi=150)
    print(f"drawn: {out}")
    return 0
