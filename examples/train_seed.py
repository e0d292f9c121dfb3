"""Train a GPT with d_model 512 and 8 heads on a text of your own, after an estimate of the time it takes.

    python examples/train_seed.py FILE --estimate
    python examples/train_seed.py FILE --layers 8 --steps 4000

FILE is a UTF-8 text. The default is Python's own documentation, which is small for this model: it will be memorised. A
step is timed on this machine first; --estimate stops after that. If a batch does not fit into memory, its gradient is
accumulated over several smaller batches. 2,000 steps take four to five hours on two cores, the estimate less than a minute.
"""

import dataclasses
import sys

import numpy as np

from gpt.__main__ import main as gpt
from gpt.config import ModelConfig, TrainConfig
from gpt.model import GPT
from gpt.runs.estimate import available_memory, count, duration, gigabytes, training_memory
from gpt.training import Record, make_optimizer, train
from nanograd.parallel.shards import choose_shards
from nanograd.runtime import allocator as memory
from nanograd.runtime.arguments import Parser
from nanograd.seeds import INIT, generator

D_MODEL, N_HEADS, VOCAB_SIZE = 512, 8, 8192
RECIPE = (
    "--tokenizer bpe --lr 6e-4 --min-lr 6e-5 --warmup-steps 200 --eval-every 200 --eval-batches 20 --save-every 200"
)


def fit(shape: ModelConfig, batch: int, free: int | None) -> TrainConfig:
    """Return a config whose batch is whole, or split into as few micro-batches as the free memory needs."""
    for steps in (n for n in range(1, batch + 1) if batch % n == 0):
        size = batch // steps
        shards = choose_shards(size, shape.context_length)
        if free is None or training_memory(shape, size, shards) <= 0.9 * free:
            return TrainConfig(batch_size=size, grad_accum_steps=steps, shards=shards)
    sys.exit(f"train_seed: even a batch of 1 does not fit into {gigabytes(free or 0)}; give fewer --layers")


def seconds_per_step(shape: ModelConfig, config: TrainConfig) -> float:
    """Time the second of two training steps on random tokens; the first one also pays for fresh memory."""
    tokens = np.random.default_rng(0).integers(0, shape.vocab_size, 10 * shape.context_length)
    model = GPT(shape, generator(config.seed, INIT))
    records: list[Record] = []
    two = dataclasses.replace(config, max_steps=2)
    train(model, make_optimizer(model, config), tokens, None, two, after_step=records.append)
    return records[1].elapsed_s - records[0].elapsed_s


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("path", metavar="FILE", nargs="?", help="a text of your own (default: Python's documentation)")
    parser.option("--layers", "number of blocks, 6 to 12", 6)
    parser.option("--context", "tokens that the model sees at once, 256 to 1024", 256)
    parser.option("--batch", "sequences per update, 32 to 128", 32)
    parser.option("--steps", "updates", 2000)
    parser.option("--out", "folder of the run (default: runs/<date and time>)", metavar="RUN")
    parser.option("--estimate", "print the estimated time, and stop", False)
    args = parser.parse()
    for name in ("layers", "context", "batch", "steps"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(args, name)}")

    shape = ModelConfig(
        vocab_size=VOCAB_SIZE, context_length=args.context, d_model=D_MODEL, n_layers=args.layers, n_heads=N_HEADS
    )
    config = fit(shape, args.batch, available_memory())
    needed = training_memory(shape, config.batch_size, config.shards or 1)
    seconds = seconds_per_step(shape, config)
    memory.release_freed_memory()  # `gpt train` asks the system how much memory is free
    memory.configure_from_environment()
    print(
        f"{count(shape) / 1e6:.1f} million parameters; a batch of {args.batch} is {config.grad_accum_steps} × "
        f"{config.batch_size}, in about {gigabytes(needed)}\n"
        f"{seconds:.2f} s per step, {args.batch * args.context / seconds:,.0f} tokens/s: {args.steps} steps take "
        f"{duration(seconds * args.steps)} ({seconds * args.steps / 3600:.1f} hours)\n",
        flush=True,
    )
    if args.estimate:
        return
    flags = {
        "data": args.path, "out": args.out, "max-steps": args.steps, "d-model": D_MODEL, "n-heads": N_HEADS,
        "n-layers": args.layers, "context-length": args.context, "vocab-size": VOCAB_SIZE,
        "batch-size": config.batch_size, "grad-accum-steps": config.grad_accum_steps, "shards": config.shards,
    }  # fmt: skip
    words = [word for flag, value in flags.items() if value is not None for word in (f"--{flag}", str(value))]
    sys.exit(gpt(["train", *RECIPE.split(), *words]))


if __name__ == "__main__":
    main()
