"""All ops in the order in which one learns them, by family: the files of nanograd/ops."""

import sys

from nanograd.op import OPS

LADDER = (
    "arithmetic", "power", "trig", "erf", "reduce", "accumulate", "extremum", "select", "shape", "arrange", "linear",
    "einsum", "activation", "silu", "softmax", "cross_entropy", "loss", "dpo", "rmsnorm", "layernorm", "embedding",
    "dropout", "rope", "attention", "packed_attention", "linear_cross_entropy",
)  # fmt: skip


def families() -> dict[str, list[str]]:
    """Return the names of the ops of each family, families in the order of the ladder; one not on it comes last."""
    found: dict[str, list[str]] = {family: [] for family in LADDER}
    for name in sorted(OPS):
        found.setdefault(family_of(name), []).append(name)
    return {family: names for family, names in found.items() if names}


def family_of(name: str) -> str:
    """Return the family of an op: the file that it stands in."""
    return OPS[name].__module__.rpartition(".")[2]


def about(family: str) -> str:
    """Return what a family is: the first line of its file."""
    return (sys.modules[f"nanograd.ops.{family}"].__doc__ or "").splitlines()[0]
