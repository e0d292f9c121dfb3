"""Muon: what five repetitions of a polynomial do to the singular values of a gradient, and why the step is the steepest."""

import inspect
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from nanograd import ops
from nanograd._tensor import Tensor
from nanograd.inspect.player.html import resource
from nanograd.optim import AdamW, newton_schulz
from nanograd.optim.muon import COEFFICIENTS, REPETITIONS
from nanograd.runtime.blas import one_thread
from nanograd.study.derivation import SEPARATOR, Line, read_lines
from nanograd.study.drills.train_gpt import SmallGPT, T
from nanograd.study.topics.chart import Chart
from nanograd.study.topics.lines import CheckedLine, Values, check_lines
from nanograd.study.topics.parts import Code, Control, Controls, Formulas, Grid, Prose, Sources, Table, Topic

CLASSICAL = (15 / 8, -10 / 8, 3 / 8)
POINTS = 18  # of a curve, times the repetitions
S = np.array([[0.9, 0.1, 0.01, 0.003]])  # singular values to follow
STEPS, BATCH = 20, 8  # of the small GPT whose gradients are shown
MATRICES = {"blocks.0.up.weight": "MLP, 128 × 32", "blocks.0.out_proj.weight": "output of attention, 32 × 32"}
NUMBERS = {"a", "b", "c", "t", "w", "f", "h"}  # the symbols of the derivation that are single numbers
LOW, HIGH = 0.65, 1.25  # of the singular values that the tables count


def repeated(s: Any, coefficients: Sequence[float], repetitions: int = REPETITIONS) -> list[Any]:
    """Return s after 1, 2, … repetitions of p(s) = a s + b s³ + c s⁵."""
    a, b, c = coefficients
    values = []
    with np.errstate(all="ignore"):
        for _ in range(repetitions):
            square = s * s
            s = s * (a + square * (b + c * square))
            values.append(s)
    return values


def curves(coefficients: Sequence[float]) -> dict[str, tuple[list[float], list[float]]]:
    """Return the value after every repetition over the value before the first, which lie closer together near 0."""
    lines = {}
    for n in range(1, REPETITIONS + 1):
        s = np.array([i / (n * POINTS) for i in range(n * POINTS + 1)]) ** 2
        lines["p(s)" if n == 1 else f"{n} repetitions"] = s.tolist(), repeated(s, coefficients, n)[-1].tolist()
    return lines


def marks(a: float, b: float, c: float) -> dict[str, float]:
    """Return where p stands still, its slope there, and its maximum and minimum; NaN where there is none."""

    def root(square: float) -> float:
        return math.sqrt(square) if square >= 0 else math.nan

    def value(s: float) -> float:
        return s * (a + s * s * (b + c * s * s))

    fixed = root((-b - root(b * b - 4 * c * (a - 1))) / (2 * c))
    swing = root(9 * b * b - 20 * a * c)
    return {
        "fixed": fixed,
        "slope": a + fixed * fixed * (3 * b + 5 * c * fixed * fixed),
        "top": value(root((-3 * b - swing) / (10 * c))),
        "bottom": value(root((-3 * b + swing) / (10 * c))),
    }


class Small:
    """A small GPT that reads the derivation of this page, after some steps of AdamW: its loss, weights and gradients."""

    def __init__(self) -> None:
        characters, ids = np.unique(list(inspect.getdoc(newton_schulz) or ""), return_inverse=True)
        rng = np.random.default_rng(0)
        self.model = SmallGPT(ops.packed_attention, len(characters), rng).astype(np.float64)
        optimizer = AdamW(self.model.named_parameters(), lr=3e-3)
        with one_thread():
            for _ in range(STEPS + 1):
                self.window = ids[rng.integers(0, len(ids) - T, (BATCH, 1)) + np.arange(T + 1)]
                optimizer.zero_grad()
                loss = self.loss()
                loss.backward()
                if optimizer.t < STEPS:
                    optimizer.step()
        self.weights = dict(self.model.named_parameters())

    def loss(self) -> Tensor:
        return self.model(self.window[:, :-1], self.window[:, 1:])

    def gradient(self, name: str) -> np.ndarray:
        gradient = self.weights[name].grad
        assert gradient is not None
        return gradient

    def fall(self, name: str, direction: np.ndarray, size: float = 1e-4) -> float:
        """Return how much the loss falls along -direction, per unit of it."""
        weight = self.weights[name]
        start, loss = weight.data.copy(), float(self.loss().data)
        weight.copy_(start - size * direction)
        fallen = loss - float(self.loss().data)
        weight.copy_(start)
        return fallen / size


@cache
def small() -> Small:
    return Small()


def polar_factor(g: np.ndarray) -> np.ndarray:
    """Return the polar factor by a singular value decomposition."""
    u, _, vh = np.linalg.svd(g, full_matrices=False)
    return np.asarray(u @ vh)


def derivation() -> tuple[list[Line], str]:
    """Return the numbered lines of `newton_schulz`, and the paragraph after them."""
    lines, prose = read_lines(inspect.getdoc(newton_schulz) or "", backward=False)
    return lines, prose.split(SEPARATOR)[0]


def check_derivation(lines: Sequence[Line], g: np.ndarray, coefficients: Sequence[float]) -> list[CheckedLine]:
    """Evaluate the lines on a matrix g whose singular values are above 0, and compare each with another computation."""
    u, s, vh = np.linalg.svd(g, full_matrices=False)
    a, b, c = coefficients
    r = s / np.linalg.norm(s)
    values = {"G": g, "U": u, "S": np.diag(s), "V": vh.T, "R": np.diag(r), "s": r, "a": a, "b": b, "c": c}

    def slope(x: Any) -> Any:
        return repeated(x + 1e-30j, coefficients, 1)[0].imag / 1e-30

    def iterated(known: Values) -> np.ndarray:
        """Return the limit of the classical polynomial."""
        x, (a, b, c) = g / np.linalg.norm(g), CLASSICAL
        for _ in range(50):
            xx = x.T @ x
            x = x @ (a * np.eye(len(xx)) + b * xx + c * xx @ xx)
        return x

    references = {
        2: iterated,
        5: lambda known: g / np.linalg.norm(g),
        8: lambda known: repeated(r, coefficients, 1)[0],
        10: lambda known: slope(r),
        11: lambda known: np.sort(np.roots([5 * c, 3 * b, a]))[0],
        12: lambda known: np.sort(np.roots([5 * c, 3 * b, a]))[1],
        13: lambda known: np.sort(np.roots([c, b, a - 1]))[0],
        14: lambda known: slope(math.sqrt(known["f"])),
    }
    return check_lines(lines, values, references, NUMBERS)


def spectra(name: str) -> list[np.ndarray]:
    """Return the singular values of a gradient, divided by its Frobenius norm, and after each repetition."""
    g = small().gradient(name)
    x = [g / np.linalg.norm(g), *(newton_schulz(g[None], n)[0] for n in range(1, REPETITIONS + 1))]
    return [np.linalg.svd(matrix, compute_uv=False) for matrix in x]


def spectrum_chart(name: str) -> dict[str, tuple[list[float], list[float]]]:
    """Return the singular values as dots, from the largest before the first repetition to the smallest."""
    before = spectra(name)[0]
    count = [float(i) for i in range(1, len(before) + 1)]
    after = repeated(before, COEFFICIENTS)[-1]
    return {"before": (count, before.tolist()), f"{REPETITIONS} repetitions": (count, after.tolist())}


def ranges() -> list[list[str]]:
    """Return a line for each matrix and repetition: least and largest singular value, and how many are near 1."""
    return [
        [matrix, str(n), f"{s.min():.2g}", f"{s.max():.3f}", f"{np.mean((s >= LOW) & (s <= HIGH)):.0%}"]
        for name, matrix in MATRICES.items()
        for n, s in enumerate(spectra(name))
        if n in (0, 3, REPETITIONS)
    ]


def directions(name: str) -> dict[str, np.ndarray]:
    """Return steps that lengthen no vector more than the polar factor does: their largest singular value is 1."""
    g = small().gradient(name)
    chosen = {
        "polar factor": polar_factor(g),
        "Muon's, 5 repetitions": newton_schulz(g[None])[0],
        "sign of every entry": np.sign(g),
        "gradient": g,
        "random": np.random.default_rng(0).standard_normal(g.shape),
    }
    return {label: x / np.linalg.norm(x, 2) for label, x in chosen.items()}


def falls() -> list[list[str]]:
    """Return how much the loss falls along each direction: by Σ_ij G_ij X_ij, and measured."""
    name = next(iter(MATRICES))
    return [
        [label, f"{np.vdot(small().gradient(name), x):.4f}", f"{small().fall(name, x):.4f}"]
        for label, x in directions(name).items()
    ]


def lifts(limit: float = LOW) -> list[list[str]]:
    """Return the repetitions after which a singular value and all larger ones stay above a limit, by both polynomials."""
    lines = []
    for start in (0.1, 0.03, 0.01, 0.003, 0.001):
        s = np.geomspace(start, 1, 2000)
        counts = []
        for coefficients in (CLASSICAL, COEFFICIENTS):
            values = repeated(s, coefficients, 30)
            counts.append(next(n for n, after in enumerate(values, start=1) if after.min() >= limit))
        lines.append([f"{start:g}", *map(str, counts)])
    return lines


def topic() -> Topic:
    """Return the page."""
    a, b, c = COEFFICIENTS
    (lines, conclusion), name = derivation(), next(iter(MATRICES))
    checks = check_derivation(lines, small().gradient(name), COEFFICIENTS)
    after = np.concatenate(repeated(S, COEFFICIENTS))
    return Topic(
        "muon",
        "Muon: an update in which all directions count the same",
        "AdamW treats a matrix as a list of numbers. But a layer multiplies by the matrix: what is the best step for the "
        "matrix as a whole, and how is it computed without a singular value decomposition?",
        {
            "Formula": [
                Formulas([(line.text + line.tail, line.lead) for line in lines]),
                Prose(conclusion),
                Prose(
                    "Muon makes the update of each hidden matrix so: from the gradient it keeps a momentum, looks one step "
                    "ahead (Nesterov), takes nearly the polar factor, and multiplies by the learning rate and by 0.2 "
                    "√max(rows, columns): the entries of an update then have the root mean square that AdamW's have."
                ),
            ],
            "Every line, evaluated": [
                Prose(
                    "The right-hand sides as code, made from the printed lines, on the gradient of an MLP's matrix in "
                    f"a GPT of two blocks, after {STEPS} steps on the text above. Each is compared with the left-hand "
                    "side, or with another computation: (2) with the limit of the classical polynomial, (8) with the code "
                    "of this page, "
                    "the slopes (10) and (14) with a complex step, (11) to (13) with the roots of the polynomials."
                ),
                Table(
                    "Largest difference, relative to the largest entry",
                    ["line", "code", "difference"],
                    [[f"({line.number})", f"`{line.code}`", f"{line.error:.0e}"] for line in checks],
                ),
            ],
            "Numbers": [
                Prose("Change any number: curves and tables follow."),
                Controls(
                    "Polynomial",
                    (
                        Control("a", "a, the slope at 0", a, 1, 5),
                        Control("b", "b", b, -8, 0),
                        Control("c", "c", c, 0.01, 5),
                    ),
                ),
                Chart("repeated", "A singular value after each repetition", "s", "value", curves(COEFFICIENTS)),
                Prose(
                    "p stands still at {fixed}, where its slope is {slope}. Its maximum is {top}, its minimum after it "
                    "{bottom}. With the classical coefficients, 1.875, -1.25 and 0.375, the slope at the fixed point is 0.",
                    marks(a, b, c),
                ),
                Grid("s", "singular values", ["before"], [f"`s[{i}]`" for i in range(S.size)], S, editable=True),
                Grid(
                    "after",
                    "after each repetition",
                    [str(n) for n in range(1, REPETITIONS + 1)],
                    [f"`s[{i}]`" for i in range(S.size)],
                    after,
                ),
            ],
            "A real gradient": [
                Prose(
                    "The singular values of the gradient of the MLP's matrix. Before, the largest is "
                    f"{spectra(name)[0].max() / spectra(name)[0].min():,.0f} times the smallest."
                ),
                Chart(
                    "spectrum",
                    "Singular values before and after",
                    "number of the singular value",
                    "logarithmic",
                    spectrum_chart(name),
                    low=-3,
                    high=1,
                    dots=["before", f"{REPETITIONS} repetitions"],
                ),
                Table(
                    "Of two matrices, by repetition",
                    ["matrix", "repetitions", "least", "largest", f"from {LOW} to {HIGH}"],
                    ranges(),
                ),
                Prose(
                    "Some singular values, most often of square matrices, are too small for five repetitions. Their "
                    "directions hardly have a gradient, and hardly get an update."
                ),
            ],
            "The steepest step": [
                Prose(
                    "Five directions X, scaled so that their largest singular value is 1. By (3) none lowers the loss "
                    "faster than the polar factor. Measured: the fall of the small GPT's loss for a step of 0.0001 X, "
                    "divided by 0.0001."
                ),
                Table("Fall of the loss along -X", ["X", "Σ G_ij X_ij", "measured"], falls()),
                Prose(
                    "The gradient itself spends its length on one direction: it is the steepest step only if the length of "
                    "the step is measured as that of a list of numbers."
                ),
            ],
            "Why not the classical coefficients": [
                Prose(
                    f"Repetitions after which all singular values from s to 1 are above {LOW}. Each costs three matrix "
                    "products."
                ),
                Table("Repetitions", ["s", "15/8, -10/8, 3/8", f"{a}, {b}, {c}"], lifts()),
            ],
            "Code": [
                Prose("To write it: `python -m nanograd drill start newton_schulz`, `drill start muon_step`."),
                Code((newton_schulz,), bare=True),
            ],
            "Sources": [
                Sources(
                    (
                        "Jordan et al. 2024, “Muon: an optimizer for hidden layers in neural networks”, "
                        "https://kellerjordan.github.io/posts/muon: the optimizer and its coefficients.",
                        "Bernstein and Newhouse 2024, “Old Optimizer, New Norm: An Anthology”, arXiv:2409.20325: (3), "
                        "steepest descent under the spectral norm.",
                        "Liu et al. 2025, “Muon is Scalable for LLM Training”, arXiv:2502.16982: weight decay, and the "
                        "factor 0.2 √max(rows, columns).",
                        "Björck and Bowie 1971, “An iterative algorithm for computing the best estimate of an orthogonal "
                        "matrix”; Higham 2008, “Functions of Matrices”, chapter 8: (9), and the iterations before Muon.",
                    )
                )
            ],
        },
        resource(__package__, "muon.js"),
    )
