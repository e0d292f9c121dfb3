"""What does longer training bring? Train for about 10 s, 75 s and 10 minutes, and compare the models on a battery of tasks.

    python examples/train_longer.py
    python examples/train_longer.py FILE --html page.html

FILE is a text; the default is Python's own documentation. In ten minutes a small model learns so short a text by heart, and
gets worse: the third model is larger, and trained with dropout. The runs go to runs/longer; a run that is there already is
not trained again. The times are those of two cores.
"""

import sys
from pathlib import Path

from gpt.__main__ import main as gpt
from nanograd.runtime.arguments import Parser

RUNS = {
    "10s": "--max-steps 80 --warmup-steps 8",
    "75s": "--max-steps 600",
    "10min": "--max-steps 1200 --d-model 256 --n-layers 6 --n-heads 8 --dropout 0.2",
}


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("text", metavar="FILE", nargs="?", help="a text (default: Python's documentation)")
    parser.option("--out", "folder of the runs", "runs/longer", metavar="FOLDER")
    parser.option("--html", "write a page with all answers too", metavar="FILE")
    parser.option(
        "--runs", "which of them to train and compare (default: all)", list(RUNS), nargs="+", choices=tuple(RUNS)
    )
    args = parser.parse()
    folders = [str(Path(args.out) / name) for name in args.runs]
    for name, folder in zip(args.runs, folders, strict=True):
        data = ["--data", args.text] if args.text else []
        if not Path(folder).exists() and (code := gpt(["train", *data, *RUNS[name].split(), "--out", folder])):
            sys.exit(code)
    sys.exit(gpt(["eval", *folders, "--battery", *(["--html", args.html] if args.html else [])]))


if __name__ == "__main__":
    main()
