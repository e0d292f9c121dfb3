"""Drills: mul, add, sub, div, exp, log, and the reductions sum and mean."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal, on_pairs, on_shapes, positive
from nanograd.ops.arithmetic import add_forward, div_backward, sub_backward, sub_forward
from nanograd.ops.power import exp_backward, exp_forward, log_backward, log_forward
from nanograd.study.drills.drill import Drill, Mutant

UNBROADCAST = "from nanograd.ops._unbroadcast import unbroadcast  # sums a gradient back to a shape"


def mul_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply entry by entry: y = a b. a, b and y have one shape."""
    return a * b, (a, b)


def mul_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """The derivative with respect to one factor is the other factor."""
    a, b = saved
    return dy * b, dy * a


MUL = Drill(
    mul_forward, mul_backward,
    question="y = a b: if one entry of a changes a little, by how much does that entry of y change? And the loss?",
    hints=(
        "Hold b fixed at 5. How does y = a b depend on a: on what line does it lie, and how steep is it?",
        "Take numbers: a = 3, b = 5. Raise a by 0.01: y rises by 0.05. What is the derivative ∂y/∂a?",
        "∂y/∂a is b, and ∂y/∂b is a. By the chain rule, multiply the derivative by the upstream gradient dy.",
        "da = dy b and db = dy a, entry by entry; return them in the order of the forward's arrays."),
    cases=[case("a matrix", normal(2, 3), normal(2, 3))],
    odd_shapes=[
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("three axes", normal(2, 1, 3), normal(2, 1, 3))],
    extreme_values=[case("zeros and huge numbers", exactly([0.0, 1e150, 2.0]), exactly([3.0, 2.0, 0.0]))],
    mutants=[
        Mutant("own factor", "the derivative of a b by a is b, not a: the factors are swapped",
               "dy * b, dy * a", "dy * a, dy * b"),
        Mutant("one factor twice", "the derivative with respect to b is a: each gradient has the other factor",
               "dy * a", "dy * b"),
        Mutant("dy forgotten", "the chain rule multiplies the derivative by dy, the upstream gradient",
               "dy * b, dy * a", "b + 0, a + 0"),
        Mutant("sum rule", "dy passed on unchanged is the backward of a + b", "dy * b, dy * a", "dy, dy"),
        Mutant("a quotient", "y / a is b only where a is not 0", "dy * b,", "dy * (a * b) / a,"),
        Mutant("written into dy", "`dy *= b` changes the dy that db needs next",
               "return dy * b,", "dy *= b\n    return dy,"),
        Mutant("a minus", "db has the wrong sign; that is a quotient's rule", "dy * a", "-dy * a")],
)  # fmt: skip


def add_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pass dy on, summed over every axis along which an operand was copied."""
    a_shape, b_shape = saved

    def sum_to(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # the axes put in front
        stretched = tuple(i for i, n in enumerate(shape) if n == 1)
        return g.sum(axis=stretched, keepdims=True)

    return sum_to(dy, a_shape), sum_to(dy, b_shape)


ADD = Drill(
    add_forward, add_backward,
    question="In a + b with a (2, 3) and b (3,), each entry of b is used in two entries of y. What is its gradient, and "
    "what is its shape? What if b is (2, 1), or (), or a is the smaller operand? Write the transpose of broadcasting.",
    hints=(
        "y[0, 2] and y[1, 2] both contain b[2]. If b[2] rises by 0.01, which entries of y rise, and what does L feel?",
        "A gradient has the shape of its input. If broadcasting copied a value, the dy of all its copies add up.",
        "Broadcasting adds axes in front, and stretches axes of size 1. Sum over both kinds of axes.",
        "First g.sum(axis=tuple(range(g.ndim - len(shape)))), then g.sum(axis=the axes where shape is 1, keepdims=True)."),
    cases=[case("b gets an axis", normal(2, 3), normal(3))],
    odd_shapes=[case("b is stretched", normal(2, 3), normal(2, 1)), *on_pairs(normal, normal)],
    extreme_values=[case("zeros and huge numbers", exactly([[0.0, 1e200], [2.0, -1.0]]), exactly([1e-200, 0.0]))],
    mutants=[
        Mutant("no un-broadcast", "b was broadcast: the dy of all its copies must be summed", "sum_to(dy, b_shape)", "dy"),
        Mutant("a not summed", "a may be the smaller operand: it needs the same sum", "sum_to(dy, a_shape)", "dy"),
        Mutant("a mean", "the dy of copies add up; a mean divides by their number", "g = g.sum(", "g = g.mean("),
        Mutant("stretch forgotten", "axes of size 1 were stretched: sum over them too",
               "return g.sum(axis=stretched, keepdims=True)", "return g"),
        Mutant("first axis only", "sum over all axes that were added in front, not only the first",
               "axis=tuple(range(g.ndim - len(shape)))", "axis=0 if g.ndim > len(shape) else ()"),
        Mutant("axes vanish", "without keepdims the stretched axes are lost",
               "axis=stretched, keepdims=True", "axis=stretched")],
)  # fmt: skip


SUB = Drill(
    sub_forward, sub_backward,
    question="y = a - b: raising b lowers y. What are da and db if either operand was broadcast?",
    hints=(
        "If b rises by 0.01, in which direction does y move? And if a rises?",
        "∂y/∂a is 1, and ∂y/∂b is -1.",
        "So da is dy and db is -dy, each summed to the shape of its input.",
        "unbroadcast(dy, a_shape) and -unbroadcast(dy, b_shape)."),
    imports=UNBROADCAST,
    cases=[case("b gets an axis", normal(2, 3), normal(3))],
    odd_shapes=on_pairs(normal, normal),
    mutants=[
        Mutant("sign forgotten", "raising b lowers y: db needs a minus sign",
               "-unbroadcast(dy, b_shape)", "unbroadcast(dy, b_shape)"),
        Mutant("signs swapped", "the minus sign belongs to b, not to a", "return da, db", "return -da, -db"),
        Mutant("b not summed", "b was broadcast: the -dy of all its copies must be summed",
               "-unbroadcast(dy, b_shape)", "-dy"),
        Mutant("a not summed", "a may be the smaller operand: it needs the same sum", "unbroadcast(dy, a_shape)", "dy"),
        Mutant("negated in place", "`np.negative(dy, out=dy)` changes the caller's dy",
               "-unbroadcast(dy, b_shape)", "unbroadcast(np.negative(dy, out=dy), b_shape)")],
)  # fmt: skip


def div_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Divide with NumPy's broadcasting: y = a / b."""
    y = a / b
    return y, (b, y, a.shape)


DIV = Drill(
    div_forward, div_backward,
    question="y = a / b. The forward saved b and y, but not a. Can ∂y/∂b be written with those two?",
    hints=(
        "Which is larger, 6/2 or 6/3? What does that say about the sign of the derivative with respect to b?",
        "Write y = a b⁻¹ and differentiate: ∂y/∂a = b⁻¹, ∂y/∂b = -a b⁻².",
        "-a/b² is -(a/b)/b = -y/b.",
        "da = dy / b, db = -da y, each summed to the shape of its input by unbroadcast."),
    imports=UNBROADCAST,
    cases=[case("b gets an axis", normal(2, 3), positive(3))],
    odd_shapes=on_pairs(normal, positive),
    extreme_values=[
        case("huge", exactly([1e200, 1.0, 0.0]), exactly([1e10, 1e-3, 1e200])),
        case("tiny", exactly([1e-170]), exactly([1e-170]))],
    mutants=[
        Mutant("sign forgotten", "raising b lowers the quotient: db needs a minus sign", "-unbroadcast(y", "unbroadcast(y"),
        Mutant("product rule", "∂y/∂a is 1/b, not b", "quotient = dy / b", "quotient = dy * b"),
        Mutant("1/b missing", "∂y/∂b is -y/b; this is -y", "y * quotient", "y * dy"),
        Mutant("b not summed", "b was broadcast: the gradients of all its copies must be summed",
               "unbroadcast(y * quotient, b.shape)", "y * quotient"),
        Mutant("a not summed", "a may be the smaller operand: it needs the same sum",
               "unbroadcast(quotient, a_shape)", "quotient"),
        Mutant("b squared", "b² underflows to 0 for a b that is not 0", "y * quotient", "dy * (y * b) / (b * b)")],
)  # fmt: skip


EXP = Drill(
    exp_forward, exp_backward,
    question="y = exp(x). The forward saved y and not x. Why is that enough?",
    hints=(
        "How steep is exp at 0, and how steep at 2? How does that compare with the value of exp there?",
        "Which function is its own derivative?",
        "∂y/∂x = exp(x) = y. There is no need to compute exp again.",
        "dx = dy y."),
    cases=[case("a matrix", normal(2, 3))],
    odd_shapes=on_shapes(normal),
    extreme_values=[case("underflow and large", exactly([-1000.0, 0.0, 200.0]))],
    mutants=[
        Mutant("exp twice", "the saved array is already y = exp(x); this takes exp of it again",
               "dy * y", "dy * np.exp(y)"),
        Mutant("dy forgotten", "the derivative y must be multiplied by dy", "dy * y", "y + 0"),
        Mutant("saved handed out", "this changes the saved array in place: a second backward would use the changed values",
               "return (dy * y,)", "y *= dy\n    return (y + 0,)"),
        Mutant("backward of log", "dividing is the backward of log", "dy * y", "dy / y"),
        Mutant("divided by dy", "where dy is 0, dy · dy / dy is NaN", "dy * y", "dy * dy * y / dy")],
)  # fmt: skip


LOG = Drill(
    log_forward, log_backward,
    question="y = ln x, so x = exp(y). Differentiate x by y, and take the reciprocal.",
    hints=(
        "Is ln steeper at 0.1 or at 10? What happens to the derivative as x grows?",
        "∂x/∂y = exp(y) = x.",
        "So ∂y/∂x = 1/x. Do not add an epsilon: near 0 the derivative of log really is large.",
        "dx = dy / x."),
    cases=[case("a matrix", positive(2, 3))],
    odd_shapes=on_shapes(positive),
    extreme_values=[case("tiny and huge", exactly([1e-12, 1.0, 1e200]))],
    mutants=[
        Mutant("product", "the derivative of ln x is 1/x, not x", "dy / x", "dy * x"),
        Mutant("of the logarithm", "divide by x, not by ln x", "dy / x", "dy / np.log(x)"),
        Mutant("base 10", "this is the derivative of log10", "dy / x", "dy / (x * 2.302585092994046)"),
        Mutant("an eps", "1/(x + eps) is wrong for small x", "dy / x", "dy / (x + 1e-10)"),
        Mutant("a minus", "ln x rises, so its derivative is positive; -1/x² is the derivative of 1/x",
               "dy / x", "-dy / (x * x)"),
        Mutant("written into dy", "`dy /= x` changes the caller's dy",
               "return (dy / x,)", "dy /= x\n        return (dy,)")],
)  # fmt: skip


def sum_forward(x: np.ndarray, *, axis: int) -> tuple[np.ndarray, Any]:
    """Add up along one axis: y = Σ x. x (2, 3) with axis=1 gives y (2,)."""
    return x.sum(axis=axis), (x.shape, axis)


def sum_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Each entry gets the dy of the sum that it is part of."""
    shape, axis = saved
    return (np.broadcast_to(np.expand_dims(dy, axis), shape),)


_AXES = [
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
        "Raise one entry of a row by 0.01. By how much does the sum rise? Does it matter which entry it is?",
        "The derivative of a sum by each of its terms is 1. So every x in a row gets that row's dy.",
        "dy (2,) cannot be broadcast to (2, 3): it needs to be (2, 1) first.",
        "np.broadcast_to(np.expand_dims(dy, axis), shape)."),
    cases=[case("rows", normal(2, 3), axis=1)],
    odd_shapes=_AXES,
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
    constants={"n": lambda x, axis: x.shape[axis]},
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
        "Raise one of four entries by 0.04. By how much does their mean rise?",
        "Solve `sum` first: the gradient of a mean is that of a sum, divided by n.",
        "n is the number of entries in one mean: the size of x along `axis`, not the size of x.",
        "np.broadcast_to(np.expand_dims(dy / shape[axis], axis), shape)."),
    cases=[case("rows", normal(2, 4), axis=1)],
    odd_shapes=_AXES,
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
    constants={"n": lambda x, axis: x.shape[axis]},
)  # fmt: skip
