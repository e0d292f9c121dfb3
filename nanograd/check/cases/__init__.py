"""Cases of every op, by name: `CASES["softmax"]` is a list of Case. A file holds the cases of several families of ops.

case.py says what a Case is, and draws its arrays. EQUIVALENT holds the mutants that no Case can catch, because they compute
the same, by op and change: each with its proof.
"""

import importlib
import pkgutil

from nanograd.check.cases.case import Case

_FILES = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]

CASES: dict[str, list[Case]] = {}
EQUIVALENT: dict[tuple[str, str], str] = {}
for file in _FILES:
    CASES |= getattr(file, "CASES", {})
    EQUIVALENT |= getattr(file, "EQUIVALENT", {})
