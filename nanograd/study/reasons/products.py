"""Reasons of linear, matmul and einsum."""

from nanograd.study.draw import Draw, Example
from nanograd.study.reasons.reason import Reason, Reasons

CHAPTERS = {"linear": 11, "einsum": 12}


def _linear(d: Draw) -> Example:
    d.axes(1, "an axis, the features")
    return [d.normal(*d.shape), d.normal(3, d.shape[-1]), d.normal(3)], {}


def _matmul(d: Draw) -> Example:
    d.axes(1, "an axis to add over")
    return [d.normal(*d.shape), d.normal(d.shape[-1], 3)], {}


def _einsum(d: Draw) -> Example:
    d.axes(2, "two axes, i and k")
    dots = "..." if len(d.shape) > 2 else ""
    return [d.normal(*d.shape), d.normal(d.shape[-1], 3)], {"spec": f"{dots}ik,kj->{dots}ij"}


REASONS: dict[str, Reasons] = {
    "linear": Reasons(
        "weight_oi is the weight of feature i in output o; every token t is treated alike.",
        "x_ti enters every output o of its token with coefficient weight_oi; sum over o.",
        "weight_oi enters output o of every token t with coefficient x_ti; sum over the tokens.",
        "bias_o enters output o of every token with coefficient 1; sum over the tokens.",
        definitions={
            "x": "np.atleast_2d(x)",
            "dy": "np.atleast_2d(dy)",
            "bias": "np.zeros(len(weight)) if bias is None else bias",
        },
        matrices=True,
        example=_linear,
    ),
    "matmul": Reasons(
        "Entry (i, j) is the inner product of row i of a and column j of b.",
        "a_ik enters the whole row i of y, with coefficient b_kj in column j; sum over j.",
        "b_kj enters the whole column j of y, with coefficient a_ik in row i; sum over i.",
        definitions={
            "a": "a[None, :] if a.ndim == 1 else a",
            "b": "b[:, None] if b.ndim == 1 else b",
            "dy": "dy.reshape(*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])",
        },
        matrices=True,
        example=_matmul,
    ),
    "einsum": Reasons(
        Reason(
            "For every choice of all letters multiply one entry of each operand; sum over the letters that y lacks.",
            code="np.einsum(spec, *xs)",
            name="y",
        ),
        Reason(
            "With the others constant, y is linear in x_k with their product as coefficient; multiply by dy "
            "and sum over the letters that x_k lacks.",
            code="tuple(einsum_gradient(spec, k, dy, xs) for k in range(len(xs)))",
            name="dxs",
        ),
        definitions={"spec": "name_axes(spec, xs)"},
        example=_einsum,
    ),
}
