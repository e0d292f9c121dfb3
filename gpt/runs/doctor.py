"""Examine a model before hours of training go into it: each check is a function that returns one Finding.

    ok    as it should be
    warn  possible, but seldom intended
    bad   something is broken: training would waste the time

`examine` makes all checks of a Subject. A check that changes the weights says so. Models must be in evaluation mode: the
checks know no dropout.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

import nanograd
from gpt.config import OPTIMIZERS, ModelConfig, TrainConfig
from gpt.data.batches import Tokens, Windows, random_batch
from gpt.generation.decoder import Decoder
from gpt.model import GPT
from gpt.runs.checkpoint import Checkpoint, TrainingState
from gpt.runs.estimate import check_memory, count
from gpt.runs.supervise import has_risen
from gpt.training import learning_rate, make_optimizer, norms_by_layer
from nanograd._tensor import Tensor
from nanograd.inspect.anomaly import AnomalyError
from nanograd.nn import count_parameters
from nanograd.op import CONTEXT, Observer, Op, no_grad, observe
from nanograd.optim import AdamW, clip_grad_norm
from nanograd.seeds import EVAL, INIT, generator

OK, WARN, BAD = "ok", "warn", "bad"

INITIAL_LOSS_WARN, INITIAL_LOSS_BAD = 0.1, 0.25  # relative distance of an initial loss from ln V
N_SPLITS = 6  # positions at which causality splits a text
BY_HEART = 1.5  # a validation loss this many times the training loss
OVERFIT_STEPS, OVERFIT_SHARE = 60, 0.1  # updates, and the share of the first loss that they must reach
DEAD = 1e-4  # a unit with no larger output for any token is dead
GRADIENT_RATIO = 100.0  # between the gradient norms of two blocks
SMALL, LARGE, TOO_LARGE = 1e-6, {"adamw": 0.4, "muon": 0.7}, 1.0  # updates, relative to the weights they change
DECODER_STEPS = 32  # tokens that are decoded one at a time, after the prompt
DECODER_ERROR = 1e-4  # of the largest logit: float32 sums in another order differ by up to about 1e-5
WARM_UP = 10  # updates of a fresh model before update:weight is measured: AdamW's averages have to fill
WINDOW = 128  # tokens of a text in a batch
FLOPS = 5e11  # that measuring update:weight may take: a few seconds


@dataclass(frozen=True)
class Finding:
    """The verdict of one check, its name, the number it measured, what that means, and for some a number per layer."""

    verdict: str
    check: str
    number: str
    meaning: str
    layers: dict[str, float] = field(default_factory=dict)


@dataclass
class Subject:
    """A model to examine: its shape, its training config and tokens, and of a run its checkpoint and validation tokens."""

    config: ModelConfig
    training: TrainConfig
    tokens: Tokens
    checkpoint: Checkpoint | None = None
    val: Tokens = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def step(self) -> int:
        return 0 if self.checkpoint is None else self.checkpoint.state.step

    def batch(self, i: int = 0) -> Windows:
        """Draw a batch no larger than the run's own; for a large model, fewer and shorter rows."""
        tokens = int(FLOPS / (6 * count(self.config) * WARM_UP))  # an update takes 2 per weight forward and 4 backward
        T = min(self.config.context_length, max(16, min(WINDOW, tokens // 2)))
        rows = max(2, min(self.training.batch_size, tokens // T))
        return random_batch(self.tokens, rows, T, generator(self.training.seed, EVAL, i))

    def fresh(self) -> GPT:
        """Return the model as it was initialised at the start of the run."""
        return GPT(self.config, generator(self.training.seed, INIT)).eval()


def examine(subject: Subject) -> Iterator[Finding]:
    """Yield the finding of every check, the cheap ones first; stop early if the weights are not finite."""
    config, training, checkpoint = subject.config, subject.training, subject.checkpoint
    ids, targets = subject.batch()
    check_memory(config, TrainConfig(batch_size=len(ids), shards=1))
    fresh = subject.fresh()  # initialised once: at GPT-2's size that takes 3 s
    model = fresh if checkpoint is None else checkpoint.load_into(copy.deepcopy(fresh)).eval()
    averages = {k: a for k, a in getattr(checkpoint, "tensors", {}).items() if k.partition(".")[0] in OPTIMIZERS}
    yield (finiteness := finite(model, ids, targets, averages))
    yield initial_loss(fresh, ids, targets)
    yield init_scale(fresh)
    yield tied_weights(fresh)
    yield overfit(fresh, ids[:4, :16], targets[:4, :16])
    del fresh
    if finiteness.verdict == BAD:
        return
    yield causality(model, ids)
    yield independence(model, ids[:2])
    yield cached_generation(model, ids[:2])
    if subject.step:
        yield trained_loss(model, ids, targets)
        if checkpoint is not None and len(subject.val) > ids.shape[1]:
            yield validation_loss(model, ids, targets, subject.val, checkpoint.state)
    yield gradient_norms(model, ids, targets)
    yield dead_units(model, ids)
    optimizer = make_optimizer(model, training)
    steps, lr = WARM_UP, training.lr
    if checkpoint is not None and subject.step:
        checkpoint.load_optimizer(optimizer)
        steps, lr = 1, learning_rate(subject.step - 1, training)
    batches = [subject.batch(i) for i in range(steps)]
    yield update_ratios(model, optimizer, batches, lr, grad_clip=training.grad_clip)


def finite(model: GPT, ids: np.ndarray, targets: np.ndarray, averages: dict[str, np.ndarray] | None = None) -> Finding:
    """Look for NaN and ∞: in the weights, in an optimizer's averages, then op by op in a forward and a backward pass."""
    check = "finite numbers"
    for name, array in (model.state_dict() | (averages or {})).items():
        indices = np.argwhere(~np.isfinite(array))
        if len(indices):
            index = ", ".join(map(str, indices[0]))
            number = f"{name}[{index}] = {array[tuple(indices[0])]:g}"
            meaning = f"an update damaged {len(indices):,} of {array.size:,} numbers; use a checkpoint before it"
            return Finding(BAD, check, number, meaning)
    try:
        with nanograd.detect_anomaly():
            model.loss(ids, targets).backward()
    except AnomalyError as error:
        return Finding(BAD, check, "a batch overflows", f"first error: {error}")
    finally:
        model.zero_grad()
    number = f"{count_parameters(model.parameters()):,} weights"
    return Finding(OK, check, number, "no NaN and no ∞ in them, nor in a forward and a backward pass")


def initial_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Compare a fresh model's loss with that of uniform probabilities, ln V.

    It may be a little higher: hidden states of variance 1 and an embedding at 0.02 give logits a deviation of 0.02 √C.
    """
    uniform = math.log(model.config.vocab_size)
    loss = loss_of(model, ids, targets)
    error = abs(loss - uniform) / max(uniform, 1.0)
    number = f"{loss:.3f}, ln {model.config.vocab_size} = {uniform:.3f}"
    if error <= INITIAL_LOSS_WARN:
        return Finding(OK, "initial loss", number, "about that of uniform probabilities")
    meaning = "the model is confident in wrong tokens before training: are initial weights too large? see init scale"
    if loss < uniform:
        meaning = "the model knows the targets before training: do they leak into the input?"
    return Finding(WARN if error <= INITIAL_LOSS_BAD else BAD, "initial loss", number, meaning)


def init_scale(model: GPT) -> Finding:
    """Compare the scale of every tensor of a fresh model with that of `GPT.init_weights`."""
    wrong = []
    for name, p in model.named_parameters():
        expected, actual = model.initial_std(name), float(p.data.std())
        tolerance = 0.05 + 4 / math.sqrt(2 * p.size)
        if p.ndim < 2:
            expected, tolerance = float(name.endswith("weight")), 0.0
            actual = float(p.data[np.argmax(np.abs(p.data - expected))])
        if not abs(actual - expected) <= tolerance * expected:
            wrong.append(f"{name} {actual:.3g}, not {expected:.3g}")
    if not wrong:
        meaning = "matrices, and those that add to the residual stream; gains 1, biases 0"
        scales = [model.initial_std(f"blocks.0.{name}") for name in ("mlp.up.weight", "mlp.down.weight")]
        return Finding(OK, "init scale", "{:.2g} and {:.2g}".format(*scales), meaning)
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    meaning = "the residual stream grows or fades with depth if this is wrong; compare GPT.init_weights"
    return Finding(BAD, "init scale", wrong[0] + more, meaning)


def tied_weights(model: GPT) -> Finding:
    """Count the weights: the output projection is tied if the config says so, and no two parameters share memory."""
    actual, expected = count_parameters(model.parameters()), count(model.config)
    number = f"{actual:,} weights"
    named = list(model.named_parameters())
    for (a, p), (b, q) in combinations(named, 2):
        if np.may_share_memory(p.data, q.data):
            return Finding(BAD, "tied weights", number, f"{a} and {b} share memory, which every update changes twice")
    if actual == expected:
        tied = "tied to the token embedding" if model.config.tie_embeddings else "separate, as tie_embeddings says"
        return Finding(OK, "tied weights", number, f"the output projection is {tied}; each weight is updated once")
    untied = actual - expected == model.config.vocab_size * model.config.d_model
    why = "the output projection is not tied" if untied else "compare gpt.runs.estimate.count"
    return Finding(BAD, "tied weights", number, f"{actual - expected:+,} relative to the config's {expected:,}: {why}")


def causality(model: GPT, ids: np.ndarray) -> Finding:
    """Backpropagate from the logits before a split to the embeddings: the gradient after the split must be exactly 0."""
    T = ids.shape[1]
    with no_grad():
        x = Tensor(model.embed(ids[:1]).data, requires_grad=True)  # (1, T, C)
    logits = nanograd.linear(model.transform(x), model.lm_head_weight)  # (1, T, V)
    rng = np.random.default_rng(0)
    leaks = []
    for split in sorted({1, *np.linspace(1, T - 1, N_SPLITS, dtype=int).tolist()} - {0, T}):
        dy = np.zeros_like(logits.data)
        dy[:, :split] = rng.standard_normal(dy[:, :split].shape)
        dx = nanograd.grad(logits, x, dy, retain_graph=True)[0]  # (T, C)
        later = np.abs(dx[split:T]).max(axis=1)
        if later.any():
            t = split + int(np.flatnonzero(later)[0])
            leaks.append((float(later.max() / np.abs(dx[:split]).max()), t))
    if not leaks:
        return Finding(OK, "causality", "exactly 0", "no token depends on a later one")
    share, t = max(leaks)
    meaning = "a token sees what it should predict: the loss will be good and the text nonsense; check the mask"
    return Finding(BAD, "causality", f"{share:.2g} from token {t}", meaning)


@no_grad()
def independence(model: GPT, ids: np.ndarray) -> Finding:
    """Change the second text of a batch (2, T): the logits of the first must not change."""
    other = np.stack((ids[0], (ids[1] + 1) % model.config.vocab_size))
    before, after = (model(batch).data[0] for batch in (ids, other))
    error = float(np.abs(after - before).max())
    if error <= 1e-5 * np.abs(before).max():  # a product may round differently at another memory address
        return Finding(OK, "batch", f"{error:.2g}", "the logits of a text do not depend on the other texts")
    return Finding(BAD, "batch", f"{error:.2g}", "texts of a batch affect each other: is an axis reshaped wrongly?")


def trained_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Compare a trained model's loss on its training text with that of uniform probabilities."""
    loss, uniform = loss_of(model, ids, targets), math.log(model.config.vocab_size)
    number = f"{loss:.3f}, ln {model.config.vocab_size} = {uniform:.3f}"
    if loss < uniform:
        return Finding(OK, "loss now", number, "better than uniform probabilities, on a batch of the training text")
    verdict = WARN if loss <= (1 + INITIAL_LOSS_WARN) * uniform else BAD
    return Finding(verdict, "loss now", number, "no better than uniform probabilities: try a lower lr or more warmup")


def validation_loss(model: GPT, ids: np.ndarray, targets: np.ndarray, val: Tokens, state: TrainingState) -> Finding:
    """Compare a trained model's loss on its validation text with that on its training text, and with the best so far."""
    unseen = random_batch(val, len(ids), ids.shape[1], generator(0, EVAL))
    train, now = loss_of(model, ids, targets), loss_of(model, *unseen)
    verdict, meaning = OK, "the training text is known, this one is not: a little more is as it should be"
    if has_risen(state) or now > BY_HEART * train:
        verdict, meaning = WARN, "the text is learned by heart: give more text, fewer steps or a dropout of 0.1"
    return Finding(verdict, "val loss", f"{now:.3f}, train {train:.3f}", meaning)


def gradient_norms(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Measure the gradient norm of each layer: it must neither vanish nor explode from block to block."""
    model.loss(ids, targets).backward()
    layers = norms_by_layer((name, p.grad) for name, p in model.named_parameters())
    model.zero_grad()
    total = math.hypot(*layers.values())
    blocks = {name: norm for name, norm in layers.items() if name.startswith("blocks")}
    low, high = min(blocks, key=blocks.__getitem__), max(blocks, key=blocks.__getitem__)
    number = f"{total:.3g}, blocks {blocks[low]:.2g} to {blocks[high]:.2g}"
    unreached = [name for name, norm in layers.items() if norm == 0]
    if unreached:
        meaning = f"{', '.join(unreached)}: no gradient arrives at all; something before the loss is detached or dead"
        return Finding(BAD, "gradient norms", number, meaning, layers)
    if not blocks[high] <= GRADIENT_RATIO * blocks[low]:
        meaning = f"{high} gets far more than {low}: the gradient explodes or vanishes from block to block"
        return Finding(WARN, "gradient norms", number, meaning, layers)
    return Finding(OK, "gradient norms", number, "about the same in every block", layers)


class DeadUnits(Observer):
    """Count the units of each block's MLP that are about 0 for every token: the inputs of `down`."""

    def __init__(self) -> None:
        self.layers: dict[str, float] = {}
        self.units = 0

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Any) -> None:
        if op.name == "linear" and (scope := CONTEXT.get().scope)[2:] == ("mlp", "down"):  # of GPT, blocks.i, mlp, down
            is_dead = np.abs(arrays[0]).reshape(-1, arrays[0].shape[-1]).max(axis=0) < DEAD
            self.layers[scope[1]] = float(is_dead.sum())
            self.units += is_dead.size


@no_grad()
def dead_units(model: GPT, ids: np.ndarray) -> Finding:
    """Count the MLP units that are about 0 for every token of a batch."""
    observer = DeadUnits()
    with observe(observer):
        model(ids)
    dead = int(sum(observer.layers.values()))
    number = f"{dead:,} of {observer.units:,}"
    if not dead:
        return Finding(OK, "dead units", number, f"each is active for some of {ids.size:,} tokens", observer.layers)
    worst = max(observer.layers, key=observer.layers.__getitem__)
    share = observer.layers[worst] * len(observer.layers) / observer.units
    meaning = f"about 0 for all of {ids.size:,} tokens, {share:.0%} of {worst}: was lr too high?"
    return Finding(BAD if share >= 0.5 else WARN, "dead units", number, meaning, observer.layers)


def update_ratios(
    model: GPT, optimizer: AdamW, batches: Sequence[Windows], lr: float, *, grad_clip: float | None = None
) -> Finding:
    """Compare the norm of an update at learning rate lr with that of the matrices, by layer. The weights change.

    All batches but the last only fill the optimizer's averages, at learning rate 0: the first update of a new optimizer
    has the size lr everywhere, whatever the gradient. The limits are above what the best rates give in small new models:
    0.3 with AdamW, 0.6 with Muon, whose rate is higher, also for the embeddings. Beyond 1, nothing remains of the weights.
    """
    before = {name: p.data.copy() for name, p in model.named_parameters() if p.ndim > 1}
    for i, (ids, targets) in enumerate(batches, start=1):
        model.loss(ids, targets).backward()
        clip_grad_norm(optimizer.parameters.items(), grad_clip)
        optimizer.lr = lr if i == len(batches) else 0.0
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    updates = norms_by_layer((name, after[name] - p) for name, p in before.items())
    weights = norms_by_layer(before.items())
    layers = {name: update / max(weights[name], 1e-30) for name, update in updates.items()}
    low, high = min(layers.values()), max(layers.values())
    number = f"{low:.1e} to {high:.1e}"
    verdict, meaning = OK, "an update is small compared with the weights"
    if not high <= TOO_LARGE:  # also where it is NaN
        verdict, meaning = BAD, "an update overwrites the weights: use a lower lr"
    elif high > LARGE[optimizer.kind]:
        verdict, meaning = WARN, "an update is large compared with the weights: is lr too high?"
    elif low < SMALL:
        verdict, meaning = WARN, "an update hardly changes the weights: is lr too low?"
    return Finding(verdict, "update:weight", number, f"at lr {lr:.1e} {meaning}", layers)


def overfit(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Train a fresh model on one small batch: any model that can learn memorises it. The weights are restored.

    The averages are shorter than in training: at GPT-2's size this takes 8 updates; lr 0.3 / C and beta1 0.9 take 10.
    """
    before = {name: p.data for name, p in model.named_parameters()}  # no copies: the optimizer makes arrays of its own
    optimizer = AdamW(model.named_parameters(), 0.2 / model.config.d_model, beta1=0.7, beta2=0.99, weight_decay=0.0)
    least, steps, batch_loss = least_loss(ids, targets), 0, model.loss(ids, targets)
    first = loss = float(batch_loss.item())
    bound = least + OVERFIT_SHARE * (first - least)
    while steps < OVERFIT_STEPS and not loss <= bound:
        batch_loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps, batch_loss = steps + 1, model.loss(ids, targets)
        loss = float(batch_loss.item())
    del optimizer  # the parameters are bound to it for as long as it lives
    for name, p in model.named_parameters():
        p.data, p.grad_buffer = before[name], None
    number = f"{first:.3g} to {loss:.3g} in {steps}"
    if loss <= bound:
        return Finding(OK, "overfit a batch", number, f"updates: the model can memorise {ids.size} tokens")
    return Finding(BAD, "overfit a batch", number, f"updates, not to {bound:.2g}: gradients do not reach the weights")


def least_loss(ids: np.ndarray, targets: np.ndarray) -> float:
    """Return the least possible loss on a batch: texts that begin alike may continue differently.

    >>> least_loss(np.array([[1, 5], [1, 7]]), np.array([[5, 0], [7, 0]]))  # after the 1, 5 or 7: ½ ln 2
    0.34657359027997264
    """
    next_ids: dict[bytes, list[int]] = {}  # by the text before them
    for row, row_targets in zip(ids, targets, strict=True):
        for t, target in enumerate(row_targets.tolist()):
            next_ids.setdefault(row[: t + 1].tobytes(), []).append(target)
    return sum(-math.log(group.count(id) / len(group)) for group in next_ids.values() for id in group) / ids.size


@no_grad()
def cached_generation(model: GPT, ids: np.ndarray) -> Finding:
    """Compare the decoder's logits with those of the model's own forward: for a prompt, then token by token.

    ids are two texts (2, T), decoded side by side; the second lacks its first token and is padded on the left.
    """
    T = ids.shape[1]
    skip = np.array([0, min(1, T - 1)])
    expected = [model(ids[b : b + 1, skip[b] :]).data[0] for b in range(2)]  # (T, V) and (T - 1, V)
    t = min(T, max(2, T // 2, T - DECODER_STEPS))  # tokens of the prompt
    decoder = Decoder(model, 2)
    logits = decoder.prefill(ids[:, :t], t - skip)
    errors = {}
    while True:
        errors[t] = max(float(np.abs(logits[b] - expected[b][t - 1 - skip[b]]).max()) for b in range(2))
        if t == T:
            break
        logits, t = decoder.step(ids[:, t]), t + 1
    worst = max(errors, key=errors.__getitem__)
    largest = max(float(np.abs(logits).max()) for logits in expected)
    number = f"{errors[worst]:.2g}, logits to {largest:.2g}"
    if errors[worst] <= DECODER_ERROR * largest:
        return Finding(OK, "generation", number, "the decoder with its cache gives the model's logits")
    meaning = f"after {worst} tokens the decoder differs from the model: gpt.generation.decoder must follow gpt.model"
    return Finding(BAD, "generation", number, meaning)


@no_grad()
def loss_of(model: GPT, ids: np.ndarray, targets: np.ndarray) -> float:
    """Return the loss of a batch, in nats a token."""
    return float(model.loss(ids, targets).item())
