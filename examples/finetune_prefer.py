"""Teach a small model by DPO which of two answers fits a question, and evaluate it on new questions.

    python examples/finetune_prefer.py [PATH]

PATH is a JSON list of {instruction, input, output}; the default is instruction-data.json in the folder of GPT_DATA_DIR.
A small model is pretrained on Python's documentation, and fine-tuned on one half of the list. The pairs come from the
other half: chosen is the answer in the list, rejected the answer to another question, three pairs per question. The
pairs of a fifth of these questions are held out. This takes about two minutes on two cores.
"""

import json
import os
import random
import sys
from pathlib import Path

from gpt.__main__ import main as gpt
from nanograd.runtime.arguments import Parser

RUNS = Path("runs/prefer")
READ = "--max-steps 200 --warmup-steps 20 --eval-every 100"
ANSWER = "--template chat --max-steps 250 --lr 1e-3 --eval-every 50 --test-fraction 0"
PREFER = "--max-steps 120 --eval-every 40 --test-fraction 0.2"
OTHERS = 3  # rejected answers per question


def data_path() -> Path:
    """Return the path of the list; exit with advice if there is no such file."""
    parser = Parser(description=__doc__)
    parser.add_argument("path", metavar="PATH", nargs="?", type=Path, help="the instructions")
    path: Path = parser.parse().path or Path(os.environ.get("GPT_DATA_DIR", "."), "instruction-data.json")
    if not path.is_file():
        sys.exit(f"there is no file {path}; give one: python examples/finetune_prefer.py PATH")
    return path


def write_halves(path: Path) -> tuple[Path, Path]:
    """Write one half of the list, and pairs from the other half: the answer to a question, and those to the next ones."""
    items = json.loads(path.read_text(encoding="utf-8"))
    random.Random(0).shuffle(items)
    half = len(items) // 2
    answers, pairs = RUNS / "answers.json", RUNS / "pairs.json"
    answers.write_text(json.dumps(items[:half]), encoding="utf-8")
    questions = items[half:]
    outputs = [item.pop("output") for item in questions]
    records = [
        {**item, "chosen": outputs[k], "rejected": outputs[(k + n) % len(questions)]}
        for k, item in enumerate(questions)
        for n in range(1, OTHERS + 1)
    ]
    pairs.write_text(json.dumps(records), encoding="utf-8")
    return answers, pairs


def run(*arguments: str) -> None:
    """Run a command of gpt; exit if it fails."""
    print(f"\n$ python -m gpt {' '.join(arguments)}\n", flush=True)
    if code := gpt(arguments):
        sys.exit(code)


def main() -> None:
    path = data_path()
    if RUNS.exists():
        sys.exit(f"{RUNS} exists already; move it away to run this again")
    RUNS.mkdir(parents=True)
    answers, pairs = write_halves(path)
    read, answering, preferring = (str(RUNS / name) for name in ("read", "answer", "prefer"))
    run("train", *READ.split(), "--out", read)
    run("finetune", "instruct", "--data", str(answers), "--init", read, *ANSWER.split(), "--out", answering)
    run("finetune", "prefer", "--data", str(pairs), "--init", answering, *PREFER.split(), "--out", preferring)


if __name__ == "__main__":
    main()
