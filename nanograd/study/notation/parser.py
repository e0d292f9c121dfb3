"""Read a numbered line into a tree. Text outside the notation is an error, never passed through.

Precedence, from loose to tight: commas; relations; words among symbols; q | k; + and -; a spaced slash; · and mod; ⊙;
factors side by side; a slash without spaces; powers and indices. So `2 c dy / (n - ddof)` is one fraction, `dy 2/√π` a
product, and in `dy w ⊙ (p - q)` dy and w belong together.
"""

import difflib
import inspect
import re
from collections.abc import Callable
from functools import cache

import nanograd.ops  # noqa: F401 (registers the ops, whose inputs and options are names of the notation)
from nanograd.op import OPS
from nanograd.study.notation import tree as t

PHRASES = (
    "a later value took the place", "along", "and", "axis", "by", "copies of", "elsewhere", "else", "followed by", "for",
    "if", "in rows that see nothing", "inside", "letters not in", "of each head", "of the mean that", "of the sum that",
    "of", "on the border", "over", "over the scores that count", "rounded to", "rounded to the dtype of", "side by side",
    "was overwritten", "went into", "where", "where a later value took the "
    "place", "where a query may not look", "without dropout",
)  # fmt: skip
FUNCTIONS = {
    "exp", "ln", "sin", "cos", "tanh", "sinh", "cosh", "erf", "min", "max", "sign", "U", "softmax", "cross_entropy",
    "attention", "attention_backward", "Var",
}  # fmt: skip
NAMES = {"loss", "out"} | {name for op in OPS.values() for name in inspect.signature(op.pair.forward).parameters}
WORDS_BELOW = {"features", "keys", "tokens", "out"}  # as a subscript one word, not several letters

LETTERS = "A-Za-zΑ-Ωα-ω"
PHRASE = re.compile(f"(?:{'|'.join(sorted(PHRASES, key=len, reverse=True))})(?![\\w(\\[-])")
FUNCTION = re.compile(f"(?:{'|'.join(sorted(FUNCTIONS, key=len, reverse=True))})(?=[(²³]|(?<!U) )")  # U S: a matrix
NEXT_FACTOR = re.compile(rf" (?=[^ ])(?![=≠≤≥<>+\-·⊙/|] |mod |`|{PHRASE.pattern})")
NEXT_PART = re.compile(r" (?=[^ ])(?![=≠≤≥<>+\-·⊙/|] |mod )")
NAME = re.compile(rf"i-th|d?(?:{'|'.join(name for name in sorted(NAMES) if '_' in name)})|[{LETTERS}]+\u0302?\d*")
EXPONENTS = {"²": t.Number("2"), "³": t.Number("3")}


@cache  # a page reads each of its formulas several times
def parse(text: str) -> t.Formula:
    """Read a formula as the docstrings print it; ValueError names the formula and where reading stopped."""
    reader = _Reader(text)
    formula = reader.clauses()
    if reader.at < len(text):
        raise reader.error("nothing, or an operator")
    return formula


class _Reader:
    """A recursive descent: one method for each precedence, which reads at `at` and advances it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: str | re.Pattern[str]) -> str:
        """Return the text that the pattern matches here and step over it; "" if it does not match."""
        match = re.compile(pattern).match(self.text, self.at)
        if not match:
            return ""
        self.at = match.end()
        return match.group()

    def expect(self, sign: str) -> None:
        if not self.take(re.escape(sign)):
            raise self.error(f"“{sign}”")

    def error(self, expected: str) -> ValueError:
        rest = self.text[self.at :]
        return ValueError(f"formula: cannot read “{self.text}” at “{rest}”: expected {expected} here")

    def infix(self, operand: Callable[[], t.Formula], signs: str, tight_signs: str = "") -> t.Formula:
        """Read operands with spaced signs between them, or with tight ones."""
        operands, between, tight = [operand()], [], False
        while True:
            sign = self.take(f" (?:{signs}) ").strip()
            if not sign and tight_signs:
                sign = self.take(tight_signs)
                tight |= bool(sign)
            if not sign:
                break
            between.append(sign)
            operands.append(operand())
        return t.Infix(tuple(operands), tuple(between), tight) if between else operands[0]

    def clauses(self) -> t.Formula:
        items, commas = [self.clause()], []
        while comma := self.take(",  ?"):
            commas.append(comma)
            items.append(self.clause())
        return t.List(tuple(items), tuple(commas)) if commas else items[0]

    def clause(self) -> t.Formula:
        return self.infix(self.phrase, "[=≠≤≥<>]", "[=≠≤≥<>]")

    def phrase(self) -> t.Formula:
        parts: list[t.Formula] = []
        while True:
            if words := self.take(PHRASE):
                parts.append(t.Words(words))
            elif code := self.take("`[^`]+`"):
                parts.append(t.Code(code[1:-1]))
            else:
                parts.append(self.side_by_side())
            if not self.take(NEXT_PART):
                return t.Phrase(tuple(parts)) if len(parts) > 1 else parts[0]

    def side_by_side(self) -> t.Formula:
        return self.infix(self.terms, r"\|")

    def terms(self) -> t.Formula:
        return self.infix(self.signed, r"[+\-]", r"[+\-]")

    def signed(self) -> t.Formula:
        return t.Minus(self.quotient()) if self.take("-") else self.quotient()

    def quotient(self) -> t.Formula:
        formula = self.dotted()
        while self.take(" / "):
            formula = t.Quotient(formula, self.dotted())
        return formula

    def dotted(self) -> t.Formula:
        return self.infix(self.elementwise, "·|mod")

    def elementwise(self) -> t.Formula:
        return self.infix(self.product, "⊙")

    def product(self) -> t.Formula:
        factors = [self.tight_quotient()]
        while self.take(NEXT_FACTOR):
            factors.append(self.tight_quotient())
        return t.Product(tuple(factors)) if len(factors) > 1 else factors[0]

    def tight_quotient(self) -> t.Formula:
        start = self.at
        top = self.tight_product()
        if not self.take("/"):
            return top
        bottom = self.tight_product()
        if _is_gradient(top) and _is_gradient(bottom):
            old = self.text[start : self.at]
            new = re.sub(r"(^|/)d", r"\1∂", old)
            raise ValueError(f"formula: cannot read “{self.text}”: “{old}” is a quotient of gradients; write {new}")
        return t.Quotient(top, bottom, tight=True)

    def tight_product(self) -> t.Formula:
        factor = self.powers()
        if isinstance(factor, t.Number) and re.compile(f"[{LETTERS}]").match(self.text, self.at):
            return t.Product((factor, self.powers()), tight=True)
        return factor

    def powers(self) -> t.Formula:
        formula = self.atom()
        while True:
            if self.take("_"):
                formula = t.Sub(formula, self.index())
            elif self.take(r"\["):
                formula = t.Item(formula, self.clauses())
                self.expect("]")
            elif sign := self.take("[²³]"):
                formula = t.Power(formula, EXPONENTS[sign])
            elif self.take("ᵀ"):
                formula = t.Transpose(formula)
            elif self.take(r"\^"):
                formula = t.Power(formula, self.atom())
            else:
                return formula

    def index(self) -> t.Formula:
        if self.take("{"):
            formula = self.clause()
            if self.take(": "):
                formula = t.Such(formula, self.clause())
            self.expect("}")
            return formula
        if below := self.take(r"[A-Za-z]+|\d+"):
            return t.Name(below) if below in WORDS_BELOW else t.Indices(below)
        if self.take("…"):
            return t.Symbol("…")
        raise self.error("an index")

    def atom(self) -> t.Formula:
        if self.take(r"1\["):
            condition = self.clauses()
            self.expect("]")
            return t.Indicator(condition)
        if number := self.take(r"\d+(?:\.\d+)?|½"):
            return t.Number(number)
        if reference := self.take(r"\(\d+\)"):
            return t.Reference(int(reference[1:-1]))
        if sign := self.take("[(⟨|]"):
            kind, close = {"(": ("group", ")"), "⟨": ("mean", "⟩"), "|": ("absolute", "|")}[sign]
            inside = self.clauses()
            self.expect(close)
            return t.Fence(kind, inside)
        if self.take("√"):
            return t.Root(self.atom())
        if sign := self.take("[ΣΠ∫]"):
            below = self.index() if self.take("_") else None
            above = self.index() if self.take(r"\^") else None
            self.expect(" ")
            body = self.elementwise()
            return t.Big(sign, below, above, _with_differential(body) if sign == "∫" else body)
        if symbol := self.take("[∞…]"):
            return t.Symbol(symbol)
        if self.take("d⟨"):
            raise ValueError(
                f"formula: cannot read “{self.text}”: d⟨ is no gradient; a local derivative is written ∂⟨x⟩/∂x_i"
            )
        if self.take("∂"):
            return t.Partial(self.powers())
        if function := self.take(FUNCTION):
            return self.function(t.Name(function))
        return self.name()

    def function(self, function: t.Formula) -> t.Formula:
        if power := self.take("[²³]"):
            function = t.Power(function, EXPONENTS[power])
        if self.take(r"\("):
            inside = self.clauses()
            self.expect(")")
            return t.Call(function, inside)
        self.expect(" ")
        return t.Apply(function, self.tight_quotient())

    def name(self) -> t.Formula:
        start = self.at
        word = self.take(NAME)
        letters = word.rstrip("0123456789\u0302")  # x1 and m̂ are one letter
        if word == "i-th" or len(letters) == 1 or letters in NAMES:
            return t.Name(word)
        if letters[0:1] == "d" and (len(letters) == 2 or letters[1:] in NAMES):
            return t.Gradient(t.Name(word[1:]))
        self.at = start
        if not word:
            raise self.error("a symbol or a number")
        near = difflib.get_close_matches(word, sorted({*NAMES, *FUNCTIONS, *PHRASES}), 1)
        listed = "names and phrases are listed in nanograd/study/notation/parser.py"
        hint = f"did you mean “{near[0]}”?" if near else listed
        raise ValueError(f"formula: cannot read “{self.text}”: “{word}” is not a name of the notation; {hint}")


def _is_gradient(formula: t.Formula) -> bool:
    return isinstance(formula.base if isinstance(formula, t.Sub) else formula, t.Gradient)


def _with_differential(body: t.Formula) -> t.Formula:
    """Read the last factor of an integrand, dt, as the variable of the integral."""
    match body:
        case t.Product((*factors, t.Gradient(of)), tight):
            return t.Product((*factors, t.Differential(of)), tight)
    return body
