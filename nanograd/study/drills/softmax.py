"""Drills: softmax, log_softmax, cross_entropy."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, integers, normal
from nanograd.study.drills.drill import Drill, Mutant

_ODD = [
    case("one row", normal(4)),
    case("three axes", normal(2, 2, 3)),
    case("square", normal(3, 3)),
    case("one entry per row", normal(3, 1)),
    case("no rows", normal(0, 4)),
]
_EXTREMES = [
    case("large scores", exactly([[1000.0, 999.0, 998.5], [-1000.0, -1001.0, -999.5]])),
    case("one certain", exactly([[0.0, 800.0, 0.0]])),
]


def softmax_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Turn each row of scores into probabilities: y_j = exp(x_j) / Σ_k exp(x_k). x and y are (…, n); y is saved."""
    y = np.exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels in the quotient and keeps exp finite
    y /= y.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """dx_i = y_i (dy_i - Σ_j dy_j y_j)."""
    y = saved
    row = (dy * y).sum(axis=-1, keepdims=True)
    return (y * (dy - row),)


SOFTMAX = Drill(
    softmax_forward, softmax_backward,
    question="Raising x_i raises y_i and lowers every other y_j, through the sum they share. What is ∂y_j/∂x_i, for j = "
    "i and for j ≠ i? Multiply it by dy_j and sum over j.",
    hints=(
        "If one score of a row rises, which probabilities change, and in which direction?",
        "∂y_j/∂x_i = y_j (1[i = j] - y_i): the quotient rule, in both cases.",
        "Σ_j dy_j y_j (1[i = j] - y_i) is the term with j = i, minus y_i times a sum that does not depend on i.",
        "dx = y (dy - Σ_j dy_j y_j): subtract one number per row, then multiply by y."),
    cases=[case("two rows", normal(2, 4))],
    odd_shapes=_ODD,
    extreme_values=_EXTREMES,
    mutants=[
        Mutant("no row sum", "raising one score lowers the other probabilities: - y_i Σ_j dy_j y_j is missing",
               "(dy - row)", "dy"),
        Mutant("y left out", "the factor y_i is missing", "y * (dy - row)", "dy - row"),
        Mutant("a mean for the sum", "Σ_j dy_j y_j is a sum, not a mean: the y_j already add up to 1",
               ".sum(", ".mean("),
        Mutant("y missing in the sum", "the sum is over dy_j y_j, not over dy_j", "(dy * y).sum", "dy.sum"),
        Mutant("one sum for all rows", "every row has its own sum", "axis=-1, ", ""),
        Mutant("diagonal only", "y_i (1 - y_i) is only the diagonal of the Jacobian", "(dy - row)", "dy * (1 - y)"),
        Mutant("plus", "the sum is subtracted: raising the other scores lowers y_i", "dy - row", "dy + row"),
        Mutant("bracket", "y_i multiplies the whole difference: y (dy - Σ), not y dy - Σ",
               "y * (dy - row)", "y * dy - row")],
    constants={"n": lambda x: x.shape[-1]},
)  # fmt: skip


def log_softmax_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Turn each row of scores into log-probabilities: y_j = x_j - ln Σ_k exp(x_k). x and y are (…, n); y is saved."""
    y = x - x.max(axis=-1, keepdims=True)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y, y


def log_softmax_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """dx_i = dy_i - p_i Σ_j dy_j, with p = exp(y)."""
    y = saved
    return (dy - np.exp(y) * dy.sum(axis=-1, keepdims=True),)


LOG_SOFTMAX = Drill(
    log_softmax_forward, log_softmax_backward,
    question="y_j = x_j - ln Σ_k exp(x_k). Raising x_i raises y_i, and lowers every y_j through the sum. By how "
    "much? Multiply by dy_j and sum over j.",
    hints=(
        "If one score of a row rises, what happens to the log-probabilities of the other entries?",
        "The derivative of ln Σ_k exp(x_k) by x_i is exp(x_i) / Σ_k exp(x_k) = p_i, the softmax.",
        "∂y_j/∂x_i = 1[i = j] - p_i. Summed over j, p_i multiplies the sum of the row's dy_j.",
        "dx = dy - p Σ_j dy_j with p = exp(y)."),
    cases=[case("two rows", normal(2, 4))],
    odd_shapes=_ODD,
    extreme_values=_EXTREMES,
    mutants=[
        Mutant("y for p", "p is exp(y); y is its logarithm", "np.exp(y)", "y"),
        Mutant("no sum", "raising x_i lowers every y_j: - p_i Σ_j dy_j is missing",
               " - np.exp(y) * dy.sum(axis=-1, keepdims=True)", " + 0"),
        Mutant("own dy only", "p_i multiplies the sum of the row's dy, not only dy_i",
               "dy.sum(axis=-1, keepdims=True)", "dy"),
        Mutant("backward of softmax", "this is the backward of softmax, but y are log-probabilities",
               "dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)",
               "np.exp(y) * (dy - (dy * np.exp(y)).sum(axis=-1, keepdims=True))"),
        Mutant("a mean for the sum", "Σ_j dy_j is a sum, not a mean: the p_i already add up to 1", "dy.sum(", "dy.mean("),
        Mutant("plus", "the log-sum is subtracted: so is its derivative", "dy - np", "dy + np"),
        Mutant("one sum for all rows", "every row has its own sum", "axis=-1, ", "")],
    constants={"n": lambda x: x.shape[-1]},
)  # fmt: skip


def cross_entropy_forward(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, Any]:
    """Average over N tokens of -ln p[target], p = softmax(logits). logits (N, V), targets (N,) integers → a number ().

    Saved are p (N, V) and the targets.
    """
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total = p.sum(axis=-1)
    hit = (logits - logits.max(axis=-1, keepdims=True))[np.arange(len(targets)), targets]
    return np.asarray((np.log(total) - hit).mean()), (p / total[:, None], targets)


def cross_entropy_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    """dlogits = dy (p - 1[k = target]) / N."""
    p, targets = saved
    dlogits = p.copy()  # the saved array must not change
    dlogits[np.arange(len(targets)), targets] -= 1
    return dlogits * (dy / len(targets)), None


CROSS_ENTROPY = Drill(
    cross_entropy_forward, cross_entropy_backward,
    question="A token's loss is ln Σ_k exp(z_k) - z_target. What is its derivative by z_k, for k = target and for the "
    "others? The loss is a mean over N tokens. dy is a number, and not always 1. The targets are integers: "
    "their gradient is None.",
    hints=(
        "Which logits should fall to lower the loss, and which one should rise? What is the sign of dlogits at each?",
        "The derivative of the log-sum is p_k; that of -z_target is -1 for k = target, and 0 elsewhere.",
        "For one token it is p - onehot(target). On a copy of p: dlogits[np.arange(N), targets] -= 1.",
        "dlogits = dy (p - onehot) / N; return (dlogits, None)."),
    cases=[case("three tokens", normal(3, 5), exactly([4, 0, 2]))],
    odd_shapes=[
        case("one token", normal(1, 4), exactly([2])),
        case("square", normal(3, 3), exactly([2, 1, 0])),
        case("two classes", normal(4, 2), integers(0, 2, 4))],
    repeated_ids=[case("one target for all", normal(3, 4), exactly([1, 1, 1]))],
    extreme_values=[case("certain, right and wrong", exactly([[900.0, 0.0], [900.0, 0.0]]), exactly([0, 1]))],
    mutants=[
        Mutant("1/N missing", "the loss is a mean over N tokens", "(dy / len(targets))", "dy"),
        Mutant("1/(N V)", "the mean is over tokens, not also over classes", "(dy / len(targets))", "(dy / p.size)"),
        Mutant("no target", "1 must be subtracted at the target: p - onehot",
               "dlogits[np.arange(len(targets)), targets] -= 1", "pass"),
        Mutant("whole columns", "[:, targets] selects these columns for every token; a token has one target",
               "dlogits[np.arange(len(targets)), targets]", "dlogits[:, targets]"),
        Mutant("sign", "it is p - onehot, not onehot - p: descent lowers wrong logits",
               "return dlogits", "return -dlogits"),
        Mutant("dy forgotten", "the loss may be scaled later: dy is not always 1",
               "(dy / len(targets))", "(1.0 / len(targets))"),
        Mutant("p changed in place", "the saved p is changed in place; copy it first", "p.copy()", "p")],
    constants={"N": lambda logits, targets: logits.shape[0], "V": lambda logits, targets: logits.shape[1]},
)  # fmt: skip
