"""Initialisation: the size of activations through many layers, and along a residual stream, computed and simulated."""

import math
from functools import cache

import numpy as np

import nanograd._tensor as ng
from nanograd import ops
from nanograd.inspect.player.html import resource
from nanograd.nn import Linear, _normal
from nanograd.optim import SGD
from nanograd.runtime.blas import one_thread
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Prose, Sources, Table, Topic

WIDTH, ROWS = 64, 8  # of the simulation
STD, DEPTH, BRANCH = 0.15, 30, 0.125
DEEPEST = 60


def uniforms(seed: int, count: int) -> np.ndarray:
    """Return numbers in [0, 1) of the generator mulberry32, which initialisation.js has too."""
    with np.errstate(over="ignore"):
        state = np.uint32(seed) + np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
        z = (state ^ (state >> np.uint32(15))) * (state | np.uint32(1))
        z ^= z + (z ^ (z >> np.uint32(7))) * (z | np.uint32(61))
        z ^= z >> np.uint32(14)
    return z / 2.0**32


def normals(seed: int, count: int) -> np.ndarray:
    """Return `count` numbers from N(0, 1), by the method of Box and Muller; count is even."""
    u = uniforms(seed, count).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(1 - u[:, :1])), 2 * np.pi * u[:, 1:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


@cache
def weights() -> tuple[np.ndarray, np.ndarray]:
    """Return an input (ROWS, WIDTH) and a matrix (WIDTH, WIDTH) for each layer, all from N(0, 1)."""
    return normals(1, ROWS * WIDTH).reshape(ROWS, WIDTH), normals(2, DEEPEST * WIDTH**2).reshape(-1, WIDTH, WIDTH)


def rms(x: np.ndarray) -> float:
    """Return the root of the mean square."""
    return math.sqrt(float((x * x).mean()))


def stack(std: float, depth: int) -> dict[str, list[float]]:
    """Return the rms of the activations after 0 to depth layers, by the formulas and in the simulation."""
    x, w = weights()
    linear, relu, start = x, x, rms(x)
    sizes = {"linear": [start], "ReLU": [start]}
    for layer in range(depth):
        linear, relu = linear @ (std * w[layer]).T, np.maximum(relu @ (std * w[layer]).T, 0)
        sizes["linear"].append(rms(linear))
        sizes["ReLU"].append(rms(relu))
    gains = {"linear": std * math.sqrt(WIDTH), "ReLU": std * math.sqrt(WIDTH / 2)}
    return {
        "linear (1)": [start * gains["linear"] ** layer for layer in range(depth + 1)],
        "linear, simulated": sizes["linear"],
        "ReLU (2)": [start * gains["ReLU"] ** layer for layer in range(depth + 1)],
        "ReLU, simulated": sizes["ReLU"],
    }


def stream(branch: float, n_layers: int) -> dict[str, list[float]]:
    """Return the rms of a residual stream after 0 to 2 n_layers branches, with and without the factor 1/√(2 n_layers)."""
    x, w = weights()
    count, start = 2 * n_layers, rms(x)
    scaled = branch / math.sqrt(count)
    sizes = []
    for std in (branch, scaled):
        h, line = x, [start]
        for layer in range(count):
            normalised = (h - h.mean(axis=1, keepdims=True)) / h.std(axis=1, keepdims=True)
            h = h + normalised @ (std * w[layer]).T
            line.append(rms(h))
        sizes.append(line)
    formula = [[math.sqrt(start**2 + i * WIDTH * std**2) for i in range(count + 1)] for std in (branch, scaled)]
    return {
        "unscaled (3)": formula[0],
        "unscaled, simulated": sizes[0],
        "scaled (4)": formula[1],
        "scaled, simulated": sizes[1],
    }


def over_layers(lines: dict[str, list[float]]) -> dict[str, tuple[list[float], list[float]]]:
    """Return lines as curves over the number of the layer."""
    return {name: ([float(i) for i in range(len(line))], line) for name, line in lines.items()}


def three(lines: dict[str, list[float]]) -> np.ndarray:
    """Return the first, the middle and the last entry of every line."""
    return np.array([[line[0], line[(len(line) - 1) // 2], line[-1]] for line in lines.values()])


def train_deep(factor: float, depth: int = 10, width: int = 32, updates: int = 60) -> list[str]:
    """Train a deep ReLU network whose matrices start with std factor √(2/width); return losses and the first gradient."""
    rng = np.random.default_rng(0)
    matrices = [
        ng.Tensor(rng.standard_normal((width, width)) * factor * math.sqrt(2 / width), requires_grad=True)
        for _ in range(depth)
    ]
    last = ng.Tensor(rng.standard_normal((1, width)) / math.sqrt(width), requires_grad=True)
    x = rng.standard_normal((128, width))
    target = np.sin(x[:, :1])
    optimizer = SGD([*matrices, last], lr=0.01)
    losses, norm = [], 0.0
    with np.errstate(all="ignore"), one_thread():
        for update in range(updates):
            optimizer.zero_grad()
            h = ng.Tensor(x)
            for w in matrices:
                h = ops.relu(ops.linear(h, w))
            error = ops.linear(h, last) - target
            loss = (error * error).mean()
            loss.backward()
            if update == 0:
                assert matrices[0].grad is not None
                norm = float(np.linalg.norm(matrices[0].grad))
            losses.append(float(loss.data))
            optimizer.step()
    return [f"{factor:g}", f"{losses[0]:.4g}", f"{norm:.2g}", f"{losses[-1]:.4g}"]


def topic() -> Topic:
    """Return the page."""
    layers, branches = stack(STD, DEPTH), stream(BRANCH, 6)
    columns = ["at first", "half-way", "at the end"]
    simulated = ("linear, simulated", "ReLU, simulated", "unscaled, simulated", "scaled, simulated")
    return Topic(
        "initialisation",
        "Initialisation: the size of what flows through",
        "Weights start as random numbers. How large should they be, so that neither the activations nor the gradients "
        "vanish or explode on their way through many layers?",
        {
            "Formula": [
                Prose(
                    "A layer y = x Wᵀ has n inputs; the entries of W are drawn from N(0, σ²), the normal distribution "
                    "with mean 0 and variance σ², independently of each other and of x. s_l is the root mean square of "
                    "the activations after l layers, s_0 that of the input."
                ),
                Formulas(
                    (
                        (
                            "s_l = s_0 (σ √n)^l",
                            "Each y_j adds n products of variance σ² s²; independent variances add up. So every layer "
                            "multiplies the size by σ √n.",
                        ),
                        ("s_l = s_0 (σ √(n/2))^l", "ReLU sets the negative half to 0, which halves the mean square."),
                        (
                            "s_l = √(s_0² + l n σ²)",
                            "In a residual stream x + f(norm(x)) the branch sees rms 1 and its variance n σ² is "
                            "added, not multiplied: growth is slow.",
                        ),
                        (
                            "s_l = √(s_0² + l n σ² / (2 L))",
                            "A GPT of L blocks adds 2 L branches. With std σ/√(2 L) all of them together add as much "
                            "as one.",
                        ),
                    )
                ),
                Prose(
                    "Backward multiplies by W where forward multiplies by Wᵀ, so gradients grow or shrink by the same "
                    "factors: a σ that keeps the one keeps the other, where layers are square."
                ),
            ],
            "Through a stack": [
                Prose(
                    f"Layers of width n = {WIDTH}, so 1/√n = {WIDTH**-0.5:g} keeps a linear stack, and √(2/n) = "
                    f"{math.sqrt(2 / WIDTH):.4g} a stack with ReLU. Lines are the formulas; dots are a simulation with "
                    f"random matrices and {ROWS} rows, which your browser runs again when you move a slider."
                ),
                Controls(
                    "Stack",
                    (
                        Control("std", "σ of W", STD, 0.01, 1, log=True),
                        Control("depth", "layers", DEPTH, 2, DEEPEST, whole=True),
                    ),
                ),
                Chart(
                    "layers",
                    "Size of the activations, by layer",
                    "layer",
                    "rms, logarithmic",
                    over_layers(layers),
                    low=-6,
                    high=6,
                    dots=simulated,
                ),
                Grid("stack", "rms of the activations", list(layers), columns, three(layers)),
                Prose(
                    "A single matrix is not its average: with ReLU the simulation drifts from (2) as the layers "
                    "multiply, since their random errors multiply too."
                ),
            ],
            "Along a residual stream": [
                Prose("The stream of a GPT of L blocks: each adds two branches, here W norm(x)."),
                Controls(
                    "Stream",
                    (
                        Control("branch", "σ of a branch", BRANCH, 0.01, 1, log=True),
                        Control("n_layers", "blocks L", 6, 1, DEEPEST // 2, whole=True),
                    ),
                ),
                Chart(
                    "branches",
                    "Size of the residual stream, by branch",
                    "branch",
                    "rms",
                    over_layers(branches),
                    dots=simulated,
                ),
                Grid("stream", "rms of the stream", list(branches), columns, three(branches)),
            ],
            "With the wrong size": [
                Prose(
                    "Measured here: ten layers of width 32 with ReLU learn sin(x_0) from 128 rows, 60 steps of SGD "
                    "with rate 0.01. A constant has the loss 0.41. Too small, and the first layer receives no "
                    "gradient. Too large, and the first steps are so long that every ReLU is off from then on: the "
                    "network is a constant."
                ),
                Table(
                    "Three initialisations of the same network",
                    ["σ / √(2/n)", "first loss", "first layer's gradient norm", "loss after 60 steps"],
                    [train_deep(factor) for factor in (0.5, 1.0, 2.0)],
                ),
            ],
            "Code": [
                Prose(
                    "`Linear` draws with variance 1/n. GPT draws every matrix with 0.02, as GPT-2 did, and scales the "
                    "two of a block that write to the residual stream by 1/√(2 L): `GPT.init_weights` in gpt/model.py."
                ),
                Code((Linear.__init__, _normal)),
            ],
            "Sources": [
                Sources(
                    (
                        "Glorot and Bengio 2010, “Understanding the difficulty of training deep feedforward neural "
                        "networks”: (1), forward and backward.",
                        "He, Zhang, Ren and Sun 2015, “Delving Deep into Rectifiers”, arXiv:1502.01852: (2).",
                        "Radford et al. 2019, “Language Models are Unsupervised Multitask Learners”, section 2.3: "
                        "1/√N of the residual layers, (4).",
                    )
                )
            ],
        },
        resource(__package__, "initialisation.js"),
    )
