"""The headline of an op: what it does in one formula, the last line of its forward with the lines before put into it.

layernorm's last line is y = n weight + bias; its headline is y = (x - ⟨x⟩) weight / √(⟨(x - ⟨x⟩)²⟩ + eps) + bias.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from nanograd.study.derivation import derivation
from nanograd.study.notation import Formula, to_text
from nanograd.study.notation import tree as t

ONE = t.Number("1")
LONGEST = 80  # a longer headline names its parts instead


def headline(name: str) -> Formula | None:
    """Return the headline of an op; None if its forward has no numbered line.

    A side remark such as “z = 1 without dropout” is put in too, and its words remain: the headline is without dropout. A
    line that defines only a part of y, such as rope's y_a, is listed with the others.

    >>> to_text(headline("var"))
    'y = Σ (x - ⟨x⟩)² / (n - ddof)'
    """
    lines = [line.whole for line in derivation(name) if not line.backward]
    results = [line for line in lines if _defined(line) in ("y", "loss")]
    if len(results) > 1:
        return t.List(tuple(results), (",  ",) * (len(results) - 1))
    if not lines:
        return None
    last = results[0] if results else lines[-1]
    before = lines[: lines.index(last)]
    values: dict[Formula, Formula] = {}
    formula: Formula = last
    words: Formula | None = None
    match last:  # y = …,  z = 1 without dropout
        case t.List((formula, t.Infix((z, t.Phrase((t.Number() as one, t.Words() as remark))), ("=",)))):
            values[z], words = one, remark
    printed = dict(values)
    for line in before:
        first = line.items[0] if isinstance(line, t.List) else line
        match first:
            case t.Infix((t.Name() as target, value), ("=",)):
                values[target], printed = _put(value, values), {target: value}
    if not values:
        return last
    whole = _simple(_put(formula, values))
    shown = whole if len(to_text(whole)) <= LONGEST else _simple(_put(formula, printed))
    return t.List((shown, words), (",  ",)) if words is not None else shown


def _defined(line: Formula) -> str:
    """Return the name that a line defines, or defines a part of: y for y_a."""
    first = line.items[0] if isinstance(line, t.List) else line
    target = first.operands[0] if isinstance(first, t.Infix) else first
    return to_text(target.base if isinstance(target, t.Sub) else target)


def _put(formula: Formula, values: Mapping[Formula, Formula]) -> Formula:
    """Put the values of names into a formula, in parentheses where they are needed."""
    if isinstance(formula, t.Name):
        return values.get(formula, formula)
    return _map(formula, lambda part: _fenced(part, _put(part, values), formula))


def _map(formula: Formula, change: Callable[[Formula], Formula]) -> Formula:
    """Change the parts of a formula."""
    changed: dict[str, Any] = {}
    for field in fields(formula):  # type: ignore[arg-type]
        inner = getattr(formula, field.name)
        if isinstance(inner, Formula):
            changed[field.name] = change(inner)
        elif isinstance(inner, tuple):
            changed[field.name] = tuple(change(part) if isinstance(part, Formula) else part for part in inner)
    return replace(formula, **changed) if changed else formula  # type: ignore[type-var]


def _fenced(before: Formula, after: Formula, parent: Formula) -> Formula:
    """Put parentheses around a value that took the place of a name, where the formula around it binds more tightly."""
    atom = isinstance(after, (t.Name, t.Number, t.Call, t.Fence, t.Root))
    if after is before or not isinstance(before, t.Name) or atom:
        return after
    match parent:
        case t.Fence() | t.Call() | t.List() | t.Infix(signs=("=",)):
            return after
        case t.Infix() if not isinstance(after, (t.Infix, t.Minus)):
            return after
        case t.Product() if isinstance(after, (t.Product, t.Quotient)):
            return after
    return t.Fence("group", after)


def _simple(formula: Formula) -> Formula:
    """Join factors of factors, write a fraction among factors as one fraction, leave out a factor 1 and superfluous ()."""
    formula = _map(formula, _simple)
    match formula:
        case t.Product(factors):
            flat = [f for factor in factors for f in (factor.factors if isinstance(factor, t.Product) else (factor,))]
            above = [f.top if isinstance(f, t.Quotient) else f for f in flat]
            below = [f.bottom for f in flat if isinstance(f, t.Quotient)]
            above = sorted((f for f in above if f != ONE), key=lambda f: not isinstance(f, t.Number))  # numbers first
            top = t.Product(tuple(above)) if len(above) > 1 else above[0] if above else ONE
            return t.Quotient(top, t.Product(tuple(below)) if len(below) > 1 else below[0]) if below else top
        case t.Infix((factor, one) | (one, factor), ("⊙",)) if one == ONE:
            return factor
        case t.Apply(function, t.Fence("group", inside)):
            return t.Call(function, inside)
        case t.Fence("group", (t.Call() | t.Name() | t.Fence()) as inside):
            return inside
    return formula
