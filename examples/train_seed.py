"""Train a model of d_model 512 with 8 heads on a text of your own, and say first how long it will take.

    python examples/train_seed.py [PATH] [--layers 6] [--context 256] [--batch 32] [--steps 2000] [--estimate]

PATH is a UTF-8 text; without it Python's own documentation is read, which is small for this model: it will be learned by
heart. A step is measured on this machine before anything starts; --estimate stops there. Where a batch does not fit into
memory it is made of several smaller ones, to the same result.
"""

import argparse
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
from nanograd.seeds import INIT, generator

D_MODEL, N_HEADS, VOCAB_SIZE = 512, 8, 8192
RECIPE = (
    "--tokenizer bpe --lr 6e-4 --min-lr 6e-5 --warmup-steps 200 --eval-every 200 --eval-batches 20 --save-every 200"
)


def fit(shape: ModelConfig, batch: int, free: int | None) -> TrainConfig:
    """Return how to make a batch: whole, or of the fewest equal parts that fit into the free memory."""
    for parts in (n for n in range(1, batch + 1) if batch % n == 0):
        size = batch // parts
        shards = choose_shards(size, shape.context_length)
        if free is None or training_memory(shape, size, shards) <= 0.9 * free:
            return TrainConfig(batch_size=size, grad_accum_steps=parts, shards=shards)
    sys.exit(f"train_seed: even a batch of 1 does not fit into {gigabytes(free or 0)}; give fewer --layers")


def seconds_a_step(shape: ModelConfig, config: TrainConfig) -> float:
    """Measure the second of two real steps, on tokens drawn at random: the first also pays for fresh memory."""
    tokens = np.random.default_rng(0).integers(0, shape.vocab_size, 10 * shape.context_length)
    model = GPT(shape, generator(config.seed, INIT))
    records: list[Record] = []
    two = dataclasses.replace(config, max_steps=2)
    train(model, make_optimizer(model, config), tokens, None, two, after_step=records.append)
    return records[1].elapsed_s - records[0].elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a text of your own (default: Python's documentation)")
    parser.add_argument("--layers", type=int, default=6, help="6 to 12 (default: 6)")
    parser.add_argument("--context", type=int, default=256, help="256 to 1024 (default: 256)")
    parser.add_argument("--batch", type=int, default=32, help="windows of text in an update, 32 to 128 (default: 32)")
    parser.add_argument("--steps", type=int, default=2000, help="updates (default: 2000)")
    parser.add_argument("--out", help="folder of the run")
    parser.add_argument("--estimate", action="store_true", help="say how long it would take, and stop")
    given = parser.parse_args()
    for name in ("layers", "context", "batch", "steps"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(given, name)}")

    shape = ModelConfig(
        vocab_size=VOCAB_SIZE, context_length=given.context, d_model=D_MODEL, n_layers=given.layers, n_heads=N_HEADS
    )
    config = fit(shape, given.batch, available_memory())
    needed = training_memory(shape, config.batch_size, config.shards or 1)
    seconds = seconds_a_step(shape, config)
    memory.release_freed_memory()  # `gpt train` will ask the system how much is free
    memory.configure_from_environment()
    print(
        f"{count(shape) / 1e6:.1f} million parameters; a batch of {given.batch} is {config.grad_accum_steps} × "
        f"{config.batch_size}, in about {gigabytes(needed)}\n"
        f"{seconds:.2f} s a step, {given.batch * given.context / seconds:,.0f} tokens/s: {given.steps} steps take "
        f"{duration(seconds * given.steps)} ({seconds * given.steps / 3600:.1f} hours)\n",
        flush=True,
    )
    if given.estimate:
        return
    flags = {
        "data": given.path, "out": given.out, "max-steps": given.steps, "d-model": D_MODEL, "n-heads": N_HEADS,
        "n-layers": given.layers, "context-length": given.context, "vocab-size": VOCAB_SIZE,
        "batch-size": config.batch_size, "grad-accum-steps": config.grad_accum_steps, "shards": config.shards,
    }  # fmt: skip
    words = [word for flag, value in flags.items() if value is not None for word in (f"--{flag}", str(value))]
    sys.exit(gpt(["train", *RECIPE.split(), *words]))


if __name__ == "__main__":
    main()
