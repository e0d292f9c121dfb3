"""Cases of every op, by name: `CASES["softmax"]` is a list of Case. One file per family, as in nanograd/ops.

case.py says what a Case is, and draws its arrays. EQUIVALENT holds the mutants that no Case can catch, because they compute
the same, by op and change: each with its proof.
"""

import importlib

from nanograd.check.cases.case import Case
from nanograd.ops import FAMILIES

_FILES = [importlib.import_module(f"{__name__}.{family}") for family in FAMILIES]

CASES: dict[str, list[Case]] = {op: cases for file in _FILES for op, cases in file.CASES.items()}
EQUIVALENT: dict[tuple[str, str], str] = {
    mutant: proof for file in _FILES for mutant, proof in getattr(file, "EQUIVALENT", {}).items()
}
