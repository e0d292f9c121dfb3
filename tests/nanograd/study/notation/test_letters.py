"""On the page of an op a letter has one meaning: it is a value, an index or a size, and it is defined once."""

import inspect
import re
from collections import Counter

import pytest

from nanograd.op import OPS
from nanograd.ops._equations import EQUATION
from nanograd.study.derivation import derivation
from nanograd.study.line_code import equations
from nanograd.study.notation import Formula, parse
from nanograd.study.notation import tree as t
from nanograd.study.notation.names import is_derivative, name_of, subtrees

SHAPE = re.compile(r"\((?:…|[A-Z]\w*)(?:,[^()]*)?\)")  # (…, T, D), (V, C)
DEFINED_IN_PROSE = re.compile(r"\b[Ww](?:ith|rite) ([^\W\d_]) = (?!-?\d[.,;: ](?!/))")

PARTS = {"rope": {"a", "b"}}  # x_a is the part of x that is called a


def indices(formula: Formula) -> set[str]:
    """Return the letters that count entries: of y_j, and of Σ_j."""
    found: set[str] = set()
    for part in subtrees(formula):
        match part:
            case t.Sub(_, t.Indices(letters)) | t.Big(("Σ" | "Π"), t.Indices(letters)):
                found |= {letter for letter in letters if letter.isalpha()}
            case t.Big(("Σ" | "Π"), (t.Such(t.Name(letter)) | t.Infix((t.Name(letter), *_)))) if len(letter) == 1:
                found.add(letter)
    return found


def letters(formulas: list[Formula], prose: str, inputs: set[str], parts: set[str]) -> dict[str, Counter[str]]:
    """Return what each letter is, and how often it is defined. `parts`: names below a value, the a of y_a, no indices."""
    values = Counter({name: 1 for name in inputs if len(name) == 1})
    for formula in formulas:
        targets = [clause.operands[0] for clause in equations(formula)]
        targets = [target for target in targets if not is_derivative(target) and not indices(target) & parts]
        values.update({name for target in targets if (name := name_of(target)) and len(name) == 1})
    sizes = {letter for shape in SHAPE.findall(prose) for letter in re.findall(r"(?<![\w.])[A-Za-z](?![\w.])", shape)}
    values.update(letter for letter in DEFINED_IN_PROSE.findall(prose) if letter not in sizes)  # H = n_heads is a size
    counted = set().union(*map(indices, formulas)) - parts
    return {"value": values, "index": Counter(counted), "size": Counter(sizes)}


def clashes(found: dict[str, Counter[str]]) -> list[str]:
    """Say which letters mean two things."""
    pairs = (("value", "index"), ("value", "size"), ("index", "size"))
    both = [f"{letter} is {a} and {b}" for a, b in pairs for letter in sorted(found[a].keys() & found[b].keys())]
    return both + [f"{letter} is defined {n} times" for letter, n in sorted(found["value"].items()) if n > 1]


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_letter_has_one_meaning(name: str) -> None:
    docstrings = [inspect.getdoc(function) or "" for function in OPS[name].pair]
    prose = "\n".join(line for text in docstrings for line in text.splitlines() if not EQUATION.match(line))
    options = inspect.signature(OPS[name].pair.forward).parameters
    found = letters(
        [line.whole for line in derivation(name)], prose, {*OPS[name].arrays, *options}, PARTS.get(name, set())
    )
    assert clashes(found) == [], {kind: sorted(counter) for kind, counter in found.items()}


@pytest.mark.parametrize(
    ("lines", "prose", "said"),
    [
        (["S = q kᵀ"], "q (…, T, D), k (…, S, D) → (…, T, D)", ["S is value and size"]),
        (["y_im = Σ_k x_ik weight_km"], "x (…, n, k) → (…, n, m)", ["k is index and size", "m is index and size"]),
        (["n = x r", "y_n = Σ_j x_j"], "", ["n is value and index"]),
        (["r = 1 / x", "r = x", "y = x r"], "", ["r is defined 2 times"]),
        (["t = tanh x", "y = t"], "With t = dy/b:", ["t is defined 2 times"]),
        (["y = x"], "x (…, T, D); at x = 0 it is 0. With e = exp(x).", []),
    ],
)
def test_a_second_meaning_is_seen(lines: list[str], prose: str, said: list[str]) -> None:
    assert clashes(letters([parse(line) for line in lines], prose, {"x"}, set())) == said
