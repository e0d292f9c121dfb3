"""Cases of every op, by name: `CASES["softmax"]` is a list of Case. One file per family, as in nanograd/ops."""

from nanograd.cases import softmax
from nanograd.cases.case import Case

CASES: dict[str, list[Case]] = {name: cases for family in (softmax,) for name, cases in family.CASES.items()}
