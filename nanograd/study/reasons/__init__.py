"""The reasons of every op, by name: `REASONS["softmax"].line(3).why`. A file holds the reasons of several families of ops.

reason.py says what a Reason is. CHAPTERS numbers the families of a file in the order of learning.
"""

import importlib
import pkgutil

from nanograd.op import OPS
from nanograd.ops import FAMILIES, exports
from nanograd.study.reasons.reason import Reason, Reasons

__all__ = ["REASONS", "Reason", "Reasons", "about", "families"]

REASONS: dict[str, Reasons] = {}
CHAPTERS: dict[str, int] = {}
for info in pkgutil.iter_modules(__path__):
    file = importlib.import_module(f"{__name__}.{info.name}")
    REASONS |= getattr(file, "REASONS", {})
    CHAPTERS |= getattr(file, "CHAPTERS", {})


def families() -> dict[str, list[str]]:
    """Return the names of the ops of each family, in the order of learning."""
    order = sorted(FAMILIES, key=lambda family: (CHAPTERS[family], family))
    return {family: sorted(set(exports(FAMILIES[family])) & set(OPS)) for family in order}


def about(family: str) -> str:
    """Return what a family is: the first line of its file."""
    return (FAMILIES[family].__doc__ or "").splitlines()[0]
