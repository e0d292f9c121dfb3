"""Twins of every op, by name and number of the line: `TWINS["softmax"][3]`. One file per family, as in nanograd/ops."""

from nanograd.study.twins import (
    accumulate,
    activation,
    arithmetic,
    arrange,
    attention,
    cross_entropy,
    dpo,
    dropout,
    einsum,
    embedding,
    erf,
    extremum,
    layernorm,
    linear,
    linear_cross_entropy,
    loss,
    packed_attention,
    power,
    reduce,
    rmsnorm,
    rope,
    select,
    shape,
    silu,
    softmax,
    trig,
)
from nanograd.study.twins.line import Twin

_FAMILIES = (
    accumulate, activation, arithmetic, arrange, attention, cross_entropy, dpo, dropout, einsum, embedding, erf, extremum,
    layernorm, linear, linear_cross_entropy, loss, packed_attention, power, reduce, rmsnorm, rope, select, shape, silu,
    softmax, trig,
)  # fmt: skip

TWINS: dict[str, dict[int, Twin]] = {name: twins for family in _FAMILIES for name, twins in family.TWINS.items()}
GIVEN: dict[str, dict[str, str]] = {
    name: names for family in _FAMILIES for name, names in getattr(family, "GIVEN", {}).items()
}  # what the prose between the lines defines, by op: names and their code

__all__ = ["GIVEN", "TWINS", "Twin"]
