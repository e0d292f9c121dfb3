"""Formulas: every numbered line is read, printed again to the letter, and written as LaTeX and MathML."""

import re
import xml.etree.ElementTree as ET

import pytest

from nanograd.op import OPS
from nanograd.ops._equations import equations
from nanograd.study.formula import parse, to_latex, to_mathml, to_text
from nanograd.study.notation.tree import Change, Fence, Infix, Minus, Name, Number, Product, Quotient, Reference, Sub

LINES = [line for name in sorted(OPS) for side in OPS[name].pair for line in equations(side)]


def test_there_are_lines_to_read() -> None:
    assert len(LINES) >= 219


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_every_line_is_read_and_written(line: str) -> None:
    formula = parse(line)
    assert to_text(formula) == line
    latex = to_latex(formula)
    assert latex.isascii()
    assert balanced(latex), latex
    assert [r"\left" in latex, latex.count(r"\left")] == [r"\right" in latex, latex.count(r"\right")]
    math = ET.fromstring(to_mathml(formula))
    assert math.tag == "math"
    for element in math.iter():
        arity = {"msub": 2, "msup": 2, "mfrac": 2, "munder": 2, "msubsup": 3, "munderover": 3, "math": 1}.get(
            element.tag
        )
        assert arity in (None, len(element)), ET.tostring(element, "unicode")


def balanced(latex: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", latex):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize(
    ("line", "latex"),
    [
        ("dx = dy", "dx = dy"),
        (
            "y_j = exp(x_j) / Σ_k exp(x_k), over the scores that count",
            r"y_{j} = \frac{\exp(x_{j})}{\sum_{k} \exp(x_{k})},\ \text{over the scores that count}",
        ),
        ("dy_j/dx_i = y_j (1[i = j] - y_i)", r"\frac{dy_{j}}{dx_{i}} = y_{j} \, (\mathbf{1}[i = j] - y_{i})"),
        ("dx_i = y_i (dy_i - Σ_j dy_j y_j)", r"dx_{i} = y_{i} \, \left( dy_{i} - \sum_{j} dy_{j} \, y_{j} \right)"),
        (
            "r = 1 / √(⟨(x - ⟨x⟩)²⟩ + eps)",
            r"r = \frac{1}{\sqrt{\langle (x - \langle x \rangle)^{2} \rangle + \mathrm{eps}}}",
        ),
        (
            "dn_j/dx_i = r (1[i = j] - 1/C - n_j n_i / C)",
            r"\frac{dn_{j}}{dx_{i}} = r \, \left( \mathbf{1}[i = j] - \frac{1}{C} - \frac{n_{j} \, n_{i}}{C} \right)",
        ),
        (
            "y_to = Σ_i x_ti weight_oi + bias_o,  y = x weightᵀ + bias",
            r"y_{to} = \sum_{i} x_{ti} \, \mathrm{weight}_{oi} + \mathrm{bias}_{o},\quad y = x \, \mathrm{weight}^{\top} + "
            r"\mathrm{bias}",
        ),
        ("dl/dz_k = p_k (1 + 2 λ s) - q_k", r"\frac{dl}{dz_{k}} = p_{k} \, (1 + 2 \, \lambda \, s) - q_{k}"),
        ("u = √(2/π) (x + 0.044715 x³)", r"u = \sqrt{2 / \pi} \, (x + 0.044715 \, x^{3})"),
        ("dy/dx = ½ (1 + t) + ½ x (4) (3)", r"\frac{dy}{dx} = \tfrac{1}{2} \, (1 + t) + \tfrac{1}{2} \, x \, (4) \, (3)"),
        ("φ = dΦ/dx = exp(-x²/2) / √(2π)", r"\varphi = \frac{d\Phi}{dx} = \frac{\exp(-x^{2} / 2)}{\sqrt{2\pi}}"),
        ("dy/dx = -½ x^(-3/2) = -½ y³", r"\frac{dy}{dx} = -\tfrac{1}{2} \, x^{-3 / 2} = -\tfrac{1}{2} \, y^{3}"),
        ("y = 2/√π ∫_0^x exp(-t²) dt", r"y = \frac{2}{\sqrt{\pi}} \, \int_{0}^{x} \exp(-t^{2}) \, dt"),
        ("dweight[v] = Σ_{t: ids_t = v} dy_t", r"d\mathrm{weight}[v] = \sum_{t : \mathrm{ids}_{t} = v} dy_{t}"),
        ("dS = P (dP - Σ_keys P dP)", r"dS = P \, \left( dP - \sum_{\mathrm{keys}} P \, dP \right)"),
        ("2 y δy = δx", r"2 \, y \, \delta y = \delta x"),
    ],
)  # fmt: skip
def test_latex_is_what_a_person_would_write(line: str, latex: str) -> None:
    assert line in LINES
    assert to_latex(parse(line)) == latex


def outline(element: ET.Element) -> str:
    """Write a MathML tree in one line: tags with their contents, rows and operators bare, invisible signs left out."""
    inside = " ".join(filter(None, [(element.text or "").strip("\u2061\u2062"), *map(outline, element)]))
    return inside if element.tag in ("math", "mrow", "mi", "mo", "mn") else f"{element.tag}({inside})" * bool(inside)


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ("dx = -dy", "d x = − d y"),
        (
            "y_j = exp(x_j) / Σ_k exp(x_k), over the scores that count",
            "msub(y j) = mfrac(exp ( msub(x j) ) munder(∑ k) exp ( msub(x k) )) , mtext(over the scores that count)",
        ),
        ("dx_i = y_i (dy_i - Σ_j dy_j y_j)",
         "msub(d x i) = msub(y i) ( msub(d y i) − munder(∑ j) msub(d y j) msub(y j) )"),
        ("r = 1 / √(⟨x²⟩ + eps)", "r = mfrac(1 msqrt(⟨ msup(x 2) ⟩ + eps))"),
        (
            "dn_j/dx_i = r (1[i = j] - 1/C - n_j n_i / C)",
            "mfrac(msub(d n j) msub(d x i)) = r ( 1 [ i = j ] − mfrac(1 C) − mfrac(msub(n j) msub(n i) C) )",
        ),
        ("dweight_oi = Σ_t dy_to x_ti,  dweight = dyᵀ x",
         "msub(d weight o i) = munder(∑ t) msub(d y t o) msub(x t i) , d weight = msup(d y ⊤) x"),
        ("dl/dz_k = p_k (1 + 2 λ s) - q_k",
         "mfrac(d l msub(d z k)) = msub(p k) ( 1 + 2 λ s ) − msub(q k)"),
        ("u = √(2/π) (x + 0.044715 x³)", "u = msqrt(2 / π) ( x + 0.044715 msup(x 3) )"),
        ("y = 2/√π ∫_0^x exp(-t²) dt", "y = mfrac(2 msqrt(π)) msubsup(∫ 0 x) exp ( − msup(t 2) ) d t"),
        ("y = |x|", "y = | x |"),
        ("dx_i = dy Π_{j≠i} x_j", "msub(d x i) = d y munder(∏ j ≠ i) msub(x j)"),
        ("y = Σ x over `axis`", "y = ∑ x mtext(over) mtext(axis)"),
        ("da = U(dy 1[a < b])", "d a = U ( d y 1 [ a < b ] )"),
    ],
)  # fmt: skip
def test_mathml_draws_it(line: str, drawn: str) -> None:
    assert line in LINES
    assert outline(ET.fromstring(to_mathml(parse(line)))) == drawn


def test_a_formula_is_a_tree_that_knows_what_binds_tighter() -> None:
    dx, n = Change("d", Name("x")), Name("n")
    assert parse("dx = 2 e dy / n") == Infix(
        (dx, Quotient(Product((Number("2"), Name("e"), Change("d", Name("y")))), n)), ("=",)
    )
    assert parse("-y/b") == Minus(Quotient(Name("y"), Name("b"), tight=True))
    assert parse("x (4)") == Product((Name("x"), Reference(4)))
    assert parse("d⟨x⟩") == Change("d", Fence("mean", Name("x")))
    sum_of_one, minus_outside = parse("Σ_i x y - b"), parse("a (b - n)")
    assert isinstance(sum_of_one, Infix)
    assert isinstance(minus_outside, Product)
    assert isinstance(parse("weight_oi"), Sub)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dx = dy wieght", "“dx = dy wieght”: “wieght” is no name of the notation; did you mean “weight”?"),
        ("y = blorp(x)", "“blorp” is no name of the notation; names and phrases are listed in"),
        ("y = (x + 1", r"at “”: here “)” is wanted"),
        ("y = x +", "“y = x +” at “+”: here a symbol or a number is wanted"),
        ("y = ", "at “”: here a symbol or a number is wanted"),
        ("", "cannot read “” at “”"),
        ("y_", "at “”: here an index is wanted"),
        ("y = x) + 1", r"at “) + 1”"),
        ("y = x  + 1", "at “  + 1”"),
        ("y = Σ", "here “ ” is wanted"),
        ("y = <script>", "at “<script>”"),
        ("this is a sentence", "“this” is no name"),
    ],
)
def test_what_is_no_formula_is_refused_by_name(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        parse(line)
