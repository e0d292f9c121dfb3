"""Drills: matmul, transpose, reshape, linear."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant


def matmul_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply matrices: y = a b. a (…, n, k) and b (…, k, m) give y (…, n, m); the leading axes of both are the same."""
    return a @ b, (a, b)


def matmul_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """y_ij = Σ_k a_ik b_kj, so da_ik = Σ_j dy_ij b_kj and db_kj = Σ_i a_ik dy_ij: two matrix products again."""
    a, b = saved
    return dy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ dy


MATMUL = Drill(
    "matmul",
    matmul_forward,
    matmul_backward,
    question="y_ij = Σ_k a_ik b_kj. Which entries of y does a_ik move, and by how much? Write the sum over them, then "
    "find the matrix product that it is. There may be leading axes: a stack of matrices.",
    hints=(
        "a_ik moves the whole row y_i: y_ij by b_kj, for every j. Weigh by dy_ij and add over j.",
        "The shapes leave one way: da (n, k) from dy (n, m) and b (k, m's), db (k, m) from a (n, k) and dy (n, m).",
        "da = dy bᵀ and db = aᵀ dy; .T turns all axes round, np.swapaxes(b, -1, -2) the last two.",
    ),
    cases=[case("two matrices", normal(2, 3), normal(3, 4))],
    odd=[
        case("square", normal(3, 3), normal(3, 3)),
        case("a stack", normal(2, 2, 3), normal(2, 3, 2)),
        case("nothing to sum", normal(2, 0), normal(0, 3)),
        case("row by column", normal(1, 4), normal(4, 1)),
    ],
    extremes=[case("zeros and huge numbers", exactly([[0.0, 1e150]]), exactly([[1.0], [1e10]]))],
    mutants=[
        Mutant("order of db", "db = aᵀ dy: dyᵀ a is its transpose",
               "np.swapaxes(a, -1, -2) @ dy", "np.swapaxes(dy, -1, -2) @ a"),
        Mutant("transposed da", "da = dy bᵀ: b dyᵀ is its transpose",
               "dy @ np.swapaxes(b, -1, -2)", "b @ np.swapaxes(dy, -1, -2)"),
        Mutant("b not transposed", "da_ik sums over j: b must be transposed", "dy @ np.swapaxes(b, -1, -2)", "dy @ b"),
        Mutant(".T of a stack", ".T turns all axes round, not the last two", "dy @ np.swapaxes(b, -1, -2)", "dy @ b.T"),
        Mutant("slopes alone", "the slopes are there, dy is not",
               "np.swapaxes(a, -1, -2) @ dy", "np.swapaxes(a, -1, -2) @ np.ones_like(dy)"),
        Mutant("a minus", "nothing is subtracted: no sign changes",
               "dy @ np.swapaxes(b, -1, -2)", "-dy @ np.swapaxes(b, -1, -2)"),
    ],
)  # fmt: skip


def transpose_forward(x: np.ndarray, *, axes: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Put the axes into another order, as NumPy does: axis i of y is axis axes[i] of x."""
    return x.transpose(axes), axes


def transpose_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Bring each axis back to where it came from: the inverse permutation."""
    axes = saved
    return (dy.transpose(np.argsort(axes)),)


TRANSPOSE = Drill(
    "transpose",
    transpose_forward,
    transpose_backward,
    question="No number changes, they only move. Axis i of y was axis axes[i] of x. Where was axis j of x put?",
    hints=(
        "Every entry of x is in y once: dx holds the numbers of dy, each back in its old place.",
        "For two axes the way back is the way there. For (1, 2, 0) it is (2, 0, 1): the inverse permutation.",
        "np.argsort of a permutation is its inverse: dy.transpose(np.argsort(axes)).",
    ),
    cases=[case("three axes", normal(2, 3, 4), axes=(1, 2, 0))],
    odd=[
        case("a cube", normal(3, 3, 3), axes=(2, 0, 1)),
        case("a matrix", normal(2, 3), axes=(1, 0)),
        case("four axes", normal(2, 3, 1, 2), axes=(3, 0, 2, 1)),
        case("no entries", normal(0, 3), axes=(1, 0)),
    ],
    mutants=[
        Mutant("forward again", "the same permutation once more is the way back only if it swaps two axes",
               "np.argsort(axes)", "axes"),
        Mutant("all reversed", ".T reverses all axes, whatever axes was", "dy.transpose(np.argsort(axes))", "dy.T"),
        Mutant("axes reversed", "reversing the list of axes does not invert it", "np.argsort(axes)", "axes[::-1]"),
        Mutant("a reshape", "a reshape gives the right shape and leaves the numbers in the wrong places",
               "dy.transpose(np.argsort(axes))", "dy.reshape([dy.shape[i] for i in np.argsort(axes)])"),
        Mutant("passed on", "dx has the shape of x, dy that of y", "dy.transpose(np.argsort(axes))", "dy"),
        Mutant("a minus", "nothing is subtracted: no sign changes", "dy.transpose", "-dy.transpose"),
    ],
)  # fmt: skip


def reshape_forward(x: np.ndarray, *, shape: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Read the same numbers, row by row, as another shape."""
    return x.reshape(shape), x.shape


def reshape_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Read dy as the old shape."""
    shape = saved
    return (dy.reshape(shape),)


RESHAPE = Drill(
    "reshape",
    reshape_forward,
    reshape_backward,
    question="No number moves in the order row by row; only the shape is read otherwise. What undoes that?",
    hints=(
        "The k-th number of x, counted row by row, is the k-th of y.",
        "So the k-th of dx is the k-th of dy; what was saved is the shape to give it.",
        "dx = dy.reshape(shape).",
    ),
    cases=[case("flattened in part", normal(2, 3, 2), shape=(2, 6))],
    odd=[
        case("turned in shape", normal(2, 3), shape=(3, 2)),
        case("to a vector", normal(3, 3), shape=(9,)),
        case("one number", normal(1, 1), shape=()),
        case("no entries", normal(0, 3), shape=(3, 0)),
    ],
    mutants=[
        Mutant("passed on", "dx has the shape of x, dy that of y", "dy.reshape(shape)", "dy"),
        Mutant("column by column", "order='F' reads the numbers column by column; the forward went row by row",
               "dy.reshape(shape)", "dy.reshape(shape, order='F')"),
        Mutant("flat", "flat numbers are right and have the wrong shape", "dy.reshape(shape)", "dy.reshape(-1)"),
        Mutant("turned", "a transpose moves numbers, a reshape does not", "dy.reshape(shape)", "dy.T.reshape(shape)"),
        Mutant("reversed", "the numbers are in the opposite order",
               "dy.reshape(shape)", "dy.reshape(-1)[::-1].reshape(shape)"),
    ],
)  # fmt: skip


def linear_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
    """Map the features of every token: y = x weightᵀ + bias. x (…, in), weight (out, in), bias (out,) → y (…, out)."""
    return x @ weight.T + bias, (x, weight)


def linear_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tokens use one weight and one bias: their contributions add."""
    x, weight = saved
    tokens, rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (N, in), (N, out)
    return dy @ weight, rows.T @ tokens, rows.sum(axis=0)


LINEAR = Drill(
    "linear",
    linear_forward,
    linear_backward,
    question="y_to = Σ_i x_ti weight_oi + bias_o for every token t. Which y does one weight_oi move? Tokens may lie on "
    "any number of leading axes, and all use the same weight: what happens to what each of them sends back?",
    hints=(
        "It is matmul with b = weightᵀ: dx = dy weight, without a transpose.",
        "weight_oi moves y_to of every token t by x_ti: dweight_oi = Σ_t dy_to x_ti, and dbias_o = Σ_t dy_to.",
        "Flatten tokens to (N, in) and dy to (N, out) first; then dyᵀ x, and a sum over axis 0.",
    ),
    cases=[case("three tokens", normal(3, 4), normal(2, 4), normal(2))],
    odd=[
        case("two leading axes", normal(2, 3, 4), normal(2, 4), normal(2)),
        case("square", normal(3, 3), normal(3, 3), normal(3)),
        case("one token", normal(4), normal(2, 4), normal(2)),
        case("no tokens", normal(0, 4), normal(2, 4), normal(2)),
    ],
    extremes=[case("zeros and huge numbers", exactly([[0.0, 1e100]]), exactly([[1.0, 1e10]]), exactly([0.0]))],
    mutants=[
        Mutant("bias not summed", "all tokens share one bias: their dy add", "rows.sum(axis=0)", "dy + 0"),
        Mutant("dweight turned", "weight is (out, in): dyᵀ x, not xᵀ dy", "rows.T @ tokens", "tokens.T @ rows"),
        Mutant("first axis only", "tokens lie on all leading axes: all are summed",
               "rows.sum(axis=0)", "dy.sum(axis=0)"),
        Mutant("weight turned", "weight is (out, in): dy weight has the right shape, dy weightᵀ has not",
               "dy @ weight,", "dy @ weight.T,"),
        Mutant("a mean", "contributions of tokens add; a mean is the loss's business",
               "rows.sum(axis=0)", "rows.mean(axis=0)"),
        Mutant("a mean of dweight", "contributions of tokens add; a mean is the loss's business",
               "rows.T @ tokens", "rows.T @ tokens / len(rows)"),
    ],
)  # fmt: skip
