"""Reasons of rope."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 23


def _example(d: Draw) -> Example:
    d.axes(2, "two axes, tokens and features")
    d.fits(d.shape[-1] % 2 == 0, "an even number of features, two a pair")
    return [d.normal(*d.shape)], {}


REASONS: dict[str, Reasons] = {
    "rope": Reasons(
        lines=(
            Reason(
                "The first component of the vector (a, b) rotated by θ.",
                reference="result()[..., first]",
                also=("np.real((a + 1j * b) * np.exp(1j * θ))",),
            ),
            Reason(
                "The second component of the vector (a, b) rotated by θ.",
                reference="result()[..., second]",
                also=("np.imag((a + 1j * b) * np.exp(1j * θ))",),
            ),
            Reason(
                "a enters y_a with coefficient cos θ and y_b with coefficient sin θ; multiply each by its dy and add.",
                reference="gradient('x')[..., first]",
                also=("backward('x')[..., first]",),
            ),
            Reason(
                "b enters y_a with coefficient -sin θ and y_b with coefficient cos θ; multiply each by its dy and add.",
                reference="gradient('x')[..., second]",
                also=("backward('x')[..., second]",),
            ),
        ),
        definitions={
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
        },
        example=_example,
    )
}
