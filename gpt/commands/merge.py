"""python -m gpt merge: merge LoRA adapters into the weights of their base."""

from collections.abc import Sequence
from pathlib import Path

from gpt.commands.arguments import Parser, add_checkpoint
from gpt.runs.checkpoint import find_checkpoint, load_checkpoint, merge_checkpoint
from gpt.runs.estimate import gigabytes

DESCRIPTION = """Merge the LoRA adapters of a checkpoint into the weights. The result needs no base.

    python -m gpt merge runs/mine --out merged.safetensors

The merged model computes the same up to rounding. It cannot be resumed: keep the run for that.
"""


def main(arguments: Sequence[str]) -> int:
    parser = Parser(prog="python -m gpt merge", description=DESCRIPTION)
    add_checkpoint(parser)
    parser.option("-o --out", "checkpoint to write", metavar="FILE", required=True)
    args = parser.parse(arguments)
    out = Path(args.out)
    if out.exists():
        raise ValueError(f"out: {out} is there already; choose another --out")
    checkpoint = load_checkpoint(find_checkpoint(args.run), args.base)
    merge_checkpoint(checkpoint, out)
    before, after = (gigabytes(path.stat().st_size) for path in (checkpoint.path, out))
    print(f"{checkpoint.path} ({before}) merged with its base: {out} ({after})")
    return 0
