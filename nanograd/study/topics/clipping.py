"""Gradient clipping: the global norm, the one factor that scales everything, and what happens without it."""

import math

import numpy as np

import nanograd._tensor as ng
from nanograd.inspect.player.html import resource
from nanograd.optim import SGD, clip_grad_norm
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Prose, Sources, Table, Topic

WEIGHT = np.array([[0.3, -0.4, 1.2], [0.0, 0.5, -0.1]])
BIAS = np.array([[2.0, -1.0]])
LIMIT = 1.0
SCALES = tuple(i / 10 for i in range(21))  # of the curve: multiples of the gradient
DEPTH, START, TARGET, RATE, UPDATES = 30, 1.15, 1.0, 1e-3, 12  # of the measurement


def clip(weight: np.ndarray, bias: np.ndarray, limit: float) -> dict[str, np.ndarray | float]:
    """Return what clipping by the global norm computes for two gradients, and clipping each entry, to compare."""
    gradient = np.concatenate([weight.reshape(-1), bias.reshape(-1)])
    norm = math.sqrt(float(gradient @ gradient))
    factor = limit / (norm + 1e-6) if norm > limit else 1.0
    cut = np.clip(gradient, -limit, limit)
    return {
        "squares": np.array([[(weight**2).sum(), (bias**2).sum(), norm**2]]),
        "norm": norm,
        "factor": factor,
        "weight_clipped": weight * factor,
        "bias_clipped": bias * factor,
        "norm_clipped": norm * factor,
        "cosine": float(gradient @ (gradient * factor)) / (norm * (norm * factor)) if norm else math.nan,
        "weight_cut": np.clip(weight, -limit, limit),
        "bias_cut": np.clip(bias, -limit, limit),
        "cosine_cut": float(gradient @ cut) / (norm * math.sqrt(float(cut @ cut))) if norm else math.nan,
    }


def curve(norm: float, limit: float) -> dict[str, tuple[list[float], list[float]]]:
    """Return the norm after clipping of multiples of a gradient, over the norm before."""
    before = [scale * norm for scale in SCALES]
    return {"with clipping": (before, [min(n, limit) for n in before]), "without": (before, before)}


def train_through_a_cliff(limit: float | None) -> list[list[str]]:
    """Minimise (w^DEPTH - TARGET)² by SGD from START; return w, loss and gradient norm before each update."""
    w = ng.Tensor(np.array([START]), requires_grad=True)
    optimizer = SGD([w], lr=RATE)
    lines = []
    with np.errstate(all="ignore"):
        for _ in range(UPDATES):
            optimizer.zero_grad()
            h = w
            for _ in range(DEPTH - 1):
                h = h * w
            loss = ((h - TARGET) * (h - TARGET)).sum()
            loss.backward()
            norm = clip_grad_norm([w], limit)
            lines.append([f"{float(w.data[0]):.4g}", f"{float(loss.data):.4g}", f"{norm:.4g}"])
            optimizer.step()
    return lines


def topic() -> Topic:
    """Return the page."""
    values = clip(WEIGHT, BIAS, LIMIT)
    norm = float(values["norm"])
    columns, one = ["0", "1", "2"], ["0", "1"]
    free, clipped = train_through_a_cliff(None), train_through_a_cliff(20.0)
    body = [[str(i), *a, *b] for i, (a, b) in enumerate(zip(free, clipped, strict=True))]
    return Topic(
        "clipping",
        "Clipping a gradient",
        "One batch in a thousand gives a gradient a hundred times longer than the others. How can it be kept from "
        "throwing the weights far away, without losing the direction it points in?",
        {
            "Formula": [
                Prose("g_k runs over every entry of every gradient: all parameters together are one long vector."),
                Formulas(
                    (
                        ("N = √(Σ_k g_k²)", "The global norm: the length of that vector."),
                        ("g_k = g_k min(1, c / N)", "If it is longer than c, everything is scaled by one factor."),
                    )
                ),
                Prose(
                    "One factor for all keeps the direction: ratios between entries, and between parameters, stay. "
                    "The code divides by N + 10⁻⁶, so that the new norm lies just below c."
                ),
            ],
            "Numbers": [
                Prose("The gradients of a weight and of a bias. Change any number, or move the limit c."),
                Controls("Limit", (Control("limit", "c, `max_norm`", LIMIT, 0.01, 10, log=True),)),
                Grid("weight", "gradient of the weight", ["0", "1"], columns, WEIGHT, editable=True),
                Grid("bias", "gradient of the bias", ["bias"], one, BIAS, editable=True),
                Grid("squares", "sums of squares", ["Σ g²"], ["weight", "bias", "both"], values["squares"]),
                Prose(
                    "The norm is {norm}, so the factor is {factor} and the norm after it {norm_clipped}. The "
                    "cosine between "
                    "the gradient before and after is {cosine}.",
                    {name: float(values[name]) for name in ("norm", "factor", "norm_clipped", "cosine")},
                ),
                Grid("weight_clipped", "weight, clipped (2)", ["0", "1"], columns, values["weight_clipped"]),
                Grid("bias_clipped", "bias, clipped (2)", ["bias"], one, values["bias_clipped"]),
                Chart("curve", "This gradient, times 0 to 2", "norm before", "norm after clipping", curve(norm, LIMIT)),
            ],
            "Each entry by itself": [
                Prose(
                    "Cutting every entry to [-c, c] also bounds a step, but turns it: large entries shrink, "
                    "small ones stay. "
                    "The cosine with the gradient is now {cosine_cut}.",
                    {"cosine_cut": float(values["cosine_cut"])},
                ),
                Grid("weight_cut", "weight, each entry cut", ["0", "1"], columns, values["weight_cut"]),
                Grid("bias_cut", "bias, each entry cut", ["bias"], one, values["bias_cut"]),
            ],
            "Without it": [
                Prose(
                    f"Measured here: h = w^{DEPTH}, as a signal that passes {DEPTH} times through one weight, with the "
                    f"loss (h - {TARGET:g})². Its gradient 2 (h - 1) {DEPTH} w^{DEPTH - 1} is a cliff above w = 1. SGD "
                    f"starts at w = {START} with learning rate {RATE:g}. The first step without clipping leaves the "
                    "useful region for good; with the limit 20 the same steps descend to w = 1."
                ),
                Table(
                    "Before each update, without and with clipping",
                    ["update", "w", "loss", "norm", "clipped: w", "loss", "norm before"],
                    body,
                ),
            ],
            "Code": [
                Prose("The product's function; it also measures the norm for the log when nothing is clipped."),
                Code((clip_grad_norm,)),
            ],
            "Sources": [
                Sources(
                    (
                        "Pascanu, Mikolov and Bengio 2013, “On the difficulty of training recurrent neural networks”, "
                        "arXiv:1211.5063: algorithm 1, and the picture of the cliff.",
                        "Zhang, He, Sra and Jadbabaie 2020, “Why gradient clipping accelerates training”, "
                        "arXiv:1905.11881.",
                    )
                )
            ],
        },
        resource(__package__, "clipping.js"),
    )
