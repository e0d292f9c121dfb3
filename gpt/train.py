"""The training loop: batch → loss → gradient → clip → update, and what is logged of it."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gpt.config import TrainConfig
from gpt.data import IGNORE, Tokens, consecutive_batches, draw_batch
from gpt.model import GPT
from nanograd import parallel
from nanograd.op import no_grad
from nanograd.optim import SGD, AdamW, clip_grad_norm
from nanograd.profiler import part
from nanograd.seeds import DROPOUT, seeds
from nanograd.tensor import Tensor


@dataclass(frozen=True)
class Record:
    """What one step logs; `step` counts from 1. val_loss is None where nothing was evaluated."""

    step: int
    loss: float
    val_loss: float | None
    lr: float
    grad_norm: float
    tokens_per_s: float
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Rise linearly over the warmup, then fall along half a cosine to min_lr at max_steps; step counts from 0.

    The first step already moves: lr·1/warmup, not 0.

    >>> config = TrainConfig(lr=1.0, min_lr=0.0, warmup_steps=4, max_steps=12)
    >>> [learning_rate(step, config) for step in (0, 3, 4, 8)]
    [0.25, 1.0, 1.0, 0.5]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def make_optimizer(model: GPT, config: TrainConfig) -> AdamW:
    """Return the AdamW that the config describes."""
    return AdamW(
        model.named_parameters(), config.lr, beta1=config.beta1, beta2=config.beta2, weight_decay=config.weight_decay
    )


def accumulate_gradients(model: GPT, tokens: Tokens, config: TrainConfig, step: int) -> float:
    """Leave in `.grad` the gradient of one step's loss; return the loss, in nats a token.

    Each micro-batch divides by the whole step's number of targets, so that their gradients and losses simply add up to
    those of one large batch.
    """
    context = model.config.context_length
    n_targets = config.grad_accum_steps * config.batch_size * context
    total = 0.0
    for micro in range(config.grad_accum_steps):
        with part("batch"):
            ids, targets = draw_batch(tokens, context, config, step, micro)

        def loss_of(shard: int, ids: np.ndarray, targets: np.ndarray, micro: int = micro) -> Tensor:
            with seeds(config.seed, DROPOUT, step, micro, shard):
                return model.loss(ids, targets, reduction="sum")

        shards = [partial(loss_of, k, *rows) for k, rows in enumerate(_split(ids, targets, config.shards))]
        total += sum(parallel.backward(shards, 1 / n_targets)) / n_targets
    return total


def _split(ids: np.ndarray, targets: np.ndarray, shards: int | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cut a batch into shards of about equally many rows."""
    n = min(shards or 1, len(ids))
    return zip(np.array_split(ids, n), np.array_split(targets, n), strict=True)


@no_grad()
def evaluate(
    model: GPT, tokens: Tokens, batch_size: int, limit: int | None = None, *, shards: int | None = None
) -> float:
    """Return the loss in nats a token, without dropout: over all tokens but the first, or over `limit` batches."""
    was_training = model.training
    model.eval()
    total, count = 0.0, 0
    for ids, targets in consecutive_batches(tokens, batch_size, model.config.context_length, limit):
        losses = parallel.run([partial(model.loss, *rows, reduction="sum") for rows in _split(ids, targets, shards)])
        total += sum(float(loss.item()) for loss in losses)
        count += int((targets != IGNORE).sum())
    model.train(was_training)
    return total / count


class NotFiniteError(ArithmeticError):
    """The loss or the gradient is no number any more."""


def train(
    model: GPT,
    optimizer: AdamW | SGD,
    train_tokens: Tokens,
    val_tokens: Tokens | None,
    config: TrainConfig,
    *,
    log: Callable[[Record], None],
    start: int = 0,
    elapsed: float = 0.0,
) -> None:
    """Train from step `start` to max_steps, handing one Record a step to `log`, which may save, print and raise to stop.

    Raises NotFiniteError, before the parameters are touched, where the loss or the gradient's norm is not finite.
    """
    model.train()
    began = time.perf_counter() - elapsed
    tokens_a_step = config.grad_accum_steps * config.batch_size * model.config.context_length
    for step in range(start, config.max_steps):
        step_began = time.perf_counter()
        lr = learning_rate(step, config)
        loss = accumulate_gradients(model, train_tokens, config, step)
        with part("clip"):
            grad_norm = clip_grad_norm(optimizer.parameters.items(), config.grad_clip)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise NotFiniteError(
                f"step {step + 1}: the loss is {loss:g} and the gradient norm {grad_norm:g} at learning rate {lr:g}; "
                "the update was not made. Try a lower --lr, a longer --warmup-steps or a smaller --grad-clip"
            )
        optimizer.lr = lr
        with part("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        speed = tokens_a_step / (time.perf_counter() - step_began)
        done = step + 1
        val_loss = None
        if val_tokens is not None and (done % config.eval_every == 0 or done == config.max_steps):
            val_loss = evaluate(model, val_tokens, config.batch_size, config.eval_batches, shards=config.shards)
        log(Record(done, loss, val_loss, lr, grad_norm, speed, time.perf_counter() - began))
