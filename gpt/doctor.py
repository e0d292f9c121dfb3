"""Examine a model before hours go into it: each check is a function that returns one Finding.

    ok    as it should be
    look  possible, but seldom what is wanted
    bad   something is broken: training it would waste the time

A check that moves the weights says so. None draws dropout: give models in evaluation mode.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

import nanograd
from gpt.model import GPT
from gpt.runs.estimate import count
from nanograd._tensor import Tensor
from nanograd.inspect.anomaly import AnomalyError
from nanograd.nn import count_parameters
from nanograd.op import CONTEXT, Observer, Op, no_grad, observe
from nanograd.optim import AdamW, clip_grad_norm

OK, LOOK, BAD = "ok", "look", "bad"

MISS = 0.1, 0.25  # of ln V: how far a first loss may be off before it is looked at, and before it is bad
CAUSAL_CUTS = 6  # places at which a text is cut in two
OVERFIT_STEPS, OVERFIT_SHARE = 60, 0.1  # updates, and the share of the first loss that they must come down to
SILENT = 1e-4  # a unit that gives no more than this for any token says nothing to the layer behind it
SPREAD = 100.0  # between the gradient norms of two blocks
SMALL, LARGE, TOO_LARGE = 1e-6, 0.1, 0.5  # updates, as a share of the weights they move

Batch = tuple[np.ndarray, np.ndarray]  # ids (B, T) and targets (B, T)


@dataclass(frozen=True)
class Finding:
    """The verdict of one check: what was looked at, the number found, what it means, and where it has one, each layer's."""

    verdict: str
    check: str
    number: str
    meaning: str
    layers: dict[str, float] = field(default_factory=dict)


def finite(model: GPT, ids: np.ndarray, targets: np.ndarray, averages: dict[str, np.ndarray] | None = None) -> Finding:
    """Look for NaN and ∞: in the weights, in an optimizer's averages, then op by op in a forward and a backward."""
    check = "finite numbers"
    for name, array in (model.state_dict() | (averages or {})).items():
        odd = np.argwhere(~np.isfinite(array))
        if len(odd):
            place = ", ".join(map(str, odd[0]))
            number = f"{name}[{place}] = {array[tuple(odd[0])]:g}"
            meaning = f"an update spoiled {len(odd):,} of {array.size:,} numbers; go back to a checkpoint before it"
            return Finding(BAD, check, number, meaning)
    try:
        with nanograd.detect_anomaly():
            model.loss(ids, targets).backward()
    except AnomalyError as error:
        return Finding(BAD, check, "a batch overflows", f"the first: {error}")
    finally:
        model.zero_grad()
    number = f"{count_parameters(model.parameters()):,} weights"
    return Finding(OK, check, number, "no NaN and no ∞ in them, nor in a forward and a backward")


def initial_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Compare a fresh model's loss with that of a guess, ln V.

    It may start a little above: logits of features at variance 1 and a table at 0.02 spread by 0.02 √C.
    """
    guess = math.log(model.config.vocab_size)
    loss = loss_of(model, ids, targets)
    miss = abs(loss - guess) / max(guess, 1.0)
    number = f"{loss:.3f}, ln {model.config.vocab_size} = {guess:.3f}"
    if miss <= MISS[0]:
        return Finding(OK, "initial loss", number, "it begins as a guess among all tokens")
    meaning = "it is sure of wrong tokens before it has learned: do weights start too large? see init scale"
    if loss < guess:
        meaning = "it knows the answers before it has learned: do the targets leak into the input?"
    return Finding(LOOK if miss <= MISS[1] else BAD, "initial loss", number, meaning)


def init_scale(model: GPT) -> Finding:
    """Compare every tensor of a fresh model with how it should be drawn: see `GPT._initialise`."""
    wrong, small = [], 0.02 / math.sqrt(2 * model.config.n_layers)
    for name, p in model.named_parameters():
        due, found, slack = 0.02, float(p.data.std()), 0.05 + 4 / math.sqrt(2 * p.size)
        if name.endswith(("attn.out_proj.weight", "mlp.down.weight")):
            due = small
        if p.ndim < 2:
            due, slack = float(name.endswith("weight")), 0.0
            found = float(p.data[np.argmax(np.abs(p.data - due))])
        if not abs(found - due) <= slack * due:
            wrong.append(f"{name} {found:.3g} for {due:.3g}")
    if not wrong:
        return Finding(
            OK, "init scale", f"0.02 and {small:.2g}", "matrices, and those that write to the stream; gains 1, biases 0"
        )
    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    meaning = "a deep stream grows or starves by layer where this is off; compare GPT._initialise"
    return Finding(BAD, "init scale", wrong[0] + more, meaning)


def tied_weights(model: GPT) -> Finding:
    """Count the weights: the head is the token table unless the config gives it its own, and nothing has two names."""
    found, due = count_parameters(model.parameters()), count(model.config)
    number = f"{found:,} weights"
    named = list(model.named_parameters())
    for (a, p), (b, q) in combinations(named, 2):
        if np.may_share_memory(p.data, q.data):
            return Finding(BAD, "tied weights", number, f"{a} and {b} share numbers, which every update moves twice")
    if found == due:
        head = "is the token table" if model.config.tie_embeddings else "has its own table, as tie_embeddings says"
        return Finding(OK, "tied weights", number, f"the head {head}; each is counted and moved once")
    table = model.config.vocab_size * model.config.d_model
    why = (
        "the head has a table of its own, not the tokens'"
        if found - due == table
        else "compare gpt.runs.estimate.count"
    )
    return Finding(BAD, "tied weights", number, f"{found - due:+,} against the {due:,} of this shape: {why}")


def causality(model: GPT, ids: np.ndarray) -> Finding:
    """Pull the logits of all tokens before a cut back to the embeddings: those after the cut must get exactly 0."""
    T = ids.shape[1]
    with no_grad():
        x = Tensor(model.embed(ids[:1]).data, requires_grad=True)  # (1, T, C)
    logits = nanograd.linear(model.transform(x), model.lm_head_weight)  # (1, T, V)
    rng = np.random.default_rng(0)
    leaks = []
    for cut in sorted({1, *np.linspace(1, T - 1, CAUSAL_CUTS, dtype=int).tolist()} - {0, T}):
        dy = np.zeros_like(logits.data)
        dy[:, :cut] = rng.standard_normal(dy[:, :cut].shape)
        dx = nanograd.grad(logits, x, dy, retain_graph=True)[0]  # (T, C)
        later = np.abs(dx[cut:T]).max(axis=1)
        if later.any():
            t = cut + int(np.flatnonzero(later)[0])
            leaks.append((float(later.max() / np.abs(dx[:cut]).max()), t))
    if not leaks:
        return Finding(OK, "causality", "exactly 0", "no token learns anything from those after it")
    share, t = max(leaks)
    meaning = "a token sees what it should predict: its loss will be good, and its text nonsense; look at the mask"
    return Finding(BAD, "causality", f"{share:.2g} from token {t}", meaning)


@no_grad()
def independence(model: GPT, ids: np.ndarray) -> Finding:
    """Give the first text of a batch (2, T) another neighbour: its logits must stay as they were."""
    other = np.stack((ids[0], (ids[1] + 1) % model.config.vocab_size))
    before, after = (model(rows).data[0] for rows in (ids, other))
    moved = float(np.abs(after - before).max())
    if moved <= 1e-5 * np.abs(before).max():  # a product may round otherwise where its rows lie otherwise
        return Finding(OK, "batch", f"{moved:.2g}", "another text beside it changes no logit of a text")
    return Finding(BAD, "batch", f"{moved:.2g}", "texts of a batch see each other: is an axis reshaped wrongly?")


def trained_loss(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Compare a trained model's loss on text that it was trained on with a guess."""
    loss, guess = loss_of(model, ids, targets), math.log(model.config.vocab_size)
    number = f"{loss:.3f}, ln {model.config.vocab_size} = {guess:.3f}"
    if loss < guess:
        return Finding(OK, "loss now", number, "better than a guess, on a batch of its training text")
    verdict = LOOK if loss <= (1 + MISS[0]) * guess else BAD
    return Finding(verdict, "loss now", number, "no better than a guess: try a lower lr or a longer warmup")


def gradient_norms(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Measure the gradient's norm in each layer: what arrives at the first blocks must be of the last ones' size."""
    model.loss(ids, targets).backward()
    layers = norms_by_layer((name, p.grad) for name, p in model.named_parameters())
    model.zero_grad()
    total = math.hypot(*layers.values())
    blocks = {name: norm for name, norm in layers.items() if name.startswith("blocks")}
    low, high = min(blocks, key=blocks.__getitem__), max(blocks, key=blocks.__getitem__)
    number = f"{total:.3g}, blocks {blocks[low]:.2g} to {blocks[high]:.2g}"
    unmoved = [name for name, norm in layers.items() if norm == 0]
    if unmoved:
        meaning = f"{', '.join(unmoved)}: no gradient arrives at all; something on the way is detached or dead"
        return Finding(BAD, "gradient norms", number, meaning, layers)
    if not blocks[high] <= SPREAD * blocks[low]:
        meaning = f"{high} gets far more than {low}: the gradient grows or fades from block to block"
        return Finding(LOOK, "gradient norms", number, meaning, layers)
    return Finding(OK, "gradient norms", number, "every block is reached, each about as much", layers)


class Silent(Observer):
    """Count the units of each block's MLP that give `down` about 0 for every token."""

    def __init__(self) -> None:
        self.layers: dict[str, float] = {}
        self.units = 0

    def after_forward(self, op: Op, arrays: Any, options: Any, y: np.ndarray, saved: Any, node: Any) -> None:
        if op.name == "linear" and (scope := CONTEXT.get().scope)[2:] == ("mlp", "down"):  # of GPT, blocks.i, mlp, down
            silent = np.abs(arrays[0]).reshape(-1, arrays[0].shape[-1]).max(axis=0) < SILENT
            self.layers[scope[1]] = float(silent.sum())
            self.units += silent.size


@no_grad()
def dead_units(model: GPT, ids: np.ndarray) -> Finding:
    """Count the features of each MLP that are about 0 for every token of a batch."""
    seen = Silent()
    with observe(seen):
        model(ids)
    dead = int(sum(seen.layers.values()))
    number = f"{dead:,} of {seen.units:,}"
    if not dead:
        return Finding(OK, "dead units", number, f"each speaks for some of {ids.size:,} tokens", seen.layers)
    worst = max(seen.layers, key=seen.layers.__getitem__)
    share = seen.layers[worst] * len(seen.layers) / seen.units
    meaning = f"about 0 for all of {ids.size:,} tokens, {share:.0%} of {worst}: was lr too high?"
    return Finding(BAD if share >= 0.5 else LOOK, "dead units", number, meaning, seen.layers)


def update_ratios(
    model: GPT, optimizer: AdamW, batches: Sequence[Batch], lr: float, *, grad_clip: float | None = None
) -> Finding:
    """Measure an update at learning rate lr beside the matrices that it moves, by layer. The weights are moved.

    All batches but the last only fill the optimizer's averages, at learning rate 0: a new optimizer's first update has
    the size lr everywhere, whatever the gradient.
    """
    before = {name: p.data.copy() for name, p in model.named_parameters() if p.ndim > 1}
    for i, (ids, targets) in enumerate(batches, start=1):
        model.loss(ids, targets).backward()
        clip_grad_norm(optimizer.parameters.items(), grad_clip)
        optimizer.lr = lr if i == len(batches) else 0.0
        optimizer.step()
        optimizer.zero_grad()
    after = model.state_dict()
    moves = norms_by_layer((name, after[name] - p) for name, p in before.items())
    sizes = norms_by_layer(before.items())
    layers = {name: move / max(sizes[name], 1e-30) for name, move in moves.items()}
    low, high = min(layers.values()), max(layers.values())
    number = f"{low:.1e} to {high:.1e}"
    verdict, means = OK, "an update is a small share of the weights that it moves"
    if not high <= TOO_LARGE:  # also where it is NaN
        verdict, means = BAD, "an update throws away what the weights hold: take a lower lr"
    elif high > LARGE:
        verdict, means = LOOK, "an update is large beside the weights that it moves: is lr too high?"
    elif low < SMALL:
        verdict, means = LOOK, "an update hardly moves the weights: is lr too low?"
    return Finding(verdict, "update:weight", number, f"at lr {lr:.1e} {means}", layers)


def overfit(model: GPT, ids: np.ndarray, targets: np.ndarray) -> Finding:
    """Train a fresh model on one small batch: whatever can learn at all learns it by heart. The weights are put back.

    The averages are shorter than in training: at GPT-2's size 8 updates do, against 10 at lr 0.3 / C and beta1 0.9.
    """
    before = {name: p.data for name, p in model.named_parameters()}  # no copies: the optimizer makes arrays of its own
    optimizer = AdamW(model.named_parameters(), 0.2 / model.config.d_model, beta1=0.7, beta2=0.99, weight_decay=0.0)
    floor, steps, scored = undecided(ids, targets), 0, model.loss(ids, targets)
    first = loss = float(scored.item())
    bound = floor + OVERFIT_SHARE * (first - floor)
    while steps < OVERFIT_STEPS and not loss <= bound:
        scored.backward()
        optimizer.step()
        optimizer.zero_grad()
        steps, scored = steps + 1, model.loss(ids, targets)
        loss = float(scored.item())
    del optimizer  # which keeps the parameters for as long as it lives
    for name, p in model.named_parameters():
        p.data, p.grad_buffer = before[name], None
    number = f"{first:.3g} to {loss:.3g} in {steps}"
    if loss <= bound:
        return Finding(OK, "overfit a batch", number, f"updates: {ids.size} tokens can be learned by heart")
    return Finding(BAD, "overfit a batch", number, f"updates, not to {bound:.2g}: gradients do not reach the weights")


def undecided(ids: np.ndarray, targets: np.ndarray) -> float:
    """Return the least loss on a batch: texts that begin alike may go on differently.

    >>> undecided(np.array([[1, 5], [1, 7]]), np.array([[5, 0], [7, 0]]))  # one of the two places: ½ ln 2
    0.34657359027997264
    """
    ends: dict[bytes, list[int]] = {}
    for row, answers in zip(ids, targets, strict=True):
        for t, answer in enumerate(answers):
            ends.setdefault(row[: t + 1].tobytes(), []).append(int(answer))
    return sum(-math.log(each.count(answer) / len(each)) for each in ends.values() for answer in each) / ids.size


@no_grad()
def loss_of(model: GPT, ids: np.ndarray, targets: np.ndarray) -> float:
    """Return the loss of a batch, in nats a token."""
    return float(model.loss(ids, targets).item())


def norms_by_layer(arrays: Iterable[tuple[str, np.ndarray | None]]) -> dict[str, float]:
    """Return the norm of each layer's arrays together, where "blocks.0.mlp.up.weight" belongs to "blocks.0"."""
    squares: dict[str, float] = {}
    for name, array in arrays:
        first, second, *_ = name.split(".")
        layer = f"{first}.{second}" if first == "blocks" else first
        squares[layer] = squares.get(layer, 0.0) + (0.0 if array is None else float(np.vdot(array, array)))
    return {layer: math.sqrt(square) for layer, square in squares.items()}
