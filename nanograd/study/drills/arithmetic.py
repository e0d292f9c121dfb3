"""Drills: mul, add, sub, div, exp, log."""

from typing import Any

import numpy as np

from nanograd.check.cases.case import case, exactly, normal, positive
from nanograd.ops._unbroadcast import unbroadcast
from nanograd.study.drills.drill import Drill, Mutant

UNBROADCAST = "from nanograd.ops._unbroadcast import unbroadcast  # sums a gradient back to a shape"


def mul_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply entry by entry: y = a b. a, b and y have one shape."""
    return a * b, (a, b)


def mul_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """Each factor is the other's slope."""
    a, b = saved
    return dy * b, dy * a


MUL = Drill(
    "mul",
    mul_forward,
    mul_backward,
    question="y = a b: if one entry of a moves by a little, by how much does that entry of y move? And the loss?",
    hints=(
        "Take numbers: a = 3, b = 5. Move a by 0.01: y moves by 0.05. What is the slope dy/da?",
        "The slope by a is b, the slope by b is a. The loss moves by the slope times what dy says each y is worth.",
        "da = dy b and db = dy a, entry by entry; return them in the order of the forward's arrays.",
    ),
    cases=[case("a matrix", normal(2, 3), normal(2, 3))],
    odd=[
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("three axes", normal(2, 1, 3), normal(2, 1, 3)),
    ],
    extremes=[case("zeros and huge numbers", exactly([0.0, 1e150, 2.0]), exactly([3.0, 2.0, 0.0]))],
    mutants=[
        Mutant("own factor", "the slope of a b by a is b, not a: the factors are swapped",
               "dy * b, dy * a", "dy * a, dy * b"),
        Mutant("dy forgotten", "slopes must be weighed by dy, what each y is worth", "dy * b, dy * a", "b + 0, a + 0"),
        Mutant("sum rule", "dy passed on unchanged is the backward of a + b", "dy * b, dy * a", "dy, dy"),
        Mutant("a quotient", "y / a is b only where a is not 0", "dy * b,", "dy * (a * b) / a,"),
        Mutant("written into dy", "`dy *= b` changes the dy that db needs next",
               "return dy * b,", "dy *= b\n    return dy,"),
        Mutant("a minus", "db has the wrong sign; that is a quotient's rule", "dy * a", "-dy * a"),
    ],
)  # fmt: skip


def add_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Add with NumPy's broadcasting: y = a + b. a (2, 3) and b (3,) give y (2, 3): b is used in both rows."""
    return a + b, (a.shape, b.shape)


def add_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pass dy on, summed over every axis along which an operand was copied."""
    a_shape, b_shape = saved

    def fold(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        g = g.sum(axis=tuple(range(g.ndim - len(shape))))  # the axes put in front
        stretched = tuple(i for i, n in enumerate(shape) if n == 1)
        return g.sum(axis=stretched, keepdims=True)

    return fold(dy, a_shape), fold(dy, b_shape)


ADD = Drill(
    "add",
    add_forward,
    add_backward,
    question="In a + b with a (2, 3) and b (3,), each entry of b moves two entries of y. What is its gradient, and of "
    "what shape? What if b is (2, 1), or (), or a the smaller one? Write the adjoint of broadcasting.",
    hints=(
        "A gradient has the shape of its input. Where broadcasting copied one value to many places, their dy add up.",
        "Broadcasting does two things: it puts axes in front, and it stretches axes of size 1. Undo both with a sum.",
        "First g.sum(axis=tuple(range(g.ndim - len(shape)))), then g.sum(axis=those where shape is 1, keepdims=True).",
    ),
    cases=[case("b gets an axis", normal(2, 3), normal(3))],
    odd=[
        case("b is stretched", normal(2, 3), normal(2, 1)),
        case("a gets an axis", normal(3), normal(2, 3)),
        case("both are stretched", normal(3, 1), normal(1, 2)),
        case("an axis and a stretch", normal(3, 1), normal(2, 3, 2)),
        case("b is a number", normal(2, 3), normal()),
        case("no entries", normal(0, 3), normal(1, 3)),
    ],
    extremes=[case("zeros and huge numbers", exactly([[0.0, 1e200], [2.0, -1.0]]), exactly([1e-200, 0.0]))],
    mutants=[
        Mutant("no un-broadcast", "b was copied to many places: their dy must be summed", "fold(dy, b_shape)", "dy"),
        Mutant("a not folded", "a may be the smaller one: it needs the same sum", "fold(dy, a_shape)", "dy"),
        Mutant("a mean", "copies add up; a mean divides by their number", "g = g.sum(", "g = g.mean("),
        Mutant("stretch forgotten", "axes of size 1 were stretched: sum them too",
               "return g.sum(axis=stretched, keepdims=True)", "return g"),
        Mutant("first axis only", "all the axes put in front are summed, not the first alone",
               "axis=tuple(range(g.ndim - len(shape)))", "axis=0 if g.ndim > len(shape) else ()"),
        Mutant("axes vanish", "without keepdims the stretched axes are lost",
               "axis=stretched, keepdims=True", "axis=stretched"),
    ],
)  # fmt: skip


def sub_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Subtract with NumPy's broadcasting: y = a - b."""
    return a - b, (a.shape, b.shape)


def sub_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pass dy on to a, and -dy to b."""
    a_shape, b_shape = saved
    return unbroadcast(dy, a_shape), -unbroadcast(dy, b_shape)


SUB = Drill(
    "sub",
    sub_forward,
    sub_backward,
    question="y = a - b: raising b lowers y. What are da and db, when either may have been broadcast?",
    hints=(
        "The slope by a is 1, by b it is -1.",
        "So da is dy and db is -dy, each summed back to the shape of its input.",
        "unbroadcast(dy, a_shape) and -unbroadcast(dy, b_shape).",
    ),
    imports=UNBROADCAST,
    cases=[case("b gets an axis", normal(2, 3), normal(3))],
    odd=[
        case("a gets an axis", normal(3), normal(2, 3)),
        case("a is stretched", normal(2, 1), normal(2, 3)),
        case("two numbers", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
    ],
    mutants=[
        Mutant("sign forgotten", "raising b lowers y: db needs a minus",
               "-unbroadcast(dy, b_shape)", "unbroadcast(dy, b_shape)"),
        Mutant("signs swapped", "the minus belongs to b, not to a",
               "unbroadcast(dy, a_shape), -", "-unbroadcast(dy, a_shape), "),
        Mutant("b not folded", "b was copied to many places: their -dy must be summed",
               "-unbroadcast(dy, b_shape)", "-dy"),
        Mutant("a not folded", "a may be the smaller one: it needs the same sum", "unbroadcast(dy, a_shape),", "dy,"),
        Mutant("negated in place", "`np.negative(dy, out=dy)` changes the caller's dy",
               "return unbroadcast(dy, a_shape), -unbroadcast(dy, b_shape)",
               "da = unbroadcast(dy, a_shape) + 0\n    return da, unbroadcast(np.negative(dy, out=dy), b_shape)"),
    ],
)  # fmt: skip


def div_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Divide with NumPy's broadcasting: y = a / b."""
    y = a / b
    return y, (b, y, a.shape)


def div_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """By a the slope is 1/b, by b it is -a/b² = -y/b."""
    b, y, a_shape = saved
    da = dy / b
    return unbroadcast(da, a_shape), unbroadcast(-da * y, b.shape)


DIV = Drill(
    "div",
    div_forward,
    div_backward,
    question="y = a / b. The forward saved b and y, not a: can the slope by b be written with those two?",
    hints=(
        "Write y = a b⁻¹ and differentiate: by a it is b⁻¹, by b it is -a b⁻².",
        "-a/b² is -(a/b)/b = -y/b.",
        "da = dy / b, db = -da y, each through unbroadcast to the shape of its input.",
    ),
    imports=UNBROADCAST,
    cases=[case("b gets an axis", normal(2, 3), positive(3))],
    odd=[
        case("a gets an axis", normal(3), positive(2, 3)),
        case("b is stretched", normal(2, 3), positive(2, 1)),
        case("two numbers", normal(), positive()),
        case("no entries", normal(0, 3), positive(0, 3)),
    ],
    extremes=[
        case("huge", exactly([1e200, 1.0, 0.0]), exactly([1e10, 1e-3, 1e200])),
        case("tiny", exactly([1e-170]), exactly([1e-170])),
    ],
    mutants=[
        Mutant("sign forgotten", "raising b lowers the quotient: db needs a minus", "-da * y", "da * y"),
        Mutant("product rule", "by a the slope is 1/b, not b", "da = dy / b", "da = dy * b"),
        Mutant("1/b missing", "the slope by b is -y/b; this is -y", "-da * y", "-dy * y"),
        Mutant("b not folded", "b was copied to many places: what comes back must be summed",
               "unbroadcast(-da * y, b.shape)", "-da * y"),
        Mutant("a not folded", "a may be the smaller one: it needs the same sum", "unbroadcast(da, a_shape)", "da"),
        Mutant("b squared", "b² has underflowed to 0 where b has not", "-da * y", "-dy * (y * b) / (b * b)"),
    ],
)  # fmt: skip


_ELEMENTWISE = [case("a number", normal()), case("no entries", normal(0, 3)), case("three axes", normal(2, 1, 3))]


def exp_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Raise e to each entry: y = exp(x). y has the shape of x, and is saved."""
    y = np.exp(x)
    return y, y


def exp_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """exp is its own slope."""
    y = saved
    return (dy * y,)


EXP = Drill(
    "exp",
    exp_forward,
    exp_backward,
    question="y = exp(x). The forward saved y and not x: why is that enough?",
    hints=(
        "Which function is its own derivative?",
        "dy/dx = exp(x) = y. No exp needs to be computed again.",
        "dx = dy y.",
    ),
    cases=[case("a matrix", normal(2, 3))],
    odd=_ELEMENTWISE,
    extremes=[case("underflow and large", exactly([-1000.0, 0.0, 200.0]))],
    mutants=[
        Mutant("exp twice", "what was saved is y already: exp of it is one exp too many", "dy * y", "dy * np.exp(y)"),
        Mutant("dy forgotten", "the slope y must be weighed by dy", "dy * y", "y + 0"),
        Mutant("saved handed out", "this is the saved array itself, changed in place: a second walk would use it again",
               "return (dy * y,)", "y *= dy\n    return (y + 0,)"),
        Mutant("backward of log", "a division is the slope of log", "dy * y", "dy / y"),
        Mutant("divided by dy", "where dy is 0, dy · dy / dy is NaN", "dy * y", "dy * dy * y / dy"),
    ],
)  # fmt: skip


def log_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Take the natural logarithm of each entry, which is positive: y = ln x. y has the shape of x."""
    return np.log(x), x


def log_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """The slope of ln x is 1/x."""
    x = saved
    return (dy / x,)


LOG = Drill(
    "log",
    log_forward,
    log_backward,
    question="y = ln x, so x = exp(y). Differentiate that by y, and turn it over.",
    hints=(
        "dx/dy = exp(y) = x.",
        "So dy/dx = 1/x. No small number is added: log is steep near 0, and its slope says so.",
        "dx = dy / x.",
    ),
    cases=[case("a matrix", positive(2, 3))],
    odd=[case("a number", positive()), case("no entries", positive(0, 3)), case("three axes", positive(2, 1, 3))],
    extremes=[case("tiny and huge", exactly([1e-12, 1.0, 1e200]))],
    mutants=[
        Mutant("product", "the slope of ln x is 1/x, not x", "dy / x", "dy * x"),
        Mutant("of the logarithm", "divide by x, not by ln x", "dy / x", "dy / np.log(x)"),
        Mutant("base 10", "this is the slope of log10", "dy / x", "dy / (x * 2.302585092994046)"),
        Mutant("an eps", "1/(x + eps) is wrong where x is small", "dy / x", "dy / (x + 1e-10)"),
        Mutant("a minus", "ln x rises: its slope is positive; -1/x² is the slope of 1/x", "dy / x", "-dy / (x * x)"),
        Mutant("written into dy", "`dy /= x` changes the caller's dy", "return (dy / x,)", "dy /= x\n    return (dy,)"),
    ],
)  # fmt: skip
