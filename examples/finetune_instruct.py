"""Teach a small model to answer: pretrain it on Python's documentation, then fine-tune it on instructions.

    python examples/finetune_instruct.py PATH [--template chat] [--lora-rank 8]

PATH is a JSON list of {"instruction", "input", "output"}, such as the 1,100 of Raschka's LLMs-from-scratch (chapter 7,
instruction-data.json). The base is made once, in runs/instruct-base. What is printed: the loss of the responses that were
kept aside and the share of their tokens that is the likeliest, before and after; the share of answers that are those
expected; and three of them. It takes 3.5 minutes of processor time.
"""

import argparse
import sys
from pathlib import Path

from gpt.__main__ import main as gpt

BASE = (
    "--context-length 256 --batch-size 8 --max-steps 600 --norm rmsnorm --position rope --mlp gated --no-bias "
    "--eval-every 100"
)
FINETUNE = "--epochs 6 --batch-size 16 --lr 2e-3 --warmup-steps 40 --eval-every 59"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="the instructions")
    parser.add_argument("--base", default="runs/instruct-base", help="the model to begin from; made if it is not there")
    parser.add_argument("--template", default="chat", help="how a conversation is written: chat, alpaca or a JSON file")
    parser.add_argument("--lora-rank", help="train adapters of this rank alone (with a learning rate of 5e-3)")
    parser.add_argument("--out", default="runs/instruct", help="folder of the run")
    given = parser.parse_args()
    if not Path(given.base).exists() and (code := gpt(["train", *BASE.split(), "--out", given.base])):
        sys.exit(code)
    words = ["--data", str(given.path), "--base", given.base, "--template", given.template, *FINETUNE.split()]
    if given.lora_rank:
        words += ["--lora-rank", given.lora_rank, "--lr", "5e-3"]
    sys.exit(gpt(["finetune", "instruct", *words, "--out", given.out]))


if __name__ == "__main__":
    main()
