"""Write a formula as MathML, as browsers draw it themselves (MathML Core): no style sheet, no script."""

from html import escape

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
    bare,
)

SIGNS = {"-": "−", "Σ": "∑", "Π": "∏"}
TIMES = '<mo lspace="0" rspace=".17em">&#x2062;</mo>'  # an invisible “times”, which a screen reader says
OF = "<mo>&#x2061;</mo>"  # an invisible “of”, between a function and its argument
GAP = '<mspace width=".3em"></mspace>'


def to_mathml(formula: Formula) -> str:
    """Write a formula as one <math> element, large as in a line of its own."""
    return f'<math displaystyle="true">{_row(formula, False)}</math>'


def _row(formula: Formula, inline: bool) -> str:
    """Write a formula as exactly one element; `inline` keeps slashes that were printed without spaces."""
    pieces = _pieces(formula, inline)
    return pieces[0] if len(pieces) == 1 else f"<mrow>{''.join(pieces)}</mrow>"


def _pieces(formula: Formula, inline: bool) -> list[str]:
    """Write a formula as the elements of a row."""
    match formula:
        case Name(text) | Indices(text):
            letters = text if isinstance(formula, Indices) and not text.isdigit() else [text]
            return [_number(each) if each.isdigit() else f"<mi>{each}</mi>" for each in letters]
        case Number(text):
            return [_number(text)]
        case Symbol(text):
            return [f"<mi>{text}</mi>"]
        case Words(text):
            return [f"<mtext>{escape(text)}</mtext>"]
        case Code(text):
            return [f'<mtext class="code">{escape(text)}</mtext>']
        case Reference(number):
            return [f"<mtext>({number})</mtext>"]
        case Change(by, of):
            return [f"<mi>{by}</mi>", _row(of, inline)]
        case Sub(base, index):
            return [_two("msub", _row(base, inline), _row(index, True))]
        case Power(base, exponent):
            return [_two("msup", _row(base, inline), _row(bare(exponent), True))]
        case Transpose(base):
            return [_two("msup", _row(base, inline), "<mi>⊤</mi>")]
        case Item(base, place):
            return [_row(base, inline), _fenced("[]", place, True)]
        case Call(function, inside):
            return [_row(function, inline), OF, _fenced("()", inside, True)]
        case Apply(function, argument):
            return [_row(function, inline), OF, GAP, *_pieces(argument, inline)]
        case Fence(kind, inside):
            return [_fenced(FENCES[kind], inside, inline)]
        case Indicator(condition):
            return [_number("1"), _fenced("[]", condition, True)]
        case Root(inside):
            return [f"<msqrt>{_row(bare(inside), True)}</msqrt>"]
        case Big(sign, below, above, body):
            return [_big(sign, below, above), *_pieces(body, inline)]
        case Such(name, condition):
            return [*_pieces(name, True), "<mo>:</mo>", *_pieces(condition, True)]
        case Minus(of):
            return ['<mo form="prefix">−</mo>', *_pieces(of, inline)]
        case Product(factors, tight):
            times = "" if tight else TIMES
            return _joined([_pieces(factor, inline) for factor in factors], [times] * (len(factors) - 1))
        case Quotient(top, bottom, tight):
            if tight and inline:
                return [*_pieces(top, True), '<mo lspace="0" rspace="0">/</mo>', *_pieces(bottom, True)]
            return [_two("mfrac", _row(bare(top), True), _row(bare(bottom), True))]
        case Infix(operands, signs):
            return _joined([_pieces(operand, inline) for operand in operands], [_operator(sign) for sign in signs])
        case Phrase(parts):
            return _joined([_pieces(part, inline) for part in parts], [GAP] * (len(parts) - 1))
        case List(items, commas):
            gaps = ["<mo>,</mo>" + (GAP * 3 if comma == ",  " else GAP) for comma in commas]
            return _joined([_pieces(item, inline) for item in items], gaps)
    raise TypeError(f"to_mathml: {formula!r} is no formula")


def _number(text: str) -> str:
    return f"<mn>{text}</mn>"


def _operator(sign: str) -> str:
    if sign == "|":
        return '<mo fence="false" stretchy="false" lspace=".28em" rspace=".28em">|</mo>'
    if sign == "mod":
        return f"{GAP}<mi>mod</mi>{GAP}"
    return f'<mo form="infix">{escape(SIGNS.get(sign, sign))}</mo>'


def _two(tag: str, first: str, second: str) -> str:
    return f"<{tag}>{first}{second}</{tag}>"


def _fenced(fence: str, inside: Formula, inline: bool) -> str:
    left, right = (
        f'<mo form="prefix" fence="true">{fence[0]}</mo>',
        f'<mo form="postfix" fence="true">{fence[1]}</mo>',
    )
    return f"<mrow>{left}{''.join(_pieces(inside, inline))}{right}</mrow>"


def _big(sign: str, below: Formula | None, above: Formula | None) -> str:
    """Write Σ, Π or ∫ with its limits: below and above a sum or product, beside an integral."""
    operator = f"<mo>{SIGNS.get(sign, sign)}</mo>"
    if below is None:
        return operator
    if above is not None:
        tag = "msubsup" if sign == "∫" else "munderover"
        return f"<{tag}>{operator}{_row(below, True)}{_row(above, True)}</{tag}>"
    return _two("munder", operator, _row(below, True))


def _joined(items: list[list[str]], between: list[str]) -> list[str]:
    said = list(items[0])
    for sign, item in zip(between, items[1:], strict=True):
        said += [sign, *item]
    return said
