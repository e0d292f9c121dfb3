"""What a formula is made of: a small tree, kept as it was printed, so that it can be printed again to the letter."""

from dataclasses import dataclass


class Formula:
    """A formula or a part of one."""


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
    """A small change, or the slope of the loss: dx, d⟨x⟩, δy; `by` is d or δ."""

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
    """An entry by its place: x[i], y[…, j, …]."""

    base: Formula
    place: Formula


@dataclass(frozen=True)
class Call(Formula):
    """A function of what stands in parentheses: exp(x), U(dy), max(a, b)."""

    function: Formula
    inside: Formula


@dataclass(frozen=True)
class Apply(Formula):
    """A function of what follows it: ln x, cosh² x."""

    function: Formula
    argument: Formula


@dataclass(frozen=True)
class Fence(Formula):
    """Something between two signs that belong together, which `kind` names; see FENCES."""

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
    """Σ, Π or ∫ over what stands below, of all factors that follow: Σ_j dy_j y_j."""

    sign: str
    below: Formula | None
    above: Formula | None
    body: Formula


@dataclass(frozen=True)
class Such(Formula):
    """What a sum runs over, with the condition on it: j: index_j = i."""

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
    """Operands of one rank with the signs between them, one fewer: a - b + c, j ≤ i; tight: b-1, j≠i."""

    operands: tuple[Formula, ...]
    signs: tuple[str, ...]
    tight: bool = False


@dataclass(frozen=True)
class Phrase(Formula):
    """Symbols and words by turns: dy / n | of the mean that | x_i | went into."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class List(Formula):
    """Clauses or arguments with the commas between them, which are ", " or, before a side remark, ",  "."""

    items: tuple[Formula, ...]
    commas: tuple[str, ...]


def bare(formula: Formula) -> Formula:
    """Take off parentheses that a fraction bar, a root or a raised place makes superfluous."""
    return formula.inside if isinstance(formula, Fence) and formula.kind == "group" else formula
