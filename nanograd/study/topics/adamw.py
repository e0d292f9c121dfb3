"""AdamW: the averages, their correction, the step and the weight decay of a few numbers over a few steps."""

import math

import numpy as np

from nanograd.inspect.player.html import resource
from nanograd.optim import AdamW
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Prose, Sources, Table, Topic

P = np.array([0.5, -1.0, 2.0])
G = np.array([[0.1, -2.0, 0.0], [0.3, -1.0, 0.02], [-0.2, -1.5, -0.01], [0.1, 0.5, 0.03]])  # a row for each step
OPTIONS = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1}
TIMES = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)


def steps(
    p: np.ndarray, g: np.ndarray, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> dict[str, np.ndarray]:
    """Return every quantity of AdamW after each step (steps, parameters), for gradients g of the same shape."""
    m, v = np.zeros(len(p)), np.zeros(len(p))
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("m", "v", "m_hat", "v_hat", "update", "decay", "after")}
    for t, gradient in enumerate(g, start=1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        update, decay = lr * m_hat / (np.sqrt(v_hat) + eps), lr * weight_decay * p
        p = p - decay - update
        for name, value in zip(rows, (m, v, m_hat, v_hat, update, decay, p), strict=True):
            rows[name].append(value)
    return {name: np.array(values) for name, values in rows.items()}


def correction(beta1: float, beta2: float) -> tuple[list[float], list[float]]:
    """Return, at each of TIMES, how many times lr long a step is without correction where every gradient is the same."""
    return list(map(float, TIMES)), [(1 - beta1**t) / math.sqrt(1 - beta2**t) for t in TIMES]


def decay_by_gradient(scales: tuple[float, ...] = (0.01, 1.0, 100.0), n: int = 500, count: int = 1000) -> np.ndarray:
    """Return what is left of parameters 1.0 after `count` steps of random gradients: (L2, decoupled) by scale.

    L2 adds weight_decay p to the gradient; decoupled decay subtracts lr weight_decay p from p. lr 1e-3, weight_decay 0.1.
    """
    rng = np.random.default_rng(0)
    lr, decay, beta1, beta2 = 1e-3, 0.1, 0.9, 0.999
    scale = np.array(scales)[:, None]
    p, m, v = np.ones((2, len(scales), n)), np.zeros((2, len(scales), n)), np.zeros((2, len(scales), n))
    is_l2 = np.array([1.0, 0.0])[:, None, None]
    for t in range(1, count + 1):
        g = rng.standard_normal((len(scales), n)) * scale + is_l2 * decay * p
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p * (1 - (1 - is_l2) * lr * decay) - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
    return p.mean(axis=-1)


def topic() -> Topic:
    """Return the page."""
    values = steps(P, G, **OPTIONS)
    times, columns = [f"step {t}" for t in range(1, len(G) + 1)], ["`p[0]`", "`p[1]`", "`p[2]`"]
    captions = {
        "m": "m (1)",
        "v": "v (2)",
        "m_hat": "m̂ (3)",
        "v_hat": "v̂ (4)",
        "decay": "decay η λ p (5)",
        "update": "step η m̂ / (√v̂ + ε) (6)",
        "after": "p after the step",
    }
    first = steps(np.zeros(1), np.ones((1, 1)), **OPTIONS | {"weight_decay": 0.0})["m"][0, 0]
    uncorrected = correction(0.9, 0.999)
    kept = decay_by_gradient()
    return Topic(
        "adamw",
        "AdamW, step by step",
        "One parameter has gradients near 100, another near 0.01. With the same learning rate, how can both move at a "
        "useful speed? AdamW divides each gradient by its own usual size.",
        {
            "Formula": [
                Prose(
                    "g is the gradient of one parameter p at step t = 1, 2, …; m and v start at 0. η is the learning "
                    "rate, λ the weight decay. Everything is elementwise: no parameter sees another."
                ),
                Formulas(
                    (
                        (
                            "m = β_1 m + (1 - β_1) g",
                            "A moving average of the gradient: noise cancels, a direction stays.",
                        ),
                        (
                            "v = β_2 v + (1 - β_2) g²",
                            "A moving average of its square: the gradient's usual size, squared.",
                        ),
                        (
                            "m̂ = m / (1 - β_1^t)",
                            "m started at 0, so it is too small: its weights add up to the divisor here, not to 1.",
                        ),
                        ("v̂ = v / (1 - β_2^t)", "The same for v."),
                        ("p = p - η λ p", "Weight decay shrinks matrices by one factor, whatever their gradient is."),
                        (
                            "p = p - η m̂ / (√v̂ + ε)",
                            "The step: about η long, in the direction of the averaged gradient.",
                        ),
                    )
                ),
            ],
            "Numbers": [
                Prose(
                    "Three parameters, four steps. Change any number, or move a slider: every table follows. The "
                    "third parameter's gradients are 100 times smaller than the second's, but its steps are as long. "
                    "At step 1, where its gradient is 0, it only decays."
                ),
                Controls(
                    "Options",
                    (
                        Control("lr", "η, `lr`", OPTIONS["lr"], 1e-5, 1, log=True),
                        Control("beta1", "β1", OPTIONS["beta1"], 0, 0.9999),
                        Control("beta2", "β2", OPTIONS["beta2"], 0, 0.99999),
                        Control("eps", "ε, `eps`", OPTIONS["eps"], 1e-12, 1, log=True),
                        Control("weight_decay", "λ, `weight_decay`", OPTIONS["weight_decay"], 0, 2),
                    ),
                ),
                Grid("p", "p before the first step", ["p"], columns, P[None], editable=True),
                Grid("g", "g, the gradient of each step", times, columns, G, editable=True),
                *(Grid(name, caption, times, columns, values[name]) for name, caption in captions.items()),
                Prose(
                    "At step 1, m̂ = g and v̂ = g², so the step is η g / (|g| + ε): exactly η, up or down, unless g "
                    "is as small as ε."
                ),
            ],
            "Without the correction": [
                Prose(
                    f"After one gradient of 1, m is {first:.4g}, not 1: nine tenths of it are its start at 0. v is off "
                    "by more, as β2 is closer to 1. A step is m / √v, so without (3) and (4) the first steps are too "
                    f"long: {uncorrected[1][0]:.3g} η at step 1 and {max(uncorrected[1]):.3g} η at step "
                    f"{TIMES[int(np.argmax(uncorrected[1]))]}, with β1 = 0.9, β2 = 0.999 and equal gradients. The "
                    "curve follows the sliders."
                ),
                Chart(
                    "correction",
                    "Length of a step where every gradient is the same",
                    "step",
                    "η",
                    {"without correction": uncorrected, "corrected": (uncorrected[0], [1.0] * len(TIMES))},
                ),
                Prose("With β1 = 0 and β2 = 0.999 the first step would be 32 η long."),
            ],
            "L2 in place of decay": [
                Prose(
                    "L2 regularisation adds λ p to g before (1). Then (6) divides it too, by the usual size of the "
                    "gradient: parameters with large gradients hardly decay. Measured here: 500 parameters of each "
                    "kind start at 1 and take 1,000 steps of random gradients without a direction, η = 0.001, λ = "
                    f"0.1. Decay alone leaves (1 - η λ)^1000 = {0.9999**1000:.4f}."
                ),
                Table(
                    "Mean of the parameters after 1,000 steps",
                    ["size of the gradients", "L2: g + λ p in (1)", "decoupled: (5)"],
                    [[f"{s:g}", f"{a:.4f}", f"{b:.4f}"] for s, a, b in zip((0.01, 1.0, 100.0), *kept, strict=True)],
                ),
                Prose(
                    "Decoupled decay shrinks all three alike. With L2, λ p is most of what (1) sees where gradients "
                    "are small, and each step is nearly η long towards 0; where they are large, λ p is lost beside "
                    "them."
                ),
            ],
            "Code": [
                Prose(
                    "The product's step. It works in place on chunks of one flat array that holds all parameters; (3) "
                    "and (4) are its two scalars, and matrices alone decay."
                ),
                Code((AdamW.step,)),
            ],
            "Sources": [
                Sources(
                    (
                        "Kingma and Ba 2015, “Adam: A Method for Stochastic Optimization”, arXiv:1412.6980: (1) to "
                        "(4), (6); section 3 derives the correction.",
                        "Loshchilov and Hutter 2019, “Decoupled Weight Decay Regularization”, arXiv:1711.05101: (5), "
                        "and why not L2.",
                    )
                )
            ],
        },
        resource(__package__, "adamw.js"),
    )
