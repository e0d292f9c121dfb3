"""Cases of every op, by name: `CASES["softmax"]` is a list of Case. One file per family, as in nanograd/ops."""

from nanograd.cases import (
    activation,
    arithmetic,
    attention,
    cross_entropy,
    dropout,
    embedding,
    erf,
    layernorm,
    linear,
    power,
    reduce,
    select,
    shape,
    softmax,
    trig,
)
from nanograd.cases.case import Case

_FAMILIES = (
    activation, arithmetic, attention, cross_entropy, dropout, embedding, erf, layernorm, linear, power, reduce, select,
    shape, softmax, trig,
)  # fmt: skip

CASES: dict[str, list[Case]] = {name: cases for family in _FAMILIES for name, cases in family.CASES.items()}
