"""The printed lines themselves, put to numbers by machine: all sides agree, and a line that changes is noticed."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.examples import example
from nanograd.study.formula import parse, to_text
from nanograd.study.letters import NotRead
from nanograd.study.notation.tree import (
    Big,
    Fence,
    Formula,
    Infix,
    Minus,
    Number,
    Power,
    Product,
    Quotient,
    Root,
    Transpose,
)
from nanograd.study.reading import sides
from nanograd.study.twin import MEASURED, begin, difference, lines
from nanograd.study.twins import TWINS

# What is said in words is read by people: if one of these lines changes, its twin is to be read again beside it.
IN_WORDS = {
    ("broadcast_to", 1): "y = copies of x",
    ("concat", 1): "y = x_1 followed by x_2 …",
    ("concat", 2): "dx_1 followed by dx_2 … = dy",
    ("einsum", 1): "y_out = Σ_{letters not in out} x1_… x2_… ⋯",
    ("einsum", 2): "dx_k = Σ_{letters not in x_k} dy_out Π_{l≠k} x_l",
    ("packed_attention", 1): "q | k | v = qkv",
    ("packed_attention", 2): "y = attention(q, k, v) of each head, side by side",
    ("packed_attention", 3): "dq, dk, dv = what attention pulls back from its heads in dy",
    ("packed_attention", 4): "dqkv = dq | dk | dv",
    ("pad", 1): "y = x inside, value on the border",
    ("pad", 2): "dx = dy inside",
    ("scatter", 2): "dx = dy, and 0 where x was overwritten",
    ("transpose", 1): "axis i of y = axis axes[i] of x",
    ("transpose", 2): "axis axes[i] of dx = axis i of dy",
}
TAILS = {
    ("astype", 1): ", rounded to dtype",
    ("astype", 2): ", rounded to the dtype of x",
    ("attention", 1): ", and -∞ where a query may not look",
    ("attention", 2): ", and 0 in rows that see nothing",
    ("layernorm", 8): ", by (1)",
    ("pow", 2): ", and 0 where b = 0",
    ("pow", 3): ", for a > 0",
    ("rmsnorm", 6): ", by (1)",
    ("scatter", 1): ", and x elsewhere",
    ("scatter", 3): ", and 0 where a later value took the place",
    ("softmax", 1): ", over the scores that count",
}
LINES = {(name, line.number): line for name in sorted(OPS) for line in derivation(name)}
READ = [each for each in LINES if each not in IN_WORDS]

ROWS = {  # of one row, whose entries the letters count
    "cumsum", "erf", "flip", "getitem", "logsumexp", "mean", "norm", "prod", "repeat", "roll",
    "scatter_add", "std", "sum", "take_along_axis", "var",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {  # so that every symbol has a say
    "cross_entropy": {"label_smoothing": 0.1, "z_loss": 0.2},
    "dpo": {"label_smoothing": 0.1},
    "layernorm": {"eps": 0.3},
    "rmsnorm": {"eps": 0.3},
    "std": {"ddof": 1},
    "tril": {"k": 1},
    "triu": {"k": 1},
    "var": {"ddof": 1},
}


def point(name: str, seed: int) -> tuple[list[Any], dict[str, Any]]:
    """Return the input on which an op's lines are read: like its example, and no two sizes of matrices alike."""
    rng = np.random.default_rng(seed)
    if name == "attention":
        return [rng.standard_normal(each) for each in ((2, 4), (3, 4), (3, 5))], {"dropout": 0.5, "seed": seed}
    if name == "scatter":  # no place is written twice: what happens then is said in words
        return [rng.standard_normal(4), rng.permutation(4)[:3], rng.standard_normal(3)], {"axis": -1}
    if name in ("max", "min"):  # two of each share it
        return [rng.permutation([1.5, -0.5, 1.5, -0.5])], {}
    arrays, options = example(name, (4,) if name in ROWS else (2, 4), seed)
    return arrays, options | OPTIONS.get(name, {})


def apart(name: str, formula: Formula, seed: int = 0) -> float:
    """Return how far the sides of a formula of an op are from each other."""
    sheet = begin(name, *point(name, seed), seed)
    found = sides(formula, sheet, {"k": 2} if name == "repeat" else None)
    return max(loose(each, first) for first, *rest in found for each in rest)


def loose(a: np.ndarray, b: np.ndarray) -> float:
    """Compare arrays of which either may be the same all along an axis."""
    return difference(*np.broadcast_arrays(a, b))


def test_a_line_by_hand() -> None:
    """Of scores ln 1 and ln 3, with p = ¼, ¾, the slope of y_2 in x_1 is ¾ (0 - ¼) = -3/16, on both sides of (2)."""
    sheet = begin("softmax", [np.log([1.0, 3.0])], {})
    measured, printed = sides(parse("dy_j/dx_i = y_j (1[i = j] - y_i)"), sheet)[0]
    right = np.array([[3, -3], [-3, 3]]) / 16
    np.testing.assert_allclose(measured.reshape(2, 2), right, atol=1e-9)
    np.testing.assert_allclose(printed.reshape(2, 2), right, atol=1e-12)


def test_a_product_of_matrices_is_read_by_its_shapes() -> None:
    """dy is 2 × 3 and weight 3 × 4: side by side they can only be meant as matrices."""
    x, weight = np.ones((2, 4)), np.arange(12.0).reshape(3, 4)
    sheet = begin("linear", [x, weight], {})
    _, printed = sides(parse("dx = dy weight"), sheet)[0]
    np.testing.assert_allclose(printed.reshape(2, 4), sheet["dy"] @ weight)


def test_what_is_in_words_is_as_it_was() -> None:
    assert {each: to_text(LINES[each].whole) for each in IN_WORDS} == IN_WORDS
    tails = {each: LINES[each].tail for each in READ if LINES[each].tail}
    assert tails == TAILS
    assert len(READ) == 215


@pytest.mark.parametrize(("name", "number"), sorted(set(IN_WORDS) - {("scatter", 2)}))
def test_a_line_in_words_is_not_read_as_something_else(name: str, number: int) -> None:
    with pytest.raises(NotRead):
        apart(name, LINES[name, number].formula)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "number"), READ)
def test_all_sides_of_a_printed_line_agree(name: str, number: int, seed: int) -> None:
    assert apart(name, LINES[name, number].formula, seed) <= MEASURED


# A line that is wrong does not agree


def edits(part: Formula) -> Iterator[Formula]:
    """Make every small mistake that a formula has room for, one at a time."""
    match part:
        case Number(text) if text != "½":
            yield Number(str(float(text) + 1))
        case Minus(of) | Root(of) | Transpose(of) | Fence("mean", of) | Big(body=of):
            yield of
        case Power(base, _):
            yield base
        case Quotient(top, bottom):
            yield Product((Fence("group", top), Fence("group", bottom)))
            yield Quotient(bottom, top)
        case Product(factors) if len(factors) > 1:
            for i in range(len(factors)):
                left = factors[:i] + factors[i + 1 :]
                yield Product(left) if len(left) > 1 else left[0]
        case Infix(operands, signs):
            for i, sign in enumerate(signs):
                for other in {"+": "-", "-": "+", "≤": ">", "≥": "<", ">": "<", "<": ">"}.get(sign, ""):
                    yield Infix(operands, (*signs[:i], other, *signs[i + 1 :]))
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        inner = getattr(part, field.name)
        if isinstance(inner, Formula):
            yield from (dataclasses.replace(part, **{field.name: each}) for each in edits(inner))
        elif isinstance(inner, tuple):
            for i, each in enumerate(inner):
                if isinstance(each, Formula):
                    wrong = ((*inner[:i], other, *inner[i + 1 :]) for other in edits(each))
                    yield from (dataclasses.replace(part, **{field.name: parts}) for parts in wrong)


def caught(name: str, formula: Formula) -> bool:
    """Tell whether a changed line would be noticed."""
    for seed in (0, 1):
        try:
            with np.errstate(all="ignore"):
                error = apart(name, formula, seed)
        except Exception:  # it may make no sense any more
            return True
        if not error <= MEASURED:
            return True
    return False


SAME = {  # what a side remark says of a letter is not an equation between numbers
    ("attention", 3): ["y = (P z) v,  z = 2.0 without dropout"],
    ("repeat", 1): ["y[r i + k] = x[i],  k > r = repeats"],
}


@pytest.mark.parametrize(("name", "number"), READ)
def test_a_mistake_in_a_printed_line_is_caught(name: str, number: int) -> None:
    unseen = [to_text(wrong) for wrong in edits(LINES[name, number].formula) if not caught(name, wrong)]
    assert unseen == SAME.get((name, number), [])


def test_a_docstring_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = OPS["exp"].pair.backward
    right = backward.__doc__
    assert apart("exp", derivation("exp")[1].formula) < MEASURED
    monkeypatch.setattr(backward, "__doc__", right.replace("dx = dy y ", "dx = dy / y "))
    assert to_text(derivation("exp")[1].formula) == "dx = dy / y"
    assert apart("exp", derivation("exp")[1].formula) > 0.1
    monkeypatch.setattr(backward, "__doc__", right.replace("(2)", "(3)"))
    assert sorted(lines("exp")) == [1, 3] != sorted(TWINS["exp"])


def test_a_formula_has_many_mistakes() -> None:
    wrong = [to_text(each) for each in edits(parse("dx = dy (1 - y²)"))]
    assert wrong == [
        "dx = (1 - y²)",
        "dx = dy",
        "dx = dy (1 + y²)",
        "dx = dy (2.0 - y²)",
        "dx = dy (1 - y)",
        "dx = dy (1 - y^3.0)",
    ]
    assert math.isfinite(apart("tanh", parse(wrong[2])))
