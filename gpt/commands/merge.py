"""python -m gpt merge: add LoRA adapters to the weights they were trained beside."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint, merge_checkpoint
from gpt.runs.estimate import gigabytes

DESCRIPTION = """Write a checkpoint with its LoRA adapters merged into the weights: an ordinary one, which needs no base.

    python -m gpt merge runs/mine --out merged.safetensors
    python -m gpt merge runs/mine --out merged.safetensors --base FILE     the base was moved

It computes the same up to rounding, and cannot be trained on with --resume: for that, keep the run.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt merge", description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="folder of a run (its best checkpoint is used), or a checkpoint")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="checkpoint to write")
    parser.add_argument("--base", metavar="FILE", help="where the base of the adapters is, if it has moved")
    given = parser.parse(arguments)
    out = Path(given.out)
    if out.exists():
        raise ValueError(f"out: {out} is there already; choose another --out")
    checkpoint = load_checkpoint(find_checkpoint(given.run), given.base)
    merge_checkpoint(checkpoint, out)
    before, after = (gigabytes(path.stat().st_size) for path in (checkpoint.path, out))
    print(f"{checkpoint.path} ({before}) merged with its base: {out} ({after})")
    return 0
