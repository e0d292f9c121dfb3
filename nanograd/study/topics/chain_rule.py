"""Page 0, from one number to arrays: what dy and dx are, the chain rule, why contributions add, why J is never built.

For a reader who knows the calculus of one variable and no deep learning. Every section asks a question, gives the formula,
then the numbers, which are computed when the page is made.
"""

import math
from collections.abc import Callable

import numpy as np

from nanograd.check.numeric import finite_differences
from nanograd.inspect.player.html import number
from nanograd.study import step_size_plot
from nanograd.study.lesson import Beside, Equation, Lesson, Picture, Rows, Section
from nanograd.study.markup import error
from nanograd.study.step_size_plot import POWERS, Step

TITLE = "From one number to arrays"
AIM = """Training lowers one number, the loss. To lower it, we must know how the loss changes with each of millions of
numbers. This page leads from the derivative of school calculus to the one rule that all other pages use."""
X = 1.5  # where the derivatives of one number are taken
TOKENS, FEATURES = 2048, 512  # of a training step, for a sense of size


def topic() -> Lesson:
    """Return the page with its numbers."""
    steps = (one_number, chain, fan_out, shapes, jacobian, counted, random_dy, differences)
    return Lesson("chain_rule", TITLE, AIM, [step() for step in steps])


def one_number() -> Section:
    """Explain the derivative of y = x² as the limit of secants."""
    steps = [10.0**-power for power in range(5)]
    body = [[number(h), f"{(X + h) ** 2 - X**2:.6g}", f"{((X + h) ** 2 - X**2) / h:.6g}"] for h in steps]
    return Section(
        "derivative",
        "How much does y change when x changes a little?",
        (
            f"Take y = x² at x = {X:g}. Move x by h, and divide the change of y by h:",
            Equation("((x + h)² - x²) / h = 2 x + h"),
            "The smaller h is, the closer this comes to 2 x, the slope of the tangent. This limit is the derivative:",
            Equation("∂y/∂x = 2 x"),
            Beside(
                Picture(_tangent()),
                Rows("The change of y over the change of x", ["h", "change of y", "change of y / h"], body),
            ),
            f"At x = {X:g} the derivative is {2 * X:g}: a small change of x changes y {2 * X:g} times as much. The sign ∂ "
            "says that all other numbers are held fixed.",
        ),
    )


def chain() -> Section:
    """Explain the chain rule of two functions, and name dx and dy."""
    y = X**2
    dy, slope = math.cos(y), 2 * X
    body = [
        ["x", "", number(X)],
        ["y", "x²", number(y)],
        ["L", "sin y", number(math.sin(y))],
        ["dy = ∂L/∂y", "cos y", number(dy)],
        ["∂y/∂x", "2 x", number(slope)],
        ["dx = ∂L/∂x", "dy ∂y/∂x", number(dy * slope)],
        ["the same, measured", "change of L / h", number(_measured(lambda x: math.sin(x**2)))],
    ]
    return Section(
        "chain",
        "What if L is computed from y, and y from x?",
        (
            "A small change of x is multiplied by ∂y/∂x on its way to y, and by ∂L/∂y on its way to L. The two factors "
            "multiply; this is the chain rule:",
            Equation("∂L/∂x = ∂L/∂y ∂y/∂x"),
            "From here on L is the loss, the one number at the end of the calculation, and its derivatives have short "
            "names: dy means ∂L/∂y, and dx means ∂L/∂x. Each is one symbol, no product, and is called the gradient of "
            "y or of x. With these names the rule is",
            Equation("dx = dy ∂y/∂x"),
            Rows("y = x², then L = sin y", ["", "formula", "number"], body),
            "To compute dx, the operation y = x² needs dy and its own local derivative 2 x. It need not know what "
            "happens to y later. So every operation can have a function of its own, its backward, which takes dy and "
            "returns dx; calling the backwards in reverse order leads from the loss to every number.",
        ),
    )


def fan_out() -> Section:
    """Explain that the contributions of all uses add."""
    a, b = X**2, math.sin(X)
    da, db = b, a
    by_a, by_b = da * 2 * X, db * math.cos(X)
    body = [
        ["through a", "da ∂a/∂x = b · 2 x", number(by_a)],
        ["through b", "db ∂b/∂x = a · cos x", number(by_b)],
        ["dx", "the sum", number(by_a + by_b)],
        ["dx, measured", "change of L / h", number(_measured(lambda x: x**2 * math.sin(x)))],
    ]
    return Section(
        "fan-out",
        "What if x is used twice?",
        (
            "Let a = x² and b = sin x, and L = a b. A change of x changes a and b, and each of them changes L. For small "
            "changes the effects add, so the contributions of the two paths add:",
            Equation("dx = da ∂a/∂x + db ∂b/∂x"),
            Beside(
                Picture(_fork(a, b, da, db, by_a, by_b)),
                Rows("x is used twice", ["path", "contribution", "number"], body),
            ),
            "This is why gradients are added wherever a value, such as a weight, is used more than once: the first "
            "contribution sets dx, each later one is added. A backward pass that keeps only the last one is wrong: here it "
            f"would give {number(by_b)} for {number(by_a + by_b)}.",
        ),
    )


def shapes() -> Section:
    """Explain that dx has the shape of x."""
    rng = np.random.default_rng(0)
    x, h = rng.standard_normal((2, 3)).round(2), 0.001
    dx = 2 * x
    moves = {"x[0, 1] alone, by 0.001": np.zeros_like(x), "all six, each by its own step": np.zeros_like(x)}
    one, every = moves.values()
    one[0, 1] = h
    every[...] = h * rng.standard_normal(x.shape).round(1)
    body = [
        [name, f"{((x + step) ** 2).sum() - (x**2).sum():.3g}", f"{(dx * step).sum():.3g}"]
        for name, step in moves.items()
    ]
    return Section(
        "shapes",
        "What is the derivative by an array?",
        (
            "An array is many numbers, and L depends on each. Move one, hold the others: one derivative for each "
            "entry. So dx has the shape of x, always. For the sum of squares of an array of shape (2, 3):",
            Equation("L = Σ x²,  dx = 2 x"),
            {"x": x, "dx": dx},
            "If several entries move, each by its own small step δx, their effects on L add. The gradient predicts the "
            "change:",
            Rows("The change of L, and what dx says", ["moved", "change of L", "Σ dx δx"], body),
            "Training moves every weight a little against the sign of its gradient, so that L falls.",
        ),
    )


EXAMPLE = np.array([2.0, -1.0, 0.5])
DY = np.array([0.3, -1.5])  # as if drawn at random


def products(x: np.ndarray) -> np.ndarray:
    """Return y_j = x_j x_{j+1}, two numbers from three."""
    return x[:-1] * x[1:]


def products_jacobian(x: np.ndarray) -> np.ndarray:
    """Return ∂y_j/∂x_i, row j and column i."""
    return np.array([[x[1], x[0], 0.0], [0.0, x[2], x[1]]])


def products_backward(dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return dx without the Jacobian: each x_i meets its neighbours only."""
    dx = np.zeros_like(x)
    dx[:-1] += dy * x[1:]
    dx[1:] += dy * x[:-1]
    return dx


def jacobian() -> Section:
    """Explain the chain rule with many inputs and outputs."""
    x, jacobian = EXAMPLE, products_jacobian(EXAMPLE)
    first, second = jacobian[:, 1] * DY
    return Section(
        "jacobian",
        "What if many inputs give many outputs?",
        (
            "Let three numbers x give two numbers y, each the product of two neighbours:",
            Equation("y_j = x_j x_{j + 1}"),
            "There is a local derivative for each pair: how y_j changes with x_i. The matrix with row j and column i "
            "is the Jacobian J.",
            {"x": x, "y": products(x), "J: row j, column i": jacobian, "dy": DY},
            "An x_i may be used in several y_j, and contributions add. So the chain rule multiplies column i by dy, "
            "and adds. It is the one rule behind every backward pass, and all pages quote it:",
            Equation("dx_i = Σ_j dy_j ∂y_j/∂x_i", "(*)"),
            f"Entries are counted from 0, as in NumPy. For the middle one, dx_1 = {number(DY[0])} · "
            f"{number(jacobian[0, 1])} + ({number(DY[1])}) · {number(jacobian[1, 1])} = {number(first + second)}. For all "
            "entries at once it is a product of a matrix and a vector, dx = Jᵀ dy; ᵀ swaps rows and columns. In arrays of "
            "more axes, i and j in (*) run over all entries; other pages may call rows and columns i and j.",
            {
                "dx = Jᵀ dy": jacobian.T @ DY,
                "dx, measured": finite_differences(lambda: DY @ products(moving), moving := x.copy()).round(9),
            },
        ),
    )


def counted() -> Section:
    """Count what building the Jacobian would cost."""
    square, x = np.arange(1.0, 5.0), TOKENS * FEATURES
    dy = np.array([1.0, -1.0, 0.5, 2.0])
    body = [
        _row("products of neighbours, as above", 3, 2, 4),
        _row("y = x², 4 numbers", 4, 4, 4),
        _row(f"y = x², {TOKENS} tokens of {FEATURES} features", x, x, x),
        _row(f"y = x W, the same x, W {FEATURES} × {FEATURES}", x, x, x * FEATURES),
    ]
    n = FEATURES
    return Section(
        "count",
        "Why does a backward never build the Jacobian?",
        (
            "Count its entries. For y = x² entry by entry, y_j depends on x_j alone: J has 2 x_j on its diagonal, and 0 "
            "elsewhere. The sum over j in (*) has one term, and what is left is",
            Equation("dx_i = 2 x_i dy_i"),
            {
                "x": square,
                "dy": dy,
                "Jᵀ dy, with J built": np.diag(2 * square).T @ dy,
                "2 x dy, without": 2 * square * dy,
            },
            "A GPT computes on arrays with a row for each token, a piece of the text, and a column for each feature; "
            "the features of a token are the numbers that stand for it.",
            Rows("Numbers in the Jacobian", ["operation", "x", "y", "entries of J", "not 0", "J in float32"], body),
            "So the pages derive ∂y_j/∂x_i on paper, put it into (*), and carry out the sum over j on paper too. What "
            "is left is a formula for Jᵀ dy that costs about as much as the forward pass, the computation of y from x.",
            "The order matters as well. L is one number, so from the loss backwards every step is a matrix times a "
            f"vector: three dense Jacobians of {n} × {n} take {3 * n * n:,} multiplications. From x forwards the first "
            f"two products are matrix times matrix: {2 * n**3 + n * n:,}.",
        ),
    )


def random_dy() -> Section:
    """Show wrong backwards that a test with dy = 1 does not see."""
    x = EXAMPLE
    backwards: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "right: (*)": lambda dy: products_backward(dy, x),
        "wrong: the two dy swapped": lambda dy: products_backward(dy[::-1], x),
        "wrong: dy forgotten": lambda dy: products_backward(np.ones_like(dy), x),
    }
    body = []
    for name, backward in backwards.items():
        cells = [name]
        for dy in (np.ones(2), DY):
            dx = backward(dy)
            off = float(np.abs(dx - products_jacobian(x).T @ dy).max())
            cells += [", ".join(map(number, dx)), f"off by {number(off)}" if off else "no error"]
        body.append(cells)
    head = ["backward", "dx, dy = 1, 1", "seen", f"dx, dy = {', '.join(map(number, DY))}", "seen"]
    return Section(
        "random",
        "Which dy must a test of a backward use?",
        (
            "A test chooses a dy and takes the loss",
            Equation("L = Σ_j dy_j y_j"),
            "whose derivative by y_j is dy_j. It compares the dx of the "
            "backward with measured derivatives of L. The easiest choice is dy = 1, that is L = Σ y. It is a bad one. "
            "Three backwards of the products of neighbours:",
            Rows("Two wrong backwards that pass with dy = 1", head, body),
            "With equal entries in dy, it does not matter which dy belongs to which y, or whether dy is used at all. "
            "Random entries differ, so every mistake of this kind shows. All checks on these pages draw a random dy.",
        ),
    )


def differences() -> Section:
    """Show the error of finite differences over the step size."""
    right = math.cos(X**2) * 2 * X

    def L(x: float) -> float:
        return math.sin(x**2)

    steps = []
    for power in POWERS:
        h = 10.0**-power
        one_sided, central = (L(X + h) - L(X)) / h, (L(X + h) - L(X - h)) / (2 * h)
        steps.append(Step(h, abs(one_sided - right) / abs(right), abs(central - right) / abs(right)))
    body = [[f"{step.h:g}", error(step.central), error(step.forward)] for step in steps]
    best = min(steps, key=lambda step: step.central)
    extrapolated = abs(_measured(L) - right) / abs(right)
    return Section(
        "differences",
        "How is a derivative measured, and how exactly?",
        (
            f"By moving x, without any calculus. For L = sin x² at x = {X:g}, where (*) says dx = {number(right)}, move "
            "x by h to both sides:",
            Equation("(sin((x + h)²) - sin((x - h)²)) / (2 h)"),
            "This central difference is off by a multiple of h², the one-sided one of the first section by a multiple "
            "of h. But the smaller h is, the more digits the two values of L have in common, and their difference is "
            f"left with few: rounding errors grow like 1/h. The best step is about {best.h:g}, with a relative error of "
            f"{error(best.central)}. The checks on these pages take three steps and extrapolate to step 0 (Richardson's "
            f"method): here the error is {error(extrapolated)}. A wrong sign, or an error of 1 %, cannot hide in that.",
            Beside(
                Picture(step_size_plot.svg(steps)),
                Rows("Error of dx by step size", ["h", "central", "one-sided"], body),
            ),
        ),
    )


def _measured(function: Callable[[float], float]) -> float:
    """Return the derivative of a function at X by finite differences."""
    x = np.array(X)
    return float(finite_differences(lambda: function(float(x)), x))


def _row(name: str, x: int, y: int, filled: int) -> list[str]:
    """Return a row of the table of Jacobians: the size of each array."""
    size = 4 * x * y
    unit, name_of_unit = max((u for u in ((1, "bytes"), (1e12, "TB")) if u[0] <= size), key=lambda u: u[0])
    return [name, f"{x:,}", f"{y:,}", f"{x * y:,}", f"{filled:,}", f"{size / unit:.2g} {name_of_unit}"]


# Pictures


def _tangent() -> str:
    """Draw y = x², its tangent at X, and the secant of h = 1."""
    width, height, left, bottom, scale_x, scale_y = 480, 250, 40, 26, 150.0, 28.0

    def at(x: float, y: float) -> str:
        return f"{left + scale_x * x:g} {height - bottom - scale_y * y:g}"

    curve = "L".join(at(i / 20, (i / 20) ** 2) for i in range(0, 55))
    slope, (x, y) = 2 * X, (X, X**2)
    ends = [at(t, y + slope * (t - x)) for t in (0.75, 2.5)]
    secant = [at(t, y + (slope + 1) * (t - x)) for t in (x, x + 1)]
    ticks = "".join(
        f'<text class="tick x" x="{left + scale_x * t:g}" y="{height - bottom + 16}">{t:g}</text>'
        for t in (0, X, X + 1)
    ) + "".join(
        f'<text class="tick y" x="{left - 6}" y="{height - bottom - scale_y * t + 4:g}">{t:g}</text>'
        for t in (X**2, (X + 1) ** 2)
    )
    marks = "".join(
        f'<circle class="central mark" cx="{at(*p).split()[0]}" cy="{at(*p).split()[1]}" r="4"/>'
        for p in ((x, y), (x + 1, (x + 1) ** 2))
    )
    labels = "".join(
        f'<text class="{kind}" x="{left + scale_x * a:g}" y="{height - bottom - scale_y * b:g}">{text}</text>'
        for kind, a, b, text in (
            ("tick", 0.12, 0.75, "y = x²"),
            ("central name", 2.05, 3.2, f"tangent, slope {number(slope)}"),
            ("forward name", 1.02, 5.6, f"h = 1: slope {number(slope + 1)}"),
        )
    )
    return (
        f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="The parabola y = x squared with its '
        f'tangent at x = {X:g} and a secant; their slopes are in the table beside">'
        f'<path class="grid" d="M{left} {height - bottom}H{width - 20}M{left} {height - bottom}V8"/>{ticks}'
        f'<path class="plot line" d="M{curve}"/><path class="central line" d="M{"L".join(ends)}"/>'
        f'<path class="forward line" d="M{"L".join(secant)}"/>{marks}{labels}</svg>'
    )


def _fork(a: float, b: float, da: float, db: float, by_a: float, by_b: float) -> str:
    """Draw x, its two uses and L, with the values above and the gradients below each box."""
    boxes = (
        (70, 95, "x", f"x = {number(X)}", f"dx = {number(by_a + by_b)}"),
        (240, 40, "a", f"a = {number(a)}", f"da = {number(da)}"),
        (240, 150, "b", f"b = {number(b)}", f"db = {number(db)}"),
        (410, 95, "L", f"L = {number(a * b)}", "dL = 1"),
    )
    arrows = ((128, 80, 180, 48), (128, 110, 180, 142), (298, 48, 350, 80), (298, 142, 350, 110))
    lines = "".join(f'<path class="line" d="M{x} {y}L{u} {v}"/>' for x, y, u, v in arrows)
    words = "".join(
        f'<text x="{x}" y="{y}" text-anchor="middle">{text}</text>'
        for x, y, text in ((128, 48, f"+ {number(by_a)}"), (128, 154, f"+ {number(by_b)}"))
    )
    drawn = "".join(
        f'<g><rect class="box" x="{x - 58}" y="{y - 22}" width="116" height="44" rx="6"/>'
        f'<text x="{x}" y="{y - 4}" text-anchor="middle">{value}</text>'
        f'<text x="{x}" y="{y + 14}" text-anchor="middle">{gradient}</text></g>'
        for x, y, _, value, gradient in boxes
    )
    return (
        '<svg class="block" viewBox="8 2 464 186" role="img" aria-label="x goes into a and b, both go into L; the two '
        f'contributions to dx are in the table beside">{lines}{words}{drawn}</svg>'
    )
