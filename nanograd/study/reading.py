"""Read a printed line by machine: put numbers into its formula, and work out every side of it.

A twin says in NumPy what a person read in a line. Here the line itself is evaluated, so that not even a misreading can
stand between the two. A value has an axis of its own for each letter of the line, of size 1 where it lacks the letter,
and three nameless ones after them: so y_j (1[i = j] - y_i) is plain broadcasting, and Σ_j a sum over one axis.
"""

import math
from collections.abc import Mapping

import numpy as np

from nanograd.ops._unbroadcast import unbroadcast
from nanograd.study.letters import PLAIN, Axes, NotRead, letter_of, name_of, parts, place_of
from nanograd.study.notation.tree import (
    Apply,
    Big,
    Call,
    Change,
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
    Transpose,
    Words,
)
from nanograd.study.sheet import Sheet
from nanograd.study.words import WORDS, integral, softmax

FUNCTIONS = {
    "exp": np.exp, "ln": np.log, "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "sinh": np.sinh, "cosh": np.cosh,
    "erf": WORDS["erf"], "sign": np.sign, "softmax": softmax,
}  # fmt: skip
RELATIONS = {"=": np.equal, "≠": np.not_equal, "≤": np.less_equal, "≥": np.greater_equal, "<": np.less, ">": np.greater}


def sides(formula: Formula, sheet: Sheet, sizes: Mapping[str, int] | None = None) -> list[list[np.ndarray]]:
    """Return, for each equation of a printed line, the value of each of its sides, in shapes that broadcast.

    `sizes` gives how far a letter runs that no array of the line has as its index. Raises NotRead for a line in words.
    """
    clauses = formula.items if isinstance(formula, List) else (formula,)
    equations = [each for each in clauses if isinstance(each, Infix) and set(each.signs) == {"="}]
    if not equations:
        raise NotRead("there is no equation in it")
    found: list[list[np.ndarray]] = []
    for equation in equations:
        if found and any(isinstance(part, Words) for part in parts(equation)):
            continue  # a side remark
        found.append(_Reader(equation, sheet, sizes or {}).read())
    return found


class _Reader(Axes):
    """The values of the parts of one equation."""

    def read(self) -> list[np.ndarray]:
        """Return the value of every side."""
        return [self.value(side) for side in self.equation.operands]

    def value(self, part: Formula) -> np.ndarray:
        """Return the value of a part of the line."""
        match part:
            case Number(text):
                return self.plain(0.5 if text == "½" else float(text))
            case Name("π"):
                return self.plain(math.pi)
            case Name(text) if text in self.bound:
                return self.bound[text]
            case Name(text) if text in self.size:
                return self.running(text)
            case Name() | Change():
                return self.plain(self.array(part))
            case Reference(number):
                return self.plain(self.sheet[self.sheet.twins[number].name])
            case Sub(base, Indices(text)):
                name = self.composite(part)
                return self.plain(self.sheet[name]) if name else self.lettered(self.array(base), list(text), len(text))
            case Item(base):
                return self.entry(base, place_of(part))
            case Fence("group", inside):
                return self.value(inside)
            case Fence("mean", inside):
                return self.value(inside).mean(axis=-1, keepdims=True)
            case Fence("absolute", inside):
                return np.abs(self.value(inside))
            case Root(inside):
                return np.sqrt(self.value(inside))
            case Minus(of):
                return -self.value(of)
            case Power(base, exponent):
                return self.value(base) ** self.value(exponent)
            case Transpose(base):
                return np.swapaxes(self.value(base), -1, -2)
            case Indicator(condition):
                return self.holds(condition).astype(np.float64)
            case Product(factors):
                return self.product([self.value(each) for each in factors])
            case Quotient(Change() | Sub(Change()), Change() | Sub(Change())):
                return self.slope(part)
            case Quotient(top, bottom):
                return self.value(top) / self.value(bottom)
            case Infix():
                return self.infix(part)
            case Call(Name(function), inside):
                return self.call(function, inside)
            case Apply(Name("max" | "min" as function), argument):
                over = np.max if function == "max" else np.min
                return over(self.value(argument), axis=self.own_axes(), keepdims=True)
            case Apply(Name(function), argument):
                return np.asarray(FUNCTIONS[function](self.value(argument)))
            case Apply(Power(Name(function), exponent), argument):
                return np.asarray(FUNCTIONS[function](self.value(argument))) ** self.value(exponent)
            case Big():
                return self.big(part)
            case Phrase():
                return self.phrase(part)
        raise NotRead(f"{part} has no numbers")

    def own_axes(self) -> tuple[int, ...]:
        return tuple(range(-PLAIN, 0))

    def product(self, factors: list[np.ndarray]) -> np.ndarray:
        """Multiply from left to right: entry by entry where the shapes allow it, else as matrices, as a person reads it."""
        result = factors[0]
        for each in factors[1:]:
            a, b = self.own(result), self.own(each)
            try:
                np.broadcast_shapes(a, b)
                result = result * each
            except ValueError:
                result = result @ each
        return result

    def infix(self, part: Infix) -> np.ndarray:
        result = self.value(part.operands[0])
        for sign, operand in zip(part.signs, part.operands[1:], strict=True):
            other = self.value(operand)
            match sign:
                case "+":
                    result = result + other
                case "-":
                    result = result - other
                case "·":
                    result = self.product([result, other])
                case "mod":
                    result = result % other
                case _:
                    raise NotRead(f"{sign} has no numbers")
        return result

    def holds(self, condition: Formula) -> np.ndarray:
        """Tell where a relation, or a chain of them, is true."""
        if not isinstance(condition, Infix):
            raise NotRead(f"{condition} is no condition")
        values = [self.value(each) for each in condition.operands]
        true = np.asarray(True)
        for i, sign in enumerate(condition.signs):
            true = true & RELATIONS[sign](values[i], values[i + 1])
        return true

    def entry(self, base: Formula, place: Formula) -> np.ndarray:
        """Return x[…] at a place worked out from letters and arrays."""
        a = self.array(base)
        if isinstance(place, Name) and place.text == "i-th":
            return self.lettered(a.ravel(), ["i-th"], 0)
        at = self.value(place)
        if at.shape[len(self.letters) :] != (1,) * PLAIN:
            raise NotRead("a place that is an array")
        taken = a[at.astype(int).reshape(at.shape[: len(self.letters)])]
        return taken.reshape(*at.shape[: len(self.letters)], *(1,) * (PLAIN - a.ndim + 1), *a.shape[1:])

    def slope(self, part: Quotient) -> np.ndarray:
        """Measure dy/dx, dy_j/dx_i or dy/dx_i."""
        top = part.top.base if isinstance(part.top, Sub) else part.top
        bottom = part.bottom.base if isinstance(part.bottom, Sub) else part.bottom
        assert isinstance(top, Change)
        assert isinstance(bottom, Change)
        y = "mean" if isinstance(top.of, Fence) else name_of(top.of)
        x = name_of(bottom.of)
        if not isinstance(part.bottom, Sub):
            return self.plain(self.sheet.slope(y, x))
        if not isinstance(part.top, Sub):
            return self.lettered(self.sheet.slope_of_sum(y, x), [letter_of(part.bottom)], 1)
        each = self.sheet.jacobian(y, x)  # (…, j, i)
        return self.lettered(each, [letter_of(part.top), letter_of(part.bottom)], 1)

    def call(self, function: str, inside: Formula) -> np.ndarray:
        """Apply a function to what stands in parentheses."""
        arguments = inside.items if isinstance(inside, List) else (inside,)
        if function == "cross_entropy":
            z, targets = (np.asarray(self.sheet[name_of(each)]) for each in arguments)
            return self.plain(WORDS["cross_entropy"](z, targets))
        values = [self.value(each) for each in arguments]
        if function == "U":
            target = self.equation.operands[0]
            assert isinstance(target, Change)
            shape = np.shape(self.sheet[name_of(target.of)])
            return self.plain(
                unbroadcast(values[0].reshape(values[0].shape[-PLAIN:]), (1,) * (PLAIN - len(shape)) + shape)
            )
        if function in ("max", "min"):
            return np.asarray((np.maximum if function == "max" else np.minimum)(*values))
        if function not in FUNCTIONS:
            raise NotRead(f"{function} is no function")
        return np.asarray(FUNCTIONS[function](values[0]))

    def big(self, part: Big) -> np.ndarray:
        """Add or multiply over a letter, over the letters that fulfil a condition, or over all entries."""
        if part.sign == "∫":
            return self.integral(part)
        axes, counts = self.own_axes(), np.asarray(True)
        match part.below:
            case None:
                pass
            case Name("keys"):
                axes = (-1,)
            case Name("tokens"):
                axes = tuple(range(-PLAIN, -1))
            case Indices(text):
                axes = tuple(self.letters.index(each) for each in text)
            case Such(Name(letter), condition):
                axes, counts = (self.letters.index(letter),), self.holds(condition)
            case Infix(operands=(Name(letter), _)):
                axes, counts = (self.letters.index(letter),), self.holds(part.below)
            case _:
                raise NotRead(f"{part.below} names no axis")
        body = self.value(part.body)
        if part.sign == "Π":
            return np.where(counts, body, 1).prod(axis=axes, keepdims=True)
        return np.where(counts, body, 0).sum(axis=axes, keepdims=True)

    def integral(self, part: Big) -> np.ndarray:
        """Integrate from 0 to x."""
        assert isinstance(part.body, Product)
        assert isinstance(part.above, Indices)
        *factors, change = part.body.factors
        assert isinstance(change, Change)

        def f(nodes: np.ndarray) -> np.ndarray:
            self.bound[name_of(change.of)] = nodes
            return self.product([self.value(each) for each in factors])

        return self.plain(integral(f, self.array(Name(part.above.text))))

    def phrase(self, part: Phrase) -> np.ndarray:
        """Read `a if condition else b`, and `… over axis`, `… of the sum that …`, whose words say what is known."""
        match part.parts:
            case (a, Words("if"), condition, Words("else"), b):
                return np.where(self.value(condition) != 0, self.value(a), self.value(b))
            case (first, Words("over" | "along" | "of the sum that" | "of the mean that"), *_):
                return self.value(first)
        raise NotRead("it is in words")
