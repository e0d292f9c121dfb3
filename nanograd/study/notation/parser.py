"""Read a numbered line into a tree. What is not in the notation is an error, never silently text.

From loose to tight: commas; relations; words among symbols; q | k; + and -; a spaced slash; · and mod; factors side by
side; a slash without spaces; powers and indices. So `2 c dy / (n - ddof)` is one fraction, and `dy 2/√π` a product.
"""

import difflib
import re
from collections.abc import Callable

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
)

PHRASES = (
    "a later value took the place", "along", "and", "axis", "by", "copies of", "elsewhere", "else", "followed by", "for",
    "if", "in rows that see nothing", "inside", "letters not in", "of each head", "of the mean that", "of the sum that",
    "of", "on the border", "over", "over the scores that count", "rounded to", "rounded to the dtype of", "side by side",
    "was overwritten", "went into", "what attention pulls back from its heads in", "where", "where a later value took the "
    "place", "where a query may not look", "without dropout",
)  # fmt: skip
FUNCTIONS = {
    "exp", "ln", "sin", "cos", "tanh", "sinh", "cosh", "erf", "min", "max", "sign", "U", "softmax", "cross_entropy",
    "attention",
}  # fmt: skip
NAMES = {
    "axes", "bias", "chosen", "condition", "ddof", "dtype", "eps", "high", "ids", "index", "indices", "loss", "low",
    "mask", "out", "qkv", "reference_chosen", "reference_rejected", "rejected", "repeats", "scale", "shift", "target",
    "targets", "value", "values", "weight",
}  # fmt: skip
WORDS_BELOW = {"keys", "tokens", "out"}  # below a symbol, one word and not several letters

LETTERS = "A-Za-zΑ-Ωα-ω"
PHRASE = re.compile(f"(?:{'|'.join(sorted(PHRASES, key=len, reverse=True))})(?![\\w(\\[-])")
FUNCTION = re.compile(f"(?:{'|'.join(sorted(FUNCTIONS, key=len, reverse=True))})(?=[(²³ ])")
NEXT_FACTOR = re.compile(rf" (?=[^ ])(?![=≠≤≥<>+\-·/|] |mod |`|{PHRASE.pattern})")
NEXT_PART = re.compile(r" (?=[^ ])(?![=≠≤≥<>+\-·/|] |mod )")
NAME = re.compile(rf"i-th|[dδ]?(?:{'|'.join(each for each in sorted(NAMES) if '_' in each)})|[{LETTERS}]+\d*")
EXPONENTS = {"²": Number("2"), "³": Number("3")}


def parse(text: str) -> Formula:
    """Read a formula as the docstrings print it; ValueError names the formula and the place that is no notation."""
    reader = _Reader(text)
    formula = reader.clauses()
    if reader.at < len(text):
        raise reader.error("nothing, or an operator")
    return formula


class _Reader:
    """A recursive descent: one method a rank, which reads at `at` and moves it on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: str | re.Pattern[str]) -> str:
        """Return what the pattern matches here and step over it; "" where it does not."""
        found = re.compile(pattern).match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found.group()

    def expect(self, sign: str) -> None:
        if not self.take(re.escape(sign)):
            raise self.error(f"“{sign}”")

    def error(self, wanted: str) -> ValueError:
        rest = self.text[self.at :]
        return ValueError(f"formula: cannot read “{self.text}” at “{rest}”: here {wanted} is wanted")

    def infix(self, operand: Callable[[], Formula], signs: str, tight_signs: str = "") -> Formula:
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
        return Infix(tuple(operands), tuple(between), tight) if between else operands[0]

    def clauses(self) -> Formula:
        items, commas = [self.clause()], []
        while comma := self.take(",  ?"):
            commas.append(comma)
            items.append(self.clause())
        return List(tuple(items), tuple(commas)) if commas else items[0]

    def clause(self) -> Formula:
        return self.infix(self.phrase, "[=≠≤≥<>]", "[=≠≤≥<>]")

    def phrase(self) -> Formula:
        parts: list[Formula] = []
        while True:
            if words := self.take(PHRASE):
                parts.append(Words(words))
            elif code := self.take("`[^`]+`"):
                parts.append(Code(code[1:-1]))
            else:
                parts.append(self.side_by_side())
            if not self.take(NEXT_PART):
                return Phrase(tuple(parts)) if len(parts) > 1 else parts[0]

    def side_by_side(self) -> Formula:
        return self.infix(self.terms, r"\|")

    def terms(self) -> Formula:
        return self.infix(self.signed, r"[+\-]", r"[+\-]")

    def signed(self) -> Formula:
        return Minus(self.quotient()) if self.take("-") else self.quotient()

    def quotient(self) -> Formula:
        formula = self.dotted()
        while self.take(" / "):
            formula = Quotient(formula, self.dotted())
        return formula

    def dotted(self) -> Formula:
        return self.infix(self.product, "·|mod")

    def product(self) -> Formula:
        factors = [self.tight_quotient()]
        while self.take(NEXT_FACTOR):
            factors.append(self.tight_quotient())
        return Product(tuple(factors)) if len(factors) > 1 else factors[0]

    def tight_quotient(self) -> Formula:
        top = self.tight_product()
        return Quotient(top, self.tight_product(), tight=True) if self.take("/") else top

    def tight_product(self) -> Formula:
        factor = self.powers()
        if isinstance(factor, Number) and re.compile(f"[{LETTERS}]").match(self.text, self.at):
            return Product((factor, self.powers()), tight=True)
        return factor

    def powers(self) -> Formula:
        formula = self.atom()
        while True:
            if self.take("_"):
                formula = Sub(formula, self.index())
            elif self.take(r"\["):
                formula = Item(formula, self.clauses())
                self.expect("]")
            elif sign := self.take("[²³]"):
                formula = Power(formula, EXPONENTS[sign])
            elif self.take("ᵀ"):
                formula = Transpose(formula)
            elif self.take(r"\^"):
                formula = Power(formula, self.atom())
            else:
                return formula

    def index(self) -> Formula:
        if self.take("{"):
            formula = self.clause()
            if self.take(": "):
                formula = Such(formula, self.clause())
            self.expect("}")
            return formula
        if below := self.take(r"[A-Za-z]+|\d+"):
            return Name(below) if below in WORDS_BELOW else Indices(below)
        if self.take("…"):
            return Symbol("…")
        raise self.error("an index")

    def atom(self) -> Formula:
        if self.take(r"1\["):
            condition = self.clauses()
            self.expect("]")
            return Indicator(condition)
        if number := self.take(r"\d+(?:\.\d+)?|½"):
            return Number(number)
        if reference := self.take(r"\(\d+\)"):
            return Reference(int(reference[1:-1]))
        if sign := self.take("[(⟨|]"):
            kind, close = {"(": ("group", ")"), "⟨": ("mean", "⟩"), "|": ("absolute", "|")}[sign]
            inside = self.clauses()
            self.expect(close)
            return Fence(kind, inside)
        if self.take("√"):
            return Root(self.atom())
        if sign := self.take("[ΣΠ∫]"):
            below = self.index() if self.take("_") else None
            above = self.index() if self.take(r"\^") else None
            self.expect(" ")
            return Big(sign, below, above, self.product())
        if symbol := self.take("[∞…⋯]"):
            return Symbol(symbol)
        if self.take("d(?=⟨)"):
            return Change("d", self.atom())
        if function := self.take(FUNCTION):
            return self.function(Name(function))
        return self.name()

    def function(self, function: Formula) -> Formula:
        if power := self.take("[²³]"):
            function = Power(function, EXPONENTS[power])
        if self.take(r"\("):
            inside = self.clauses()
            self.expect(")")
            return Call(function, inside)
        self.expect(" ")
        return Apply(function, self.tight_quotient())

    def name(self) -> Formula:
        start = self.at
        word = self.take(NAME)
        letters = word.rstrip("0123456789")
        if word == "i-th" or len(letters) == 1 or letters in NAMES:
            return Name(word)
        if letters[:1] in ("d", "δ") and (len(letters) == 2 or letters[1:] in NAMES):
            return Change(word[0], Name(word[1:]))
        self.at = start
        if not word:
            raise self.error("a symbol or a number")
        near = difflib.get_close_matches(word, sorted({*NAMES, *FUNCTIONS, *PHRASES}), 1)
        hint = (
            f"did you mean “{near[0]}”?"
            if near
            else "names and phrases are listed in nanograd/study/notation/parser.py"
        )
        raise ValueError(f"formula: cannot read “{self.text}”: “{word}” is no name of the notation; {hint}")
