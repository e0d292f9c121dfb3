"""Write a formula as plain text: what the docstring prints, to the letter."""

from nanograd.study.notation.tree import (
    FENCES,
    Apply,
    Big,
    Call,
    Change,
    Code,
    Fence,
    Formula,
    Indicator,
    Indices,
    Infix,
    Item,
    List,
    Minus,
    Name,
    Number,
    Phrase,
    Power,
    Product,
    Quotient,
    Reference,
    Root,
    Sub,
    Such,
    Symbol,
    Transpose,
    Words,
)

RAISED = {Number("2"): "²", Number("3"): "³"}


def to_text(formula: Formula) -> str:
    """Write a formula as the docstrings do; `to_text(parse(line)) == line`."""
    match formula:
        case Name(text) | Number(text) | Symbol(text) | Words(text) | Indices(text):
            return text
        case Code(text):
            return f"`{text}`"
        case Reference(number):
            return f"({number})"
        case Change(by, of):
            return by + to_text(of)
        case Sub(base, index):
            return to_text(base) + _below(index)
        case Power(base, exponent):
            return to_text(base) + (RAISED[exponent] if exponent in RAISED else f"^{to_text(exponent)}")
        case Transpose(base):
            return f"{to_text(base)}ᵀ"
        case Item(base, place):
            return f"{to_text(base)}[{to_text(place)}]"
        case Call(function, inside):
            return f"{to_text(function)}({to_text(inside)})"
        case Apply(function, argument):
            return f"{to_text(function)} {to_text(argument)}"
        case Fence(kind, inside):
            return FENCES[kind][0] + to_text(inside) + FENCES[kind][1]
        case Indicator(condition):
            return f"1[{to_text(condition)}]"
        case Root(inside):
            return f"√{to_text(inside)}"
        case Big(sign, below, above, body):
            over = f"^{to_text(above)}" if above is not None else ""
            return f"{sign}{_below(below) if below is not None else ''}{over} {to_text(body)}"
        case Such(name, condition):
            return f"{to_text(name)}: {to_text(condition)}"
        case Minus(of):
            return f"-{to_text(of)}"
        case Product(factors, tight):
            return ("" if tight else " ").join(map(to_text, factors))
        case Quotient(top, bottom, tight):
            return f"{to_text(top)}{'/' if tight else ' / '}{to_text(bottom)}"
        case Infix(operands, signs, tight):
            said = to_text(operands[0])
            for sign, operand in zip(signs, operands[1:], strict=True):
                said += (sign if tight else f" {sign} ") + to_text(operand)
            return said
        case Phrase(parts):
            return " ".join(map(to_text, parts))
        case List(items, commas):
            return to_text(items[0]) + "".join(c + to_text(i) for c, i in zip(commas, items[1:], strict=True))
    raise TypeError(f"to_text: {formula!r} is no formula")


def _below(index: Formula) -> str:
    """Write an index; one that is not a single word or sign needs braces."""
    return f"_{to_text(index)}" if isinstance(index, (Indices, Name, Symbol)) else f"_{{{to_text(index)}}}"
