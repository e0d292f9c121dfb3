"""Drills: sum, mean."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, normal
from nanograd.study.drills.drill import Drill, Mutant


def sum_forward(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Add up along one axis: y = Σ x. x (2, 3) with axis=1 gives y (2,)."""
    return x.sum(axis=axis), (x.shape, axis)


def sum_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Each entry gets the dy of the sum that it is part of."""
    shape, axis = saved
    return (np.broadcast_to(np.expand_dims(dy, axis), shape),)


_SHAPES = [
    case("first axis", normal(2, 3), axis=0),
    case("middle axis", normal(2, 3, 4), axis=1),
    case("square", normal(3, 3), axis=1),
    case("a vector", normal(4), axis=0),
    case("no rows", normal(0, 3), axis=1),
    case("one entry a row", normal(3, 1), axis=-1),
]
SUM = Drill(
    sum_forward, sum_backward,
    question="y_i = Σ_j x_ij. By how much does y_i change if one x_ij changes? The gradient must have the shape of x, "
    "and dy has one axis less. How do you give it that axis back, whichever axis was summed?",
    hints=(
        "The derivative of a sum by each of its terms is 1. So every x in a row gets that row's dy.",
        "dy (2,) cannot be broadcast to (2, 3): it needs to be (2, 1) first.",
        "np.broadcast_to(np.expand_dims(dy, axis), shape)."),
    cases=[case("rows", normal(2, 3), axis=1)],
    odd_shapes=_SHAPES,
    mutants=[
        Mutant("not spread", "dx has the shape of x: every x in a row gets the row's dy",
               "np.broadcast_to(np.expand_dims(dy, axis), shape)", "dy"),
        Mutant("axis kept at 1", "the axis is back, but dx still has size 1 there",
               "np.broadcast_to(np.expand_dims(dy, axis), shape)", "np.expand_dims(dy, axis)"),
        Mutant("a mean", "the forward adds up; dividing by n is the backward of a mean",
               "np.expand_dims(dy, axis)", "np.expand_dims(dy, axis) / shape[axis]"),
        Mutant("ones", "every derivative is 1, but it must be multiplied by dy",
               "np.broadcast_to(np.expand_dims(dy, axis), shape)", "np.ones(shape, dy.dtype)"),
        Mutant("last axis assumed", "the sum may go over any axis, not only the last",
               "np.expand_dims(dy, axis)", "np.expand_dims(dy, -1)"),
        Mutant("one dy for all", "every row has its own dy; this adds all of them",
               "np.expand_dims(dy, axis)", "dy.sum()")],
)  # fmt: skip


def mean_forward(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Average along one axis of n entries: y = Σ x / n. x (2, 3) with axis=1 gives y (2,)."""
    return x.mean(axis=axis), (x.shape, axis)


def mean_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Each entry gets 1/n of the dy of the mean that it is part of."""
    shape, axis = saved
    return (np.broadcast_to(np.expand_dims(dy / shape[axis], axis), shape),)


MEAN = Drill(
    mean_forward, mean_backward,
    question="y_i = Σ_j x_ij / n. A mean is a sum and a division: what does each of them do to dy? What is n?",
    hints=(
        "Solve `sum` first: the gradient of a mean is that of a sum, divided by n.",
        "n is the number of entries in one mean: the size of x along `axis`, not the size of x.",
        "np.broadcast_to(np.expand_dims(dy / shape[axis], axis), shape)."),
    cases=[case("rows", normal(2, 4), axis=1)],
    odd_shapes=_SHAPES,
    mutants=[
        Mutant("1/n missing", "the derivative of a mean by one of its entries is 1/n", "dy / shape[axis]", "dy"),
        Mutant("n of the wrong axis", "n is the size of the axis averaged over",
               "dy / shape[axis]", "dy / shape[axis - 1]"),
        Mutant("n of all entries", "n is the number of entries in one mean, not in all of x",
               "dy / shape[axis]", "dy / int(np.prod(shape))"),
        Mutant("not spread", "dx has the shape of x: every x in a row gets dy / n",
               "np.broadcast_to(np.expand_dims(dy / shape[axis], axis), shape)", "dy / shape[axis]"),
        Mutant("n - 1", "a mean divides by n; n - 1 is for a variance",
               "shape[axis], axis)", "(shape[axis] - 1), axis)"),
        Mutant("float64", "np.float64(n) turns a float32 gradient into float64; n is a Python int",
               "dy / shape[axis]", "dy / np.float64(shape[axis])")],
)  # fmt: skip
