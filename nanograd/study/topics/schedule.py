"""The learning rate of every step: linear warmup, then cosine decay; and what training does without warmup."""

import math

import numpy as np

import nanograd._tensor as ng
from nanograd import ops
from nanograd.inspect.player.html import resource
from nanograd.optim import AdamW, warmup_cosine
from nanograd.runtime.blas import one_thread
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Prose, Sources, Table, Topic

OPTIONS = {"lr": 1e-3, "min_lr": 1e-4, "warmup_steps": 100, "max_steps": 1000}
POINTS = 120  # of the curve


def rates(lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return the curve of the schedule, and that of a constant rate."""
    steps = [math.floor(i * max_steps / POINTS) for i in range(POINTS + 1)]
    line = [warmup_cosine(step, lr=lr, min_lr=min_lr, warmup_steps=warmup_steps, max_steps=max_steps) for step in steps]
    return {"warmup and cosine": (list(map(float, steps)), line)}


def marks(lr: float, min_lr: float, warmup_steps: int, max_steps: int) -> np.ndarray:
    """Return steps of interest and their rates, (5, 2): the first, two of the warmup, half-way down, the last."""
    middle = (warmup_steps + max_steps) // 2
    steps = [0, max(warmup_steps // 2 - 1, 0), max(warmup_steps - 1, 0), middle, max_steps]
    options = {"lr": lr, "min_lr": min_lr, "warmup_steps": warmup_steps, "max_steps": max_steps}
    return np.array([[step, warmup_cosine(step, **options)] for step in steps])  # type: ignore[arg-type]


def train(lr: float, warmup_steps: int, updates: int = 60) -> list[float]:
    """Train a small residual network with AdamW; return its losses. It learns a function of two symbols of 16."""
    n, blocks = 16, 4
    rng, data = np.random.default_rng(0), np.random.default_rng(1)

    def matrix(rows: int, columns: int, factor: float = 1.0) -> ng.Tensor:
        values = rng.standard_normal((rows, columns)) * factor / math.sqrt(columns)
        return ng.Tensor(values, requires_grad=True)

    table, head = matrix(16, n, math.sqrt(n)), matrix(16, 2 * n)
    ups = [matrix(4 * n, n) for _ in range(blocks)]
    downs = [matrix(n, 4 * n, 1 / math.sqrt(2 * blocks)) for _ in range(blocks)]
    optimizer = AdamW([table, head, *ups, *downs], lr, weight_decay=0.0)
    losses, ones = [], np.ones(n)
    with one_thread():
        for step in range(updates):
            ids = data.integers(0, 16, (32, 2))
            targets = (ids[:, 0] * ids[:, 1] + ids[:, 0]) % 16
            optimizer.lr = warmup_cosine(step, lr=lr, min_lr=lr / 10, warmup_steps=warmup_steps, max_steps=updates)
            optimizer.zero_grad()
            x = ops.embedding(table, ids).reshape(64, n)
            for up, down in zip(ups, downs, strict=True):
                x = x + ops.linear(ops.gelu_tanh(ops.linear(ops.layernorm(x, ones, None), up)), down)
            logits = ops.linear(ops.layernorm(x, ones, None).reshape(32, 2 * n), head)
            loss = ops.cross_entropy(logits, targets)
            loss.backward()
            losses.append(float(loss.data))
            optimizer.step()
    return losses


def noise_steps(times: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100), n: int = 2000) -> list[list[str]]:
    """Return the mean length of AdamW's step, in units of lr, where gradients are noise without a direction."""
    rng = np.random.default_rng(0)
    m, v, lines = np.zeros(n), np.zeros(n), []
    for t in range(1, times[-1] + 1):
        g = rng.standard_normal(n)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        if t in times:
            length = np.abs(m / (1 - 0.9**t) / np.sqrt(v / (1 - 0.999**t))).mean()
            lines.append([str(t), f"{length:.3f}"])
    return lines


def topic() -> Topic:
    """Return the page."""
    runs = {warmup: train(0.1, warmup) for warmup in (0, 20)}
    rows = [
        [str(warmup), f"{losses[0]:.3f}", f"{max(losses):.3f}", f"{np.mean(losses[-10:]):.3f}"]
        for warmup, losses in runs.items()
    ]
    return Topic(
        "schedule",
        "The learning rate of every step",
        "Why is one learning rate not enough for a whole training: small at first, then large, then small again?",
        {
            "Formula": [
                Prose(
                    "t is the step, from 0; w the number of warmup steps, T the last step. η is the highest learning "
                    "rate, μ the lowest, r that of step t."
                ),
                Formulas(
                    (
                        (
                            "r = η (t + 1) / w",
                            "While t < w, the rate grows by the same amount at each step; it is never 0.",
                        ),
                        ("u = (t - w) / (T - w)", "Then u runs from 0 to 1."),
                        (
                            "r = μ + (η - μ) (1 + cos(π u)) / 2",
                            "Half a cosine leads down: slowly at first, fastest half-way, and slowly at the end.",
                        ),
                    )
                ),
            ],
            "Numbers": [
                Controls(
                    "Schedule",
                    (
                        Control("lr", "η, `lr`", 1e-3, 1e-5, 0.1, log=True),
                        Control("min_lr", "μ, `min_lr`", 1e-4, 0, 0.01),
                        Control("warmup_steps", "w, warmup", 100, 0, 1000, whole=True),
                        Control("max_steps", "T, steps", 1000, 1, 10000, log=True, whole=True),
                    ),
                ),
                Chart("rates", "The learning rate, by step", "step", "r", rates(**OPTIONS)),  # type: ignore[arg-type]
                Grid(
                    "marks",
                    "Five of the steps",
                    ["first", "half the warmup", "last of the warmup", "half-way down", "last"],
                    ["step", "rate"],
                    marks(**OPTIONS),  # type: ignore[arg-type]
                ),
            ],
            "Why warmup": [
                Prose(
                    "At its first steps AdamW knows each gradient from a few samples: m̂ / √v̂ is nearly ±1 even "
                    "where the gradient is noise, so every parameter moves the full η in a random direction. Later "
                    "the noise averages out. Measured here, for 2,000 gradients from N(0, 1), β1 = 0.9, β2 = 0.999:"
                ),
                Table("Mean length of AdamW's step on noise", ["step", "in units of η"], noise_steps()),
                Prose(
                    "A network that has just been initialised is also where a long step costs most. Measured here: a "
                    "residual network of four blocks, AdamW at the high rate η = 0.1, 60 steps, the same data:"
                ),
                Table(
                    "With and without warmup",
                    ["warmup steps", "first loss", "highest loss", "mean of the last 10"],
                    rows,
                ),
            ],
            "Why decay": [
                Prose(
                    "With a constant rate the weights never settle: each batch moves them η in a direction of its "
                    "own. A smaller rate averages over more batches. μ = η / 10 is usual; the last steps still learn."
                )
            ],
            "Code": [Prose("The product's function."), Code((warmup_cosine,))],
            "Sources": [
                Sources(
                    (
                        "Loshchilov and Hutter 2017, “SGDR: Stochastic Gradient Descent with Warm Restarts”, "
                        "arXiv:1608.03983: (3), without the restarts.",
                        "Goyal et al. 2017, “Accurate, Large Minibatch SGD”, arXiv:1706.02677, section 2.2: gradual "
                        "warmup, (1).",
                        "Liu et al. 2020, “On the Variance of the Adaptive Learning Rate and Beyond”, "
                        "arXiv:1908.03265: why Adam's first steps need it.",
                    )
                )
            ],
        },
        resource(__package__, "schedule.js"),
    )
