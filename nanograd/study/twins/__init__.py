"""Twins of every op, by name and number of the line: `TWINS["softmax"][3]`. One file per family, as in nanograd/ops."""

from nanograd.study.twins import accumulate, activation, arithmetic, erf, layernorm, power, reduce, silu, softmax, trig
from nanograd.study.twins.line import Twin

_FAMILIES = (accumulate, activation, arithmetic, erf, layernorm, power, reduce, silu, softmax, trig)

TWINS: dict[str, dict[int, Twin]] = {name: twins for family in _FAMILIES for name, twins in family.TWINS.items()}
GIVEN: dict[str, dict[str, str]] = {
    name: names for family in _FAMILIES for name, names in getattr(family, "GIVEN", {}).items()
}  # what the prose between the lines defines, by op: names and their code

__all__ = ["GIVEN", "TWINS", "Twin"]
