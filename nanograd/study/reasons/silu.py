"""Reasons of silu and swiglu."""

from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 14

REASONS: dict[str, Reasons] = {
    "silu": Reasons(
        lines=(
            Reason("The sigmoid, a gate between 0 and 1.", reference="0.5 * (1 + np.tanh(x / 2))"),
            "x multiplied by its own gate.",
            "The derivative of the sigmoid in terms of its value, as sigmoid_backward derives it.",
            "The product rule on (2): x has the derivative 1, and σ has the derivative (3).",
            "Multiply (4) by dy, and factor out σ.",
        )
    ),
    "swiglu": Reasons(
        lines=(
            Reason("The sigmoid of the gate a, between 0 and 1.", reference="0.5 * (1 + np.tanh(a / 2))"),
            "silu(a) gates b.",
            "With b constant, y is b times silu(a), whose derivative is σ (1 + a (1 - σ)).",
            "With a constant, y is linear in b with coefficient a σ.",
        )
    ),
}
