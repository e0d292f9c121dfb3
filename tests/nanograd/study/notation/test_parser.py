"""Every numbered line is read and printed again to the letter; text that is no formula is refused by name."""

import re

import pytest

from nanograd.op import OPS
from nanograd.ops._equations import equations
from nanograd.study.notation import parse, to_text
from nanograd.study.notation import tree as t

LINES = sorted({line for name in OPS for function in OPS[name].pair for line in equations(function)})


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_printed_again_to_the_letter(line: str) -> None:
    assert to_text(parse(line)) == line


def test_a_formula_is_a_tree_that_knows_what_binds_tighter() -> None:
    dx, n = t.Gradient(t.Name("x")), t.Name("n")
    assert parse("dx = 2 e dy / n") == t.Infix(
        (dx, t.Quotient(t.Product((t.Number("2"), t.Name("e"), t.Gradient(t.Name("y")))), n)), ("=",)
    )
    assert parse("-y/b") == t.Minus(t.Quotient(t.Name("y"), t.Name("b"), tight=True))
    assert parse("x (4)") == t.Product((t.Name("x"), t.Reference(4)))
    assert parse("∂⟨x⟩/∂x_i") == t.Quotient(
        t.Partial(t.Fence("mean", t.Name("x"))), t.Partial(t.Sub(t.Name("x"), t.Indices("i"))), tight=True
    )
    assert parse("dy/b") == t.Quotient(t.Gradient(t.Name("y")), t.Name("b"), tight=True)
    sum_of_one, minus_outside = parse("Σ_i x y - b"), parse("a (b - n)")
    assert isinstance(sum_of_one, t.Infix)
    assert isinstance(minus_outside, t.Product)
    assert isinstance(parse("weight_oi"), t.Sub)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dx = dy wieght", "“dx = dy wieght”: “wieght” is not a name of the notation; did you mean “weight”?"),
        ("dy_j/dx_i = y_j", "“dy_j/dx_i” is a quotient of gradients; write ∂y_j/∂x_i"),
        ("y = dy/dx + x", "“dy/dx” is a quotient of gradients; write ∂y/∂x"),
        ("d⟨x⟩/dx_i = 1/C", "d⟨ is no gradient; a local derivative is written ∂⟨x⟩/∂x_i"),
        ("y = blorp(x)", "“blorp” is not a name of the notation; names and phrases are listed in"),
        ("y = (x + 1", r"at “”: expected “)” here"),
        ("y = x +", "“y = x +” at “+”: expected a symbol or a number here"),
        ("y = ", "at “”: expected a symbol or a number here"),
        ("", "cannot read “” at “”"),
        ("y_", "at “”: expected an index here"),
        ("y = x) + 1", r"at “) + 1”"),
        ("y = x  + 1", "at “  + 1”"),
        ("y = Σ", "expected “ ” here"),
        ("y = <script>", "at “<script>”"),
        ("this is a sentence", "“this” is not a name"),
    ],
)
def test_text_that_is_no_formula_is_refused(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(line)
