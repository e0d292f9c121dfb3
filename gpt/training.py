"""The training loop: batch → loss → gradient → clip → update → record.

`fit` is the one loop, for pretraining and for all fine-tuning. An Objective gives it the batches, their loss, and the
validation loss. `train` is `fit` with the objective of pretraining: predict the next token.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gpt.config import LoopConfig, TrainConfig
from gpt.data.batches import IGNORE, Tokens, consecutive_batches, draw_batch
from gpt.metrics import Record
from gpt.model import GPT
from nanograd import parallel
from nanograd._tensor import Tensor
from nanograd.nn import Module, evaluating
from nanograd.op import no_grad, region
from nanograd.optim import SGD, AdamW, clip_grad_norm, warmup_cosine
from nanograd.seeds import DROPOUT, seeds


@dataclass(frozen=True)
class Batch:
    """The arrays of one micro-batch, and the number of its targets.

    All arrays have the same first axis, one row per example; shards are cut along it. The targets are what the loss is a
    mean over: tokens of a text, tokens of a response, or labels.
    """

    rows: tuple[np.ndarray, ...]
    n_targets: int


@dataclass(frozen=True)
class Objective:
    """What the loop minimises, and on which batches.

    batch_of  returns a micro-batch. It depends on (step, micro) alone, so that a resumed run sees the same batches
    loss_of   returns the loss of (model, *rows), summed over the targets: sums over shards can be added, means cannot
    evaluate  returns the validation loss, a mean over targets; None without validation data
    """

    batch_of: Callable[[int, int], Batch]
    loss_of: Callable[..., Tensor]
    evaluate: Callable[[], float] | None = None


def learning_rate(step: int, config: LoopConfig) -> float:
    """Return the learning rate of a step (from 0) by `warmup_cosine`, with the options of the config."""
    return warmup_cosine(
        step, lr=config.lr, min_lr=config.min_lr, warmup_steps=config.warmup_steps, max_steps=config.max_steps
    )


def make_optimizer(model: Module, config: LoopConfig) -> AdamW:
    """Return AdamW with the options of the config, for the parameters that require a gradient."""
    return AdamW(
        model.named_parameters(), config.lr, beta1=config.beta1, beta2=config.beta2, weight_decay=config.weight_decay
    )


def accumulate_gradients(model: Module, objective: Objective, config: LoopConfig, step: int) -> tuple[float, int]:
    """Add the gradient of one step's loss to `.grad`; return the mean loss per target and the number of targets.

    Each micro-batch's summed loss is divided by the number of targets in the whole step, so gradients add up to those
    of one large batch, also if the micro-batches have different numbers of targets.
    """
    n, total = config.grad_accum_steps, 0.0
    with region("batch"):  # with several, each is drawn twice, to count its targets first: memory holds one of them
        batch = objective.batch_of(step, 0)
        n_targets = batch.n_targets + sum(objective.batch_of(step, micro).n_targets for micro in range(1, n))
    if n_targets < 1:
        raise ValueError(f"step {step + 1}: its {n} batches have no target; leave such examples out")
    for micro in range(n):
        if micro:
            with region("batch"):
                batch = objective.batch_of(step, micro)

        def loss_of(shard: int, *rows: np.ndarray, micro: int = micro) -> Tensor:
            with seeds(config.seed, DROPOUT, step, micro, shard):
                return objective.loss_of(model, *rows)

        shards = [partial(loss_of, k, *rows) for k, rows in enumerate(_split(batch.rows, config.shards))]
        total += sum(parallel.backward(shards, 1 / n_targets)) / n_targets
    return total, n_targets


def _split(rows: tuple[np.ndarray, ...], shards: int | None) -> Iterator[tuple[np.ndarray, ...]]:
    """Cut a batch into shards of about equally many rows."""
    n = min(shards or 1, len(rows[0]))
    return zip(*(np.array_split(array, n) for array in rows), strict=True)


@no_grad()
def mean_loss(
    model: Module, batches: Iterable[Batch], loss_of: Callable[..., Tensor], *, shards: int | None = None
) -> float:
    """Return the mean loss per target over all batches, without dropout."""
    total, count = 0.0, 0
    with evaluating(model):
        for batch in batches:
            losses = parallel.run([partial(loss_of, model, *rows) for rows in _split(batch.rows, shards)])
            total += sum(float(loss.item()) for loss in losses)
            count += batch.n_targets
    return total / count


def next_token_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Tensor:
    """Return the cross-entropy of targets (B, T) in nats, summed over all but IGNORE."""
    return model.loss(ids, targets, reduction="sum")


def evaluate(
    model: GPT, tokens: Tokens, batch_size: int, limit: int | None = None, *, shards: int | None = None
) -> float:
    """Return the loss in nats per token, without dropout: over all tokens but the first, or over `limit` batches."""
    batches = (
        Batch((ids, targets), int((targets != IGNORE).sum()))
        for ids, targets in consecutive_batches(tokens, batch_size, model.config.context_length, limit)
    )
    return mean_loss(model, batches, next_token_loss, shards=shards)


def next_token_objective(model: GPT, train_tokens: Tokens, val_tokens: Tokens | None, config: TrainConfig) -> Objective:
    """Return the objective of a language model: predict every next token in windows of a text."""

    def batch_of(step: int, micro: int) -> Batch:
        ids, targets = draw_batch(train_tokens, model.config.context_length, config, step, micro)
        return Batch((ids, targets), targets.size)

    if val_tokens is None:
        return Objective(batch_of, next_token_loss)
    val_loss = partial(evaluate, model, val_tokens, config.batch_size, config.eval_batches, shards=config.shards)
    return Objective(batch_of, next_token_loss, val_loss)


class NotFiniteError(ArithmeticError):
    """The loss or the gradient has become NaN or infinite."""


def train(
    model: GPT,
    optimizer: AdamW | SGD,
    train_tokens: Tokens,
    val_tokens: Tokens | None,
    config: TrainConfig,
    *,
    after_step: Callable[[Record], bool | None],
    start: int = 0,
    elapsed: float = 0.0,
) -> None:
    """Pretrain: `fit` a language model to a text."""
    objective = next_token_objective(model, train_tokens, val_tokens, config)
    fit(model, optimizer, objective, config, after_step=after_step, start=start, elapsed=elapsed)


def fit(
    model: Module,
    optimizer: AdamW | SGD,
    objective: Objective,
    config: LoopConfig,
    *,
    after_step: Callable[[Record], bool | None],
    start: int = 0,
    elapsed: float = 0.0,
) -> None:
    """Train from step `start` to max_steps; stop when `after_step`, which gets the Record of every step, returns True.

    Raises NotFiniteError, before the parameters are changed, if the loss or the norm of the gradient is not finite.
    """
    model.train()
    began = time.perf_counter() - elapsed
    for step in range(start, config.max_steps):
        step_began = time.perf_counter()
        lr = learning_rate(step, config)
        loss, n_targets = accumulate_gradients(model, objective, config, step)
        with region("clip"):
            grad_norm = clip_grad_norm(optimizer.parameters.items(), config.grad_clip)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NotFiniteError(
                f"step {step + 1}: the loss is {loss:g} and the gradient norm {grad_norm:g} at learning rate {lr:g}; "
                "the update was not made. Try a lower --lr, a longer --warmup-steps or a smaller --grad-clip"
            )
        optimizer.lr = lr
        with region("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        speed = n_targets / (time.perf_counter() - step_began)
        done = step + 1
        val_loss = None
        if objective.evaluate is not None and (done % config.eval_every == 0 or done == config.max_steps):
            val_loss = objective.evaluate()
        if after_step(Record(done, loss, val_loss, lr, grad_norm, speed, time.perf_counter() - began)):
            break
