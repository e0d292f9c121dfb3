"""The reasons of every op, by name: `REASONS["softmax"].line(3).why`. One file per family, as in nanograd/ops."""

import importlib

from nanograd.op import OPS
from nanograd.ops import FAMILIES
from nanograd.study.reasons.reason import Reason, Reasons

__all__ = ["REASONS", "Reason", "Reasons", "about", "families"]

_FILES = {family: importlib.import_module(f"{__name__}.{family}") for family in FAMILIES}
REASONS: dict[str, Reasons] = {name: reasons for file in _FILES.values() for name, reasons in file.REASONS.items()}


def families() -> dict[str, list[str]]:
    """Return the names of the ops of each family, in the order of learning: by the CHAPTER of their reasons."""
    order = sorted(FAMILIES, key=lambda family: (_FILES[family].CHAPTER, family))
    return {family: sorted(set(_FILES[family].REASONS) & set(OPS)) for family in order}


def about(family: str) -> str:
    """Return what a family is: the first line of its file."""
    return (FAMILIES[family].__doc__ or "").splitlines()[0]
