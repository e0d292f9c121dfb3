"""Read the numbered equations of a docstring, which state what an op computes and its gradient."""

import inspect
import re
from typing import Any

EQUATION = re.compile(r"^\s*(\S.*?)\s+\((\d+)\)$")  # the equation, at least one space, its number in parentheses


def numbered_equations(function: Any) -> dict[int, str]:
    """Return the numbered lines of a function's docstring by number, in order, without the numbers."""
    lines = (inspect.getdoc(function) or "").splitlines()
    return {int(match[2]): match[1] for line in lines if (match := EQUATION.match(line))}


def equations(function: Any) -> list[str]:
    """Return the numbered lines of a function's docstring, in order, without the numbers."""
    return list(numbered_equations(function).values())
