"""Reasons of einsum."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTER = 12


def _example(d: Draw) -> Example:
    d.axes(2, "two axes, i and k")
    dots = "..." if len(d.shape) > 2 else ""
    return [d.normal(*d.shape), d.normal(d.shape[-1], 3)], {"spec": f"{dots}ik,kj->{dots}ij"}


REASONS: dict[str, Reasons] = {
    "einsum": Reasons(
        lines=(
            Reason(
                "For every choice of all letters multiply one entry of each operand; sum over the letters that y "
                "lacks.",
                code="np.einsum(spec, *xs)",
                name="y",
            ),
            Reason(
                "With the others constant, y is linear in x_k with their product as coefficient; multiply by dy "
                "and sum over the letters that x_k lacks.",
                reference="tuple(gradient(k) for k in range(len(xs)))",
                also=("tuple(backward(k) for k in range(len(xs)))",),
                code="tuple(einsum_gradient(spec, k, dy, xs) for k in range(len(xs)))",
                name="dxs",
            ),
        ),
        definitions={"spec": "explicit(spec, xs)"},
        example=_example,
    )
}
