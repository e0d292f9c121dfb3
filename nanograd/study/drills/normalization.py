"""Drills: layernorm, rmsnorm."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.ops.normalization import layernorm_backward, rmsnorm_backward
from nanograd.study.drills.drill import Drill, Mutant

SUM_OVER = "from nanograd.ops._sums import sum_over  # x.sum, exact in float32: sum_over(x, axis)"


def layernorm_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
    """Normalise each token's C features: n = (x - ⟨x⟩) r, r = 1/√(⟨(x - ⟨x⟩)²⟩ + 1e-5), y = n weight + bias.

    x (…, C), weight (C,), bias (C,) → y (…, C). ⟨·⟩ is the mean over C. Saved are n (…, C), r (…, 1) and weight.
    """
    centred = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5)
    n = centred * r
    return n * weight + bias, (n, r, weight)


LAYERNORM = Drill(
    layernorm_forward, layernorm_backward,
    question="Start at the end: y = n weight + bias gives dweight, dbias and dn. Then x_i changes n in three ways: "
    "directly, through the mean, and through r. Write ∂n_j/∂x_i with n and r, multiply by dn_j, sum over j.",
    hints=(
        "Add 1 to all features of a token: does y change? And if they are all doubled? What does that say about dx?",
        "All tokens share weight and bias: dweight = Σ dy n, dbias = Σ dy, over all axes but the last. dn = dy weight.",
        "∂⟨x⟩/∂x_i = 1/C, and ∂r/∂x_i = -r² n_i / C. So ∂n_j/∂x_i = r (1[i = j] - 1/C - n_j n_i / C).",
        "dx = r (dn - ⟨dn⟩ - n ⟨dn n⟩): the second term comes from the mean, the third from the scale."),
    cases=[case("three tokens", normal(3, 4), normal(4), normal(4))],
    odd_shapes=[
        case("two leading axes", normal(2, 2, 3), normal(3), normal(3)),
        case("square", normal(3, 3), normal(3), normal(3)),
        case("one token", normal(5), normal(5), normal(5)),
        case("no tokens", normal(0, 4), normal(4), normal(4))],
    extreme_values=[case("nearly equal features", exactly([[1.0, 1.0, 1.001], [1e4, -1e4, 0.0]]), normal(3), normal(3))],
    mutants=[
        Mutant("mean's term missing", "the mean that is subtracted depends on x too: - ⟨dn⟩",
               " - dn.mean(axis=-1, keepdims=True)", ""),
        Mutant("scale's term missing", "r depends on x too: - n ⟨dn n⟩",
               "dx -= n * (dn * n).mean(axis=-1, keepdims=True)", "pass"),
        Mutant("both terms missing", "the mean and r are not constants: both depend on x", "dx *= r", "dx = r * dn"),
        Mutant("mean's term added", "the mean is subtracted, so its term is - ⟨dn⟩", "dx = dn -", "dx = dn +"),
        Mutant("scale's term added", "a larger |n_i| makes r smaller: the term is - n ⟨dn n⟩", "dx -= n *", "dx += n *"),
        Mutant("sums for means", "⟨·⟩ is a mean over C, not a sum",
               "dn.mean(axis=-1, keepdims=True)\n        dx -= n * (dn * n).mean(",
               "dn.sum(axis=-1, keepdims=True)\n        dx -= n * (dn * n).sum("),
        Mutant("weight forgotten", "dn = dy weight", "dy * weight", "dy"),
        Mutant("r forgotten", "all of dx has the factor r", "dx *= r", "pass"),
        Mutant("n not in dweight", "weight multiplies n: its derivative is n",
               "sum_over(dy * n, tokens)", "sum_over(dy, tokens)"),
        Mutant("n of the third term", "⟨dn n⟩ is multiplied by n again", "n * (dn * n)", "(dn * n)"),
        Mutant("dweight not summed", "all tokens share one weight: sum over them", "sum_over(dy * n, tokens)", "dy * n"),
        Mutant("a mean of dbias", "contributions of tokens add up", "sum_over(dy, tokens)", "dy.mean(axis=tuple(tokens))")],
    imports=SUM_OVER,
    constants={"C": lambda x, *_: x.shape[-1], "N": lambda x, *_: x.size / x.shape[-1]},
)  # fmt: skip


def rmsnorm_forward(x: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, Any]:
    """Scale each token's C features to length √C: r = 1/√(⟨x²⟩ + 1e-5), n = x r, y = n weight.

    x (…, C), weight (C,) → y (…, C). ⟨·⟩ is the mean over C. Saved are n (…, C), r (…, 1) and weight.
    """
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
    n = x * r
    return n * weight, (n, r, weight)


RMSNORM = Drill(
    rmsnorm_forward, rmsnorm_backward,
    question="Layernorm without the mean. x_i changes n_i directly, and every n_j through r. What is ∂r/∂x_i, written "
    "with r and n? Multiply ∂n_j/∂x_i by dn_j, sum over j.",
    hints=(
        "If all features of a token are doubled, does y change? What does that say about Σ x dx?",
        "r = m^(-½) with m = ⟨x²⟩ + eps: ∂r/∂x_i = -½ r³ 2 x_i / C = -r² n_i / C.",
        "n_j = x_j r, so ∂n_j/∂x_i = r 1[i = j] + x_j ∂r/∂x_i = r (1[i = j] - n_j n_i / C).",
        "dx = r (dn - n ⟨dn n⟩) with dn = dy weight; dweight = Σ dy n over all axes but the last."),
    cases=[case("three tokens", normal(3, 4), normal(4))],
    odd_shapes=[
        case("two leading axes", normal(2, 2, 3), normal(3)),
        case("square", normal(3, 3), normal(3)),
        case("one token", normal(5), normal(5)),
        case("no tokens", normal(0, 4), normal(4))],
    extreme_values=[case("tiny and large", exactly([[1e-6, 0.0, -1e-6], [1e4, -1e4, 0.0]]), normal(3))],
    mutants=[
        Mutant("r a constant", "r depends on x too: - n ⟨dn n⟩", " - n * (dn * n).mean(axis=-1, keepdims=True)", ""),
        Mutant("a sum for the mean", "r is made from a mean over C: its derivative has the factor 1/C",
               ".mean(axis=-1", ".sum(axis=-1"),
        Mutant("weight forgotten", "dn = dy weight", "dy * weight", "dy"),
        Mutant("dy in the mean", "the mean is ⟨dn n⟩ with dn = dy weight, not ⟨dy n⟩", "(dn * n).mean", "(dy * n).mean"),
        Mutant("r forgotten", "all of dx has the factor r", "dx *= r", "pass"),
        Mutant("layernorm's", "rmsnorm subtracts no mean: - ⟨dn⟩ does not belong here",
               "dx = dn - n *", "dx = dn - dn.mean(axis=-1, keepdims=True) - n *"),
        Mutant("one axis of tokens", "sum over all axes but the last, not only the first",
               "range(dy.ndim - 1)", "0"),
        Mutant("scale's term added", "a larger |n_i| makes r smaller: the term is - n ⟨dn n⟩",
               "dx = dn - n *", "dx = dn + n *")],
    imports=SUM_OVER,
    constants={"C": lambda x, *_: x.shape[-1], "N": lambda x, *_: x.size / x.shape[-1]},
)  # fmt: skip
