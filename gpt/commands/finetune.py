"""python -m gpt finetune: make a model useful, one file a task."""

import importlib
import sys
from collections.abc import Sequence

from gpt.config import nearest

TASKS = {
    "classify": "put texts into classes, learned from labelled ones",
    "instruct": "learn to answer, from instructions and conversations",
    "prefer": "learn which of two answers is preferred, by DPO",
}

HELP = (
    "usage: python -m gpt finetune TASK …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, text in TASKS.items())
    + "\n\n`python -m gpt finetune TASK --help` explains each task.\n"
)


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    task, *rest = arguments
    if task not in TASKS:
        hint = nearest(task, list(TASKS))
        print(f"gpt finetune: unknown task {task!r}{hint}; see python -m gpt finetune --help", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"gpt.commands.finetune_{task}").main(rest))
