"""Twins of silu and swiglu."""

from nanograd.study.twins.line import Twin

TWINS: dict[str, dict[int, Twin]] = {
    "silu": {
        1: Twin("σ", "1 / (1 + np.exp(-x))", "The sigmoid, a switch between 0 and 1.", "0.5 * (1 + np.tanh(x / 2))"),
        2: Twin("y", "x * σ", "Let x pass as far as its own switch is open."),
        3: Twin(
            "dσ_dx",
            "σ * (1 - σ)",
            "The slope of a sigmoid, in terms of its own value, as sigmoid_backward derives it.",
            "slope('σ', 'x')",
        ),
        4: Twin(
            "dy_dx",
            "σ + x * σ * (1 - σ)",
            "The product rule on (2): x has slope 1 and is weighed by σ, and σ has slope (3).",
            "slope('y', 'x')",
        ),
        5: Twin(
            "dx", "dy * σ * (1 + x * (1 - σ))", "Weigh (4) by dy, and take σ, which both terms have, out in front."
        ),
    },
    "swiglu": {
        1: Twin("σ", "1 / (1 + np.exp(-a))", "The sigmoid of the gate, between 0 and 1.", "0.5 * (1 + np.tanh(a / 2))"),
        2: Twin("y", "a * σ * b", "silu of the gate decides how much of each b passes."),
        3: Twin(
            "da",
            "dy * b * σ * (1 + a * (1 - σ))",
            "With b held still, y is b times silu(a), whose slope is σ (1 + a (1 - σ)).",
        ),
        4: Twin("db", "dy * a * σ", "With a held still, y is a straight line in b with slope a σ."),
    },
}
