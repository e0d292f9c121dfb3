"""Twins of rope."""

from nanograd.study.twins.line import Twin

GIVEN = {
    "rope": {
        "D": "x.shape[-1]",
        "positions": "np.arange(x.shape[-2]) if positions is None else positions",
        "rotates": "1 if rotated is None else (np.arange(x.shape[-3]) < rotated)[:, None, None]",
        "θ": "rotates * np.asarray(positions)[..., None] * base ** (-2 * np.arange(D // 2) / D)",
        "first": "slice(0, None, 2) if interleaved else slice(D // 2)",
        "second": "slice(1, None, 2) if interleaved else slice(D // 2, None)",
        "a": "x[..., first]",
        "b": "x[..., second]",
        "y": "pairs(y_a, y_b, interleaved)",
        "dy_a": "dy[..., first]",
        "dy_b": "dy[..., second]",
    }
}

TWINS: dict[str, dict[int, Twin]] = {
    "rope": {
        1: Twin(
            "y_a",
            "a * np.cos(θ) - b * np.sin(θ)",
            "Turn the arrow (a, b) by θ: its part along the first axis is what is left of a, less what b turns away.",
            "result()[..., first]",
            ("np.real((a + 1j * b) * np.exp(1j * θ))",),
        ),
        2: Twin(
            "y_b",
            "a * np.sin(θ) + b * np.cos(θ)",
            "Of the rotated arrow the part along the second axis: what a turns into it, and what is left of b.",
            "result()[..., second]",
            ("np.imag((a + 1j * b) * np.exp(1j * θ))",),
        ),
        3: Twin(
            "dx_a",
            "dy_a * np.cos(θ) + dy_b * np.sin(θ)",
            "a moves y_a with slope cos θ and y_b with slope sin θ; weigh each by its dy and add.",
            "gradient('x')[..., first]",
            ("backward('x')[..., first]",),
        ),
        4: Twin(
            "dx_b",
            "-dy_a * np.sin(θ) + dy_b * np.cos(θ)",
            "b moves y_a with slope -sin θ and y_b with slope cos θ; weigh each by its dy and add.",
            "gradient('x')[..., second]",
            ("backward('x')[..., second]",),
        ),
    }
}
