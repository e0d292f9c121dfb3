"""Drills: relu, sigmoid, tanh, gelu_tanh, swiglu."""

import math
from typing import Any

import numpy as np

from nanograd.check.cases.case import apart, case, exactly, normal, on_shapes
from nanograd.ops.activation import swiglu_backward
from nanograd.ops.trig import sigmoid_backward, tanh_backward, tanh_forward
from nanograd.study.drills.drill import Drill, Mutant


def relu_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Set negative entries to zero: y = max(x, 0), elementwise."""
    return np.maximum(x, 0), x


def relu_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """The derivative is 1 above zero and 0 below."""
    x = saved
    return (dy * (x > 0),)


RELU = Drill(
    relu_forward, relu_backward,
    question="y = max(x, 0). What is the derivative where x is positive, and where it is negative? (At 0 any value "
    "between those two is a valid subgradient, and the grader does not test it.)",
    hints=(
        "Draw max(x, 0). How steep is it at x = 2, and how steep at x = -2?",
        "Where x > 0, y = x and the derivative is 1. Where x < 0, y stays 0 if x changes a little.",
        "So dx is dy where x > 0, and 0 elsewhere. The sign of x decides, not that of dy.",
        "dx = dy * (x > 0): a boolean array times a float array has the dtype of the float array."),
    cases=[case("both signs", apart(2, 3))],
    odd_shapes=on_shapes(apart),
    extreme_values=[case("huge and tiny", exactly([-1e200, 1e200, -1e-200, 1e-200]))],
    mutants=[
        Mutant("relu of dy", "the sign of x decides, not that of dy", "dy * (x > 0)", "np.maximum(dy, 0)"),
        Mutant("passed on", "a unit whose input was negative gets no gradient", "dy * (x > 0)", "dy + 0"),
        Mutant("other side", "dy passes where x is positive", "x > 0", "x < 0"),
        Mutant("times x", "the derivative above 0 is 1, not x", "dy * (x > 0)", "dy * np.maximum(x, 0)"),
        Mutant("a leak", "this is the derivative of a leaky relu; that of relu below 0 is 0",
               "dy * (x > 0)", "dy * np.where(x > 0, 1.0, 0.01).astype(dy.dtype)"),
        Mutant("a threshold", "every positive x passes dy on, however small x is", "x > 0", "x > 1e-6"),
        Mutant("written into dy", "`dy[x <= 0] = 0` changes the caller's dy",
               "return (dy * (x > 0),)", "dy[x <= 0] = 0\n    return (dy,)")],
)  # fmt: skip


def sigmoid_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """Squash to (0, 1): y = 1 / (1 + exp(-x)), elementwise. y is saved."""
    y = 0.5 * (1 + np.tanh(0.5 * x))  # the same value, without an exp that overflows
    return y, y


SIGMOID = Drill(
    sigmoid_forward, sigmoid_backward,
    question="y = 1 / (1 + exp(-x)). The forward saved y, not x: write the derivative in terms of y.",
    hints=(
        "Where is the sigmoid steepest, and how steep is it where y is nearly 0 or nearly 1?",
        "With u = 1 + exp(-x): ∂y/∂u = -1/u² = -y², and ∂u/∂x = -exp(-x).",
        "exp(-x) = u - 1 = 1/y - 1. Multiply: y² (1/y - 1).",
        "dx = dy y (1 - y). The derivative is largest, ¼, where y = ½."),
    cases=[case("a matrix", normal(2, 3))],
    odd_shapes=on_shapes(normal),
    extreme_values=[case("saturated", exactly([-1000.0, -30.0, 30.0, 1000.0]))],
    mutants=[
        Mutant("sigmoid twice", "the saved array is already y; this treats it as x",
               "y * (1 - y)", "(1 / (1 + np.exp(-y))) * (1 - 1 / (1 + np.exp(-y)))"),
        Mutant("derivative of tanh", "1 - y² is the derivative of tanh", "y * (1 - y)", "(1 - y * y)"),
        Mutant("half", "the factor y is missing", "y * (1 - y)", "(1 - y)"),
        Mutant("sign", "y rises with x: the derivative is y (1 - y), not y (y - 1)", "* (1 - y)", "* (y - 1)"),
        Mutant("through a logit", "1/y is infinite where y underflows to 0", "y * (1 - y)", "y * y * (1 / y - 1)"),
        Mutant("dy forgotten", "the derivative must be multiplied by dy", "dy * y", "y")],
)  # fmt: skip


TANH = Drill(
    tanh_forward, tanh_backward,
    question="tanh x = sinh x / cosh x, and cosh² - sinh² = 1. The forward saved y: write the derivative in terms of y.",
    hints=(
        "How steep is tanh at 0, and how steep where y is nearly 1? Which simple function of y is 1 and 0 there?",
        "The quotient rule: (cosh² - sinh²) / cosh².",
        "This is 1 - (sinh/cosh)².",
        "dx = dy (1 - y²). The derivative is 1 at x = 0, and near 0 where |x| is large."),
    cases=[case("a matrix", normal(2, 3))],
    odd_shapes=on_shapes(normal),
    extreme_values=[case("saturated", exactly([-1000.0, -20.0, 0.0, 20.0, 1000.0]))],
    mutants=[
        Mutant("tanh twice", "the saved array is already y; this treats it as x", "y * y", "np.tanh(y) * np.tanh(y)"),
        Mutant("not squared", "the derivative is 1 - y², not 1 - y", "(1 - y * y)", "(1 - y)"),
        Mutant("derivative of sigmoid", "y (1 - y) is the derivative of sigmoid", "(1 - y * y)", "(y * (1 - y))"),
        Mutant("sign", "the derivative of tanh is largest at 0: 1 - y², not 1 + y²", "1 - y * y", "1 + y * y"),
        Mutant("through sinh", "(y / sinh x)² is 0/0 where y is 0", "(1 - y * y)", "(y / np.sinh(np.arctanh(y))) ** 2"),
        Mutant("dy forgotten", "the derivative must be multiplied by dy", "dy * (1 - y * y)", "1 - y * y")],
)  # fmt: skip


def gelu_tanh_forward(x: np.ndarray) -> tuple[np.ndarray, Any]:
    """GPT-2's activation: u = √(2/π) (x + 0.044715 x³), t = tanh u, y = ½ x (1 + t), elementwise."""
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))
    return 0.5 * x * (1 + t), (x, t)


def gelu_tanh_backward(dy: np.ndarray, saved: Any) -> tuple[np.ndarray]:
    """Apply the product rule to x and t, then the chain rule twice."""
    x, t = saved
    du_dx = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)  # ∂u/∂x
    dt_dx = (1 - t * t) * du_dx  # ∂t/∂x
    return (dy * 0.5 * (1 + t + x * dt_dx),)


GELU_TANH = Drill(
    gelu_tanh_forward, gelu_tanh_backward,
    question="y = ½ x (1 + t), t = tanh u, u = √(2/π) (x + 0.044715 x³). Start with the product rule: it gives two terms. "
    "The second needs ∂t/∂x = ∂t/∂u ∂u/∂x.",
    hints=(
        "x appears in two places in ½ x (1 + t), since t depends on x too. How many terms has the derivative?",
        "The product rule: ∂y/∂x = ½ (1 + t) + ½ x ∂t/∂x.",
        "∂t/∂u = 1 - t², and ∂u/∂x = √(2/π) (1 + 3 · 0.044715 x²).",
        "dx = dy · ½ (1 + t + x (1 - t²) √(2/π) (1 + 3 · 0.044715 x²)). At x = 0 the derivative is ½."),
    cases=[case("a matrix", normal(2, 3))],
    odd_shapes=on_shapes(normal),
    extreme_values=[case("far out", exactly([-50.0, -5.0, 5.0, 50.0]))],
    mutants=[
        Mutant("no second term", "t depends on x too: the product rule has two terms", "1 + t + x * dt_dx", "1 + t"),
        Mutant("no first term", "the product rule has two terms; ½ (1 + t) is missing",
               "(1 + t + x * dt_dx)", "(x * dt_dx)"),
        Mutant("3 missing", "the derivative of x³ is 3 x²", "3 * 0.044715", "0.044715"),
        Mutant("tanh not differentiated", "∂t/∂u = 1 - t² is missing", "(1 - t * t) * du_dx", "t * du_dx"),
        Mutant("∂u/∂x missing", "u depends on x: the chain rule needs the factor ∂u/∂x",
               "(1 - t * t) * du_dx", "(1 - t * t)"),
        Mutant("½ missing", "the ½ in front is missing", "dy * 0.5", "dy"),
        Mutant("float64", "np.sqrt returns a NumPy number, which makes float32 arrays float64; use math.sqrt",
               "math.sqrt(2 / math.pi) * (1", "np.sqrt(2 / np.pi) * (1")],
)  # fmt: skip


def swiglu_forward(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, Any]:
    """Multiply b by the gate silu(a): σ = sigmoid(a), y = a σ b. a, b and y have one shape."""
    s = 0.5 * (1 + np.tanh(0.5 * a))
    return a * s * b, (a, b, s)


SWIGLU = Drill(
    swiglu_forward, swiglu_backward,
    question="y = a σ(a) b. b appears once, a twice. What is the derivative of a σ(a)? It can be written with a and σ, "
    "which were saved.",
    hints=(
        "If b rises, what happens to y? If a rises, by how many paths does y change?",
        "y is linear in b: db = dy a σ.",
        "The derivative of a σ is σ + a σ', with σ' = σ (1 - σ).",
        "da = dy b σ (1 + a (1 - σ)), db = dy a σ."),
    cases=[case("a matrix", normal(2, 3), normal(2, 3))],
    odd_shapes=[
        case("a number", normal(), normal()),
        case("no entries", normal(0, 3), normal(0, 3)),
        case("three axes", normal(2, 1, 3), normal(2, 1, 3))],
    extreme_values=[case("gates open and closed", exactly([-1000.0, -30.0, 30.0, 1000.0]), exactly([2.0, -1.0, 1.0, 3.0]))],
    mutants=[
        Mutant("a once", "a appears twice: σ depends on it too", "(1 + a * (1 - s))", "1"),
        Mutant("only through σ", "a appears twice: it is also the factor before σ", "(1 + a * (1 - s))", "a * (1 - s)"),
        Mutant("b forgotten", "the derivative with respect to a has the factor b", "dy * b * s", "dy * s"),
        Mutant("gate without σ", "b is multiplied by a σ, not by a", "dy * a * s", "dy * a"),
        Mutant("sigmoid alone", "b is multiplied by a σ, not by σ", "dy * a * s", "dy * s"),
        Mutant("swapped", "return the gradients in the order of the arrays: da, then db",
               "return da, db", "return db, da")],
)  # fmt: skip
