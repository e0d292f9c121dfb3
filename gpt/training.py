"""The training loop: batch → loss → gradient → clip → update → record.

`fit` is the one loop, for pretraining and for all fine-tuning. An Objective gives it the batches, their loss, and the
validation loss. `train` is `fit` with the objective of pretraining: predict the next token.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gpt.config import LoopConfig, TrainConfig
from gpt.data.batches import IGNORE, Tokens, consecutive_batches, document_numbers, document_windows, draw_batch
from gpt.model import GPT, MLP, MultiHeadAttention
from gpt.tokenizer import Tokenizer
from nanograd._tensor import Tensor
from nanograd.nn import Module
from nanograd.op import region
from nanograd.optim import SGD, AdamW, Muon, scheduled
from nanograd.parallel.ranks import Team
from nanograd.parallel.replica import DataParallel, Rows, loss_sum


@dataclass(frozen=True)
class Record:
    """The measurements of one step; `step` counts from 1. What is None was not measured, as between evaluations.

    grad_norm      of the whole gradient, before it is clipped
    grad_norms     the same by layer; their squares add up to that of grad_norm
    update_ratios  by layer, the norm of the update of its matrices, divided by the norm of these before it
    sample         a line that the model wrote after the step
    """

    step: int
    loss: float
    val_loss: float | None
    lr: float
    grad_norm: float
    tokens_per_s: float
    elapsed_s: float
    grad_norms: dict[str, float] | None = None
    update_ratios: dict[str, float] | None = None
    sample: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, without those at the end that were not measured."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None or name == "val_loss"}


@dataclass(frozen=True)
class Batch:
    """The arrays of one micro-batch, and the number of its targets.

    All arrays have the same first axis, one row per example; shards are cut along it. The targets are what the loss is a
    mean over: tokens of a text, tokens of a response, or labels.
    """

    rows: Rows
    n_targets: int


@dataclass(frozen=True)
class Objective:
    """What the loop minimises, and on which batches.

    batch_of     returns a micro-batch. It depends on (step, micro) alone, so that a resumed run sees the same batches
    loss_of      returns the loss of (model, *rows), summed over the targets: sums over shards can be added, means cannot.
                 Other processes import it: it is a function of a module, or a `partial` of one
    val_batches  returns the batches of the validation data; None without validation data
    """

    batch_of: Callable[[int, int], Batch]
    loss_of: Callable[..., Tensor]
    val_batches: Callable[[], Iterable[Batch]] | None = None


def learning_rate(step: int, config: LoopConfig) -> float:
    """Return the learning rate of a step (from 0) by the schedule of the config."""
    return scheduled(
        config.schedule,
        step,
        lr=config.lr,
        min_lr=config.min_lr,
        warmup_steps=config.warmup_steps,
        max_steps=config.max_steps,
        decay_steps=config.decay_steps,
    )


def decay_start(config: LoopConfig) -> float:
    """Return the number of steps after which the schedule lowers the rate of a run that may be prolonged; else infinity."""
    return max(config.warmup_steps, config.max_steps - config.decay_steps) if config.schedule == "wsd" else math.inf


def make_optimizer(model: Module, config: LoopConfig) -> AdamW:
    """Return the optimizer that the config names, for the parameters that require a gradient: AdamW in fine-tuning."""
    options: dict[str, Any] = {name: getattr(config, name) for name in ("beta1", "beta2", "weight_decay", "ema")}
    if isinstance(config, TrainConfig) and config.optimizer == "muon":
        return Muon(model.named_parameters(), config.lr, matrices=hidden_matrices(model), **options)
    return AdamW(model.named_parameters(), config.lr, **options)


def hidden_matrices(model: Module) -> dict[str, tuple[int, ...]]:
    """Return the weight matrices of the blocks, by name, and the rows of the pieces that Muon updates each by itself."""
    matrices: dict[str, tuple[int, ...]] = {}
    for name, module in model.named_modules():
        if isinstance(module, MultiHeadAttention):
            q, k = module.n_heads * module.head_dim, module.n_kv_heads * module.head_dim
            matrices[f"{name}.w_qkv.weight"] = (q, k, k)
            matrices[f"{name}.out_proj.weight"] = module.out_proj.weight.shape[:1]
        elif isinstance(module, MLP):
            linear = {"gate": module.gate, "up": module.up, "down": module.down}
            matrices |= {f"{name}.{key}.weight": m.weight.shape[:1] for key, m in linear.items() if m is not None}
    return matrices


def in_shards(model: Module, objective: Objective, config: LoopConfig) -> DataParallel:
    """Return a model whose gradient is computed in shards on the threads here, and which is not trained."""
    sgd = SGD(model.named_parameters())
    return DataParallel(model, sgd, objective.loss_of, shards=config.shards or 1, seed=config.seed)


def accumulate_gradients(
    parallel: DataParallel, objective: Objective, config: LoopConfig, step: int
) -> tuple[float, int]:
    """Compute the gradient of one step's loss; return the mean loss per target and the number of targets.

    Each micro-batch's summed loss is divided by the number of targets in the whole step, so gradients add up to those
    of one large batch, also if the micro-batches have different numbers of targets.
    """
    with region("batch"):
        batches = [objective.batch_of(step, micro) for micro in range(config.grad_accum_steps)]
    n_targets = sum(batch.n_targets for batch in batches)
    if n_targets < 1:
        raise ValueError(f"step {step + 1}: its {len(batches)} batches have no target; leave such examples out")
    return parallel.gradients(step, [batch.rows for batch in batches], n_targets), n_targets


def mean_loss(
    model: Module, batches: Iterable[Batch], loss_of: Callable[..., Tensor], *, shards: int | None = None
) -> float:
    """Return the mean loss per target over all batches, without dropout."""
    return mean_over_targets(partial(loss_sum, model, loss_of, shards=shards or 1), batches)


def mean_over_targets(loss_sum: Callable[[Rows], float], batches: Iterable[Batch]) -> float:
    """Return the mean loss per target over all batches; loss_sum returns that of a batch, summed over its targets."""
    total, count = 0.0, 0
    for batch in batches:
        total += loss_sum(batch.rows)
        count += batch.n_targets
    return total / count


def next_token_loss(model: GPT, ids: np.ndarray, targets: np.ndarray, segments: np.ndarray | None = None) -> Tensor:
    """Return the cross-entropy of targets (B, T) in nats, summed over all but IGNORE."""
    return model.loss(ids, targets, segments=segments, reduction="sum")


def evaluate(
    model: GPT,
    tokens: Tokens,
    batch_size: int,
    limit: int | None = None,
    *,
    begin: int | None = None,
    shards: int | None = None,
) -> float:
    """Return the loss in nats per token, without dropout: over all tokens but the first, or over `limit` batches.

    begin is the first token of every document, if documents are kept apart.
    """
    batches = token_batches(tokens, batch_size, model.config.context_length, limit, begin)
    return mean_loss(model, batches, next_token_loss, shards=shards)


def token_batches(
    tokens: Tokens, batch_size: int, context_length: int, limit: int | None, begin: int | None = None
) -> Iterator[Batch]:
    """Yield batches in which every token but the first is a target once; or `limit` of them."""
    starts = None if begin is None else document_windows(tokens, context_length, begin)
    for ids, targets in consecutive_batches(tokens, batch_size, context_length, limit, starts):
        yield next_token_batch(ids, targets, begin)


def next_token_batch(ids: np.ndarray, targets: np.ndarray, begin: int | None) -> Batch:
    """Return the batch of ids (B, T) and targets (B, T), and the documents of the ids if `begin` begins every document."""
    rows = (ids, targets) if begin is None else (ids, targets, document_numbers(ids, begin))
    return Batch(rows, int((targets != IGNORE).sum()))


def next_token_objective(
    model: GPT, train_tokens: Tokens, val_tokens: Tokens | None, config: TrainConfig, begin: int | None = None
) -> Objective:
    """Return the objective of a language model: predict every next token in windows of a text.

    begin is the first token of every document, and given only where the config keeps documents apart: see `first_token`.
    """
    if (begin is not None) != (config.documents == "apart"):
        raise ValueError(f"documents={config.documents} does not go with begin={begin}; take first_token's")
    length, starts = model.config.context_length, None
    if begin is not None:
        starts = document_windows(train_tokens, length, begin)
        starts = starts[starts + length < len(train_tokens)]  # the last window may be incomplete

    def batch_of(step: int, micro: int) -> Batch:
        return next_token_batch(*draw_batch(train_tokens, length, config, step, micro, starts), begin)

    if val_tokens is None:
        return Objective(batch_of, next_token_loss)
    val_batches = partial(token_batches, val_tokens, config.batch_size, length, config.eval_batches, begin)
    return Objective(batch_of, next_token_loss, val_batches)


def first_token(config: TrainConfig, tokenizer: Tokenizer) -> int | None:
    """Return the token that begins every document if the config keeps documents apart, else None.

    It is the tokenizer's BOS if that precedes every text, else its end-of-text token, which separates documents. Raises
    ValueError if the tokenizer has neither.
    """
    if config.documents == "joined":
        return None
    begin = tokenizer.prefix[0] if tokenizer.prefix else tokenizer.eot_id
    if begin is None:
        raise ValueError(
            f"documents: a {tokenizer.kind} tokenizer has no token that separates documents; leave documents=apart out"
        )
    return begin


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
    begin: int | None = None,
) -> None:
    """Pretrain: `fit` a language model to a text."""
    objective = next_token_objective(model, train_tokens, val_tokens, config, begin)
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
    team: Team | None = None,
    write: Callable[[], str | None] | None = None,
) -> None:
    """Train from step `start` to max_steps; stop when `after_step`, which gets the Record of every step, returns True.

    `write` returns the sample of a record. With a team, its ranks share every step, and end with this function.

    Raises NotFiniteError, before the parameters are changed, if the loss or the norm of the gradient is not finite.
    """
    model.train()
    began = time.perf_counter() - elapsed
    parallel = DataParallel(model, optimizer, objective.loss_of, shards=config.shards or 1, seed=config.seed, team=team)
    try:
        for step in range(start, config.max_steps):
            step_began = time.perf_counter()
            lr = learning_rate(step, config)
            loss, n_targets = accumulate_gradients(parallel, objective, config, step)
            grad_norm = parallel.clip(config.grad_clip)
            check_finite(step, loss, grad_norm, lr)
            if is_evaluated(step + 1, config):
                step_began += seconds_of(parallel.keep_matrices)  # the speed is that of any step
            with region("optimizer"):
                parallel.update(lr)
            speed = n_targets / (time.perf_counter() - step_began)
            seen = measure(parallel, objective, config, step + 1, write)
            seconds = time.perf_counter() - began
            if after_step(Record(step + 1, loss, seen.pop("val_loss"), lr, grad_norm, speed, seconds, **seen)):
                break
    finally:
        parallel.close()


def is_evaluated(done: int, config: LoopConfig) -> bool:
    """Whether the model is evaluated after this many steps."""
    return done % config.eval_every == 0 or done == config.max_steps


def is_sampled(done: int, config: LoopConfig) -> bool:
    """Whether the model writes a sample after this many steps."""
    every = config.sample_every if isinstance(config, TrainConfig) else None
    return is_evaluated(done, config) if every is None else every > 0 and done % every == 0


def measure(
    parallel: DataParallel, objective: Objective, config: LoopConfig, done: int, write: Callable[[], str | None] | None
) -> dict[str, Any]:
    """Return what is measured after some steps only, of an evaluation or a sample: the fields of a Record, by name."""
    seen: dict[str, Any] = {"val_loss": None}
    evaluated, sampled = is_evaluated(done, config), write is not None and is_sampled(done, config)
    if evaluated:
        parallel.check_copies()
        seen["grad_norms"] = roots_by_layer(parallel.gradient_squares())
        sizes = parallel.update_sizes()
        updates, weights = (roots_by_layer({name: pair[i] for name, pair in sizes.items()}) for i in (0, 1))
        ratios = {layer: update / max(weights[layer], 1e-30) for layer, update in updates.items()}
        seen["update_ratios"] = {layer: ratio for layer, ratio in ratios.items() if math.isfinite(ratio)}
    if evaluated or sampled:
        with parallel.averaged():
            if evaluated and objective.val_batches is not None:
                seen["val_loss"] = mean_over_targets(parallel.loss_sum, objective.val_batches())
            if sampled and write is not None:
                seen["sample"] = write()
    return seen


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def roots_by_layer(squares: Mapping[str, float]) -> dict[str, float]:
    """Return for each layer the root of the sum of its parameters' numbers: "blocks.0.mlp.up.weight" is of "blocks.0"."""
    sums: dict[str, float] = {}
    for name, square in squares.items():
        first, *rest = name.removeprefix("gpt.").split(".")  # a classifier has the GPT as its attribute gpt
        layer = f"{first}.{rest[0]}" if first == "blocks" else first
        sums[layer] = sums.get(layer, 0.0) + square
    return {layer: math.sqrt(total) for layer, total in sums.items()}


def norms_by_layer(arrays: Iterable[tuple[str, np.ndarray | None]]) -> dict[str, float]:
    """Return the norm of each layer's arrays together."""
    return roots_by_layer({name: 0.0 if array is None else float(np.vdot(array, array)) for name, array in arrays})


def check_finite(step: int, loss: float, grad_norm: float, lr: float) -> None:
    """Raise NotFiniteError unless the loss and the norm of the gradient are finite."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise NotFiniteError(
            f"step {step + 1}: the loss is {loss:g} and the gradient norm {grad_norm:g} at learning rate {lr:g}; "
            "the update was not made. Try a lower --lr, a longer --warmup-steps or a smaller --grad-clip"
        )
