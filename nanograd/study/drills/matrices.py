"""Drills: matmul, transpose, reshape, linear."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.ops.shape import reshape_backward, reshape_forward, transpose_backward
from nanograd.study.drills.drill import Drill, Mutant


def matmul_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply matrices: y = a b. a (…, I, K) and b (…, K, J) give y (…, I, J); the leading axes of both are the same."""
    return a @ b, (a, b)


def matmul_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """y_ij = Σ_k a_ik b_kj, so da_ik = Σ_j dy_ij b_kj and db_kj = Σ_i a_ik dy_ij: two matrix products again."""
    a, b = saved
    return dy @ np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2) @ dy


MATMUL = Drill(
    matmul_forward, matmul_backward,
    question="y_ij = Σ_k a_ik b_kj. Which entries of y depend on a_ik, and with what derivative? Write the sum over "
    "them as a matrix product. There may be leading axes: a batch of matrices.",
    hints=(
        "One entry a_ik changes. Which entries of y change: one, a row, a column, or all of them?",
        "The whole row y_i depends on a_ik: ∂y_ij/∂a_ik = b_kj for every j. Multiply by dy_ij and sum over j.",
        "The shapes allow one product each: da (I, K) from dy (I, J) and b (K, J), db (K, J) from a (I, K) and dy (I, J).",
        "da = dy bᵀ and db = aᵀ dy; .T reverses all axes, np.swapaxes(b, -1, -2) swaps the last two."),
    cases=[case("two matrices", normal(2, 3), normal(3, 4))],
    odd_shapes=[
        case("square", normal(3, 3), normal(3, 3)),
        case("a batch", normal(2, 2, 3), normal(2, 3, 2)),
        case("nothing to sum", normal(2, 0), normal(0, 3)),
        case("row by column", normal(1, 4), normal(4, 1))],
    extreme_values=[case("zeros and huge numbers", exactly([[0.0, 1e150]]), exactly([[1.0], [1e10]]))],
    mutants=[
        Mutant("order of db", "db = aᵀ dy: dyᵀ a is its transpose",
               "np.swapaxes(a, -1, -2) @ dy", "np.swapaxes(dy, -1, -2) @ a"),
        Mutant("transposed da", "da = dy bᵀ: b dyᵀ is its transpose",
               "dy @ np.swapaxes(b, -1, -2)", "b @ np.swapaxes(dy, -1, -2)"),
        Mutant("b not transposed", "da_ik sums over j: b must be transposed", "dy @ np.swapaxes(b, -1, -2)", "dy @ b"),
        Mutant(".T of a batch", ".T reverses all axes; only the last two are to be swapped",
               "dy @ np.swapaxes(b, -1, -2)", "dy @ b.T"),
        Mutant("dy forgotten", "the derivative is right, but it is not multiplied by dy",
               "np.swapaxes(a, -1, -2) @ dy", "np.swapaxes(a, -1, -2) @ np.ones_like(dy)"),
        Mutant("a minus", "the forward subtracts nothing: no sign changes",
               "dy @ np.swapaxes(b, -1, -2)", "-dy @ np.swapaxes(b, -1, -2)")],
)  # fmt: skip


def transpose_forward(x: np.ndarray, *, axes: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Put the axes into another order, as NumPy does: axis i of y is axis axes[i] of x."""
    return x.transpose(axes), axes


TRANSPOSE = Drill(
    transpose_forward, transpose_backward,
    question="No number changes; the entries only move. Axis i of y is axis axes[i] of x. Which axis of y is axis j of x?",
    hints=(
        "An entry of x is somewhere in y. If you know where, where does its dy go?",
        "Every entry of x is in y once: dx holds the entries of dy, moved back.",
        "A swap of two axes is its own inverse. The inverse of (1, 2, 0) is (2, 0, 1).",
        "np.argsort of a permutation is its inverse: dx = dy.transpose(np.argsort(axes))."),
    cases=[case("three axes", normal(2, 3, 4), axes=(1, 2, 0))],
    odd_shapes=[
        case("a cube", normal(3, 3, 3), axes=(2, 0, 1)),
        case("a matrix", normal(2, 3), axes=(1, 0)),
        case("four axes", normal(2, 3, 1, 2), axes=(3, 0, 2, 1)),
        case("no entries", normal(0, 3), axes=(1, 0))],
    mutants=[
        Mutant("forward again", "only a permutation that swaps two axes is its own inverse",
               "np.argsort(axes)", "axes"),
        Mutant("all reversed", ".T reverses all axes, whatever `axes` is", "dy.transpose(np.argsort(axes))", "dy.T"),
        Mutant("axes reversed", "reversing the list of axes does not invert it", "np.argsort(axes)", "axes[::-1]"),
        Mutant("a reshape", "a reshape gives the right shape, but does not move the entries",
               "dy.transpose(np.argsort(axes))", "dy.reshape([dy.shape[i] for i in np.argsort(axes)])"),
        Mutant("passed on", "dx has the shape of x, dy that of y", "dy.transpose(np.argsort(axes))", "dy"),
        Mutant("a minus", "the forward subtracts nothing: no sign changes", "dy.transpose", "-dy.transpose")],
)  # fmt: skip


RESHAPE = Drill(
    reshape_forward, reshape_backward,
    question="The entries keep their order, row by row; only the shape changes. What undoes that?",
    hints=(
        "Does a reshape change the order of the entries in memory? Then how do you get back?",
        "The k-th entry of x, counted row by row, is the k-th entry of y.",
        "So the k-th entry of dx is the k-th entry of dy. The forward saved the shape of x.",
        "dx = dy.reshape(shape)."),
    cases=[case("two axes flattened", normal(2, 3, 2), shape=(2, 6))],
    odd_shapes=[
        case("rows and columns swapped", normal(2, 3), shape=(3, 2)),
        case("to a vector", normal(3, 3), shape=(9,)),
        case("one number", normal(1, 1), shape=()),
        case("no entries", normal(0, 3), shape=(3, 0))],
    mutants=[
        Mutant("passed on", "dx has the shape of x, dy that of y", "dy.reshape(shape)", "dy"),
        Mutant("column by column", "order='F' reads column by column; the forward read row by row",
               "dy.reshape(shape)", "dy.reshape(shape, order='F')"),
        Mutant("flat", "the values are right, but the shape is flat", "dy.reshape(shape)", "dy.reshape(-1)"),
        Mutant("transposed", "a transpose moves entries; a reshape does not", "dy.reshape(shape)", "dy.T.reshape(shape)"),
        Mutant("reversed", "the entries are in the opposite order",
               "dy.reshape(shape)", "dy.reshape(-1)[::-1].reshape(shape)")],
)  # fmt: skip


def linear_forward(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, Any]:
    """Map the features of every token: y = x weightᵀ + bias. x (…, in), weight (out, in), bias (out,) → y (…, out)."""
    return x @ weight.T + bias, (x, weight)


def linear_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All tokens share one weight and one bias: their contributions add up."""
    x, weight = saved
    tokens, rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])  # (N, in), (N, out)
    return dy @ weight, rows.T @ tokens, rows.sum(axis=0)


LINEAR = Drill(
    linear_forward, linear_backward,
    question="y_to = Σ_i x_ti weight_oi + bias_o for every token t. Which entries of y depend on weight_oi? There may be "
    "any number of leading axes, and all tokens share the weight: how do their contributions to dweight combine?",
    hints=(
        "Every token is multiplied by the same weight. If weight_oi changes, does one token notice it, or do all?",
        "This is matmul with b = weightᵀ: dx = dy weight, without a transpose.",
        "∂y_to/∂weight_oi = x_ti for every token t: dweight_oi = Σ_t dy_to x_ti, and dbias_o = Σ_t dy_to.",
        "Flatten tokens to (N, in) and dy to (N, out) first; then dyᵀ x, and a sum over axis 0."),
    cases=[case("three tokens", normal(3, 4), normal(2, 4), normal(2))],
    odd_shapes=[
        case("two leading axes", normal(2, 3, 4), normal(2, 4), normal(2)),
        case("square", normal(3, 3), normal(3, 3), normal(3)),
        case("one token", normal(4), normal(2, 4), normal(2)),
        case("no tokens", normal(0, 4), normal(2, 4), normal(2))],
    extreme_values=[case("zeros and huge numbers", exactly([[0.0, 1e100]]), exactly([[1.0, 1e10]]), exactly([0.0]))],
    mutants=[
        Mutant("bias not summed", "all tokens share one bias: sum their dy", "rows.sum(axis=0)", "dy + 0"),
        Mutant("dweight transposed", "weight is (out, in): dyᵀ x, not xᵀ dy", "rows.T @ tokens", "tokens.T @ rows"),
        Mutant("first axis only", "sum over all leading axes, not only the first",
               "rows.sum(axis=0)", "dy.sum(axis=0)"),
        Mutant("weight transposed", "weight is (out, in): dx = dy weight, not dy weightᵀ",
               "dy @ weight,", "dy @ weight.T,"),
        Mutant("a mean", "contributions of tokens add up; averaging belongs to the loss",
               "rows.sum(axis=0)", "rows.mean(axis=0)"),
        Mutant("a mean of dweight", "contributions of tokens add up; averaging belongs to the loss",
               "rows.T @ tokens", "rows.T @ tokens / len(rows)")],
    constants={"N": lambda x, *_: x.size / x.shape[-1]},
)  # fmt: skip
