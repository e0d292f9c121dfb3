"""Drills: embedding, tied, dropout."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant


def embedding_forward(weight: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
    """Look rows up: y_t = weight[ids_t]. weight (V, C), ids (…) of integers → y (…, C)."""
    return weight[ids], (ids, weight.shape)


def embedding_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    """Add every dy to the row that was looked up."""
    ids, shape = saved
    dweight = np.zeros(shape, dy.dtype)
    np.add.at(dweight, ids, dy)
    return dweight, None


EMBEDDING = Drill(
    embedding_forward, embedding_backward,
    question="Row v of the table is copied to every position t with ids_t = v. What is its gradient if it was used "
    "once, never, or three times? The ids are integers: their gradient is None.",
    hints=(
        "A row of the table is used at three positions. If it changes, how many rows of y change?",
        "The gradient of a copied value is the sum over its copies. A row that was not looked up gets exactly 0.",
        "`dweight[ids] += dy` reads all rows before it writes them: only one dy of a repeated id survives.",
        "dweight = np.zeros(shape, dy.dtype); np.add.at(dweight, ids, dy); return (dweight, None)."),
    cases=[case("distinct ids", normal(5, 3), exactly([3, 0, 4]))],
    odd_shapes=[
        case("two axes of ids", normal(6, 2), exactly([[5, 1], [0, 3]])),
        case("one id", normal(4, 3), exactly(2)),
        case("square", normal(3, 3), exactly([2, 0, 1])),
        case("no ids", normal(4, 3), lambda rng: np.zeros(0, np.int64))],
    repeated_ids=[
        case("an id twice", normal(5, 3), exactly([3, 0, 3])),
        case("one id only", normal(4, 2), exactly([[1, 1], [1, 1]]))],
    mutants=[
        Mutant("last one wins", "+= on a fancy index keeps only one dy of a repeated id: they must add up",
               "np.add.at(dweight, ids, dy)", "dweight[ids] += dy"),
        Mutant("shape of y", "the gradient of the table has the shape of the table", "return dweight", "return dy"),
        Mutant("averaged", "the gradients of all uses add up; they are not averaged",
               "return dweight",
               "return dweight / np.maximum(np.bincount(ids.ravel(), minlength=shape[0]), 1).astype(dy.dtype)[:, None]"),
        Mutant("float64", "np.zeros without a dtype is float64", "np.zeros(shape, dy.dtype)", "np.zeros(shape)"),
        Mutant("by position", "the id selects the row, not the position in the text",
               "np.add.at(dweight, ids, dy)",
               "np.add.at(dweight, np.arange(ids.size).reshape(ids.shape) % shape[0], dy)"),
        Mutant("not from zero", "rows that were not looked up get exactly 0", "np.zeros(", "np.ones(")],
)  # fmt: skip


def tied_forward(weight: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
    """Use one table twice, as GPT-2 does: look tokens up, and score every token of the vocabulary against them.

    x = weight[ids], y = x weightᵀ. weight (V, C), ids (T,) → y (T, V).
    """
    x = weight[ids]
    return x @ weight.T, (weight, ids, x)


def tied_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    """The head gives dweight = dyᵀ x. The lookup adds dx = dy weight to the rows that were looked up."""
    weight, ids, x = saved
    dweight = dy.T @ x  # (V, C), of the projection
    np.add.at(dweight, ids, dy @ weight)  # of the lookup
    return dweight, None


TIED = Drill(
    tied_forward, tied_backward,
    question="The same weight is the embedding table and the output projection (weight tying). Find the gradient of both "
    "as if they were two arrays. What is the gradient of the one array?",
    hints=(
        "In how many places of the computation does the table appear?",
        "Solve `linear` and `embedding` first. Here x = weight[ids], then y = x weightᵀ.",
        "The projection gives dweight = dyᵀ x and dx = dy weight; dx is added to the rows that were looked up.",
        "The two gradients add up: np.add.at(dweight, ids, dy @ weight) with dweight = dyᵀ x."),
    cases=[case("distinct ids", normal(5, 3), exactly([3, 0, 4]))],
    odd_shapes=[
        case("as many ids as rows", normal(3, 3), exactly([2, 0, 1])),
        case("one feature", normal(4, 1), exactly([1, 2])),
        case("no ids", normal(4, 3), lambda rng: np.zeros(0, np.int64))],
    repeated_ids=[case("an id twice", normal(5, 3), exactly([3, 0, 3]))],
    mutants=[
        Mutant("head only", "the table was looked up too: dy weight must be added to its rows",
               "np.add.at(dweight, ids, dy @ weight)", "pass"),
        Mutant("lookup only", "the table is the output projection too: dyᵀ x is missing",
               "dy.T @ x", "np.zeros_like(weight)"),
        Mutant("second overwrites", "the two gradients add up; = replaces the first",
               "np.add.at(dweight, ids, dy @ weight)", "dweight[ids] = dy @ weight"),
        Mutant("last one wins", "+= on a fancy index keeps only one dy of a repeated id",
               "np.add.at(dweight, ids, dy @ weight)", "dweight[ids] += dy @ weight"),
        Mutant("averaged", "the two gradients add up; they are not averaged", "return dweight", "return dweight / 2"),
        Mutant("dx is x", "dy weight is added to the rows, not x", "dy @ weight)", "x)"),
        Mutant("subtracted", "the two gradients add up",
               "np.add.at(dweight, ids, dy @ weight)", "np.subtract.at(dweight, ids, dy @ weight)")],
    page="embedding",
)  # fmt: skip


def dropout_forward(x: np.ndarray, *, p: float, seed: int) -> tuple[np.ndarray, Any]:
    """Drop each entry with probability p: y = x z, where z is 0, or 1/(1 - p) for a kept entry. z is saved."""
    keep = np.random.default_rng(seed).random(x.shape) >= p
    z = keep.astype(x.dtype) / (1 - p)
    return x * z, z


def dropout_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """z is a constant: dx = dy z."""
    z = saved
    return (dy * z,)


DROPOUT = Drill(
    dropout_forward, dropout_backward,
    question="y = x z, and z does not depend on x. What is the gradient of an entry that was dropped? And of one that was "
    "kept and scaled?",
    hints=(
        "If an entry was dropped, does the loss notice when it changes?",
        "This is `mul` with one constant factor.",
        "Backward must use the z of the forward: it was saved, so do not draw it again.",
        "dx = dy z; z contains the factor 1/(1 - p)."),
    cases=[case("a matrix", normal(3, 4), p=0.5, seed=1)],
    odd_shapes=[
        case("three axes", normal(2, 2, 3), p=0.25, seed=2),
        case("nothing dropped", normal(4), p=0.0, seed=0),
        case("no entries", normal(0, 3), p=0.5, seed=0),
        case("a number", normal(), p=0.5, seed=3)],
    extreme_values=[case("nearly all dropped", normal(4, 4), p=0.9, seed=5)],
    mutants=[
        Mutant("passed on", "a dropped entry does not affect the loss: its gradient is 0", "dy * z", "dy + 0"),
        Mutant("scale forgotten", "kept entries were scaled by 1/(1 - p): so are their gradients",
               "dy * z", "dy * (z > 0)"),
        Mutant("scale twice", "z already contains the factor 1/(1 - p)", "dy * z", "dy * z * z"),
        Mutant("drawn again", "z must be that of the forward: a new draw drops other entries",
               "dy * z", "dy * ((np.random.default_rng(9).random(z.shape) >= 0.5) * z.max(initial=0))"),
        Mutant("divided", "the derivative of x z is z, also where z is 0", "dy * z", "dy / z"),
        Mutant("the dropped ones", "dy passes where the entry was kept", "dy * z", "dy * (z == 0)")],
    constants={"(1 - p)": lambda x, p, seed: 1 - p},
)  # fmt: skip
