"""Write a formula as plain text, exactly as the docstring prints it."""

from nanograd.study.notation import tree as t

RAISED = {t.Number("2"): "²", t.Number("3"): "³"}


def to_text(formula: t.Formula) -> str:
    """Write a formula as the docstrings do; `to_text(parse(line)) == line`."""
    match formula:
        case t.Code(text):
            return f"`{text}`"
        case t.Leaf(text):
            return text
        case t.Reference(number):
            return f"({number})"
        case t.Gradient(of) | t.Differential(of):
            return f"d{to_text(of)}"
        case t.Partial(of):
            return f"∂{to_text(of)}"
        case t.Sub(base, index):
            return to_text(base) + _below(index)
        case t.Power(base, exponent):
            return to_text(base) + (RAISED[exponent] if exponent in RAISED else f"^{to_text(exponent)}")
        case t.Transpose(base):
            return f"{to_text(base)}ᵀ"
        case t.Item(base, position):
            return f"{to_text(base)}[{to_text(position)}]"
        case t.Call(function, inside):
            return f"{to_text(function)}({to_text(inside)})"
        case t.Apply(function, argument):
            return f"{to_text(function)} {to_text(argument)}"
        case t.Fence(kind, inside):
            return t.FENCES[kind][0] + to_text(inside) + t.FENCES[kind][1]
        case t.Indicator(condition):
            return f"1[{to_text(condition)}]"
        case t.Root(inside):
            return f"√{to_text(inside)}"
        case t.Big(sign, below, above, body):
            over = f"^{to_text(above)}" if above is not None else ""
            return f"{sign}{_below(below) if below is not None else ''}{over} {to_text(body)}"
        case t.Such(name, condition):
            return f"{to_text(name)}: {to_text(condition)}"
        case t.Minus(of):
            return f"-{to_text(of)}"
        case t.Product(factors, tight):
            return ("" if tight else " ").join(map(to_text, factors))
        case t.Quotient(top, bottom, tight):
            return f"{to_text(top)}{'/' if tight else ' / '}{to_text(bottom)}"
        case t.Infix(operands, signs, tight):
            text = to_text(operands[0])
            for sign, operand in zip(signs, operands[1:], strict=True):
                text += (sign if tight else f" {sign} ") + to_text(operand)
            return text
        case t.Phrase(parts):
            return " ".join(map(to_text, parts))
        case t.List(items, commas):
            return to_text(items[0]) + "".join(c + to_text(i) for c, i in zip(commas, items[1:], strict=True))
    raise TypeError(f"to_text: {formula!r} is no formula")


def _below(index: t.Formula) -> str:
    """Write an index; one that is not a single word or sign needs braces."""
    return f"_{to_text(index)}" if isinstance(index, (t.Indices, t.Name, t.Symbol)) else f"_{{{to_text(index)}}}"
