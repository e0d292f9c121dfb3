"""What an op saves for its backward, and for which line of it."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from nanograd.study.worked import Worked


class Saved(NamedTuple):
    """One thing that forward saved: what backward calls it, and the statements of backward that need it."""

    name: str
    value: Any
    source: str  # the input or result that it is, without a copy
    used: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Return its size when training, where floats have four bytes."""
        if not isinstance(self.value, np.ndarray):
            return 0
        return self.value.size * 4 if self.value.dtype.kind == "f" else self.value.nbytes


def saved_by(worked: Worked) -> list[Saved]:
    """List what the readable forward saved, as the readable backward takes it apart."""
    body = _function(worked.op.pair.backward).body
    names, values = _taken_apart(body, worked.saved)
    statements = [each for each in body for each in _simple(each)]
    found = []
    for name, value in zip(names, values, strict=True):
        used = [ast.unparse(each) for each in statements if name in _names(each) and not _unpacks(each)]
        found.append(Saved(name, value, _source(worked, value), tuple(dict.fromkeys(used))))
    return found


def _taken_apart(body: list[ast.stmt], saved: Any) -> tuple[list[str], list[Any]]:
    """Return the names under which backward knows the parts of `saved`: by its line `y, axis = saved`."""
    for each in body:
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id == "saved":
            target = each.targets[0]
            if isinstance(target, ast.Tuple) and isinstance(saved, tuple) and len(target.elts) == len(saved):
                return [ast.unparse(part) for part in target.elts], list(saved)
            return [ast.unparse(target)], [saved]
    return ["saved"], [saved]


def _simple(statement: ast.stmt) -> list[ast.stmt]:
    """Return the statements inside a compound one, without its own line; a simple one is itself."""
    inside = [part for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt) for part in _simple(each)]
    return inside or [statement]


def _unpacks(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign) and ast.unparse(statement.value) == "saved"


def _names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}


def _source(worked: Worked, value: Any) -> str:
    if not isinstance(value, np.ndarray) or not value.size:
        return ""
    for name, array in zip(worked.names, worked.arrays, strict=True):
        if array is not None and np.may_share_memory(value, array):
            return f"the input {name} itself, no copy"
    return "the result y itself, no copy" if np.may_share_memory(value, worked.y) else "an array of its own"


def _function(function: Callable[..., Any]) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node
