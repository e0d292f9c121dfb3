"""python -m gpt train --profile: where the time of a training step goes."""

import argparse
import dataclasses

from gpt.config import TrainConfig
from gpt.data.batches import Tokens
from gpt.model import GPT
from gpt.training import train
from nanograd import profile
from nanograd.inspect.profiler import Profile, Row, table
from nanograd.optim import AdamW
from nanograd.runtime import blas
from nanograd.runtime.threads import threads_for

STEPS, WARM_UP = 10, 3


def step_count(text: str) -> int:
    """Read how many steps to profile."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def profile_training(model: GPT, optimizer: AdamW, tokens: Tokens, config: TrainConfig, n: int) -> None:
    """Train WARM_UP steps, then n more under the profiler, and print the table of one step."""
    for start, stop in ((0, WARM_UP), (WARM_UP, WARM_UP + n)):
        until = dataclasses.replace(config, max_steps=stop)
        with profile() as measured:
            train(model, optimizer, tokens, None, until, after_step=lambda record: None, start=start)
    speed = n * config.grad_accum_steps * config.batch_size * model.config.context_length / measured.elapsed
    shards = min(config.shards or 1, config.batch_size)
    print("\n" + report(measured, n, speed, shards, threads_for(shards)))


def report(measured: Profile, n: int, speed: float, shards: int, threads: int) -> str:
    """Return the table of one step of n: the ops, and below them what is no op, of the time of all threads."""
    total = threads * measured.elapsed
    in_a_product = 1 if shards > 1 and blas.can_set_threads() else blas.threads() or "not known"
    counted = "100 % is the wall time of a step."
    if threads > 1:
        counted = (
            f"Times add up over the {threads} threads: 100 % is {threads} × the wall time of a step. What runs before and "
            "after the shards\n(batch, gradient sums, clip, optimizer) holds all threads, and counts "
            f"{threads}-fold; waiting is for the other shard."
        )
    lines = [
        f"step      {1e3 * measured.elapsed / n:.1f} ms, {speed:,.0f} tokens/s while watched: the mean of {n}, after "
        f"{WARM_UP} of warm-up",
        f"threads   {threads}, for {shards} shards of the batch; in a product: {in_a_product}",
        f"blas      kernel {blas.kernel()}",
        "",
        *table([*measured.rows(), *_parts(measured, total, threads)], total, n),
        "",
        counted,
    ]
    return "\n".join(lines)


def _parts(measured: Profile, total: float, threads: int) -> list[Row]:
    """Return the rows that are no ops, of which the last is what remains of the total."""
    parts = measured.regions()
    tape = parts.pop("shards")._replace(name="outside of ops")  # of the shards, without their ops: Python and the tape
    between = [row._replace(forward=threads * row.forward) for row in parts.values()]  # meanwhile no shard runs
    rest = total - sum(row.seconds for row in (*measured.rows(), *between, tape))
    if threads == 1:
        return [*between, tape._replace(forward=tape.forward + rest)]
    return [*between, tape, Row("waiting", 0, rest, None, 0)]
