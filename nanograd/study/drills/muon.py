"""Drills: newton_schulz, muon_step."""

import math
from collections.abc import Sequence

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.optim import newton_schulz as orthogonalise
from nanograd.study.drills.drill import Mutant
from nanograd.study.drills.functions import FunctionDrill

LOW, HIGH = 0.65, 1.25  # of the singular values of a result


def newton_schulz(g: np.ndarray) -> np.ndarray:
    """Return nearly the polar factor U Vᵀ of a matrix g = U S Vᵀ, of shape (rows, columns).

    With a = 3.4445, b = -4.7750, c = 2.0315 and p(s) = a s + b s³ + c s⁵, it is U p(p(p(p(p(S / N))))) Vᵀ. N is the root of
    the sum of the squared entries of g, plus 1e-7, so that a matrix of zeros gives zeros.
    """
    x = g / (math.sqrt((g * g).sum()) + 1e-7)
    for _ in range(5):
        xx = x @ x.T
        x = 3.4445 * x - 4.7750 * xx @ x + 2.0315 * xx @ xx @ x
    return x


def muon_step(
    w: np.ndarray, g: np.ndarray, m: np.ndarray, *, lr: float, weight_decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight matrix w and the momentum m after a step of Muon, for the gradient g; all are (rows, columns).

    The momentum is a moving average of the gradients with β = 0.95. The direction is that average as it would be after one
    more step with the same gradient (Nesterov), made orthogonal. An orthogonal matrix has entries of root mean square
    1/√max(rows, columns); a factor makes it 0.2. As in AdamW, w decays by lr weight_decay w, whatever the gradient is.
    """
    m = 0.95 * m + 0.05 * g
    ahead = 0.95 * m + 0.05 * g
    step = orthogonalise(ahead[None])[0] * (0.2 * math.sqrt(max(w.shape)))
    return w - lr * weight_decay * w - lr * step, m


def has_the_singular_vectors(arguments: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> str:
    """Say whether Uᵀ y V is not diagonal: y then is no polynomial of g that keeps U and V."""
    u, _, vh = np.linalg.svd(arguments[0], full_matrices=False)
    inside = u.T @ results[0] @ vh.T
    off = np.abs(inside - np.diag(np.diagonal(inside))).max()
    return (
        "" if off < 1e-6 else f"the result has other singular vectors than g: Uᵀ y V has {off:.2g} beside its diagonal"
    )


def is_nearly_orthogonal(arguments: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> str:
    """Say whether singular values of the result are far from 1, those of the polar factor."""
    s = np.linalg.svd(results[0], compute_uv=False)
    near = bool((s >= LOW).all() and (s <= HIGH).all())
    return "" if near else f"the singular values should be from {LOW} to {HIGH}, got {s.min():.3g} to {s.max():.3g}"


NEWTON_SCHULZ = FunctionDrill(
    newton_schulz,
    question="The polar factor could be computed by np.linalg.svd, which is slow. Which products of x and xᵀ have the "
    "singular values s³ and s⁵, and the same U and V?",
    hints=(
        "What is X Xᵀ X, if X is U S Vᵀ and UᵀU = VᵀV = 1?",
        "X Xᵀ X = U S³ Vᵀ, and X Xᵀ X Xᵀ X = U S⁵ Vᵀ. First divide g by N: then all singular values are at most 1.",
        "Repeat five times: x becomes a x + b (x xᵀ) x + c (x xᵀ) (x xᵀ) x. With xx = x @ x.T it is used twice.",
        "xx = x @ x.T; x = 3.4445 * x - 4.7750 * xx @ x + 2.0315 * xx @ xx @ x"),
    results=("y",),
    cases=[case("wide", normal(4, 16)), case("tall", normal(16, 4))],
    properties={"singular vectors": has_the_singular_vectors, "singular values": is_nearly_orthogonal},
    more={
        "odd shapes": [case("square", normal(5, 5)), case("a row", normal(1, 6)), case("a column", normal(6, 1))],
        "extremes": [case("zeros", exactly(np.zeros((2, 3)))), case("large", exactly(1e6 * np.eye(3, 4)))]},
    mutants=[
        Mutant("not divided", "divide g by the root of the sum of its squares: p takes singular values from 0 to 1 near 1",
               "g / (math.sqrt((g * g).sum()) + 1e-7)", "g"),
        Mutant("no root", "the Frobenius norm is the root of the sum of squares",
               "math.sqrt((g * g).sum())", "(g * g).sum()"),
        Mutant("the largest entry", "the largest entry can be below the largest singular value: divide by the root of the "
               "sum of squares", "math.sqrt((g * g).sum())", "np.abs(g).max()"),
        Mutant("one repetition", "p is applied five times", "range(5)", "range(1)"),
        Mutant("four repetitions", "p is applied five times", "range(5)", "range(4)"),
        Mutant("even powers", "b belongs to s³: X Xᵀ X, not to s⁴", "4.7750 * xx @ x", "4.7750 * xx @ xx @ x"),
        Mutant("elementwise", "powers of a matrix are products of matrices: entry by entry they do not keep U and V",
               "xx = x @ x.T", "xx = x * x; return 3.4445 * x - 4.7750 * xx * x + 2.0315 * xx * xx * x"),
        Mutant("a sign", "b is negative", "x - 4.7750", "x + 4.7750"),
        Mutant("divided by zero", "a matrix of zeros has the norm 0: add 1e-7", " + 1e-7", "")],
    page="muon",
    tolerance=1e-5,
)  # fmt: skip

MUON_STEP = FunctionDrill(
    muon_step,
    question="Write one step for one matrix. orthogonalise takes a stack of matrices: orthogonalise(a[None])[0]. In which "
    "order do momentum, looking ahead, orthogonalising, scaling and decay follow each other?",
    hints=(
        "What would happen if the gradient were made orthogonal before it goes into the average?",
        "m = 0.95 m + 0.05 g is the new momentum, and 0.95 m + 0.05 g again, with this m, is one step ahead.",
        "The step is orthogonalise(ahead) times 0.2 √max(rows, columns), times lr. Decay takes lr weight_decay w from w.",
        "return w - lr * weight_decay * w - lr * step, m, with "
        "step = orthogonalise(ahead[None])[0] * 0.2 * math.sqrt(max(w.shape))"),
    results=("w", "m"),
    cases=[case("a step", normal(4, 6), normal(4, 6), normal(4, 6), lr=0.1, weight_decay=0.5)],
    more={
        "odd shapes": [
            case("tall", normal(8, 2), normal(8, 2), normal(8, 2), lr=0.02, weight_decay=0.1),
            case("square", normal(3, 3), normal(3, 3), normal(3, 3), lr=0.1, weight_decay=0.0)],
        "first step": [case("no momentum yet", normal(3, 5), normal(3, 5), exactly(np.zeros((3, 5))),
                            lr=0.1, weight_decay=0.1)]},
    mutants=[
        Mutant("no looking ahead", "the direction is one step ahead of m: 0.95 m + 0.05 g",
               "ahead = 0.95 * m + 0.05 * g", "ahead = m"),
        Mutant("ahead is kept", "the momentum is the average itself: the look ahead is for this step alone",
               "- lr * step, m", "- lr * step, ahead"),
        Mutant("a sum for the average", "in an average the new gradient has the weight 1 - β = 0.05",
               "m = 0.95 * m + 0.05 * g\n", "m = 0.95 * m + g\n"),
        Mutant("β exchanged", "the old average has the weight 0.95, the gradient 0.05",
               "    m = 0.95 * m + 0.05 * g\n", "    m = 0.05 * m + 0.95 * g\n"),
        Mutant("not orthogonal", "the direction is made orthogonal", "orthogonalise(ahead[None])[0]", "ahead"),
        Mutant("gradient made orthogonal", "orthogonalise the average, not the gradient: noise of single batches would "
               "count as much as what lasts", "orthogonalise(ahead[None])", "orthogonalise(g[None])"),
        Mutant("not scaled", "multiply by 0.2 √max(rows, columns)", " * (0.2 * math.sqrt(max(w.shape)))", ""),
        Mutant("rows for the larger side", "it is the larger of rows and columns", "max(w.shape)", "w.shape[0]"),
        Mutant("no root in the factor", "the entries are 1/√max(rows, columns) large: the factor has the root",
               "math.sqrt(max(w.shape))", "max(w.shape)"),
        Mutant("decay without lr", "the decay is multiplied by lr too", "lr * weight_decay * w", "weight_decay * w"),
        Mutant("no decay", "w decays by lr weight_decay w", " - lr * weight_decay * w", ""),
        Mutant("upwards", "the loss falls along minus the direction", "- lr * step", "+ lr * step")],
    page="muon",
    imports="from nanograd.optim import newton_schulz as orthogonalise  # a stack (n, rows, columns) → polar factors",
)  # fmt: skip
