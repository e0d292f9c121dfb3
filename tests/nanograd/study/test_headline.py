"""The headline of every op: one formula that gives the result of the op, without the names of intermediate lines."""

import pytest

from nanograd.op import OPS
from nanograd.study.derivation import derivation
from nanograd.study.headline import headline
from nanograd.study.line_check import check_line, random_dy
from nanograd.study.line_code import op_code
from nanograd.study.notation import Formula, parse, to_text
from nanograd.study.notation import tree as t
from nanograd.study.notation.code import subtrees
from nanograd.study.worked_example import example

HEADLINES = {
    "attention": "y = softmax(scale q kᵀ + M) v,  without dropout",
    "cross_entropy": "loss = Σ (ln Σ_k exp(z_k) - Σ_k q_k z_k + λ (ln Σ_k exp(z_k))²) / N",
    "dpo": "loss = Σ ((1 - ε) ln(1 + exp(-m)) + ε ln(1 + exp(m))) / n",  # with m, which is long, put in: 160 characters
    "gelu": "y = ½ x (1 + erf(x/√2))",
    "gelu_tanh": "y = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))",
    "layernorm": "y = (x - ⟨x⟩) weight / √(⟨(x - ⟨x⟩)²⟩ + eps) + bias",
    "linear_cross_entropy": "loss = cross_entropy(x weightᵀ, targets)",
    "mse": "y = Σ (x - target)² / n",
    "rmsnorm": "y = x weight / √(⟨x²⟩ + eps)",
    "rope": "y_a = a cos θ - b sin θ,  y_b = a sin θ + b cos θ",
    "silu": "y = x / (1 + exp(-x))",
    "std": "y = √(Σ (x - ⟨x⟩)² / (n - ddof))",
    "swiglu": "y = a b / (1 + exp(-a))",
    "var": "y = Σ (x - ⟨x⟩)² / (n - ddof)",
}


def written(name: str) -> str:
    formula = headline(name)
    assert formula is not None
    return to_text(formula)


def test_headlines_that_are_put_together() -> None:
    last = {name: [line for line in derivation(name) if not line.backward][-1] for name in OPS}
    assert {n: written(n) for n in sorted(OPS) if written(n) != last[n].text + last[n].tail} == HEADLINES


def right(name: str, formula: Formula) -> bool:
    """Tell whether a headline, in place of the last line of the forward, gives the result of the op."""
    if isinstance(formula, t.List) and isinstance(formula.items[-1], t.Words):
        formula = formula.items[0]
    lines = derivation(name)
    last = max(line.number for line in lines if not line.backward)
    printed = tuple((line.number, formula if line.number == last else line.formula) for line in lines)
    checked = check_line(random_dy(name, *example(name), code=op_code.__wrapped__(name, printed)), last)
    return checked is not None and checked.ok


@pytest.mark.parametrize("name", sorted(set(HEADLINES) - {"rope"}))  # rope's are its lines
def test_a_headline_is_what_the_op_computes(name: str) -> None:
    formula = headline(name)
    assert formula is not None
    assert parse(to_text(formula)) == formula or name == "cross_entropy"
    assert right(name, formula)
    steps = {line.text.partition(" = ")[0] for line in derivation(name) if not line.backward} - {"y", "loss"}
    named = {part.text for part in subtrees(formula) if isinstance(part, t.Name)}
    assert not named & steps or name == "dpo"


def test_a_wrong_headline_would_be_seen() -> None:
    for wrong in (
        "y = (x + ⟨x⟩) weight / √(⟨(x - ⟨x⟩)²⟩ + eps) + bias",
        "y = n weight - bias",
        "y = 1.01 n weight + bias",
    ):
        assert not right("layernorm", parse(wrong))
