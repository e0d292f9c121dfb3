"""python -m gpt train --profile: the time of a training step, op by op."""

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


def profile_training(
    model: GPT, optimizer: AdamW, tokens: Tokens, config: TrainConfig, n: int, begin: int | None = None
) -> None:
    """Train WARM_UP steps, then n more under the profiler, and print the table of one step."""
    for start, stop in ((0, WARM_UP), (WARM_UP, WARM_UP + n)):
        until = dataclasses.replace(config, max_steps=stop)
        with profile() as measured:
            train(model, optimizer, tokens, None, until, after_step=lambda record: None, start=start, begin=begin)
    speed = n * config.grad_accum_steps * config.batch_size * model.config.context_length / measured.elapsed
    shards = min(config.shards or 1, config.batch_size)
    print("\n" + report(measured, n, speed, shards, threads_for(shards)))


def report(measured: Profile, n: int, speed: float, shards: int, threads: int) -> str:
    """Return the table of one step, a mean over n: the ops, then the other regions, as shares of all threads' time."""
    total = threads * measured.elapsed
    blas_threads = 1 if shards > 1 and blas.can_set_threads() else blas.threads() or "not known"
    scale = "100 % is the wall time of a step."
    if threads > 1:
        scale = (
            f"Times add up over the {threads} threads: 100 % is {threads} × the wall time of a step. The regions before "
            "and after the shards\n(batch, gradient sums, clip, optimizer) occupy all threads, and count "
            f"{threads} times; waiting is for the other shard."
        )
    lines = [
        f"step      {1e3 * measured.elapsed / n:.1f} ms, {speed:,.0f} tokens/s while profiled: the mean of {n}, after "
        f"{WARM_UP} steps of warm-up",
        f"threads   {threads}, for {shards} shards of the batch; in a product: {blas_threads}",
        f"blas      kernel {blas.kernel()}",
        "",
        *table([*measured.rows(), *_region_rows(measured, total, threads)], total, n),
        "",
        scale,
    ]
    return "\n".join(lines)


def _region_rows(measured: Profile, total: float, threads: int) -> list[Row]:
    """Return the rows of the regions outside of ops; the last one is the rest of the total."""
    regions = measured.regions()
    tape = regions.pop("shards")._replace(name="outside of ops")  # the shards without their ops: Python and the tape
    serial = [row._replace(forward=threads * row.forward) for row in regions.values()]  # no shard runs meanwhile
    rest = total - sum(row.seconds for row in (*measured.rows(), *serial, tape))
    if threads == 1:
        return [*serial, tape._replace(forward=tape.forward + rest)]
    return [*serial, tape, Row("waiting", 0, rest, None, 0)]
