"""Twins of sin, cos, tanh and sigmoid."""

from nanograd.study.twins.line import Twin

GIVEN = {"sigmoid": {"e": "np.exp(-x)"}}

TWINS: dict[str, dict[int, Twin]] = {
    "sin": {
        1: Twin("y", "np.sin(x)", "The height of a point that went the way x along the unit circle."),
        2: Twin("dx", "dy * np.cos(x)", "How fast the height grows is how far the point lies to the right, cos x."),
    },
    "cos": {
        1: Twin("y", "np.cos(x)", "How far to the right a point lies that went the way x along the unit circle."),
        2: Twin(
            "dx", "-dy * np.sin(x)", "The higher the point stands, the faster it moves to the left, hence the minus."
        ),
    },
    "tanh": {
        1: Twin(
            "y",
            "np.sinh(x) / np.cosh(x)",
            "A quotient whose top and bottom are each other's slope, which makes the quotient rule easy.",
            also=("np.tanh(x)",),
        ),
        2: Twin(
            "dy_dx",
            "(np.cosh(x) ** 2 - np.sinh(x) ** 2) / np.cosh(x) ** 2",
            "Slope of the top times the bottom, less the reverse, over the bottom squared; then divide term by term.",
            "slope('y', 'x')",
            ("1 - y**2",),
        ),
        3: Twin("dx", "dy * (1 - y**2)", "Weigh (2) by dy, in the form that needs only y."),
    },
    "sigmoid": {
        1: Twin(
            "y",
            "1 / (1 + np.exp(-x))",
            "Far to the left exp(-x) is huge and y near 0, far to the right it is nothing and y near 1.",
        ),
        2: Twin(
            "dy_dx",
            "e / (1 + e) ** 2",
            "The slope of 1/u is -1/u² and that of u = 1 + e is -e; the second factor is what is missing from y to 1.",
            "slope('y', 'x')",
            ("1 / (1 + e) * e / (1 + e)", "y * (1 - y)"),
        ),
        3: Twin("dx", "dy * y * (1 - y)", "Weigh (2) by dy, in the form that needs only y."),
    },
}
