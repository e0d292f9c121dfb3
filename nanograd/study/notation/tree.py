"""The tree of a formula. It keeps how the formula was printed, so that it can be printed again to the letter."""

from dataclasses import dataclass
from typing import dataclass_transform


@dataclass_transform(frozen_default=True)
class Formula:
    """A formula or a subtree of one. Every subclass is a frozen dataclass."""

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True)(cls)


class Leaf(Formula):
    """A formula without subtrees: its text as printed, of Code without the backticks."""

    text: str


class Name(Leaf):
    """A symbol or a named value: y, θ, weight, i-th."""


class Number(Leaf):
    """A number: 2, 0.044715, ½."""


class Symbol(Leaf):
    """One of ∞ …."""


class Words(Leaf):
    """English among the symbols: over, went into."""


class Code(Leaf):
    """A word of the program, printed between backticks: `axis`."""


class Reference(Formula):
    """Another line of the same derivation: (4)."""

    number: int


class Indices(Leaf):
    """Letters or a number below a symbol, one index each: the ti of x_ti."""


class Gradient(Formula):
    """The gradient of the loss by a named value, ∂L/∂x: dx, which is one symbol."""

    of: Name


class Partial(Formula):
    """Above or below in a local derivative: the ∂y_j and the ∂x_i of ∂y_j/∂x_i."""

    of: Formula


class Differential(Formula):
    """The variable of an integral, after its integrand: dt."""

    of: Name


class Sub(Formula):
    """A symbol with an index below: y_j."""

    base: Formula
    index: Formula


class Power(Formula):
    """x², a^b, x^(-3/2)."""

    base: Formula
    exponent: Formula


class Transpose(Formula):
    """kᵀ."""

    base: Formula


class Item(Formula):
    """An entry at a position: x[i], y[…, j, …]."""

    base: Formula
    position: Formula


class Call(Formula):
    """A function of arguments in parentheses: exp(x), U(dy), max(a, b)."""

    function: Formula
    inside: Formula


class Apply(Formula):
    """A function of the factor after it: ln x, cosh² x."""

    function: Formula
    argument: Formula


class Fence(Formula):
    """A formula between two matching signs, which `kind` names; see FENCES."""

    kind: str
    inside: Formula


FENCES = {"group": "()", "mean": "⟨⟩", "absolute": "||"}


class Indicator(Formula):
    """1[i = j]: 1 where the condition holds, else 0."""

    condition: Formula


class Root(Formula):
    """√x, √(2/π): the square root."""

    inside: Formula


class Big(Formula):
    """Σ, Π or ∫ of all factors that follow, with its limits: Σ_j dy_j y_j."""

    sign: str
    below: Formula | None
    above: Formula | None
    body: Formula


class Such(Formula):
    """The letter that a sum runs over, with a condition: j: index_j = i."""

    name: Formula
    condition: Formula


class Minus(Formula):
    """-x."""

    of: Formula


class Product(Formula):
    """Factors side by side: y_i dx; tight where no space was printed: 2π."""

    factors: tuple[Formula, ...]
    tight: bool = False


class Quotient(Formula):
    """A quotient: c dy / n, or tight: ∂y/∂x, x/√2."""

    top: Formula
    bottom: Formula
    tight: bool = False


class Infix(Formula):
    """Operands with operators of one precedence between them: a - b + c, j ≤ i; tight: b-1, j≠i."""

    operands: tuple[Formula, ...]
    signs: tuple[str, ...]
    tight: bool = False


class Phrase(Formula):
    """Formulas and words in turn: dy / n | of the mean that | x_i | went into."""

    parts: tuple[Formula, ...]


class List(Formula):
    """Clauses or arguments with the commas between them, which are ", " or, before a side remark, ",  "."""

    items: tuple[Formula, ...]
    commas: tuple[str, ...]


def bare(formula: Formula) -> Formula:
    """Remove parentheses that a fraction bar, a root or an exponent makes superfluous."""
    return formula.inside if isinstance(formula, Fence) and formula.kind == "group" else formula
