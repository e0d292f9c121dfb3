"""Twins of relu, gelu and gelu_tanh."""

from nanograd.study.twins.line import Twin

GIVEN = {"gelu_tanh": {"t": "np.tanh(u)"}}

TWINS: dict[str, dict[int, Twin]] = {
    "relu": {
        1: Twin("y", "np.maximum(x, 0)", "What is negative is cut off at 0; what is positive passes as it is."),
        2: Twin("dx", "dy * (x > 0)", "Right of zero y is x itself, of slope 1; left of it y is 0 whatever x does."),
    },
    "gelu": {
        1: Twin(
            "Φ",
            "0.5 * (1 + erf(x / np.sqrt(2)))",
            "The share of the bell curve left of x: half of it, and erf for what lies between 0 and x.",
            "0.5 + integral(lambda s: np.exp(-s * s / 2), x) / np.sqrt(2 * np.pi)",
        ),
        2: Twin("y", "x * Φ", "Let x pass as far as it is likely to be the larger one."),
        3: Twin(
            "φ",
            "np.exp(-x * x / 2) / np.sqrt(2 * np.pi)",
            "Φ is the area under the bell curve up to x, so it grows by the curve's height at x.",
            "slope('Φ', 'x')",
        ),
        4: Twin(
            "dx",
            "dy * (Φ + x * φ)",
            "The product rule on (2): x has slope 1 and is weighed by Φ, and Φ has slope φ by (3).",
        ),
    },
    "gelu_tanh": {
        1: Twin(
            "u",
            "np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)",
            "A cubic whose tanh comes near to erf(x/√2): the first factor is the slope of that at 0.",
            "np.polyval([0.044715 * np.sqrt(2 / np.pi), 0, np.sqrt(2 / np.pi), 0], x)",
        ),
        2: Twin("y", "0.5 * x * (1 + np.tanh(u))", "gelu, with tanh u in the place of erf(x/√2)."),
        3: Twin(
            "du_dx",
            "np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)",
            "The slope of x is 1 and that of x³ is 3 x².",
            "slope('u', 'x')",
        ),
        4: Twin(
            "dt_du",
            "1 - t**2",
            "The slope of tanh, in terms of its own value, as tanh_backward derives it.",
            "slope('t', 'u')",
        ),
        5: Twin(
            "dy_dx",
            "0.5 * (1 + t) + 0.5 * x * dt_du * du_dx",
            "The product rule on (2): first ½ x moves, then t does, by the chain (4) times (3).",
            "slope('y', 'x')",
        ),
        6: Twin("dx", "dy * dy_dx", "Weigh (5) by dy."),
    },
}
