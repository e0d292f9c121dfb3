"""Train a GPT with d_model 512 and 8 heads on a text of your own, after an estimate of the time it takes.

    python examples/train_seed.py FILE --estimate
    python examples/train_seed.py FILE --layers 8 --steps 4000

FILE is a UTF-8 text. The default is Python's own documentation, which is small for this model: it will be memorised. A
step is timed on this machine first; --estimate stops after that. If a batch does not fit into memory, its gradient is
accumulated over several smaller batches. 2,000 steps take four to five hours on two cores, the estimate a minute.
"""

import sys

from gpt.__main__ import main as gpt
from gpt.config import ModelConfig
from gpt.runs.estimate import available_memory, gigabytes, training_memory
from gpt.runs.presets import SIZES
from nanograd.parallel.shards import choose_shards
from nanograd.runtime.arguments import Parser

D_MODEL, N_HEADS, VOCAB_SIZE = SIZES["medium"]["d_model"], SIZES["medium"]["n_heads"], 8192
RECIPE = "--size medium --tokenizer bpe --warmup-steps 200 --eval-every 200 --eval-batches 20 --save-every 200"


def micro_batches(shape: ModelConfig, batch: int) -> int:
    """Return into how few micro-batches a batch must be split to fit into the free memory."""
    free = available_memory()
    for steps in (n for n in range(1, batch + 1) if batch % n == 0):
        size = batch // steps
        if free is None or training_memory(shape, size, choose_shards(size, shape.context_length)) <= 0.9 * free:
            return steps
    sys.exit(f"train_seed: even a batch of 1 does not fit into {gigabytes(free or 0)}; give fewer --layers")


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("path", metavar="FILE", nargs="?", help="a text of your own (default: Python's documentation)")
    parser.option("--layers", "number of blocks, 6 to 12", 6, least=1)
    parser.option("--context", "tokens that the model sees at once, 256 to 1024", 256, least=1)
    parser.option("--batch", "sequences per update, 32 to 128", 32, least=1)
    parser.option("--steps", "updates", 2000, least=1)
    parser.option("-o --out", "folder of the run (default: runs/<date and time>)", metavar="RUN")
    parser.option("--estimate", "print the estimated time, and stop", False)
    args = parser.parse()
    shape = ModelConfig(
        vocab_size=VOCAB_SIZE, context_length=args.context, d_model=D_MODEL, n_layers=args.layers, n_heads=N_HEADS
    )
    steps = micro_batches(shape, args.batch)
    flags = {
        "data": args.path, "out": args.out, "max-steps": args.steps, "n-layers": args.layers,
        "context-length": args.context, "vocab-size": VOCAB_SIZE, "batch-size": args.batch // steps,
        "grad-accum-steps": steps,
    }  # fmt: skip
    words = [word for flag, value in flags.items() if value is not None for word in (f"--{flag}", str(value))]
    sys.exit(gpt(["train", *RECIPE.split(), *words, *(["--estimate"] if args.estimate else [])]))


if __name__ == "__main__":
    main()
