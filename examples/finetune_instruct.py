"""Fine-tune a small model on instructions, after pretraining it on Python's documentation.

    python examples/finetune_instruct.py PATH
    python examples/finetune_instruct.py PATH --lora-rank 8

PATH is a JSON list of {"instruction", "input", "output"}, such as the 1,100 of Raschka's LLMs-from-scratch (chapter 7,
instruction-data.json). The base is trained once, in runs/instruct-base. The example prints the loss of held-out
responses and the share of their tokens that the model ranks first, before and after; the share of generated answers
that are as expected; and three answers. It takes 3.5 minutes of processor time.
"""

import sys
from pathlib import Path

from gpt.__main__ import main as gpt
from nanograd.runtime.arguments import Parser

BASE = (
    "--context-length 256 --batch-size 8 --max-steps 600 --norm rmsnorm --position rope --mlp gated --no-bias "
    "--eval-every 100"
)
FINETUNE = "--epochs 6 --batch-size 16 --lr 2e-3 --warmup-steps 40 --eval-every 59"


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("path", type=Path, help="the instructions")
    parser.option("--init", "the pretrained model; trained if it does not exist", "runs/instruct-base", metavar="RUN")
    parser.option("--template", "format of a conversation: chat, alpaca or a JSON file", "chat")
    parser.option("--lora-rank", "train only LoRA adapters of this rank, with a learning rate of 5e-3", metavar="N")
    parser.option("--out", "folder of the run", "runs/instruct", metavar="RUN")
    args = parser.parse()
    if not Path(args.init).exists() and (code := gpt(["train", *BASE.split(), "--out", args.init])):
        sys.exit(code)
    words = ["--data", str(args.path), "--init", args.init, "--template", args.template, *FINETUNE.split()]
    if args.lora_rank:
        words += ["--lora-rank", args.lora_rank, "--lr", "5e-3"]
    sys.exit(gpt(["finetune", "instruct", *words, "--out", args.out]))


if __name__ == "__main__":
    main()
