"""python -m gpt plot: write the page of a run, or a picture of its curves."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, run_path
from gpt.runs.page import run_page
from gpt.runs.run import read_metrics

PAGE = "curves.html"
DESCRIPTION = """Write a page with the curves of a run, what it wrote and its options; of several runs, to compare them.

    python -m gpt plot runs/mine
    python -m gpt plot runs/mine runs/other -o compared.html

The page is one HTML file that needs no network. Another suffix than .html, such as .png, .pdf or .svg, gives a picture of
the losses, the learning rate and the gradient norm; that needs matplotlib: pip install 'nanograd-gpt[plot]'
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt plot", description=DESCRIPTION)
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=run_path, help="folder of a run; last: the newest in runs/"
    )
    parser.option("-o --out", f"file to write (default: {PAGE} in the first run)", metavar="FILE")
    options = parser.parse(arguments)
    out = Path(options.out or Path(options.runs[0]) / PAGE)
    if out.suffix.lower() in (".html", ".htm"):
        run_page(options.runs).save(out)
    else:
        draw_picture(options.runs, out)
    print(f"drawn: {out}")
    return 0


def draw_picture(folders: Sequence[str], out: Path) -> None:
    """Draw the losses, the learning rate and the gradient norm with matplotlib."""
    runs = {folder: read_metrics(Path(folder)) for folder in folders}
    if empty := [folder for folder, records in runs.items() if not records]:
        raise ValueError(f"plot: {empty[0]} has no steps yet")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        problem = f"plot: {out.name} needs matplotlib; install it with: pip install 'nanograd-gpt[plot]'"
        raise ValueError(f"{problem}, or take a name that ends in .html") from None
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
    figure.savefig(out, dpi=150)
