"""Write a formula as LaTeX for math mode: with amsmath and nothing outside ASCII."""

from nanograd.study.notation.tree import (
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

LETTERS = {
    "Φ": r"\Phi", "Π": r"\Pi", "Σ": r"\Sigma", "β": r"\beta", "δ": r"\delta", "ε": r"\varepsilon", "θ": r"\theta",
    "λ": r"\lambda", "π": r"\pi", "σ": r"\sigma", "φ": r"\varphi",
}  # fmt: skip
SYMBOLS = {"∞": r"\infty", "…": r"\ldots", "⋯": r"\cdots", "½": r"\tfrac{1}{2}"}
FUNCTIONS = {name: f"\\{name}" for name in ("exp", "ln", "sin", "cos", "tanh", "sinh", "cosh", "min", "max")}
SIGNS = {
    "≠": r"\neq", "≤": r"\leq", "≥": r"\geq", "·": r"\cdot", "mod": r"\bmod", "|": r"\mid", "Σ": r"\sum", "Π": r"\prod",
    "∫": r"\int", "δ": r"\delta",
}  # fmt: skip
FENCES = {"group": ("(", ")"), "mean": (r"\langle", r"\rangle"), "absolute": (r"\lvert", r"\rvert")}


def to_latex(formula: Formula, inline: bool = False) -> str:
    """Write a formula for LaTeX's math mode; `inline` keeps slashes that were printed without spaces, as in exponents."""
    match formula:
        case Name(text):
            return _name(text)
        case Number(text) | Symbol(text):
            return SYMBOLS.get(text, text)
        case Indices(text):
            return text
        case Words(text):
            return rf"\text{{{text}}}"
        case Code(text):
            return rf"\texttt{{{text}}}"
        case Reference(number):
            return f"({number})"
        case Change(by, of):
            return _glue(SIGNS.get(by, by), to_latex(of, inline))
        case Sub(base, index):
            return f"{to_latex(base, inline)}_{{{to_latex(index, True)}}}"
        case Power(base, exponent):
            return f"{to_latex(base, inline)}^{{{to_latex(bare(exponent), True)}}}"
        case Transpose(base):
            return rf"{to_latex(base, inline)}^{{\top}}"
        case Item(base, place):
            return f"{to_latex(base, inline)}[{to_latex(place, True)}]"
        case Call(function, inside):
            return to_latex(function, inline) + _fenced("(", to_latex(inside, True), ")")
        case Apply(function, argument):
            return f"{to_latex(function, inline)} {to_latex(argument, inline)}"
        case Fence(kind, inside):
            left, right = FENCES[kind]
            return _fenced(left, to_latex(inside, inline), right)
        case Indicator(condition):
            return rf"\mathbf{{1}}[{to_latex(condition, True)}]"
        case Root(inside):
            return rf"\sqrt{{{to_latex(bare(inside), True)}}}"
        case Big(sign, below, above, body):
            limits = f"_{{{to_latex(below, True)}}}" if below is not None else ""
            limits += f"^{{{to_latex(above, True)}}}" if above is not None else ""
            return f"{SIGNS[sign]}{limits} {to_latex(body, inline)}"
        case Such(name, condition):
            return f"{to_latex(name, inline)} : {to_latex(condition, inline)}"
        case Minus(of):
            return f"-{to_latex(of, inline)}"
        case Product(factors, tight):
            return ("" if tight else r" \, ").join(to_latex(factor, inline) for factor in factors)
        case Quotient(top, bottom, tight):
            if tight and inline:
                return f"{to_latex(top, True)} / {to_latex(bottom, True)}"
            return rf"\frac{{{to_latex(bare(top), True)}}}{{{to_latex(bare(bottom), True)}}}"
        case Infix(operands, signs):
            said = to_latex(operands[0], inline)
            for sign, operand in zip(signs, operands[1:], strict=True):
                said += f" {SIGNS.get(sign, sign)} {to_latex(operand, inline)}"
            return said
        case Phrase(parts):
            return r"\ ".join(to_latex(part, inline) for part in parts)
        case List(items, commas):
            said = to_latex(items[0], inline)
            for comma, item in zip(commas, items[1:], strict=True):
                said += (r",\quad " if comma == ",  " else r",\ ") + to_latex(item, inline)
            return said
    raise TypeError(f"to_latex: {formula!r} is no formula")


def _name(text: str) -> str:
    """Write one letter as LaTeX does, and a longer name upright."""
    if text in FUNCTIONS or text in LETTERS:
        return FUNCTIONS.get(text) or LETTERS[text]
    if text == "i-th":
        return r"i\text{-th}"
    return text if len(text) == 1 else rf"\mathrm{{{text}}}".replace("_", r"\_")


def _glue(left: str, right: str) -> str:
    """Set two pieces side by side; a command needs a space before a letter."""
    return f"{left} {right}" if left.startswith("\\") and right[:1].isalpha() else left + right


def _fenced(left: str, inside: str, right: str) -> str:
    """Put signs around, which grow where something tall stands between them."""
    if any(command in inside for command in (r"\frac", r"\sum", r"\prod", r"\sqrt")):
        return rf"\left{left} {inside} \right{right}"
    return f"{left} {inside} {right}" if left.startswith("\\") else left + inside + right
