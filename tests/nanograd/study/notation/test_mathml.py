"""Formulas as MathML: every line is well-formed, and a sample is drawn as a person would write it."""

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from nanograd.op import OPS
from nanograd.ops._equations import equations
from nanograd.study.notation import parse, to_mathml, to_text

ROOT = Path(__file__).parents[4]
LINES = sorted({line for name in OPS for function in OPS[name].pair for line in equations(function)})
ARITY = {"msub": 2, "msup": 2, "mfrac": 2, "munder": 2, "msubsup": 3, "munderover": 3, "math": 1}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_well_formed(line: str) -> None:
    formula = ET.fromstring(to_mathml(parse(line)))
    assert {element.tag for element in formula} <= {"math", "span"}
    for element in formula.iter():
        assert ARITY.get(element.tag) in (None, len(element)), ET.tostring(element, "unicode")


def outline(element: ET.Element) -> str:
    """Write a MathML tree in one line: tags with their contents, rows and operators bare, invisible signs left out."""
    inside = " ".join(filter(None, [(element.text or "").strip("\u2061\u2062"), *map(outline, element)]))
    return (
        inside
        if element.tag in ("span", "math", "mrow", "mi", "mo", "mn")
        else f"{element.tag}({inside})" * bool(inside)
    )


@pytest.mark.parametrize(
    ("line", "drawn"),
    [
        ("dx = -dy", "dx = − dy"),
        (
            "y_j = exp(x_j) / Σ_k exp(x_k), over the scores that count",
            "msub(y j) = mfrac(exp ( msub(x j) ) munder(∑ k) exp ( msub(x k) )) , over the scores that count",
        ),
        ("dx_i = y_i (dy_i - Σ_j dy_j y_j)",
         "msub(dx i) = msub(y i) ( msub(dy i) − munder(∑ j) msub(dy j) msub(y j) )"),
        ("r = 1 / √(⟨x²⟩ + eps)", "r = mfrac(1 msqrt(⟨ msup(x 2) ⟩ + eps))"),
        (
            "∂n_j/∂x_i = r (1[i = j] - 1/C - n_j n_i / C)",
            "mfrac(∂ msub(n j) ∂ msub(x i)) = r ( 1 [ i = j ] − mfrac(1 C) − mfrac(msub(n j) msub(n i) C) )",
        ),
        ("dweight_oi = Σ_t dy_to x_ti,  dweight = dyᵀ x",
         "msub(dweight o i) = munder(∑ t) msub(dy t o) msub(x t i) , dweight = msup(dy ⊤) x"),
        ("∂l/∂z_k = p_k (1 + 2 λ s) - q_k",
         "mfrac(∂ l ∂ msub(z k)) = msub(p k) ( 1 + 2 λ s ) − msub(q k)"),
        ("u = √(2/π) (x + 0.044715 x³)", "u = msqrt(2 / π) ( x + 0.044715 msup(x 3) )"),
        ("y = 2/√π ∫_0^x exp(-t²) dt", "y = mfrac(2 msqrt(π)) msubsup(∫ 0 x) exp ( − msup(t 2) ) d t"),
        ("y = |x|", "y = | x |"),
        ("dx_i = dy Π_{j≠i} x_j", "msub(dx i) = dy munder(∏ j ≠ i) msub(x j)"),
        ("y = Σ x over `axis`", "y = ∑ x over code(axis)"),
        ("da = U(dy 1[a < b])", "da = U ( dy 1 [ a < b ] )"),
    ],
)  # fmt: skip
def test_mathml_draws_it(line: str, drawn: str) -> None:
    assert line in LINES
    assert outline(ET.fromstring(to_mathml(parse(line)))) == drawn


def test_a_hat_stands_over_its_letter() -> None:
    formula = parse("m̂ = m / (1 - β1^t)")
    assert outline(ET.fromstring(to_mathml(formula))).startswith("mover(m ^) = mfrac(m ")
    assert to_text(formula) == "m̂ = m / (1 - β1^t)"


def test_lines_break_between_clauses_and_not_in_them() -> None:
    formula = ET.fromstring(to_mathml(parse("dx_i = y_i (dy_i - Σ_j dy_j y_j) + x_i,  z = 1 without dropout")))
    assert [outline(element) for element in formula] == [
        "msub(dx i)",
        "= msub(y i) ( msub(dy i) − munder(∑ j) msub(dy j) msub(y j) )",
        "+ msub(x i) ,",
        "z",
        "= 1",
        "without dropout",
    ]


def test_the_font_has_every_character_of_every_formula() -> None:
    characters = runpy.run_path(str(ROOT / "tests" / "golden" / "make_math_font.py"))["characters"]()
    drawn = "".join("".join(ET.fromstring(to_mathml(parse(line))).itertext()) for line in LINES)
    assert set(drawn) - set(characters) == set()


@pytest.mark.slow
def test_the_font_is_what_its_script_makes() -> None:
    font = pytest.importorskip("fontTools.ttLib").TTFont(ROOT / "nanograd" / "inspect" / "player" / "math.woff2")
    characters = runpy.run_path(str(ROOT / "tests" / "golden" / "make_math_font.py"))["characters"]()
    assert {*map(chr, font.getBestCmap())} >= set(characters)
    variants = font["MATH"].table.MathVariants
    for sign in "√∑()[]⟨⟩|":
        assert font.getBestCmap()[ord(sign)] in variants.VertGlyphCoverage.glyphs
