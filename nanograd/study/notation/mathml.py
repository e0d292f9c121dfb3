"""Write a formula as MathML, which browsers draw without a style sheet or a script (MathML Core)."""

from html import escape

from nanograd.study.notation import tree as t

SIGNS = {"-": "−", "Σ": "∑", "Π": "∏"}
TIMES = '<mo lspace="0" rspace=".17em">&#x2062;</mo>'  # an invisible “times”, which a screen reader says
OF = "<mo>&#x2061;</mo>"  # an invisible “of”, between a function and its argument
GAP = '<mspace width=".3em"></mspace>'


def to_mathml(formula: t.Formula) -> str:
    """Write a formula as one <math> element, large as in a line of its own."""
    return f'<math displaystyle="true">{_row(formula, False)}</math>'


def _row(formula: t.Formula, inline: bool) -> str:
    """Write a formula as exactly one element; `inline` keeps a slash that was printed without spaces."""
    elements = _elements(formula, inline)
    return elements[0] if len(elements) == 1 else f"<mrow>{''.join(elements)}</mrow>"


def _elements(formula: t.Formula, inline: bool) -> list[str]:
    """Write a formula as the elements of a row."""
    match formula:
        case t.Name(text) | t.Indices(text):
            letters = text if isinstance(formula, t.Indices) and not text.isdigit() else [text]
            return [_number(letter) if letter.isdigit() else f"<mi>{letter}</mi>" for letter in letters]
        case t.Number(text):
            return [_number(text)]
        case t.Symbol(text):
            return [f"<mi>{text}</mi>"]
        case t.Words(text):
            return [f"<mtext>{escape(text)}</mtext>"]
        case t.Code(text):
            return [f'<mtext class="code">{escape(text)}</mtext>']
        case t.Reference(number):
            return [f"<mtext>({number})</mtext>"]
        case t.Gradient(of):  # one identifier, which browsers set upright: dx is no product
            return [f"<mi>d{of.text}</mi>"]
        case t.Partial(of):
            return ["<mi>∂</mi>", *_elements(of, inline)]
        case t.Differential(of):
            return ['<mi mathvariant="normal">d</mi>', f"<mi>{of.text}</mi>"]
        case t.Sub(base, index):
            return [_two("msub", _row(base, inline), _row(index, True))]
        case t.Power(base, exponent):
            return [_two("msup", _row(base, inline), _row(t.bare(exponent), True))]
        case t.Transpose(base):
            return [_two("msup", _row(base, inline), "<mi>⊤</mi>")]
        case t.Item(base, position):
            return [_row(base, inline), _fenced("[]", position, True)]
        case t.Call(function, inside):
            return [_row(function, inline), OF, _fenced("()", inside, True)]
        case t.Apply(function, argument):
            return [_row(function, inline), OF, GAP, *_elements(argument, inline)]
        case t.Fence(kind, inside):
            return [_fenced(t.FENCES[kind], inside, inline)]
        case t.Indicator(condition):
            return [_number("1"), _fenced("[]", condition, True)]
        case t.Root(inside):
            return [f"<msqrt>{_row(t.bare(inside), True)}</msqrt>"]
        case t.Big(sign, below, above, body):
            return [_big(sign, below, above), *_elements(body, inline)]
        case t.Such(name, condition):
            return [*_elements(name, True), "<mo>:</mo>", *_elements(condition, True)]
        case t.Minus(of):
            return ['<mo form="prefix">−</mo>', *_elements(of, inline)]
        case t.Product(factors, tight):
            times = "" if tight else TIMES
            return _joined([_elements(factor, inline) for factor in factors], [times] * (len(factors) - 1))
        case t.Quotient(top, bottom, tight):
            if tight and inline:
                return [*_elements(top, True), '<mo lspace="0" rspace="0">/</mo>', *_elements(bottom, True)]
            return [_two("mfrac", _row(t.bare(top), True), _row(t.bare(bottom), True))]
        case t.Infix(operands, signs):
            return _joined([_elements(operand, inline) for operand in operands], [_operator(sign) for sign in signs])
        case t.Phrase(parts):
            return _joined([_elements(part, inline) for part in parts], [GAP] * (len(parts) - 1))
        case t.List(items, commas):
            gaps = ["<mo>,</mo>" + (GAP * 3 if comma == ",  " else GAP) for comma in commas]
            return _joined([_elements(item, inline) for item in items], gaps)
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


def _fenced(fence: str, inside: t.Formula, inline: bool) -> str:
    left = f'<mo form="prefix" fence="true">{fence[0]}</mo>'
    right = f'<mo form="postfix" fence="true">{fence[1]}</mo>'
    return f"<mrow>{left}{''.join(_elements(inside, inline))}{right}</mrow>"


def _big(sign: str, below: t.Formula | None, above: t.Formula | None) -> str:
    """Write Σ, Π or ∫ with its limits: below and above a sum or product, beside an integral."""
    operator = f"<mo>{SIGNS.get(sign, sign)}</mo>"
    if below is None:
        return operator
    if above is not None:
        tag = "msubsup" if sign == "∫" else "munderover"
        return f"<{tag}>{operator}{_row(below, True)}{_row(above, True)}</{tag}>"
    return _two("munder", operator, _row(below, True))


def _joined(items: list[list[str]], between: list[str]) -> list[str]:
    elements = list(items[0])
    for sign, item in zip(between, items[1:], strict=True):
        elements += [sign, *item]
    return elements
