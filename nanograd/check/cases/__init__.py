"""Cases of every op, by name: `CASES["softmax"]` is a list of Case. One file per family, as in nanograd/ops."""

from nanograd.check.cases import (
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
from nanograd.check.cases.case import Case

_FAMILIES = (
    accumulate, activation, arithmetic, arrange, attention, cross_entropy, dpo, dropout, einsum, embedding, erf, extremum,
    layernorm, linear, linear_cross_entropy, loss, packed_attention, power, reduce, rmsnorm, rope, select, shape, silu,
    softmax, trig,
)  # fmt: skip

CASES: dict[str, list[Case]] = {name: cases for family in _FAMILIES for name, cases in family.CASES.items()}
