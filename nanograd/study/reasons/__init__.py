"""The reasons of every op, by name: `REASONS["softmax"].line(3).why`. One file per family, as in nanograd/ops."""

import importlib
import sys

import nanograd.ops  # noqa: F401 (registers the ops)
from nanograd.op import OPS
from nanograd.study.reasons.reason import Reason, Reasons

__all__ = ["REASONS", "Reason", "Reasons", "about", "families"]


def family_of(name: str) -> str:
    """Return the family of an op: the name of its file."""
    return OPS[name].__module__.rpartition(".")[2]


_FILES = {family: importlib.import_module(f"{__name__}.{family}") for family in {family_of(name) for name in OPS}}
REASONS: dict[str, Reasons] = {name: reasons for file in _FILES.values() for name, reasons in file.REASONS.items()}


def families() -> dict[str, list[str]]:
    """Return the names of the ops of each family, in the order of learning: by the CHAPTER of their reasons."""
    order = sorted(_FILES, key=lambda family: (_FILES[family].CHAPTER, family))
    return {family: sorted(name for name in OPS if family_of(name) == family) for family in order}


def about(family: str) -> str:
    """Return what a family is: the first line of its file."""
    return (sys.modules[f"nanograd.ops.{family}"].__doc__ or "").splitlines()[0]
