"""What an op saves for its backward, and for which line of it."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from nanograd.study.worked import Worked
from nanograd.tape import arrays_in


class Saved(NamedTuple):
    """One thing that forward saved: what backward calls it, and the statements of backward that need it."""

    name: str
    value: Any
    source: str  # the input or result that it is, without a copy
    used: tuple[str, ...]

    @property
    def arrays(self) -> list[np.ndarray]:
        return arrays_in(self.value)

    @property
    def bytes(self) -> int:
        """Return its size when training, where floats have four bytes."""
        return sum(a.size * 4 if a.dtype.kind == "f" else a.nbytes for a in self.arrays)


def saved_by(worked: Worked) -> list[Saved]:
    """List what the readable forward saved, as the readable backward takes it apart."""
    body = _function(worked.op.pair.backward).body
    statements = [(text, read) for each in body for text, read in _statements(each)]
    found = []
    for name, value in _taken_apart(body, worked.saved):
        used = [text for text, read in statements if name in read and not text.endswith("= saved")]
        found.append(Saved(name, value, _source(worked, value), tuple(dict.fromkeys(used))))
    return found


def _taken_apart(body: list[ast.stmt], saved: Any) -> list[tuple[str, Any]]:
    """Return the parts of `saved` under the names that backward gives them: by its line `y, axis = saved`."""
    for each in body:
        if isinstance(each, ast.Assign) and isinstance(each.value, ast.Name) and each.value.id == "saved":
            return _matched(each.targets[0], saved)
    return [] if saved is None else [("saved", saved)]


def _matched(target: ast.expr, value: Any) -> list[tuple[str, Any]]:
    if isinstance(target, ast.Tuple) and isinstance(value, tuple) and len(target.elts) == len(value):
        return [pair for part, each in zip(target.elts, value, strict=True) for pair in _matched(part, each)]
    return [(ast.unparse(target), value)]


def _statements(statement: ast.stmt) -> Iterator[tuple[str, set[str]]]:
    """Yield a statement and the names that it reads; a compound one by its first line, then those inside it."""
    inside = [each for each in ast.iter_child_nodes(statement) if isinstance(each, ast.stmt)]
    own = [each for each in ast.iter_child_nodes(statement) if not isinstance(each, ast.stmt)]
    yield (
        ast.unparse(statement).splitlines()[0],
        {n.id for each in own for n in ast.walk(each) if isinstance(n, ast.Name)},
    )
    for each in inside:
        yield from _statements(each)


def _source(worked: Worked, value: Any) -> str:
    if not isinstance(value, np.ndarray) or not value.size:
        return "arrays of its own" if arrays_in(value) else ""
    for name, array in zip(worked.names, worked.arrays, strict=True):
        if array is not None and np.may_share_memory(value, array):
            return f"the input {name} itself, no copy"
    return "the result y itself, no copy" if np.may_share_memory(value, worked.y) else "an array of its own"


def _function(function: Callable[..., Any]) -> ast.FunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, ast.FunctionDef)
    return node
