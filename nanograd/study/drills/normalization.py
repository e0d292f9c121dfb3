"""Drills: layernorm, rmsnorm."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant


def layernorm_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
    """Normalise each token's C features: n = (x - ⟨x⟩) r, r = 1/√(⟨(x - ⟨x⟩)²⟩ + 1e-5), y = n weight + bias.

    x (…, C), weight (C,), bias (C,) → y (…, C). ⟨·⟩ is the mean over C. Saved are n (…, C), r (…, 1) and weight.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    n = centred * r
    return n * weight + bias, (n, r, weight)


def layernorm_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dx = r (dn - ⟨dn⟩ - n ⟨dn n⟩), with dn = dy weight."""
    n, r, weight = saved
    tokens = tuple(range(dy.ndim - 1))
    dn = dy * weight
    dx = r * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
    return dx, (dy * n).sum(axis=tokens), dy.sum(axis=tokens)


LAYERNORM = Drill(
    "layernorm",
    layernorm_forward,
    layernorm_backward,
    question="Start at the end: y = n weight + bias gives dweight, dbias and dn. Then one x_i moves n three ways: "
    "itself, through the mean, and through r. Write dn_j/dx_i with n and r alone, weigh by dn_j, add over j.",
    hints=(
        "All tokens share weight and bias: dweight = Σ dy n, dbias = Σ dy, over all axes but the last. dn = dy weight.",
        "d⟨x⟩/dx_i = 1/C, and dr/dx_i = -r² n_i / C. So dn_j/dx_i = r (1[i = j] - 1/C - n_j n_i / C).",
        "dx = r (dn - ⟨dn⟩ - n ⟨dn n⟩): the second term for the mean, the third for the scale.",
    ),
    cases=[case("three tokens", normal(3, 4), normal(4), normal(4))],
    odd=[
        case("two leading axes", normal(2, 2, 3), normal(3), normal(3)),
        case("square", normal(3, 3), normal(3), normal(3)),
        case("one token", normal(5), normal(5), normal(5)),
        case("no tokens", normal(0, 4), normal(4), normal(4)),
    ],
    extremes=[case("nearly equal features", exactly([[1.0, 1.0, 1.001], [1e4, -1e4, 0.0]]), normal(3), normal(3))],
    mutants=[
        Mutant("mean's term missing", "x also moves the mean that is taken away: - ⟨dn⟩",
               " - dn.mean(axis=-1, keepdims=True)", ""),
        Mutant("scale's term missing", "x also moves r: - n ⟨dn n⟩",
               " - n * (dn * n).mean(axis=-1, keepdims=True)", ""),
        Mutant("both terms missing", "mean and r were taken for constants",
               "(dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))", "dn"),
        Mutant("weight forgotten", "dn = dy weight", "dn = dy * weight", "dn = dy"),
        Mutant("r forgotten", "all of dx is scaled by r", "dx = r * ", "dx = "),
        Mutant("n not in dweight", "weight multiplies n: its slope is n",
               "(dy * n).sum(axis=tokens), dy", "dy.sum(axis=tokens), dy"),
        Mutant("n of the third term", "⟨dn n⟩ is multiplied by n again", "- n * (dn * n)", "- (dn * n)"),
        Mutant("dweight not summed", "all tokens share one weight: they add", "(dy * n).sum(axis=tokens)", "dy * n"),
        Mutant("a mean of dbias", "contributions of tokens add", "dy.sum(axis=tokens)", "dy.mean(axis=tokens)"),
    ],
)  # fmt: skip


def rmsnorm_forward(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Any]:
    """Scale each token's C features to length √C: r = 1/√(⟨x²⟩ + 1e-5), n = x r, y = n weight.

    x (…, C), weight (C,) → y (…, C). ⟨·⟩ is the mean over C. Saved are n (…, C), r (…, 1) and weight.
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
    n = x * r
    return n * weight, (n, r, weight)


def rmsnorm_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """dx = r (dn - n ⟨dn n⟩), with dn = dy weight."""
    n, r, weight = saved
    dn = dy * weight
    dx = r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))
    return dx, (dy * n).sum(axis=tuple(range(dy.ndim - 1)))


RMSNORM = Drill(
    "rmsnorm",
    rmsnorm_forward,
    rmsnorm_backward,
    question="Layernorm without the mean. One x_i moves n_i itself, and every n_j through r. What is dr/dx_i, written "
    "with r and n? Weigh dn_j/dx_i by dn_j, add over j.",
    hints=(
        "r = m^(-½) with m = ⟨x²⟩ + eps: dr/dx_i = -½ r³ 2 x_i / C = -r² n_i / C.",
        "n_j = x_j r, so dn_j/dx_i = r 1[i = j] + x_j dr/dx_i = r (1[i = j] - n_j n_i / C).",
        "dx = r (dn - n ⟨dn n⟩) with dn = dy weight; dweight = Σ dy n over all axes but the last.",
    ),
    cases=[case("three tokens", normal(3, 4), normal(4))],
    odd=[
        case("two leading axes", normal(2, 2, 3), normal(3)),
        case("square", normal(3, 3), normal(3)),
        case("one token", normal(5), normal(5)),
        case("no tokens", normal(0, 4), normal(4)),
    ],
    extremes=[case("tiny and large", exactly([[1e-6, 0.0, -1e-6], [1e4, -1e4, 0.0]]), normal(3))],
    mutants=[
        Mutant("r a constant", "x also moves r: - n ⟨dn n⟩", " - n * (dn * n).mean(axis=-1, keepdims=True)", ""),
        Mutant("a sum for the mean", "r holds a mean over C: 1/C comes with it", ".mean(axis=-1", ".sum(axis=-1"),
        Mutant("weight forgotten", "dn = dy weight", "dn = dy * weight", "dn = dy"),
        Mutant("weight too late", "⟨dn n⟩ is taken with dn = dy weight, not with dy", "(dn * n).mean", "(dy * n).mean"),
        Mutant("r forgotten", "all of dx is scaled by r", "dx = r * ", "dx = "),
        Mutant("layernorm's", "nothing is centred in rmsnorm: - ⟨dn⟩ does not belong here",
               "r * (dn - n *", "r * (dn - dn.mean(axis=-1, keepdims=True) - n *"),
        Mutant("one axis of tokens", "tokens lie on all axes but the last", "axis=tuple(range(dy.ndim - 1))", "axis=0"),
    ],
)  # fmt: skip
