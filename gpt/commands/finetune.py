"""python -m gpt finetune TASK: make a pretrained model useful."""

import importlib
import sys
from collections.abc import Sequence

from gpt.config import nearest

TASKS = {"classify": ("gpt.commands.finetune_classify", "put texts into classes, learned from labelled ones")}

HELP = (
    "usage: python -m gpt finetune TASK …\n\n"
    + "\n".join(f"  {name:<10} {text}" for name, (_, text) in TASKS.items())
    + "\n\n`python -m gpt finetune TASK --help` explains each.\n"
)


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    task, *rest = arguments
    if task not in TASKS:
        hint = nearest(task, list(TASKS)) or f"; there are {', '.join(TASKS)}"
        print(f"gpt finetune: unknown task {task!r}{hint}; see python -m gpt finetune --help", file=sys.stderr)
        return 2
    return int(importlib.import_module(TASKS[task][0]).main(rest))
