"""The numbered lines of every op as code."""

import ast

import numpy as np
import pytest

from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.line_check import random_dy
from nanograd.study.line_code import op_code
from nanograd.study.notation import parse, to_text
from nanograd.study.notation.code import NotInSymbols, Scope, write_code
from nanograd.study.reasons import REASONS
from nanograd.study.worked_example import example

IN_WORDS = {  # people read these lines: if one changes, its code must be read beside it again
    ("broadcast_to", 1): "y = copies of x",
    ("concat", 1): "y = x_1 followed by x_2 …",
    ("concat", 2): "dx_1 followed by dx_2 … = dy",
    ("attention", 4): "Var(Σ_i q_i k_i) = Σ_i Var(q_i) Var(k_i) = D",
    ("einsum", 1): "y_out = Σ_{letters not in out} Π_k x_k",
    ("einsum", 2): "dx_k = Σ_{letters not in x_k} dy_out Π_{l≠k} x_l",
    ("packed_attention", 1): "q | k | v = qkv",
    ("packed_attention", 2): "y = attention(q, k, v) of each head, side by side",
    ("packed_attention", 3): "dq, dk, dv = attention_backward(dy) of each head",
    ("packed_attention", 4): "dqkv = dq | dk | dv",
    ("pad", 1): "y = x inside, value on the border",
    ("pad", 2): "dx = dy inside",
    ("rope", 3): "(R_s x_s) · (R_t x_t) = x_s · (R_{t-s} x_t)",
    ("transpose", 1): "axis i of y = axis axes[i] of x",
    ("transpose", 2): "axis axes[i] of dx = axis i of dy",
}
TAILS = {
    ("astype", 1): ", rounded to dtype",
    ("astype", 2): ", rounded to the dtype of x",
    ("attention", 2): ", and 0 in rows that see nothing",
    ("pow", 2): ", and 0 where b = 0",
    ("pow", 3): ", for a > 0",
    ("scatter", 1): ", and x elsewhere",
    ("scatter", 2): ", and 0 where x was overwritten",
    ("scatter", 3): ", and 0 where a later value took the place",
    ("softmax", 1): ", over the scores that count",
}
LINES = {(name, line.number): line for name in sorted(OPS) for line in derivation(name)}


def test_lines_in_words_are_known() -> None:
    """All others are evaluated as they are printed; `words` is the code of a tail in words."""
    by_hand = {key for key in LINES if REASONS[key[0]].line(key[1]).code is not None}
    assert {key: to_text(LINES[key].whole) for key in by_hand} == IN_WORDS
    assert {key: line.tail for key, line in LINES.items() if line.tail and key not in IN_WORDS} == TAILS


@pytest.mark.parametrize(("name", "number"), sorted(IN_WORDS))
def test_a_line_in_words_has_no_code(name: str, number: int) -> None:
    reasons = REASONS[name]
    lines = list(reasons.lines)
    lines[number - 1] = reasons.line(number)._replace(code=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasons, "lines", lines)
        with pytest.raises(NotInSymbols):
            op_code.__wrapped__(name)


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [
        ("sqrt", 1, "y = np.sqrt(x)"),
        ("sqrt", 2, "dy_dx = 1 / (2 * y)"),
        ("rsqrt", 2, "dy_dx = -0.5 * x ** (-3 / 2)"),
        ("erf", 1, "y = 2 / np.sqrt(np.pi) * integral(lambda t: np.exp(-t**2), x)"),
        ("clip", 2, "dx = dy * ((low <= x) & (x <= high))"),
        ("where", 2, "da = unbroadcast(np.where(condition, dy, 0), a.shape)"),
        ("sum", 1, "y = x.sum(axis=axis, keepdims=True)"),
        ("softmax", 5, "dx = y * (dy - (dy * y).sum(axis=axis, keepdims=True))"),
        (
            "layernorm",
            12,
            "dn_dx = r[..., None] * (np.eye(n.shape[-1]) - 1 / C - n[..., :, None] * n[..., None, :] / C)",
        ),
        ("linear", 1, "y = x @ weight.mT + bias"),
        ("attention", 3, "y = (P * z) @ v"),
        ("attention", 6, "dP = (dy @ v.mT) * z"),
        ("tril", 1, "y = x * (np.arange(x.shape[-1]) <= np.arange(x.shape[-2])[:, None] + k)"),
        ("embedding", 2, "dweight = sum_where(ids == v, dy)"),
        ("stack", 2, "dxs = tuple(dy[k] for k in range(len(xs)))"),
        ("gelu_tanh", 5, "dy_dx = 0.5 * (1 + t) + 0.5 * x * dt_du * du_dx"),
    ],
)
def test_code_is_what_a_person_would_write(name: str, number: int, shown: str) -> None:
    assert op_code(name).lines[number].shown == shown


WITH_MATRICES = sorted(name for name in OPS if REASONS[name].matrices)


def test_pages_that_multiply_matrices_are_known() -> None:
    """The code of einsum, whose operands have letters of their own, and of rope's dot products is not generated."""
    lines = {name: [code for line in op_code(name).lines.values() for code in (line.code, *line.also)] for name in OPS}
    products = {name for name, codes in lines.items() if any("@" in code or "np.einsum(" in code for code in codes)}
    assert products == {*WITH_MATRICES, "einsum", "rope"}


@pytest.mark.parametrize("name", WITH_MATRICES)
def test_beside_matrix_products_each_elementwise_product_of_arrays_is_printed_so(name: str) -> None:
    evaluator = random_dy(name, *example(name))
    for number, line in op_code(name).lines.items():
        sides = [n for code in (line.code, *line.also) for n in ast.walk(ast.parse(code))]
        products = [n for n in sides if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mult)]
        arrays = [n for n in products if all(np.size(evaluator.compute(ast.unparse(m))) > 1 for m in (n.left, n.right))]
        assert len(arrays) == LINES[name, number].text.count("⊙"), line.code


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("y = x weight", "x @ weight"),
        ("y = x ⊙ weight", "x * weight"),
        ("y = (x ⊙ x) weightᵀ", "(x * x) @ weight.mT"),
        ("y = x ⊙ (x - Σ_keys x ⊙ weight)", "x * (x - (x * weight).sum(axis=keys, keepdims=True))"),
        ("y = eps x weight", "eps * x @ weight"),
        ("y = 2 eps x", "2 * eps * x"),
        ("y = eps x ⊙ (x weight)", "eps * x * (x @ weight)"),
    ],
)
def test_side_by_side_arrays_are_a_matrix_product(line: str, code: str) -> None:
    equation = parse(line)
    scope = Scope({"x", "weight"}, {"keys", "eps"}, {}, matrices=True, numbers={"eps"})
    assert write_code(equation.operands[1], equation, scope) == code


@pytest.mark.parametrize(
    ("line", "matrices", "message"),
    [
        ("y = x ⊙ weight", False, "no line multiplies matrices: write the factors without ⊙"),
        ("y = eps ⊙ x", True, "⊙ multiplies arrays: write a number without it"),
        ("y_to = Σ_i x_ti ⊙ weight_oi", True, "has no letters"),
    ],
)
def test_the_sign_of_elementwise_products_is_refused_elsewhere(line: str, matrices: bool, message: str) -> None:
    equation = parse(line)
    with pytest.raises(NotInSymbols, match=message):
        write_code(equation.operands[1], equation, Scope({"x", "weight", "eps"}, set(), {}, matrices, numbers={"eps"}))


def test_all_sides_of_a_line_have_code() -> None:
    line = op_code("linear").lines[2]
    assert (line.code, line.also) == ("dy @ weight", ("np.einsum('...to,...oi->...ti', dy, weight)",))
    line = op_code("softmax").lines[4]
    assert line.reference == "jacobian('y', 'x', axis)"
