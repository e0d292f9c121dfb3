"""Drills: embedding, tied, dropout."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant


def embedding_forward(weight: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
    """Look rows up: y_t = weight[ids_t]. weight (V, C), ids (…) of integers → y (…, C)."""
    return weight[ids], (ids, weight.shape)


def embedding_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    """Add each dy to the row that was looked up."""
    ids, shape = saved
    dweight = np.zeros(shape, dy.dtype)
    np.add.at(dweight, ids, dy)
    return dweight, None


EMBEDDING = Drill(
    "embedding",
    embedding_forward,
    embedding_backward,
    question="Row v of the table is copied to every place t with ids_t = v. What comes back to it when it was used "
    "once, never, or three times? The ids are integers: their gradient is None.",
    hints=(
        "A copied value gets the sum of what its copies get. A row that was not looked up gets exactly 0.",
        "`dweight[ids] += dy` reads all rows first and then writes them: of an id that repeats only one dy is kept.",
        "dweight = np.zeros(shape, dy.dtype); np.add.at(dweight, ids, dy); return (dweight, None).",
    ),
    cases=[case("distinct ids", normal(5, 3), exactly([3, 0, 4]))],
    odd=[
        case("two axes of ids", normal(6, 2), exactly([[5, 1], [0, 3]])),
        case("one id", normal(4, 3), exactly(2)),
        case("square", normal(3, 3), exactly([2, 0, 1])),
        case("no ids", normal(4, 3), lambda rng: np.zeros(0, np.int64)),
    ],
    repeated=[
        case("an id twice", normal(5, 3), exactly([3, 0, 3])),
        case("one id only", normal(4, 2), exactly([[1, 1], [1, 1]])),
    ],
    mutants=[
        Mutant("last one wins", "with += on a fancy index, of an id that repeats only one dy is kept: they must add",
               "np.add.at(dweight, ids, dy)", "dweight[ids] += dy"),
        Mutant("shape of y", "the gradient of the table has the table's shape", "return dweight", "return dy"),
        Mutant("averaged", "uses add up; they are not averaged",
               "return dweight",
               "return dweight / np.maximum(np.bincount(ids.ravel(), minlength=shape[0]), 1).astype(dy.dtype)[:, None]"),
        Mutant("widened", "np.zeros without a dtype is float64", "np.zeros(shape, dy.dtype)", "np.zeros(shape)"),
        Mutant("by position", "the row is told by the id, not by where in the text it stands",
               "np.add.at(dweight, ids, dy)",
               "np.add.at(dweight, np.arange(ids.size).reshape(ids.shape) % shape[0], dy)"),
        Mutant("not from zero", "rows that were not looked up get exactly 0", "np.zeros(", "np.ones("),
    ],
)  # fmt: skip


def tied_forward(weight: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, Any]:
    """Use one table twice, as GPT-2 does: look tokens up, and score every token of the vocabulary against them.

    x = weight[ids], y = x weightᵀ. weight (V, C), ids (T,) → y (T, V).
    """
    x = weight[ids]
    return x @ weight.T, (weight, ids, x)


def tied_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, None]:
    """Two arrivals at one array: from the head, dyᵀ x, and through the lookup, dx = dy weight sent to its rows."""
    weight, ids, x = saved
    dweight = dy.T @ x  # (V, C), as a head
    np.add.at(dweight, ids, dy @ weight)  # as a table
    return dweight, None


TIED = Drill(
    "tied",
    tied_forward,
    tied_backward,
    question="The same weight is a table at one end and a matrix at the other. Pretend that they are two arrays; pull "
    "dy back to each. What is the gradient of the one array that they are?",
    hints=(
        "Solve `linear` and `embedding` first: y = x weightᵀ, and before it x = weight[ids].",
        "The head gives dweight = dyᵀ x and dx = dy weight; dx then goes to the rows that were looked up.",
        "Both arrive at one array, and add: np.add.at(dweight, ids, dy @ weight) upon dyᵀ x.",
    ),
    cases=[case("distinct ids", normal(5, 3), exactly([3, 0, 4]))],
    odd=[
        case("as many ids as rows", normal(3, 3), exactly([2, 0, 1])),
        case("one feature", normal(4, 1), exactly([1, 2])),
        case("no ids", normal(4, 3), lambda rng: np.zeros(0, np.int64)),
    ],
    repeated=[case("an id twice", normal(5, 3), exactly([3, 0, 3]))],
    mutants=[
        Mutant("head only", "the table was looked up too: dy weight must go to the rows",
               "np.add.at(dweight, ids, dy @ weight)", "pass"),
        Mutant("lookup only", "the table is the head too: dyᵀ x is missing", "dy.T @ x", "np.zeros_like(weight)"),
        Mutant("second overwrites", "the two arrivals add; = replaces the first",
               "np.add.at(dweight, ids, dy @ weight)", "dweight[ids] = dy @ weight"),
        Mutant("last one wins", "with += on a fancy index, of an id that repeats only one dy is kept",
               "np.add.at(dweight, ids, dy @ weight)", "dweight[ids] += dy @ weight"),
        Mutant("averaged", "the two arrivals add; they are not averaged", "return dweight", "return dweight / 2"),
        Mutant("dx is x", "what goes to the rows is dy weight, not x", "dy @ weight)", "x)"),
        Mutant("subtracted", "the two arrivals add",
               "np.add.at(dweight, ids, dy @ weight)", "np.subtract.at(dweight, ids, dy @ weight)"),
    ],
)  # fmt: skip


def dropout_forward(x: np.ndarray, *, p: float, seed: int) -> tuple[np.ndarray, Any]:
    """Drop each entry with probability p: y = x z, with z 0 or, for what is kept, 1/(1 - p). z is saved."""
    keep = np.random.default_rng(seed).random(x.shape) >= p
    z = keep.astype(x.dtype) / (1 - p)
    return x * z, z


def dropout_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """z is a constant: dx = dy z."""
    z = saved
    return (dy * z,)


DROPOUT = Drill(
    "dropout",
    dropout_forward,
    dropout_backward,
    question="y = x z, and z does not depend on x. What reaches an entry that was dropped? And one that was kept and "
    "made larger?",
    hints=(
        "It is `mul` with one factor a constant.",
        "The z of backward must be the z of forward: it was saved, and is not drawn again.",
        "dx = dy z; the 1/(1 - p) is in z.",
    ),
    cases=[case("a matrix", normal(3, 4), p=0.5, seed=1)],
    odd=[
        case("three axes", normal(2, 2, 3), p=0.25, seed=2),
        case("nothing dropped", normal(4), p=0.0, seed=0),
        case("no entries", normal(0, 3), p=0.5, seed=0),
        case("a number", normal(), p=0.5, seed=3),
    ],
    extremes=[case("nearly all dropped", normal(4, 4), p=0.9, seed=5)],
    mutants=[
        Mutant("passed on", "what was dropped had no part in the loss", "dy * z", "dy + 0"),
        Mutant("scale forgotten", "what was kept was made 1/(1 - p) larger: so is its gradient",
               "dy * z", "dy * (z > 0)"),
        Mutant("scale twice", "z holds the 1/(1 - p) already", "dy * z", "dy * z * z"),
        Mutant("drawn again", "z must be that of the forward: another draw drops others",
               "dy * z", "dy * ((np.random.default_rng(9).random(z.shape) >= 0.5) * z.max(initial=0))"),
        Mutant("divided", "the slope of x z is z, also where z is 0", "dy * z", "dy / z"),
        Mutant("the dropped ones", "dy passes where an entry was kept", "dy * z", "dy * (z == 0)"),
    ],
)  # fmt: skip
