"""Drills: softmax, log_softmax, cross_entropy."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, integers, normal
from nanograd.study.drills.drill import Drill, Mutant

_ODD = [
    case("one row", normal(4)),
    case("three axes", normal(2, 2, 3)),
    case("square", normal(3, 3)),
    case("one entry a row", normal(3, 1)),
    case("no rows", normal(0, 4)),
]
_EXTREMES = [
    case("large scores", exactly([[1000.0, 999.0, 998.5], [-1000.0, -1001.0, -999.5]])),
    case("one certain", exactly([[0.0, 800.0, 0.0]])),
]


def softmax_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Turn each row of scores into probabilities: y_j = exp(x_j) / Σ_k exp(x_k). x and y are (…, n); y is saved."""
    y = np.exp(x - x.max(axis=-1, keepdims=True))  # the shift cancels in the quotient, and keeps exp finite
    y /= y.sum(axis=-1, keepdims=True)
    return y, y


def softmax_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """dx_i = y_i (dy_i - Σ_j dy_j y_j)."""
    y = saved
    row = (dy * y).sum(axis=-1, keepdims=True)
    return (y * (dy - row),)


SOFTMAX = Drill(
    "softmax",
    softmax_forward,
    softmax_backward,
    question="Raising x_i raises y_i and lowers every other y_j, through the sum they share. What is dy_j/dx_i, for j = "
    "i and for j ≠ i? Weigh it by dy_j and add over j.",
    hints=(
        "dy_j/dx_i = y_j (1[i = j] - y_i): the quotient rule, in both cases.",
        "Σ_j dy_j y_j (1[i = j] - y_i) splits into the one term with j = i, and a sum that no i appears in but y_i.",
        "dx = y (dy - Σ_j dy_j y_j): one number a row is taken away, before multiplying by y.",
    ),
    cases=[case("two rows", normal(2, 4))],
    odd=_ODD,
    extremes=_EXTREMES,
    mutants=[
        Mutant("no row sum", "the other probabilities fall when one score rises: - y_i Σ_j dy_j y_j is missing",
               "(dy - row)", "dy"),
        Mutant("y left out", "the whole is weighed by y_i", "y * (dy - row)", "dy - row"),
        Mutant("a mean for the sum", "Σ_j dy_j y_j is weighed by y already: it is a sum, not a mean",
               ".sum(", ".mean("),
        Mutant("unweighed sum", "the sum is of dy_j y_j, not of dy_j", "(dy * y).sum", "dy.sum"),
        Mutant("one sum for all rows", "each row has a sum of its own", "axis=-1, ", ""),
        Mutant("diagonal only", "y_i (1 - y_i) is the Jacobian's diagonal; the rest is missing",
               "(dy - row)", "dy * (1 - y)"),
        Mutant("plus", "the other scores lower y_i: the sum is subtracted", "dy - row", "dy + row"),
    ],
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
    "log_softmax",
    log_softmax_forward,
    log_softmax_backward,
    question="y_j = x_j - ln Σ_k exp(x_k). Raising x_i raises y_i itself, and lowers every y_j through the sum: by "
    "what? Weigh by dy_j and add over j.",
    hints=(
        "The slope of ln Σ_k exp(x_k) by x_i is exp(x_i) / Σ_k exp(x_k): softmax, p_i.",
        "dy_j/dx_i = 1[i = j] - p_i. Here p_i multiplies all the dy_j of the row.",
        "dx = dy - p Σ_j dy_j with p = exp(y).",
    ),
    cases=[case("two rows", normal(2, 4))],
    odd=_ODD,
    extremes=_EXTREMES,
    mutants=[
        Mutant("y for p", "p is exp(y); y is its logarithm", "np.exp(y)", "y"),
        Mutant("no sum", "every y_j falls when x_i rises: - p_i Σ_j dy_j is missing",
               " - np.exp(y) * dy.sum(axis=-1, keepdims=True)", " + 0"),
        Mutant("own dy only", "p_i multiplies the sum of the row's dy, not dy_i alone",
               "dy.sum(axis=-1, keepdims=True)", "dy"),
        Mutant("backward of softmax", "this pulls back through probabilities; y are their logarithms",
               "dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)",
               "np.exp(y) * (dy - (dy * np.exp(y)).sum(axis=-1, keepdims=True))"),
        Mutant("a mean for the sum", "Σ_j dy_j is a sum: p adds up to 1 already", "dy.sum(", "dy.mean("),
        Mutant("plus", "the log-sum is subtracted: so is its slope", "dy - np", "dy + np"),
        Mutant("one sum for all rows", "each row has a sum of its own", "axis=-1, ", ""),
    ],
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
    dlogits = p.copy()  # what was saved stays as it is
    dlogits[np.arange(len(targets)), targets] -= 1
    return dlogits * (dy / len(targets)), None


CROSS_ENTROPY = Drill(
    "cross_entropy",
    cross_entropy_forward,
    cross_entropy_backward,
    question="A token's loss is ln Σ_k exp(z_k) - z_target. What is its slope by z_k, for k = target and for the "
    "others? The loss is a mean over N tokens, and dy is a number, not always 1. The targets are integers: "
    "their gradient is None.",
    hints=(
        "The slope of the log-sum is p_k; that of -z_target is -1 for k = target, and 0 elsewhere.",
        "Per token: p - onehot(target). Only N entries differ from p: dlogits[np.arange(N), targets] -= 1, on a copy.",
        "dlogits = dy (p - onehot) / N; return (dlogits, None).",
    ),
    cases=[case("three tokens", normal(3, 5), exactly([4, 0, 2]))],
    odd=[
        case("one token", normal(1, 4), exactly([2])),
        case("square", normal(3, 3), exactly([2, 1, 0])),
        case("two classes", normal(4, 2), integers(0, 2, 4)),
    ],
    repeated=[case("one target for all", normal(3, 4), exactly([1, 1, 1]))],
    extremes=[case("sure, right and wrong", exactly([[900.0, 0.0], [900.0, 0.0]]), exactly([0, 1]))],
    mutants=[
        Mutant("1/N missing", "the loss is a mean over N tokens", "(dy / len(targets))", "dy"),
        Mutant("1/(N V)", "the mean goes over tokens, not over classes too", "(dy / len(targets))", "(dy / p.size)"),
        Mutant("no target", "the target's entry has one less: p - onehot",
               "dlogits[np.arange(len(targets)), targets] -= 1", "pass"),
        Mutant("whole columns", "[:, targets] takes those classes from every token; each token has one target",
               "dlogits[np.arange(len(targets)), targets]", "dlogits[:, targets]"),
        Mutant("sign", "p - onehot: what is likely and wrong is pushed down", "return dlogits", "return -dlogits"),
        Mutant("dy forgotten", "the loss may be scaled further on: dy is not always 1",
               "(dy / len(targets))", "(1.0 / len(targets))"),
        Mutant("p written into", "p was saved, and is changed in place", "p.copy()", "p"),
    ],
)  # fmt: skip
