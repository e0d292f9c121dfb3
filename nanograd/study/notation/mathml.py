"""Write a formula as MathML, which browsers draw without a style sheet or a script (MathML Core).

A browser never breaks a line inside a <math> element. So a formula is several of them, and its words are text: lines
break between them.
"""

import re
from collections.abc import Sequence
from html import escape

from nanograd.study.notation import tree as t

SIGNS = {"-": "−", "Σ": "∑", "Π": "∏"}
TIMES = '<mo lspace="0" rspace=".17em">&#x2062;</mo>'  # an invisible “times”, which a screen reader says
OF = "<mo>&#x2061;</mo>"  # an invisible “of”, between a function and its argument
BREAKABLE = {"=", "≠", "≤", "≥", "<", ">", "+", "-"}  # a line may begin with one of them
TALL = ("<mfrac", "<munder", "<msqrt")  # what has more than one line
LONG = 26  # letters that fit on a line of 320 px, with what is before and after them
GAP = '<mspace width=".3em"></mspace>'


def to_mathml(formula: t.Formula) -> str:
    """Write a formula as <math> elements, large as in a line of its own, between which a line may break.

    A line may break after a comma, before a relation, a plus and a minus, and wherever words are.
    """
    return f'<span class="formula">{"".join(_chunks(formula))}</span>'


def _chunks(formula: t.Formula, first: str = "", last: str = "") -> list[str]:
    """Write a formula as <math> elements and words; `first` and `last` are operators around it."""
    match formula:
        case t.List(items, commas):
            ends = [f"<mo>,</mo>{GAP * 3 if comma == ',  ' else GAP}" for comma in commas]
            return _flat(items, [first, *[""] * len(commas)], [*ends, last])
        case t.Phrase(parts):
            return _flat(parts, [first, *[""] * (len(parts) - 1)], [*[""] * (len(parts) - 1), last])
        case t.Infix(operands, signs, False) if set(signs) <= BREAKABLE:
            operators = [_operator(sign) for sign in signs]
            return _flat(operands, [first, *operators], [*[""] * len(signs), last])
        case t.Words(text) | t.Code(text):
            words = f"<code>{escape(text)}</code>" if isinstance(formula, t.Code) else escape(text)
            return [*_math(first), f' <span class="prose">{words}{"," if last else ""}</span> ']
        case t.Quotient(top, bottom) if _is_long(top):
            return _chunks(top, first, f"<mo>/</mo>{_row(bottom, True)}{last}")
        case t.Big(sign, below, above, t.Fence("group", t.Infix() as inside)) if _is_long(formula):
            return _chunks(inside, f"{first}{_big(sign, below, above)}<mo>(</mo>", f"<mo>)</mo>{last}")
        case t.Product((*factors, t.Fence("group", t.Infix() as inside)), False) if _is_long(formula):
            before = "".join(element for factor in factors for element in [*_elements(factor, False), TIMES])
            return _chunks(inside, f"{first}{before}<mo>(</mo>", f"<mo>)</mo>{last}")
    return _math(f"{first}{''.join(_elements(formula, False))}{last}")


def _is_long(formula: t.Formula) -> bool:
    """Tell whether a formula needs more than one line where the page is narrow."""
    return len(re.sub("<[^>]*>|&[^;]*;", "", _row(formula, False))) > LONG


def _flat(formulas: Sequence[t.Formula], first: Sequence[str], last: Sequence[str]) -> list[str]:
    return [chunk for formula, a, b in zip(formulas, first, last, strict=True) for chunk in _chunks(formula, a, b)]


def _math(elements: str) -> list[str]:
    return [f'<math displaystyle="true"><mrow>{elements}</mrow></math>'] if elements else []


def _row(formula: t.Formula, inline: bool) -> str:
    """Write a formula as exactly one element; `inline` keeps a slash that was printed without spaces."""
    elements = _elements(formula, inline)
    return elements[0] if len(elements) == 1 else f"<mrow>{''.join(elements)}</mrow>"


def _elements(formula: t.Formula, inline: bool) -> list[str]:
    """Write a formula as the elements of a row."""
    match formula:
        case t.Name(text) if text.endswith("\u0302"):  # two characters in one <mi> would stand upright
            return [f'<mover><mi>{text[:-1]}</mi><mo stretchy="false">^</mo></mover>']
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
    """Write a formula between two signs, which are as tall as it is if it has more than one line."""
    elements = "".join(_elements(inside, inline))
    stretchy = "" if any(tag in elements for tag in TALL) else ' stretchy="false"'
    left = f'<mo form="prefix" fence="true"{stretchy}>{fence[0]}</mo>'
    right = f'<mo form="postfix" fence="true"{stretchy}>{fence[1]}</mo>'
    return f"<mrow>{left}{elements}{right}</mrow>"


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
