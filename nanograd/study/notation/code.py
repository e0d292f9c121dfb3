"""Write a printed equation as NumPy: the code that pages show, and that every check evaluates.

The letters of an equation lie on the last axes of its arrays. With one letter, y_j is simply `y`, and Σ_j a sum along that
axis. Where two letters meet, as in y_j (1[i = j] - y_i), the arrays get an axis for each: `y[..., :, None]` and
`y[..., None, :]`. On a page with matrices, arrays side by side are a matrix product, and ⊙ multiplies entry by entry; a
sum of products, Σ_i x_ti weight_oi, is an einsum. If the op has an option `axis`, a single letter counts along that axis,
and `to_rows(x, axis)` moves it to the end where two letters meet.
"""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

from nanograd.study.notation import tree as t
from nanograd.study.notation.names import children, is_derivative, name_of, subtrees
from nanograd.study.notation.plain import to_text

FUNCTIONS = {name: f"np.{name}" for name in ("exp", "sin", "cos", "tanh", "sinh", "cosh", "sign")} | {"ln": "np.log"}
HELPERS = {"erf", "softmax", "cross_entropy"}  # functions of study/helpers.py, or definitions of an op
COMPARISONS = {"=": "==", "≠": "!=", "≤": "<=", "≥": ">=", "<": "<", ">": ">"}
CONDITION, COMPARISON, SUM, PRODUCT, SIGN, POWER, ATOM = range(7)  # how tightly Python binds

Code = tuple[str, int]  # an expression and how tightly its outermost operator binds


class NotInSymbols(ValueError):
    """The equation says something in words that has no code."""


@dataclass(frozen=True)
class Scope:
    """What the writer must know of an op.

    arrays: its inputs, dy, and the names of its numbered lines. definitions: further names that have a value. numbered: the
    name of each numbered line. matrices: whether arrays side by side are a matrix product, and elementwise products are
    written ⊙; else they are side by side. numbers: names that hold a single number, which may stand beside a matrix.
    axis: whether the op has an option `axis`. variadic: whether its inputs are operands xs.
    """

    arrays: Set[str]
    definitions: Set[str]
    numbered: dict[int, str]
    matrices: bool = False
    numbers: Set[str] = frozenset()
    axis: bool = False
    variadic: bool = False


def write_code(side: t.Formula, equation: t.Infix, scope: Scope) -> str:
    """Write one side of an equation as a NumPy expression. Raises NotInSymbols if it is in words."""
    return _Writer(equation, scope).side(side)


class _Writer:
    """Writes the sides of one equation; `letters` are those that have an axis of their own where it is."""

    def __init__(self, equation: t.Infix, scope: Scope) -> None:
        self.equation, self.scope = equation, scope
        self.target = equation.operands[0]
        self.free = self._free_letters()
        self.letters = self.free
        self.row_arrays: list[str] = []  # the arrays written as to_rows(x, axis)
        needs_rows = len(self.free) == 2 or any(map(self._needs_rows, subtrees(equation)))
        self.in_rows = scope.axis and not scope.variadic and needs_rows

    def _free_letters(self) -> str:
        """Return the letters of the left-hand side, which every side has."""
        letters = ""
        sides: tuple[t.Formula, ...]
        match self.target:
            case t.Quotient(t.Partial(y), t.Partial(x)):
                sides = (y, x)
            case _:
                sides = (self.target,)
        for side in sides:
            if isinstance(side, t.Sub) and isinstance(side.index, t.Indices) and not self._composite(side):
                letters += side.index.text
            elif isinstance(side, t.Item) and isinstance(side.position, t.Name) and len(side.position.text) == 1:
                letters += side.position.text
        return letters

    def _needs_rows(self, node: t.Formula) -> bool:
        """Tell whether a node indexes or compares entries along the axis: x[n - 1 - i], or a sum over s ≤ t."""
        if isinstance(node, t.Item):
            return not isinstance(node.position, t.List) and node.position != t.Name("i-th")
        return isinstance(node, t.Big) and isinstance(node.below, t.Infix)

    def side(self, side: t.Formula) -> str:
        """Write a whole side, so that it has the value of the left-hand side."""
        if isinstance(self.target, t.Item) and not isinstance(self.target.position, (t.Name, t.List)):
            position = self.code(self.target.position)
            value = f"place({self.code(side)}, {position})"
        elif self.scope.variadic and isinstance(self.target, t.Sub):
            value = f"tuple({self.code(side)} for {self.free} in range(len(xs)))"
        else:
            value = self.code(side)
        if self.in_rows and len(self.free) < 2:
            value = f"from_rows({value}, {self.row_arrays[0]}.shape, axis)"
        return value

    @contextmanager
    def letters_are(self, letters: str) -> Iterator[None]:
        """Give other letters an axis of their own for a while."""
        outer, self.letters = self.letters, letters
        yield
        self.letters = outer

    def code(self, node: t.Formula, least: int = CONDITION) -> str:
        """Write a node, in parentheses if it binds less tightly than `least`."""
        text, binding = self.write(node)
        return f"({text})" if binding < least else text

    def write(self, node: t.Formula) -> Code:
        match node:
            case t.Number(text):
                return ("0.5" if text == "½" else text), ATOM
            case t.Name("π"):
                return "np.pi", ATOM
            case t.Name(text) if text in self.letters and text not in self.scope.definitions:
                return text if self.scope.variadic else self.count(text), ATOM
            case t.Name() | t.Gradient():
                return self.array(node), ATOM
            case t.Reference(number):
                return self.scope.numbered[number], ATOM
            case t.Sub(base, t.Indices(text)):
                return self._composite(node) or self.indexed(base, text), ATOM
            case t.Item(base, position):
                return self.entry(base, position), ATOM
            case t.Fence("group", inside):
                return self.write(inside)
            case t.Fence("mean", inside):
                return f"{self.code(inside, ATOM)}.mean(axis={self.axis}, keepdims=True)", ATOM
            case t.Fence("absolute", inside):
                return f"np.abs({self.code(inside)})", ATOM
            case t.Root(inside):
                return f"np.sqrt({self.code(inside)})", ATOM
            case t.Minus(of):
                return f"-{self.code(of, PRODUCT)}", SIGN if not isinstance(of, (t.Product, t.Quotient)) else PRODUCT
            case t.Power(base, exponent):
                return self.power(self.code(base, ATOM), exponent), POWER
            case t.Transpose(base):
                return f"{self.code(base, ATOM)}.mT", ATOM
            case t.Indicator(condition):
                return self.condition(condition)
            case t.Product(factors):
                return self.product(factors)
            case t.Quotient() if is_derivative(node):  # of a line before
                return self.array(node), ATOM
            case t.Quotient(top, bottom):
                return f"{self.code(top, PRODUCT)} / {self.code(bottom, SIGN)}", PRODUCT
            case t.Infix():
                return self.infix(node)
            case t.Call(t.Name(function), inside):
                return self.call(function, inside), ATOM
            case t.Apply(t.Name("max" | "min" as function), argument):
                return f"{self.code(argument, ATOM)}.{function}(axis={self.axis}, keepdims=True)", ATOM
            case t.Apply(function, argument):
                return self.apply(function, argument)
            case t.Big():
                return self.big(node)
            case t.Phrase((a, t.Words("if"), condition, t.Words("else"), b)):
                return f"np.where({self.code(condition)}, {self.code(a)}, {self.code(b)})", ATOM
            case t.Phrase((first, t.Words("over" | "along" | "of the sum that" | "of the mean that"), *_)):
                return self.write(first)
        raise NotInSymbols(f"{node} is in words")

    @property
    def axis(self) -> str:
        return "axis" if self.scope.axis else "-1"

    # Arrays

    def array(self, node: t.Formula) -> str:
        """Write a name, or the gradient by one."""
        name = name_of(node) or ""
        if self.scope.variadic and name == "x":
            return "np.stack(xs)"
        if name not in self.scope.arrays | self.scope.definitions:
            raise NotInSymbols(f"{name} has no value")
        if self.in_rows and name in self.scope.arrays:
            self.row_arrays.append(name)
            return f"to_rows({name}, axis)"
        if len(self.free) == 2 and name in self.scope.arrays and not self.scope.matrices:
            return f"{name}[..., None]"  # one number a row: constant in both letters
        return name

    def _composite(self, node: t.Sub) -> str:
        """Return the name x_a where a is a name below x and no index."""
        assert isinstance(node.index, t.Indices)
        name = f"{name_of(node.base)}_{node.index.text}"
        return name if name in self.scope.definitions | self.scope.arrays else ""

    def indexed(self, base: t.Formula, letters: str) -> str:
        """Write x_i or x_ij, with an axis for each letter in scope."""
        if self.scope.variadic:
            return self.array(base)
        name = name_of(base) or ""
        plain = self.array(base) if self.in_rows else name
        if name not in self.scope.arrays | self.scope.definitions:
            raise NotInSymbols(f"{name} has no value")
        if not set(letters) <= set(self.letters):
            raise NotInSymbols(f"{name}_{letters} has a letter that nothing is summed over")
        if len(self.letters) < 2 or letters == self.letters:
            return plain
        if letters in self.letters and len(letters) == 1:
            return f"{plain}[..., :, None]" if letters == self.letters[0] else f"{plain}[..., None, :]"
        raise NotInSymbols(f"{name}_{letters} beside {self.letters}")

    def count(self, letter: str) -> str:
        """Write 0, 1, 2, … along the axis of a letter."""
        column = "[:, None]" if len(self.letters) == 2 and letter == self.letters[0] else ""
        return f"np.arange({self.size(letter)}){column}"

    def size(self, letter: str) -> str:
        """Write the number of values of a letter: the length of an axis that it indexes, else of the array in the sum."""
        for node in subtrees(self.equation):
            match node:
                case t.Sub(t.Gradient(t.Name(name)) | t.Name(name), t.Indices(letters)) if (
                    letter in letters and name in self.scope.arrays and name != name_of(self.target)
                ):
                    axis = letters.index(letter) - len(letters)
                    return f"to_rows({name}, axis).shape[-1]" if self.scope.axis else f"{name}.shape[{axis}]"
                case t.Item(t.Gradient(t.Name(name)), t.Name(text)) if text == letter:
                    return f"len({name})"
        for node in subtrees(self.equation):
            if isinstance(node, t.Big) and isinstance(node.body, t.Sub) and self.scope.axis:
                return f"to_rows({name_of(node.body)}, axis).shape[-1]"
        raise NotInSymbols(f"nothing says how far {letter} runs")

    def entry(self, base: t.Formula, position: t.Formula) -> str:
        """Write x[…]."""
        match position:
            case t.Name("i-th"):
                return f"np.ravel({self.array(base)})"
            case t.List():
                [index] = [item for item in position.items if not isinstance(item, t.Symbol)]
                if isinstance(index, t.Item):
                    return f"np.take_along_axis({self.array(base)}, {self.array(index.base)}, axis)"
                return self.array(base)
        return f"{self.array(base)}[{'..., ' if self.in_rows else ''}{self.code(position)}]"

    # Operators

    def is_number(self, node: t.Formula) -> bool:
        """Tell whether a node is a single number, as an entry y_ij is; else it is an array."""
        match node:
            case t.Name() | t.Gradient():
                return name_of(node) in self.scope.numbers
            case t.Sub(_, t.Indices()) | t.Number() | t.Reference():
                return True
            case t.Call(_, argument) | t.Apply(_, argument):
                return self.is_number(argument)
        return all(self.is_number(child) for child in children(node))

    def product(self, factors: tuple[t.Formula, ...]) -> Code:
        """Multiply from left to right; on a page with matrices, arrays side by side by `@`."""
        text, array = self.first_factor(factors[0]), not self.is_number(factors[0])
        for factor in factors[1:]:
            matrix_product = self.scope.matrices and array and not self.is_number(factor)
            text += f" {'@' if matrix_product else '*'} {self.code(factor, SIGN)}"
            array = array or not self.is_number(factor)
        return text, PRODUCT

    def elementwise(self, factors: tuple[t.Formula, ...]) -> Code:
        """Multiply arrays entry by entry."""
        if not self.scope.matrices:
            raise NotInSymbols(f"{to_text(self.equation)}: no line multiplies matrices: write the factors without ⊙")
        if any(map(self.is_number, factors)):
            raise NotInSymbols(f"{to_text(self.equation)}: ⊙ multiplies arrays: write a number without it")
        return " * ".join(
            [self.first_factor(factors[0]), *(self.code(factor, SIGN) for factor in factors[1:])]
        ), PRODUCT

    def first_factor(self, factor: t.Formula) -> str:
        """Write the first factor; where `@` and `*` mix, in its parentheses."""
        return self.code(factor, ATOM if self.scope.matrices and isinstance(factor, t.Fence) else PRODUCT)

    def power(self, base: str, exponent: t.Formula) -> str:
        text = self.code(t.bare(exponent), POWER)
        return f"{base}**{text}" if base.isidentifier() and text.isalnum() else f"{base} ** {text}"

    def infix(self, node: t.Infix) -> Code:
        if set(node.signs) <= {"+", "-"}:
            text = self.code(node.operands[0], SUM)
            for sign, operand in zip(node.signs, node.operands[1:], strict=True):
                text += f" {sign} {self.code(operand, PRODUCT)}"
            return text, SUM
        if set(node.signs) == {"·"}:
            return self.product(node.operands)
        if set(node.signs) == {"⊙"}:
            return self.elementwise(node.operands)
        if node.signs == ("mod",):
            return f"{self.code(node.operands[0], PRODUCT)} % {self.code(node.operands[1], SIGN)}", PRODUCT
        raise NotInSymbols(f"{node.signs} have no code")

    def condition(self, node: t.Formula) -> Code:
        """Write a relation, or a chain of them."""
        if isinstance(node, t.Infix) and node.signs == ("=",) and set(node.operands) == set(map(t.Name, self.free)):
            return f"np.eye({self.size(self.free[0])})", ATOM
        if not isinstance(node, t.Infix) or not set(node.signs) <= set(COMPARISONS):
            raise NotInSymbols(f"{node} is no condition")
        operands = [self.code(operand, SUM) for operand in node.operands]
        links = [f"({a} {COMPARISONS[s]} {b})" for a, s, b in zip(operands, node.signs, operands[1:], strict=False)]
        return (" & ".join(links), CONDITION) if len(links) > 1 else (links[0], ATOM)

    def call(self, function: str, inside: t.Formula) -> str:
        arguments = ", ".join(map(self.code, inside.items if isinstance(inside, t.List) else (inside,)))
        if function == "U":
            assert isinstance(self.target, t.Gradient | t.Sub)
            return f"unbroadcast({arguments}, {(name_of(self.target) or '')[1:]}.shape)"
        if function in ("max", "min"):
            return f"np.{function}imum({arguments})"
        if function in FUNCTIONS:
            return f"{FUNCTIONS[function]}({arguments})"
        if function in HELPERS:
            return f"{function}({arguments})"
        raise NotInSymbols(f"{function} is no function")

    def apply(self, function: t.Formula, argument: t.Formula) -> Code:
        if isinstance(function, t.Power):
            text, _ = self.apply(function.base, argument)
            return self.power(text, function.exponent), POWER
        assert isinstance(function, t.Name)
        return self.call(function.text, argument), ATOM

    # Sums and products

    def big(self, node: t.Big) -> Code:
        """Add or multiply over a letter, over the letters that fulfil a condition, or over all entries."""
        method = "prod" if node.sign == "Π" else "sum"
        match node.below:
            case None if node.sign == "Σ" and "total" in self.scope.definitions:
                return f"total({self.code(node.body)})", ATOM
            case None:
                return f"{self.code(node.body, ATOM)}.{method}(axis={self.axis}, keepdims=True)", ATOM
            case t.Name(text) if text in self.scope.definitions:
                return f"{self.code(node.body, ATOM)}.{method}(axis={text}, keepdims=True)", ATOM
            case t.Indices("0") if node.sign == "∫":
                return self.integral(node)
            case t.Indices(letters) if self.scope.matrices:
                return self.einsum(node.body, letters)
            case t.Indices(letter) if letter in self.scope.definitions:  # the letter's values lie on the last axis
                return f"{self.code(node.body, ATOM)}.{method}(axis=-1)", ATOM
            case t.Indices(letter):
                with self.letters_are(letter):
                    body = self.code(node.body, ATOM)
                return f"{body}.{method}(axis={self.axis}, keepdims=True)", ATOM
            case t.Such(t.Name(letter), t.Infix((t.Item(index, t.List()), t.Name(_)), ("=",))) if len(letter) == 1:
                values = node.body.base if isinstance(node.body, t.Item) else node.body
                return f"sum_by_index({self.array(values)}, {self.array(index)}, n, axis)", ATOM
            case t.Such(t.Name(letter), condition):
                with self.letters_are(letter):
                    body = self.code(node.body)
                with self.letters_are(self.free + letter):
                    return f"sum_where({self.matches(condition)}, {body})", ATOM
            case t.Infix((t.Name(letter), _)):
                with self.letters_are(self.free + letter):
                    body, relation = self.code(node.body), self.condition(node.below)[0]
                return f"np.where({relation}, {body}, {1 if node.sign == 'Π' else 0}).{method}(axis=-1)", ATOM
        raise NotInSymbols(f"{node.below} names no axis")

    def matches(self, condition: t.Formula) -> str:
        """Write a condition such as index_i = j as a matrix of booleans, with a row for each j and a column for each i."""
        if not isinstance(condition, t.Infix):
            raise NotInSymbols(f"{condition} is no condition")
        left, right = (name_of(o.base) if isinstance(o, t.Sub) else self.code(o, SUM) for o in condition.operands)
        return f"{left} {COMPARISONS[condition.signs[0]]} {right}"

    def einsum(self, body: t.Formula, letters: str) -> Code:
        """Write a sum of products of matrices, with `...` for the axes before theirs."""
        factors = body.factors if isinstance(body, t.Product) else (body,)
        names, indices = [], []
        for factor in factors:
            if not (isinstance(factor, t.Sub) and isinstance(factor.index, t.Indices)):
                raise NotInSymbols(f"{factor} has no letters")
            names.append(self.array(factor.base))
            indices.append(f"...{factor.index.text}")
        if set("".join(indices)) - {"."} - set(self.free) != set(letters):
            raise NotInSymbols(f"{body} has other letters than are summed over")
        return f"np.einsum('{','.join(indices)}->...{self.free}', {', '.join(names)})", ATOM

    def integral(self, node: t.Big) -> Code:
        """Integrate from 0 to an array."""
        match node.body, node.above:
            case t.Product((*factors, t.Differential(t.Name(variable)))), t.Indices(end):
                inner = _Writer(self.equation, Scope({variable}, set(), {}))
                return f"integral(lambda {variable}: {inner.product(tuple(factors))[0]}, {end})", ATOM
        raise NotInSymbols(f"{node} is no integral from 0")
