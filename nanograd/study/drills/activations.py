"""Drills: relu, sigmoid, tanh, gelu_tanh, swiglu."""

import math
from typing import Any

import numpy as np

from nanograd.check.cases.case import apart, case, exactly, normal
from nanograd.study.drills.drill import Drill, Mutant

_SHAPES = [case("a number", normal()), case("no entries", normal(0, 3)), case("three axes", normal(2, 1, 3))]


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Keep what is positive: y = max(x, 0), entry by entry."""
    return np.maximum(x, 0), x


def relu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """The slope is 1 above zero and 0 below."""
    x = saved
    return (dy * (x > 0),)


RELU = Drill(
    "relu",
    relu_forward,
    relu_backward,
    question="y = max(x, 0). What is the slope where x is positive, and where it is negative? (At 0 any slope between "
    "those two would do, and the grader does not ask.)",
    hints=(
        "Where x > 0, y = x: the slope is 1. Where x < 0, y stays 0 however x moves a little.",
        "So dy passes where x > 0, and nothing passes elsewhere. Ask x, not dy.",
        "dx = dy * (x > 0): a boolean array times a float array keeps the float's dtype.",
    ),
    cases=[case("both signs", apart(2, 3))],
    odd=[case("a vector", apart(4)), case("no entries", normal(0, 3)), case("three axes", apart(2, 1, 3))],
    extremes=[case("huge and tiny", exactly([-1e200, 1e200, -1e-200, 1e-200]))],
    mutants=[
        Mutant("dy bent", "what decides is the sign of x, not that of dy", "dy * (x > 0)", "np.maximum(dy, 0)"),
        Mutant("passed on", "a unit that was off gets no gradient", "dy * (x > 0)", "dy + 0"),
        Mutant("other side", "dy passes where x is positive", "x > 0", "x < 0"),
        Mutant("times x", "the slope above 0 is 1, not x", "dy * (x > 0)", "dy * np.maximum(x, 0)"),
        Mutant("a leak", "this is the slope of a leaky relu: below 0 it is 0",
               "dy * (x > 0)", "dy * np.where(x > 0, 1.0, 0.01).astype(dy.dtype)"),
        Mutant("a threshold", "what is positive passes dy, however small it is", "x > 0", "x > 1e-6"),
        Mutant("written into dy", "`dy[x <= 0] = 0` changes the caller's dy",
               "return (dy * (x > 0),)", "dy[x <= 0] = 0\n    return (dy,)"),
    ],
)  # fmt: skip


def sigmoid_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Squash into (0, 1): y = 1 / (1 + exp(-x)), entry by entry. y is saved."""
    y = 0.5 * (1 + np.tanh(0.5 * x))  # the same number, and no exp that overflows
    return y, y


def sigmoid_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """The slope is y (1 - y)."""
    y = saved
    return (dy * y * (1 - y),)


SIGMOID = Drill(
    "sigmoid",
    sigmoid_forward,
    sigmoid_backward,
    question="y = 1 / (1 + exp(-x)). The forward saved y, not x: write the slope with y alone.",
    hints=(
        "With u = 1 + exp(-x): dy/du = -1/u² = -y², and du/dx = -exp(-x).",
        "exp(-x) = u - 1 = 1/y - 1. Multiply: y² (1/y - 1).",
        "dx = dy y (1 - y): largest, ¼, where y is ½.",
    ),
    cases=[case("a matrix", normal(2, 3))],
    odd=_SHAPES,
    extremes=[case("saturated", exactly([-1000.0, -30.0, 30.0, 1000.0]))],
    mutants=[
        Mutant("sigmoid twice", "what was saved is y already; this takes it for x",
               "y * (1 - y)", "(1 / (1 + np.exp(-y))) * (1 - 1 / (1 + np.exp(-y)))"),
        Mutant("slope of tanh", "1 - y² is the slope of tanh", "y * (1 - y)", "(1 - y * y)"),
        Mutant("half", "the factor y is missing", "y * (1 - y)", "(1 - y)"),
        Mutant("sign", "y rises with x: the slope is y (1 - y), not y (y - 1)", "* (1 - y)", "* (y - 1)"),
        Mutant("through a logit", "1/y is infinite where y has underflowed to 0", "y * (1 - y)", "y * y * (1 / y - 1)"),
        Mutant("dy forgotten", "the slope must be weighed by dy", "dy * y", "y"),
    ],
)  # fmt: skip


def tanh_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Squash into (-1, 1): y = tanh x, entry by entry. y is saved."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """The slope is 1 - y²."""
    y = saved
    return (dy * (1 - y * y),)


TANH = Drill(
    "tanh",
    tanh_forward,
    tanh_backward,
    question="tanh x = sinh x / cosh x, and cosh² - sinh² = 1. The forward saved y: write the slope with y alone.",
    hints=(
        "The quotient rule: (cosh² - sinh²) / cosh².",
        "That is 1 - (sinh/cosh)².",
        "dx = dy (1 - y²): 1 at x = 0, and 0 far out.",
    ),
    cases=[case("a matrix", normal(2, 3))],
    odd=_SHAPES,
    extremes=[case("saturated", exactly([-1000.0, -20.0, 0.0, 20.0, 1000.0]))],
    mutants=[
        Mutant("tanh twice", "what was saved is y already; this takes it for x", "y * y", "np.tanh(y) * np.tanh(y)"),
        Mutant("not squared", "1 - y² and not 1 - y", "(1 - y * y)", "(1 - y)"),
        Mutant("slope of sigmoid", "y (1 - y) is the slope of sigmoid", "(1 - y * y)", "(y * (1 - y))"),
        Mutant("sign", "tanh is steepest at 0: 1 - y², not 1 + y²", "1 - y * y", "1 + y * y"),
        Mutant("through sinh", "(y / sinh x)² is 0/0 where y is 0", "(1 - y * y)", "(y / np.sinh(np.arctanh(y))) ** 2"),
        Mutant("dy forgotten", "the slope must be weighed by dy", "dy * (1 - y * y)", "1 - y * y"),
    ],
)  # fmt: skip


def gelu_tanh_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Bend as GPT-2 does: u = √(2/π) (x + 0.044715 x³), t = tanh u, y = ½ x (1 + t), entry by entry."""
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1 + t), (x, t)


def gelu_tanh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """y is a product of x and a function of u: the product rule, then the chain rule twice."""
    x, t = saved
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)  # du/dx
    dt = (1 - t * t) * du  # dt/dx
    return (dy * 0.5 * (1 + t + x * dt),)


GELU_TANH = Drill(
    "gelu_tanh",
    gelu_tanh_forward,
    gelu_tanh_backward,
    question="y = ½ x (1 + t), t = tanh u, u = √(2/π) (x + 0.044715 x³). Go from the outside in: the product rule gives "
    "two terms, one of which needs dt/dx = dt/du du/dx.",
    hints=(
        "The product rule: dy/dx = ½ (1 + t) + ½ x dt/dx.",
        "dt/du = 1 - t², and du/dx = √(2/π) (1 + 3 · 0.044715 x²).",
        "dx = dy · ½ (1 + t + x (1 - t²) √(2/π) (1 + 3 · 0.044715 x²)). At x = 0 the slope is ½.",
    ),
    cases=[case("a matrix", normal(2, 3))],
    odd=_SHAPES,
    extremes=[case("far out", exactly([-50.0, -5.0, 5.0, 50.0]))],
    mutants=[
        Mutant("no second term", "t depends on x too: the product rule has two terms", "1 + t + x * dt", "1 + t"),
        Mutant("no first term", "the product rule has two terms; ½ (1 + t) is missing", "(1 + t + x * dt)", "(x * dt)"),
        Mutant("3 missing", "the slope of x³ is 3 x²", "3 * 0.044715", "0.044715"),
        Mutant("tanh not differentiated", "dt/du = 1 - t² is missing", "(1 - t * t) * du", "t * du"),
        Mutant("du/dx missing", "the chain rule goes on: u is a function of x", "(1 - t * t) * du", "(1 - t * t)"),
        Mutant("½ missing", "the ½ in front is missing", "dy * 0.5", "dy"),
        Mutant("widened", "np.sqrt gives a NumPy number, which makes float32 arrays float64; use math.sqrt",
               "math.sqrt(2 / math.pi) * (1", "np.sqrt(2 / np.pi) * (1"),
    ],
)  # fmt: skip


def swiglu_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Let a gate decide how much of b passes: σ = sigmoid(a), y = a σ b. a, b and y have one shape."""
    s = 0.5 * (1 + np.tanh(0.5 * a))
    return a * s * b, (a, b, s)


def swiglu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray, np.ndarray]:
    """A product of three, in which two depend on a."""
    a, b, s = saved
    return dy * b * s * (1 + a * (1 - s)), dy * a * s


SWIGLU = Drill(
    "swiglu",
    swiglu_forward,
    swiglu_backward,
    question="y = a σ(a) b. b stands alone; a appears twice. What is the slope of a σ(a)? It can be written with a and "
    "σ, which were saved.",
    hints=(
        "db is the product rule's easy half: dy a σ.",
        "The slope of a σ is σ + a σ', with σ' = σ (1 - σ).",
        "da = dy b σ (1 + a (1 - σ)), db = dy a σ.",
    ),
    cases=[case("a matrix", normal(2, 3), normal(2, 3))],
    odd=[
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("three axes", normal(2, 1, 3), normal(2, 1, 3)),
    ],
    extremes=[case("gates open and closed", exactly([-1000.0, -30.0, 30.0, 1000.0]), exactly([2.0, -1.0, 1.0, 3.0]))],
    mutants=[
        Mutant("a once", "a appears twice: σ depends on it too", "(1 + a * (1 - s))", "1"),
        Mutant("only through σ", "a appears twice: it also stands in front of σ", "(1 + a * (1 - s))", "a * (1 - s)"),
        Mutant("b forgotten", "the slope by a is weighed by b", "dy * b * s", "dy * s"),
        Mutant("gate not bent", "b is multiplied by a σ, not by a", "dy * a * s", "dy * a"),
        Mutant("sigmoid alone", "b is multiplied by a σ, not by σ", "dy * a * s", "dy * s"),
        Mutant("swapped", "the gradients are returned in the order of the arrays: da, then db",
               "return dy * b * s * (1 + a * (1 - s)), dy * a * s",
               "return dy * a * s, dy * b * s * (1 + a * (1 - s))"),
    ],
)  # fmt: skip
