"""saved: the values that a forward saved, by the names that its backward gives them."""

import ast
import functools
import inspect
import textwrap
from typing import Any

from nanograd.op import Backward


@functools.cache
def function_body(function: Backward) -> list[ast.stmt]:
    """Return the statements of a function; none if its source cannot be read."""
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError):  # defined in an interactive session, or a callable that is no function
        return []
    return node.body if isinstance(node, ast.FunctionDef) else []


def saved_names(backward: Backward, saved: Any) -> list[tuple[str, Any]]:
    """Return the entries of `saved` by the names that backward gives them in its line `y, axis = saved`."""
    for statement in function_body(backward):
        match statement:
            case ast.Assign([target], ast.Name("saved")):
                return _matched(target, saved)
    return [] if saved is None else [("saved", saved)]


def _matched(target: ast.expr, value: Any) -> list[tuple[str, Any]]:
    if isinstance(target, ast.Tuple) and isinstance(value, tuple) and len(target.elts) == len(value):
        return [pair for name, value in zip(target.elts, value, strict=True) for pair in _matched(name, value)]
    return [(ast.unparse(target), value)]
