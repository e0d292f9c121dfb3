"""Teach a small model which of two answers belongs to a question, by DPO, and see it on questions it has never seen.

    python examples/finetune_prefer.py [PATH]

PATH is a JSON list of {instruction, input, output}; without it, instruction-data.json in the folder of GPT_DATA_DIR.
A small model reads Python's documentation, and learns to answer from one half of the list. The other half makes the pairs:
chosen is the list's answer, rejected that of another question, which is good English and beside the point; three pairs a
question. The pairs of a fifth of these questions are held out. About two minutes on two cores.
"""

import json
import os
import random
import sys
from pathlib import Path

from gpt.__main__ import main as gpt

RUNS = Path("runs/prefer")
READ = "--max-steps 200 --warmup-steps 20 --eval-every 100"
ANSWER = "--template chat --max-steps 250 --lr 1e-3 --eval-every 50 --test-fraction 0"
PREFER = "--max-steps 120 --eval-every 40 --test-fraction 0.2"
OTHERS = 3  # rejected answers to a question


def find() -> Path:
    """Return the list that was named, or that of GPT_DATA_DIR; exit with a way out where there is none."""
    path = Path(sys.argv[1]) if sys.argv[1:] else Path(os.environ.get("GPT_DATA_DIR", "."), "instruction-data.json")
    if not path.is_file():
        sys.exit(f"there is no file {path}; give one: python examples/finetune_prefer.py PATH")
    return path


def write_halves(path: Path) -> tuple[Path, Path]:
    """Write one half of the list as it is, and of the other pairs: each question's answer, and those of the next ones."""
    items = json.loads(path.read_text(encoding="utf-8"))
    random.Random(0).shuffle(items)
    half = len(items) // 2
    answers, pairs = RUNS / "answers.json", RUNS / "pairs.json"
    answers.write_text(json.dumps(items[:half]), encoding="utf-8")
    asked = items[half:]
    outputs = [item.pop("output") for item in asked]
    made = [
        {**item, "chosen": outputs[k], "rejected": outputs[(k + n) % len(asked)]}
        for k, item in enumerate(asked)
        for n in range(1, OTHERS + 1)
    ]
    pairs.write_text(json.dumps(made), encoding="utf-8")
    return answers, pairs


def run(*arguments: str) -> None:
    """Run a command of gpt; where it fails, so does this."""
    print(f"\n$ python -m gpt {' '.join(arguments)}\n", flush=True)
    if code := gpt(arguments):
        sys.exit(code)


def main() -> None:
    path = find()
    if RUNS.exists():
        sys.exit(f"{RUNS} is there already; take it away to run this again")
    RUNS.mkdir(parents=True)
    answers, pairs = write_halves(path)
    read, answering, preferring = (str(RUNS / name) for name in ("read", "answer", "prefer"))
    run("train", *READ.split(), "--out", read)
    run("finetune", "instruct", "--data", str(answers), "--base", read, *ANSWER.split(), "--out", answering)
    run("finetune", "prefer", "--data", str(pairs), "--base", answering, *PREFER.split(), "--out", preferring)


if __name__ == "__main__":
    main()
