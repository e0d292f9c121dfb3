"""The letters of a printed line as axes, so that y_j (1[i = j] - y_i) is plain broadcasting and Σ_j a sum over one axis."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from nanograd.study.notation.tree import Change, Formula, Indices, Infix, Item, List, Name, Sub, Symbol, bare
from nanograd.study.sheet import Sheet

PLAIN = 3  # axes without a letter


class NotRead(ValueError):
    """The line says something in words that has no numbers."""


def parts(formula: Formula) -> Iterator[Formula]:
    """Walk through a tree from the top."""
    yield formula
    for field in fields(formula):  # type: ignore[arg-type]
        inner = getattr(formula, field.name)
        for each in inner if isinstance(inner, tuple) else (inner,):
            if isinstance(each, Formula):
                yield from parts(each)


class Axes:
    """The axes of one equation: a letter each, as far as the arrays say that it runs, and three without a letter."""

    def __init__(self, equation: Infix, sheet: Sheet, sizes: Mapping[str, int]) -> None:
        self.equation, self.sheet = equation, sheet
        self.rows_first = sheet.op.name in ("embedding", "stack")  # y_t is a row, not an entry
        self.bound: dict[str, np.ndarray] = {}  # what an integral runs over
        self.size: dict[str, int] = dict(sizes)  # how far each letter runs
        if sheet.op.variadic and sheet.op.name != "stack":
            raise NotRead("it is about operands of many shapes")
        for part in parts(equation):
            self._measure(part)
        self.letters = sorted(self.size)

    def _measure(self, part: Formula) -> None:
        """Learn from x_i or x[i] how far i runs."""
        if isinstance(part, Sub) and isinstance(part.index, Indices) and not self.composite(part):
            letters, shape = part.index.text, np.shape(self.array(part.base))
            shape = shape if self.rows_first else shape[len(shape) - len(letters) :]
            self.size |= dict(zip(letters, shape, strict=False))
        elif isinstance(part, Item) and isinstance(place := place_of(part), Name):
            if place.text == "i-th":
                self.size["i-th"] = np.size(self.array(part.base))
            elif part is self.equation.operands[0] or not self._known(place.text):
                self.size[place.text] = len(self.array(part.base))

    def _known(self, name: str) -> bool:
        return name in self.sheet.lines or name in self.sheet.given or name in self.sheet.raw

    def composite(self, part: Sub) -> str:
        """Return the name of x_a where a is a part of x and no index: rope's pairs."""
        assert isinstance(part.index, Indices)
        name = f"{name_of(part.base)}_{part.index.text}"
        return name if part.index.text in self.sheet.given and self._known(name) else ""

    def array(self, part: Formula) -> np.ndarray:
        """Return the array that a name or a change stands for."""
        name = name_of(part)
        if self.sheet.op.variadic and name in ("x", "dx"):  # x_k is an operand
            return np.stack(self.sheet[f"{name}s"])
        return np.asarray(self.sheet[name], np.float64)

    def plain(self, a: Any) -> np.ndarray:
        """Give an array an axis of size 1 for every letter, and three for its own axes."""
        a = np.asarray(a, np.float64)
        return a.reshape((1,) * (len(self.letters) + PLAIN - a.ndim) + a.shape)

    def lettered(self, a: np.ndarray, letters: list[str], kept: int) -> np.ndarray:
        """Move the last axes of an array (of rows, the first) to those of their letters; `kept` of size 1 stay behind."""
        n = len(letters)
        a = np.asarray(a, np.float64)
        a = a if self.rows_first else np.moveaxis(a, range(a.ndim - n, a.ndim), range(n))
        own, rest = a.shape[:n], a.shape[n:]
        order = sorted(range(n), key=lambda i: self.letters.index(letters[i]))
        a = a.transpose(*order, *range(n, a.ndim))
        front = [own[letters.index(each)] if each in letters else 1 for each in self.letters]
        rest = (1,) * kept + rest if self.rows_first else rest + (1,) * kept
        return a.reshape(*front, *(1,) * (PLAIN - len(rest)), *rest)

    def running(self, letter: str) -> np.ndarray:
        """Return 0, 1, 2 … along the axis of a letter."""
        return self.lettered(np.arange(self.size[letter]), [letter], 0)

    def own(self, a: np.ndarray) -> tuple[int, ...]:
        """Return the shape that a value has beside its letters, from its first axis that is not 1."""
        shape = a.shape[len(self.letters) :]
        return shape[next((i for i, n in enumerate(shape) if n > 1), PLAIN) :]


def name_of(part: Formula) -> str:
    """Return what a name, or a change of one, is called."""
    match part:
        case Name(text):
            return text
        case Change(by, of):
            return by + name_of(of)
        case Sub(base):
            return name_of(base)
    raise NotRead(f"{part} has no name")


def letter_of(part: Sub) -> str:
    assert isinstance(part.index, Indices)
    return part.index.text


def place_of(part: Item) -> Formula:
    """Return the one place of x[…, i, …] that is not left open."""
    places = part.place.items if isinstance(part.place, List) else (part.place,)
    named = [each for each in places if not isinstance(each, Symbol)]
    return bare(named[0])
