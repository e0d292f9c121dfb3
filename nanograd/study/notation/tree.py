"""The tree of a formula. It keeps how the formula was printed, so that it can be printed again to the letter."""

from dataclasses import dataclass


class Formula:
    """A formula or a subtree of one."""


@dataclass(frozen=True)
class Name(Formula):
    """A symbol or a named value: y, θ, weight, i-th."""

    text: str


@dataclass(frozen=True)
class Number(Formula):
    """A number: 2, 0.044715, ½."""

    text: str


@dataclass(frozen=True)
class Symbol(Formula):
    """One of ∞ … ⋯."""

    text: str


@dataclass(frozen=True)
class Words(Formula):
    """English among the symbols: over, went into."""

    text: str


@dataclass(frozen=True)
class Code(Formula):
    """A word of the program, printed between backticks: `axis`."""

    text: str


@dataclass(frozen=True)
class Reference(Formula):
    """Another line of the same derivation: (4)."""

    number: int


@dataclass(frozen=True)
class Indices(Formula):
    """Letters or a number below a symbol, one index each: the ti of x_ti."""

    text: str


@dataclass(frozen=True)
class Change(Formula):
    """A small change, or the gradient of the loss: dx, d⟨x⟩, δy; `by` is d or δ."""

    by: str
    of: Formula


@dataclass(frozen=True)
class Sub(Formula):
    """A symbol with an index below: y_j."""

    base: Formula
    index: Formula


@dataclass(frozen=True)
class Power(Formula):
    """x², a^b, x^(-3/2)."""

    base: Formula
    exponent: Formula


@dataclass(frozen=True)
class Transpose(Formula):
    """kᵀ."""

    base: Formula


@dataclass(frozen=True)
class Item(Formula):
    """An entry at a position: x[i], y[…, j, …]."""

    base: Formula
    position: Formula


@dataclass(frozen=True)
class Call(Formula):
    """A function of arguments in parentheses: exp(x), U(dy), max(a, b)."""

    function: Formula
    inside: Formula


@dataclass(frozen=True)
class Apply(Formula):
    """A function of the factor after it: ln x, cosh² x."""

    function: Formula
    argument: Formula


@dataclass(frozen=True)
class Fence(Formula):
    """A formula between two matching signs, which `kind` names; see FENCES."""

    kind: str
    inside: Formula


FENCES = {"group": "()", "mean": "⟨⟩", "absolute": "||"}


@dataclass(frozen=True)
class Indicator(Formula):
    """1[i = j]: 1 where the condition holds, else 0."""

    condition: Formula


@dataclass(frozen=True)
class Root(Formula):
    """√x, √(2/π): the square root."""

    inside: Formula


@dataclass(frozen=True)
class Big(Formula):
    """Σ, Π or ∫ of all factors that follow, with its limits: Σ_j dy_j y_j."""

    sign: str
    below: Formula | None
    above: Formula | None
    body: Formula


@dataclass(frozen=True)
class Such(Formula):
    """The letter that a sum runs over, with a condition: j: index_j = i."""

    name: Formula
    condition: Formula


@dataclass(frozen=True)
class Minus(Formula):
    """-x."""

    of: Formula


@dataclass(frozen=True)
class Product(Formula):
    """Factors side by side: y_i dx; tight where no space was printed: 2π."""

    factors: tuple[Formula, ...]
    tight: bool = False


@dataclass(frozen=True)
class Quotient(Formula):
    """A quotient: c dy / n, or tight: dy/dx, x/√2."""

    top: Formula
    bottom: Formula
    tight: bool = False


@dataclass(frozen=True)
class Infix(Formula):
    """Operands with operators of one precedence between them: a - b + c, j ≤ i; tight: b-1, j≠i."""

    operands: tuple[Formula, ...]
    signs: tuple[str, ...]
    tight: bool = False


@dataclass(frozen=True)
class Phrase(Formula):
    """Formulas and words in turn: dy / n | of the mean that | x_i | went into."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class List(Formula):
    """Clauses or arguments with the commas between them, which are ", " or, before a side remark, ",  "."""

    items: tuple[Formula, ...]
    commas: tuple[str, ...]


def bare(formula: Formula) -> Formula:
    """Remove parentheses that a fraction bar, a root or an exponent makes superfluous."""
    return formula.inside if isinstance(formula, Fence) and formula.kind == "group" else formula
