"""What the sides of an equation are called, in code and in print."""

import re
from collections.abc import Iterator
from dataclasses import fields

from nanograd.study.notation import tree as t


def name_of(side: t.Formula) -> str | None:
    """Return the variable that a side of an equation defines: dx for dx_i, dy_dx for ∂y_j/∂x_i; None for an expression."""
    match side:
        case t.Name(text) if text != "π":
            return text
        case t.Gradient(t.Name(text)):
            return "d" + text
        case t.Fence("mean", _):
            return "mean"
        case t.Sub(base, t.Indices()) | t.Item(base):
            return name_of(base)
        case t.Quotient(t.Partial(y), t.Partial(x)):
            return f"d{name_of(y)}_d{name_of(x)}"
    return None


def printed_name(name: str) -> str:
    """Return how pages print a variable of the code; ∂ is no letter of Python.

    >>> printed_name("dy_dx"), printed_name("dmean_dx"), printed_name("dx")
    ('∂y/∂x', '∂⟨x⟩/∂x', 'dx')
    """
    derivative = re.fullmatch(r"d(\w+)_d(\w+)", name)
    if derivative is None:
        return name
    y, x = derivative.groups()
    return f"∂{f'⟨{x}⟩' if y == 'mean' else y}/∂{x}"


def is_derivative(side: t.Formula) -> bool:
    """Tell whether a side is a local derivative, such as ∂y_j/∂x_i."""
    return isinstance(side, t.Quotient) and isinstance(side.top, t.Partial) and isinstance(side.bottom, t.Partial)


def subtrees(formula: t.Formula) -> Iterator[t.Formula]:
    """Walk through a tree from the top."""
    yield formula
    for child in children(formula):
        yield from subtrees(child)


def children(formula: t.Formula) -> Iterator[t.Formula]:
    """Yield the formulas that a formula is made of."""
    for field in fields(formula):  # type: ignore[arg-type]
        inner = getattr(formula, field.name)
        yield from (
            child for child in (inner if isinstance(inner, tuple) else (inner,)) if isinstance(child, t.Formula)
        )
